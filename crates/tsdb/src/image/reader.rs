//! Reading an image of the head back: frames are decoded by all cores, then put together.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relatum_model::Labels;
use relatum_model::exemplar::Exemplar;

use super::writer::{EXEMPLARS, IDS, PAIRS, SERIES, SUMMARY};
use super::{Unusable, salt_of};
use crate::block::bytes::Cursor;
use crate::block::layout::Damage;
use crate::chunk::image::TimesRead;
use crate::chunk::unzigzag;
use crate::fs::Fs;
use crate::head::Head;
use crate::index::Index;
use crate::series::{MemSeries, State};
use crate::wal::FileKind;
use crate::wal::frame::{BadHeader, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, is_whole};

/// More threads than this do not make it faster: the memory is what they wait for.
const THREADS_MAX: usize = 8;

/// What an image holds.
pub(crate) struct Image {
    pub(crate) head: Head,
    /// All series, in the order of their slots, and their numbers in the log.
    pub(crate) series: Vec<Arc<MemSeries>>,
    pub(crate) ids: Vec<u64>,
    /// Numbers by which the log knows series that are gone, or listed under another number.
    pub(crate) further_ids: Vec<(u64, Labels)>,
    /// Exemplars in the order in which they came, each with its series.
    pub(crate) exemplars: Vec<(Labels, Exemplar)>,
    /// The last commit of which it holds what lives.
    pub(crate) commit: u64,
    pub(crate) samples: u64,
    pub(crate) newest_ms: Option<i64>,
    /// Samples in the files of the log before the image's segment.
    pub(crate) rows: u64,
    pub(crate) has_starts: bool,
    /// How long the file is.
    pub(crate) bytes: u64,
}

/// Reads the image of `number` in `dir`. An error is one of reading; what is wrong with the image itself is no error.
pub(crate) fn read(fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<Result<Image, Unusable>> {
    let Some(segment_salt) = salt_of(fs, dir, number)? else {
        return Ok(Err(Unusable::Old("the segment it belongs to is not there")));
    };
    let file = fs.map(&dir.join(FileKind::Head.file_name(number)))?;
    Ok(decode((*file).as_ref(), number, segment_salt))
}

/// The frames of an image; the checksums are still to be looked at.
struct Frames<'a> {
    salt: u32,
    commit: u64,
    frames: Vec<&'a [u8]>,
}

