//! The blocks of a store: which there are, how they come and how they go.

pub(crate) mod catalog;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use relatum_model::Labels;
use tracing::warn;

use crate::block::Block;
use crate::block::chunks::ChunkReader;
use crate::block::deleted;
use crate::block::layout::{self, BadBlock, Damage};
use crate::block::reader::OpenBlockError;
use crate::block::writer::{file_name, number_of};
use crate::error::OpenError;
use crate::fs::Fs;
use crate::replay::Recovery;
use crate::wal::writer::is_full;

use self::catalog::{BadCatalog, Catalog, CutMark};

const CATALOG: &str = "catalog";
const UNFINISHED_CATALOG: &str = "catalog.tmp";
/// A file that is there to be removed: on a full disk it makes room for a catalog that names fewer blocks.
const RESERVE: &str = "reserve";
/// Room for a catalog of ten thousand blocks, twice.
const RESERVE_BYTES: usize = 64 << 10;

/// The blocks that were there at one moment, by the time of their oldest sample.
pub(crate) type BlockList = Arc<[Arc<Block>]>;

/// All blocks of a store.
#[derive(Debug)]
pub(crate) struct Blocks {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    list: RwLock<BlockList>,
    catalog: Mutex<Catalog>,
}

impl Blocks {
    /// Opens the blocks in `dir`, which is made if it is not there. What cannot be read is set aside and reported.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: PathBuf, recovery: &mut Recovery) -> Result<Self, OpenError> {
        fs.create_dir(&dir).map_err(|source| OpenError::Directory { dir: dir.clone(), source })?;
        let names = fs.list(&dir).map_err(|source| OpenError::Read { path: dir.clone(), source })?;
        let mut numbers = Vec::new();
        let mut lists = Vec::new();
        let mut has_catalog = false;
        for name in names {
            match (number_of(&name), name.as_str()) {
                (Some(number), _) => numbers.push(number),
                (None, CATALOG) => has_catalog = true,
                (None, RESERVE) => {}
                (None, UNFINISHED_CATALOG) => remove(&*fs, &dir.join(name))?,
                (None, other) if other.ends_with(DAMAGED) || other.ends_with(SALVAGED) => {}
                (None, other) if other.ends_with(".deleted.tmp") => remove(&*fs, &dir.join(name))?,
                (None, other) if deleted::number_of(other).is_some() => lists.extend(deleted::number_of(other)),
                (None, _) => recovery.foreign(format!("blocks/{name}")),
            }
        }
        numbers.sort_unstable();
        let known = if has_catalog { read_catalog(&*fs, &dir, recovery)? } else { None };
        let next_number = numbers.last().map_or(1, |last| last + 1);
        let mut catalog = known.clone().unwrap_or_default();
        catalog.next_number = catalog.next_number.max(next_number);
        if let Some(known) = &known {
            for number in numbers.iter().filter(|number| !known.blocks.contains(number)) {
                remove(&*fs, &dir.join(file_name(*number)))?;
            }
        } else {
            // Without a catalog every block counts. Some may hold what others hold as well; readers see that once.
            catalog.blocks = numbers;
        }
        let mut blocks = Vec::new();
        for number in std::mem::take(&mut catalog.blocks) {
            if let Some(block) = open_block(&*fs, &dir, number, recovery)? {
                catalog.blocks.push(number);
                blocks.push(Arc::new(block));
            }
        }
        // What was deleted from a block that is set aside must not come back with it.
        let is_set_aside = |number: u64| fs.open(&dir.join(set_aside_name(number))).is_ok();
        for number in lists.iter().filter(|number| !catalog.blocks.contains(number) && !is_set_aside(**number)) {
            remove(&*fs, &dir.join(deleted::file_name(*number)))?;
        }
        recovery.blocks = blocks.len() as u64;
        let blocks = Blocks { fs, dir, list: RwLock::new(in_order(blocks)), catalog: Mutex::new(catalog) };
        if known.is_none_or(|known| known.blocks != blocks.catalog().blocks) {
            let written = blocks.write_catalog(&blocks.catalog());
            written.map_err(|failure| OpenError::Write { path: blocks.dir.join(CATALOG), source: failure.source })?;
        }
        blocks.keep_reserve();
        Ok(blocks)
    }

    /// The blocks there are now.
    pub(crate) fn list(&self) -> BlockList {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where blocks are written.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last cut of the head.
    pub(crate) fn cut(&self) -> Option<CutMark> {
        self.catalog().cut
    }

    /// Up to where the head was cut, as far as times up to `allowed_ms` go: a cut may have been of a far future that was imported.
    pub(crate) fn cut_end_ms(&self, allowed_ms: i64) -> i64 {
        match self.cut() {
            None => i64::MIN,
            Some(cut) if cut.end_ms <= allowed_ms.saturating_add(1) => cut.end_ms,
            Some(_) => {
                let ends =
                    self.list().iter().map(|block| block.summary.max_ms).filter(|max_ms| *max_ms <= allowed_ms).max();
                ends.map_or(i64::MIN, |max_ms| max_ms.saturating_add(1))
            }
        }
    }

    /// The time of the newest sample in a block.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.list().iter().map(|block| block.summary.max_ms).max()
    }

    /// A number that no block had before.
    pub(crate) fn take_number(&self) -> u64 {
        let mut catalog = self.catalog();
        catalog.next_number += 1;
        catalog.next_number - 1
    }

    /// Opens a block that was written to the end.
    pub(crate) fn open_written(&self, number: u64) -> io::Result<Arc<Block>> {
        match Block::open(&*self.fs, &self.dir, number) {
            Ok(block) => Ok(Arc::new(block)),
            Err(OpenBlockError::Read(error)) => Err(error),
            Err(OpenBlockError::Bad(_)) => Err(io::Error::other("what was written cannot be read back")),
        }
    }

    /// Makes `new` count instead of `gone`, at once for readers and for the next start, and removes the files of `gone`.
    ///
    /// If this fails, readers see what they saw before, and the next start finds one or the other.
    pub(crate) fn replace(&self, gone: &[u64], new: Vec<Arc<Block>>, cut: Option<CutMark>) -> io::Result<()> {
        let mut catalog = self.catalog();
        let kept: Vec<Arc<Block>> =
            self.list().iter().filter(|block| !gone.contains(&block.number)).cloned().chain(new).collect();
        let next = Catalog {
            blocks: kept.iter().map(|block| block.number).collect(),
            cut: cut.or(catalog.cut),
            next_number: catalog.next_number,
        };
        if let Err(CatalogFailure { source, replaced }) = self.write_catalog(&next) {
            // Once the catalog may name them, their files have to be there.
            if !replaced {
                kept.iter()
                    .filter(|block| !catalog.blocks.contains(&block.number))
                    .for_each(|b| self.discard(b.number));
            }
            return Err(source);
        }
        *catalog = next;
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = in_order(kept);
        for number in gone {
            self.discard(*number);
        }
        Ok(())
    }

    /// Writes a catalog; on a full disk, in place of the reserve.
    fn write_catalog(&self, catalog: &Catalog) -> Result<(), CatalogFailure> {
        match write_catalog(&*self.fs, &self.dir, catalog) {
            Err(CatalogFailure { source, replaced: false })
                if is_full(&source) && self.fs.remove(&self.dir.join(RESERVE)).is_ok() =>
            {
                write_catalog(&*self.fs, &self.dir, catalog)
            }
            written => written,
        }
    }

    /// Removes a file that does not count. If that fails, the next start does it.
    pub(crate) fn discard(&self, number: u64) {
        for name in [file_name(number), deleted::file_name(number)] {
            match self.fs.remove(&self.dir.join(&name)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    warn!(file = %name, reason = &source as &dyn std::error::Error, "cannot remove a file of a block");
                }
                _ => {}
            }
        }
    }

    /// Keeps a copy of a damaged block's file under the name `kept`, under which it is left alone.
    pub(crate) fn keep_damaged(&self, number: u64, kept: &str) -> io::Result<()> {
        let kept = self.dir.join(kept);
        match self.fs.remove(&kept) {
            // Half a copy is what an earlier attempt left.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.copy(&self.dir.join(file_name(number)), &kept)
    }

    /// The numbers of the blocks that were set aside because they could not be opened.
    pub(crate) fn set_aside(&self) -> io::Result<Vec<u64>> {
        let names = self.fs.list(&self.dir)?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(DAMAGED)).filter_map(number_of).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens a block that was set aside, as far as it can be read; see [`Block::open_set_aside`].
    pub(crate) fn open_set_aside(&self, number: u64) -> Result<(Block, Option<Damage>), OpenBlockError> {
        Block::open_set_aside(&*self.fs, &self.dir.join(set_aside_name(number)), number)
    }

    /// Says that what can be read of a block that was set aside is in other blocks now.
    pub(crate) fn salvaged(&self, number: u64) -> io::Result<()> {
        let name = file_name(number);
        self.fs.rename(&self.dir.join(set_aside_name(number)), &self.dir.join(format!("{name}{SALVAGED}")))?;
        match self.fs.remove(&self.dir.join(deleted::file_name(number))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.fs.sync_dir(&self.dir),
        }
    }

    /// The newest sample of a series, as time and bits. What is damaged is passed over.
    pub(crate) fn newest_of(&self, labels: &Labels) -> Option<(i64, u64)> {
        let mut newest: Option<(i64, u64)> = None;
        for block in self.list().iter() {
            if newest.is_some_and(|(newest_ms, _)| newest_ms >= block.summary.max_ms) {
                continue;
            }
            let found = (|| {
                let index = block.index()?;
                let Some(series) = index.find(labels)? else { return Ok(None) };
                // Floats stand before histograms, so the last chunk need not be the newest.
                let Some(chunk) = series.chunks.iter().max_by_key(|chunk| chunk.max_ms) else { return Ok(None) };
                let bits = ChunkReader::new(index).bits_at(chunk, chunk.count.saturating_sub(1))?;
                Ok(bits.map(|bits| (chunk.max_ms, bits)))
            })();
            match found {
                Ok(Some((t_ms, bits))) if newest.is_none_or(|(newest_ms, _)| t_ms > newest_ms) => {
                    newest = Some((t_ms, bits));
                }
                Ok(_) => {}
                Err(damage) => block.report(damage),
            }
        }
        newest
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// Makes the reserve, if it was used and there is room again.
    pub(crate) fn keep_reserve(&self) {
        let path = self.dir.join(RESERVE);
        if self.fs.open(&path).is_ok() {
            return;
        }
        let made = self.fs.create(&path).and_then(|file| {
            file.append(&[0; RESERVE_BYTES])?;
            file.sync()
        });
        if made.is_err() {
            // Half a reserve is none: the next round tries again.
            let _ = self.fs.remove(&path);
        }
    }

    /// Copies the file `name` into the folder `target`, durably.
    pub(crate) fn copy_file(&self, name: &str, target: &Path) -> io::Result<()> {
        self.copy(&self.dir.join(name), &target.join(name))
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = self.fs.map(from)?;
        let to = self.fs.create(to)?;
        (*from).as_ref().chunks(1 << 20).try_for_each(|piece| to.append(piece))?;
        to.sync()
    }

    /// Writes a catalog of `blocks`, whose files are in `target`, for a store without a log.
    pub(crate) fn write_snapshot_catalog(&self, target: &Path, blocks: &[Arc<Block>]) -> io::Result<()> {
        let catalog = Catalog {
            blocks: blocks.iter().map(|block| block.number).collect(),
            next_number: self.catalog().next_number,
            cut: None,
        };
        write_catalog(&*self.fs, target, &catalog).map_err(|failure| failure.source)
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_catalog(fs: &dyn Fs, dir: &Path, catalog: &Catalog) -> Result<(), CatalogFailure> {
    let unfinished = dir.join(UNFINISHED_CATALOG);
    let written = (|| {
        // The blocks it names are there before it is.
        fs.sync_dir(dir)?;
        let file = fs.create(&unfinished)?;
        file.append(&catalog.encode())?;
        file.sync()
    })();
    if let Err(source) = written {
        let _ = fs.remove(&unfinished);
        return Err(CatalogFailure { source, replaced: false });
    }
    let replaced = fs.rename(&unfinished, &dir.join(CATALOG)).and_then(|()| fs.sync_dir(dir));
    replaced.map_err(|source| {
        let _ = fs.remove(&unfinished);
        CatalogFailure { source, replaced: true }
    })
}

/// Why a catalog was not written, and whether it may be there all the same.
struct CatalogFailure {
    source: io::Error,
    replaced: bool,
}

/// What a damaged file's name ends in once it was set aside: nothing of it is in any answer.
pub(crate) const DAMAGED: &str = ".damaged";
/// The same once what can be read of it is in another block.
pub(crate) const SALVAGED: &str = ".salvaged";

/// The name under which block `number` was set aside.
pub(crate) fn set_aside_name(number: u64) -> String {
    format!("{}{DAMAGED}", file_name(number))
}

fn open_block(fs: &dyn Fs, dir: &Path, number: u64, recovery: &mut Recovery) -> Result<Option<Block>, OpenError> {
    let name = file_name(number);
    let path = dir.join(&name);
    let reason = match Block::open(fs, dir, number) {
        Ok(block) => return Ok(Some(block)),
        Err(OpenBlockError::Bad(BadBlock::Version(version))) => {
            return Err(OpenError::Version { path, version, known: layout::VERSION });
        }
        Err(OpenBlockError::Bad(BadBlock::Foreign)) => "it is another file under this name".to_owned(),
        Err(OpenBlockError::Bad(BadBlock::Damaged(damage))) => damage.to_string(),
        Err(OpenBlockError::Read(error)) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
        // It may be readable next time.
        Err(OpenBlockError::Read(source)) => return Err(OpenError::Read { path, source }),
    };
    recovery.dropped(&name, 0, 0, 0, reason);
    if let Err(source) = fs.rename(&path, &dir.join(format!("{name}{DAMAGED}")))
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(OpenError::Write { path, source });
    }
    Ok(None)
}

fn read_catalog(fs: &dyn Fs, dir: &Path, recovery: &mut Recovery) -> Result<Option<Catalog>, OpenError> {
    let path = dir.join(CATALOG);
    let read = |source| OpenError::Read { path: path.clone(), source };
    let file = fs.open(&path).map_err(read)?;
    let mut bytes = vec![0; usize::try_from(file.length().map_err(read)?).unwrap_or(usize::MAX).min(64 << 20)];
    let n = file.read_at(0, &mut bytes).map_err(read)?;
    match Catalog::decode(&bytes[..n]) {
        Ok(catalog) => Ok(Some(catalog)),
        Err(BadCatalog::Version(version)) => Err(OpenError::Version { path, version, known: catalog::VERSION }),
        Err(BadCatalog::Damaged(damage)) => {
            recovery.dropped("blocks/catalog", 0, n as u64, 0, format!("{damage}; all blocks are taken"));
            Ok(None)
        }
    }
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<(), OpenError> {
    fs.remove(path).map_err(|source| OpenError::Write { path: path.to_owned(), source })
}

fn in_order(mut blocks: Vec<Arc<Block>>) -> BlockList {
    blocks.sort_by_key(|block| (block.summary.min_ms, block.number));
    blocks.into()
}
