//! Looking at a store's files without opening the store: also while another process has it open, and without changing a byte.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use relatum_model::Samples;
use relatum_model::storage::TimeRange;

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::layout::{BadBlock, Damage};
use crate::block::reader::OpenBlockError;
use crate::block::writer::{file_name, number_of};
use crate::blocks::DAMAGED;
use crate::fs::{Disk, Fs};
use crate::repair::first_damage;
use crate::wal::FileKind;
use crate::wal::frame::BadHeader;
use crate::wal::reader::{Found, FrameReader};
use crate::wal::record::{Section, sections};
use crate::wal::salvage::read_header;

/// A block as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockReport {
    /// The name of its file.
    pub file: String,
    /// The time of the oldest sample in milliseconds since 1970.
    pub min_ms: i64,
    /// The time of the newest sample.
    pub max_ms: i64,
    /// How many series it has.
    pub series: u64,
    /// How many samples it has, deleted ones included.
    pub samples: u64,
    /// How many chunks it has.
    pub chunks: u64,
    /// How often its samples were merged, 1 for a block that was cut from memory.
    pub level: u32,
    /// The size of the file.
    pub bytes: u64,
    /// How many of them are not samples.
    pub index_bytes: u64,
    /// Why it cannot be read, if it cannot.
    pub damage: Option<String>,
}

/// Something in a store's files that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the file.
    pub file: String,
    /// What is wrong, and where.
    pub reason: String,
}

/// What reading every byte of a store brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Files that were read.
    pub files: u64,
    /// Samples in blocks.
    pub block_samples: u64,
    /// Samples in the log.
    pub log_samples: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The names of files that could not be read once and stand beside the store since: nothing of them is in any answer.
    pub set_aside: Vec<String>,
}

/// What takes part in the number of series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cardinality {
    /// Series in the block.
    pub series: u64,
    /// Label names by how many values they have, most first.
    pub names: Vec<(String, u64)>,
    /// Metrics by how many series they have, most first.
    pub metrics: Vec<(String, u64)>,
    /// Pairs of name and value by how many series have them, most first.
    pub pairs: Vec<(String, u64)>,
}

/// The blocks of the store in `dir`, oldest first. Reads both ends of each only.
pub fn blocks(dir: &Path) -> io::Result<Vec<BlockReport>> {
    let mut reports: Vec<BlockReport> =
        open_blocks(dir)?.into_iter().map(|(number, block)| report(number, &block)).collect();
    reports.sort_by_key(|report| (report.min_ms, report.max_ms));
    Ok(reports)
}

fn open_blocks(dir: &Path) -> io::Result<Vec<(u64, Result<Block, OpenBlockError>)>> {
    let dir = dir.join("blocks");
    let mut numbers: Vec<u64> = Disk.list(&dir)?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| (number, Block::open(&Disk, &dir, number))).collect())
}

fn report(number: u64, block: &Result<Block, OpenBlockError>) -> BlockReport {
    let file = file_name(number);
    match block {
        Ok(block) => BlockReport {
            file,
            min_ms: block.summary.min_ms,
            max_ms: block.summary.max_ms,
            series: block.summary.series,
            samples: block.summary.samples,
            chunks: block.summary.chunks,
            level: block.summary.level,
            bytes: block.bytes(),
            index_bytes: block.index_bytes(),
            damage: block.index().err().map(|damage| damage.to_string()),
        },
        Err(error) => BlockReport { file, damage: Some(reason_of(error)), ..BlockReport::default() },
    }
}

pub(crate) fn reason_of(error: &OpenBlockError) -> String {
    match error {
        OpenBlockError::Read(error) => format!("it cannot be read: {error}"),
        OpenBlockError::Bad(BadBlock::Foreign) => "it is another file under this name".to_owned(),
        OpenBlockError::Bad(BadBlock::Version(version)) => format!("its format has the unknown version {version}"),
        OpenBlockError::Bad(BadBlock::Damaged(damage)) => damage.to_string(),
    }
}