impl<'a> Frames<'a> {
    fn of(bytes: &'a [u8], number: u64) -> Result<Frames<'a>, Unusable> {
        let header = FileHeader::decode(bytes).map_err(|bad| match bad {
            BadHeader::Version(version) => Unusable::Version(version),
            BadHeader::Foreign => Unusable::Damaged("it is another file under this name"),
            BadHeader::Short | BadHeader::Damaged => Unusable::Damaged("its header is damaged"),
        })?;
        if header.kind != FileKind::Head || header.number != number {
            return Err(Unusable::Damaged("it is another file under this name"));
        }
        let (mut rest, mut frames, mut commit) = (&bytes[FILE_HEADER_BYTES..], Vec::new(), None);
        loop {
            let start = rest.first_chunk::<FRAME_HEADER_BYTES>().ok_or(Damage("it ends early"))?;
            let frame = FrameHeader::decode(start).ok_or(Damage("a frame is damaged"))?;
            let bytes = rest.get(..FRAME_HEADER_BYTES + frame.payload_bytes).ok_or(Damage("it ends early"))?;
            if frame.part as usize != frames.len() || *commit.get_or_insert(frame.commit) != frame.commit {
                return Err(Damage("a frame is not where it belongs").into());
            }
            frames.push(bytes);
            rest = &rest[bytes.len()..];
            if frame.last {
                break;
            }
        }
        if !rest.is_empty() {
            return Err(Damage("something stands behind its end").into());
        }
        Ok(Frames { salt: header.salt, commit: commit.unwrap_or(0), frames })
    }

    /// The payload of a frame and its kind.
    fn payload(&self, frame: &'a [u8]) -> Result<(u8, Cursor<'a>), Damage> {
        if !is_whole(frame, self.salt) {
            return Err(Damage("a frame is damaged"));
        }
        let mut cursor = Cursor::new(&frame[FRAME_HEADER_BYTES..]);
        Ok((cursor.byte()?, cursor))
    }
}

fn decode(bytes: &[u8], number: u64, segment_salt: u32) -> Result<Image, Unusable> {
    let frames = Frames::of(bytes, number)?;
    let (&first, rest) = frames.frames.split_first().ok_or(Damage("it is empty"))?;
    let (kind, mut cursor) = frames.payload(first)?;
    if kind != SUMMARY {
        return Err(Damage("it does not begin with its summary").into());
    }
    if cursor.u32()? != segment_salt {
        return Err(Unusable::Old("it belongs to another log"));
    }
    let (rows, next_id) = (cursor.varint()?, cursor.varint()?);
    let has_starts = cursor.varint()? != 0;
    let (n_pairs, n_series) = (cursor.varint()?, cursor.varint()?);
    // Each takes some bytes of the file, so no number in it makes us ask for memory that it does not fill.
    if n_pairs > bytes.len() as u64 || n_series > bytes.len() as u64 {
        return Err(Damage("a count is larger than what follows").into());
    }

    // The kind is looked at again, behind the checksum, by whoever decodes the frame.
    let kind_of = |frame: &&[u8]| frame.get(FRAME_HEADER_BYTES).copied();
    let (of_pairs, rest) = rest.split_at(rest.iter().take_while(|frame| kind_of(frame) == Some(PAIRS)).count());
    let (of_series, rest) = rest.split_at(rest.iter().take_while(|frame| kind_of(frame) == Some(SERIES)).count());
    let mut pairs = Vec::with_capacity(n_pairs as usize);
    for frame in of_pairs {
        read_pairs(frames.payload(frame)?, &mut pairs)?;
    }
    if pairs.len() as u64 != n_pairs || !pairs.is_sorted_by(|a, b| a < b) {
        return Err(Damage("its labels are not all there").into());
    }
    let (mut further_ids, mut exemplars) = (Vec::new(), Vec::new());
    for frame in rest {
        match frames.payload(frame)? {
            (IDS, cursor) => read_ids(cursor, &mut further_ids)?,
            (EXEMPLARS, cursor) => read_exemplars(cursor, &mut exemplars)?,
            _ => return Err(Damage("a frame is not where it belongs").into()),
        }
    }

    let head = Head::new();
    head.reserve(n_series as usize, next_id);
    let decoded = read_series(&frames, of_series, &pairs, &head)?;
    let n_series = n_series as usize;
    let (mut series, mut ids) = (Vec::with_capacity(n_series), Vec::with_capacity(n_series));
    let (mut of_slots, mut of_index) = (Vec::with_capacity(n_series), Vec::with_capacity(n_series));
    let mut numbers = Vec::with_capacity(decoded.iter().map(|decoded| decoded.numbers.len()).sum());
    let (mut samples, mut newest_ms) = (0, None);
    for decoded in decoded {
        if decoded.first != series.len() as u64 {
            return Err(Damage("its series are not all there").into());
        }
        series.extend(decoded.series);
        ids.extend(decoded.ids);
        of_slots.extend(decoded.of_slots);
        of_index.extend(decoded.of_index);
        numbers.push((decoded.numbers, decoded.ends));
        samples += decoded.samples;
        newest_ms = newest_ms.max(decoded.newest_ms);
    }
    if series.len() != n_series {
        return Err(Damage("its series are not all there").into());
    }
    head.fill(of_slots);
    head.index_mut(|index| *index = Index::of(of_index, &ids, &pairs, &numbers, frames.commit));
    Ok(Image {
        head,
        series,
        ids,
        further_ids,
        exemplars,
        commit: frames.commit,
        samples,
        newest_ms,
        rows,
        has_starts,
        bytes: bytes.len() as u64,
    })
}

fn read_pairs((kind, mut cursor): (u8, Cursor<'_>), pairs: &mut Vec<Labels>) -> Result<(), Damage> {
    if kind != PAIRS {
        return Err(Damage("a frame is not where it belongs"));
    }
    while !cursor.rest.is_empty() {
        let pair = read_labels(&mut cursor)?;
        if pair.iter().count() != 1 {
            return Err(Damage("a label is not one"));
        }
        pairs.push(pair);
    }
    Ok(())
}

fn read_ids(mut cursor: Cursor<'_>, ids: &mut Vec<(u64, Labels)>) -> Result<(), Damage> {
    while !cursor.rest.is_empty() {
        ids.push((cursor.varint()?, read_labels(&mut cursor)?));
    }
    Ok(())
}

fn read_exemplars(mut cursor: Cursor<'_>, exemplars: &mut Vec<(Labels, Exemplar)>) -> Result<(), Damage> {
    while !cursor.rest.is_empty() {
        let (series, labels) = (read_labels(&mut cursor)?, read_labels(&mut cursor)?);
        let (t_ms, value) = (unzigzag(cursor.varint()?), f64::from_bits(cursor.u64()?));
        exemplars.push((series, Exemplar { labels, value, t_ms }));
    }
    Ok(())
}

fn read_labels(cursor: &mut Cursor<'_>) -> Result<Labels, Damage> {
    let n = cursor.count(1)?;
    let text = std::str::from_utf8(cursor.bytes(n)?).ok();
    text.and_then(Labels::from_encoded).ok_or(Damage("a label set is none"))
}

/// The series of one frame.
#[derive(Default)]
struct Decoded {
    /// How many series stand before them.
    first: u64,
    series: Vec<Arc<MemSeries>>,
    ids: Vec<u64>,
    /// The same for others who hold them: a count is cheap to raise while it is near.
    of_slots: Vec<Arc<MemSeries>>,
    of_index: Vec<Option<Arc<MemSeries>>>,
    /// The pairs of all of them, one series behind the other, and where those of each end.
    numbers: Vec<u32>,
    ends: Vec<u32>,
    samples: u64,
    newest_ms: Option<i64>,
}

/// Decodes frames, a few at a time, and makes their series known to `head` by their labels.
fn read_series(
    frames: &Frames<'_>,
    of_series: &[&[u8]],
    pairs: &[Labels],
    head: &Head,
) -> Result<Vec<Decoded>, Damage> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let n_threads = cores.min(THREADS_MAX).min(of_series.len()).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(frame) = of_series.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(frames.payload(frame).and_then(|payload| read_frame(payload, frames.commit, pairs, head))?);
        }
        Ok(done)
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let of_workers = workers.into_iter().map(|worker| worker.join().expect("decoding a frame does not panic"));
        let all: Result<Vec<Vec<Decoded>>, Damage> = of_workers.chain([own]).collect();
        all
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<Decoded>>();
    all.sort_unstable_by_key(|decoded| decoded.first);
    Ok(all)
}

fn read_frame(
    (kind, mut cursor): (u8, Cursor<'_>),
    commit: u64,
    pairs: &[Labels],
    head: &Head,
) -> Result<Decoded, Damage> {
    if kind != SERIES {
        return Err(Damage("a frame is not where it belongs"));
    }
    let first = cursor.varint()?;
    let first_slot = u32::try_from(first).map_err(|_| Damage("too many series"))?;
    let mut decoded = Decoded { first, ..Decoded::default() };
    let (mut times, mut text) = (TimesRead::default(), String::new());
    while !cursor.rest.is_empty() {
        let id = cursor.varint()?;
        let n_labels = cursor.count(1)?;
        let begin = decoded.numbers.len();
        let mut number = 0u64;
        for _ in 0..n_labels {
            number = number.wrapping_add(cursor.varint()?);
            if number >= pairs.len() as u64 {
                return Err(Damage("a series has a label that is not there"));
            }
            decoded.numbers.push(number as u32);
        }
        let labels = decoded.numbers[begin..].iter().map(|number| &pairs[*number as usize]);
        let labels = Labels::concat(labels, &mut text).ok_or(Damage("a label set is none"))?;
        let state = State::decode(&mut cursor, &mut times, commit)?;
        decoded.samples += state.samples();
        decoded.newest_ms = decoded.newest_ms.max(state.newest().map(|(t_ms, _)| t_ms));
        let slot = first_slot.checked_add(decoded.series.len() as u32).ok_or(Damage("too many series"))?;
        let series = Arc::new(MemSeries::with_state(labels, id, slot, state));
        if !head.admit(&series) {
            return Err(Damage("a series is there twice"));
        }
        decoded.ids.push(id);
        decoded.of_slots.push(Arc::clone(&series));
        decoded.of_index.push(Some(Arc::clone(&series)));
        decoded.series.push(series);
        decoded.ends.push(decoded.numbers.len() as u32);
    }
    Ok(decoded)
}