/// Reads and checks everything in the store in `dir`. What a process that has it open is just writing is no problem.
pub fn verify(dir: &Path) -> io::Result<Verification> {
    let mut verification = Verification::default();
    for (number, block) in open_blocks(dir)? {
        verification.files += 1;
        let file = file_name(number);
        match block {
            // It may have been merged since the folder was read.
            Err(OpenBlockError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => verification.problems.push(Problem { file, reason: reason_of(&error) }),
            Ok(block) => verify_block(&block, &file, &mut verification),
        }
    }
    let of_blocks = Disk.list(&dir.join("blocks"))?;
    verification.set_aside = of_blocks.into_iter().filter(|name| name.ends_with(DAMAGED)).collect();
    verification.set_aside.sort_unstable();
    let wal = dir.join("wal");
    let mut files: Vec<(u64, FileKind)> = Disk
        .list(&wal)?
        .iter()
        .filter_map(|name| FileKind::of_name(name))
        // Nothing is in an image that is not elsewhere.
        .filter(|(kind, _)| *kind != FileKind::Head)
        .map(|(kind, number)| (number, kind))
        .collect();
    files.sort_unstable_by_key(|(number, kind)| (*number, *kind == FileKind::Segment));
    let last = files.iter().copied().rfind(|(_, kind)| *kind == FileKind::Segment);
    for (number, kind) in files {
        verification.files += 1;
        verify_log_file(&wal, kind, number, Some((number, kind)) == last, &mut verification)?;
    }
    Ok(verification)
}

/// What a repair would make of a block that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// At least some of its samples come back.
    ComesBack,
    /// All of it can be read, and every sample was deleted: it goes without leaving anything.
    AllDeleted,
    /// Nothing of it can be read, or it was replaced before: it stays set aside.
    Stays,
}

/// What a repair of the store in `dir` would make of `file`, which was set aside.
pub fn prospect(dir: &Path, file: &str) -> io::Result<Prospect> {
    let Some(number) = file.strip_suffix(DAMAGED).and_then(number_of) else { return Ok(Prospect::Stays) };
    let block = match Block::open_set_aside(&Disk, &dir.join("blocks").join(file), number) {
        // What a repair replaced stays damaged inside.
        Ok((block, None)) if first_damage(&block).is_some() => return Ok(Prospect::Stays),
        Ok((block, _)) => block,
        Err(OpenBlockError::Read(error)) => return Err(error),
        Err(OpenBlockError::Bad(_)) => return Ok(Prospect::Stays),
    };
    let Ok(index) = block.index_for_salvage() else { return Ok(Prospect::Stays) };
    let (mut walk, mut reader, deleted) = (index.walk_through(), ChunkReader::new(index), block.deleted());
    let mut is_whole = true;
    for number in 0..index.n_series() {
        // Each series tells only what differs from the one before it.
        let Ok(series) = walk.series(number) else {
            is_whole = false;
            break;
        };
        for chunk in &series.chunks {
            let mut samples = Samples::default();
            let read = reader.push(chunk, TimeRange::ALL, deleted.of(series.number), &mut samples);
            if read.is_ok() && !samples.is_empty() {
                return Ok(Prospect::ComesBack);
            }
            is_whole &= read.is_ok();
        }
    }
    Ok(if is_whole { Prospect::AllDeleted } else { Prospect::Stays })
}

fn verify_block(block: &Block, file: &str, verification: &mut Verification) {
    let mut damages: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut note = |damage: Damage| *damages.entry(damage.0).or_default() += 1;
    match block.index() {
        Err(damage) => note(damage),
        Ok(index) => {
            let (mut walk, mut reader) = (index.walk(), ChunkReader::new(index));
            for number in 0..index.n_series() {
                match walk.series(number) {
                    Err(damage) => note(damage),
                    Ok(series) => {
                        for chunk in &series.chunks {
                            let mut samples = Samples::default();
                            match reader.push(chunk, TimeRange::ALL, &[], &mut samples) {
                                Ok(()) => verification.block_samples += samples.len() as u64,
                                Err(damage) => note(damage),
                            }
                        }
                    }
                }
            }
        }
    }
    let problem = |(reason, n): (&str, u64)| Problem {
        file: file.to_owned(),
        reason: if n == 1 { reason.to_owned() } else { format!("{reason} ({n} times)") },
    };
    verification.problems.extend(damages.into_iter().map(problem));
}

fn verify_log_file(
    dir: &Path,
    kind: FileKind,
    number: u64,
    is_last: bool,
    verification: &mut Verification,
) -> io::Result<()> {
    let name = kind.file_name(number);
    let file = match Disk.open(&dir.join(&name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut problem = |reason: String| verification.problems.push(Problem { file: name.clone(), reason });
    let length = file.length()?;
    let header = match read_header(&*file, kind, number)? {
        Ok((header, None)) => header,
        Ok((header, Some(_))) => {
            problem("its header is damaged; what follows can be read".to_owned());
            header
        }
        Err(BadHeader::Short) if is_last => return Ok(()),
        Err(wrong) => {
            problem(match wrong {
                BadHeader::Version(version) => format!("its format has the unknown version {version}"),
                BadHeader::Foreign => "it is another file under this name".to_owned(),
                BadHeader::Short | BadHeader::Damaged => "its header is damaged".to_owned(),
            });
            return Ok(());
        }
    };
    let header = header.with_room_in_the_last(is_last);
    let mut reader = FrameReader::new(&*file, &header, 0, length);
    // At the end of the last segment it is what was being written when the process died.
    let mut damage = None;
    let damaged = |(offset, bytes): (u64, u64)| format!("{bytes} bytes from {offset} on are damaged");
    while let Some(found) = reader.next()? {
        match found {
            Found::Damage { offset, bytes } => damage = Some((offset, bytes)),
            Found::Room { .. } => {}
            Found::Frame { offset, payload, .. } => {
                damage.take().into_iter().for_each(|damage| problem(damaged(damage)));
                for section in sections(payload) {
                    match section {
                        Ok(Section::Series { .. } | Section::Starts(_) | Section::Exemplar { .. }) => {}
                        Ok(Section::BadSeries { id }) => problem(format!("the labels of series {id} are damaged")),
                        Ok(Section::Rows(rows)) => verification.log_samples += rows.len() as u64,
                        Ok(Section::Histograms(rows)) => verification.log_samples += rows.len() as u64,
                        Err(reason) => problem(format!("the frame at {offset} cannot be read: {reason}")),
                    }
                }
            }
        }
    }
    damage.filter(|_| !is_last).into_iter().for_each(|damage| problem(damaged(damage)));
    Ok(())
}

/// What takes part in the number of series of the newest block of the store in `dir`, `most` of each kind; `None` if there is
/// no block that can be read.
pub fn cardinality(dir: &Path, most: usize) -> io::Result<Option<Cardinality>> {
    let blocks = open_blocks(dir)?.into_iter().filter_map(|(_, block)| block.ok());
    let Some(block) = blocks.max_by_key(|block| block.summary.max_ms) else { return Ok(None) };
    let damaged = |damage: Damage| io::Error::other(format!("{}: {damage}", file_name(block.number)));
    let index = block.index().map_err(damaged)?;
    let mut walk = index.walk();
    let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
    for number in 0..index.n_series() {
        let series = walk.series(number).map_err(damaged)?;
        for (name, value) in &series.labels {
            *pairs.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        }
    }
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    pairs.keys().for_each(|(name, _)| *names.entry(name.clone()).or_default() += 1);
    let metrics = pairs.iter().filter(|((name, _), _)| name == "__name__");
    let metrics = metrics.map(|((_, value), n)| (value.clone(), *n)).collect();
    let pairs = pairs.into_iter().map(|((name, value), n)| (format!("{name}={value}"), n)).collect();
    Ok(Some(Cardinality {
        series: block.summary.series,
        names: top(names.into_iter().collect(), most),
        metrics: top(metrics, most),
        pairs: top(pairs, most),
    }))
}

fn top(mut counted: Vec<(String, u64)>, most: usize) -> Vec<(String, u64)> {
    counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counted.truncate(most);
    counted
}
