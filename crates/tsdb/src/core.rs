//! What a store is behind its public face: the head, the log and the order in which batches go into both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use relatum_model::Labels;
use relatum_model::storage::{AppendError, Position};
use tracing::{error, info, warn};

use crate::batch::{Admitted, Pending, PendingExemplar};
use crate::blocks::Blocks;
use crate::durable::{Durable, Writing};
use crate::error::OpenError;
use crate::exemplars::Exemplars;
use crate::followers::Followers;
use crate::head::Head;
use crate::histogram::Encoded;
use crate::log_files::{self, Departed, LogFiles};
use crate::metadata::{self, Metadata};
use crate::options::{Durability, Options, millis};
use crate::readers::{LogEnd, Readers, Ticket};
use crate::replay::{self, Recovery};
use crate::series::{MemSeries, Phase};
use crate::spare::Spare;
use crate::stats::{Counters, Stats};
use crate::times::RecentTimes;
use crate::wal::frame::{close_frame, open_frame};
use crate::wal::record::{
    HistogramRows as Histograms, PART_BYTES, Row, SECTION_ROWS, StartRow, encode_exemplar, encode_histograms,
    encode_rows, encode_series, encode_starts,
};
use crate::wal::writer::{self, Segment, WriteFailure, Writer};

/// A larger buffer than this is given back after the commit that needed it.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Room is made for no more samples before they come.
const BATCH_SAMPLES_EXPECTED: usize = 10_000;

/// What readers, writers and background threads share.
pub(crate) struct Core {
    wal_dir: PathBuf,
    options: Options,
    head: Head,
    log: Mutex<Log>,
    pub(crate) durable: Durable,
    pub(crate) readers: Readers,
    files: Mutex<LogFiles>,
    pub(crate) followers: Followers,
    departed: Mutex<Departed>,
    pub(crate) blocks: Blocks,
    pub(crate) exemplars: Exemplars,
    pub(crate) metadata: Metadata,
    // Everything before was cut into blocks once; i64::MIN before the first cut.
    cut_end_ms: AtomicI64,
    // Some while what the last cut set aside is in blocks, and readers from before that moment may still look for it.
    aside: Mutex<Option<u64>>,
    checkpointing: Mutex<()>,
    applied: AtomicU64,
    // i64::MIN while there is no sample.
    newest_ms: AtomicI64,
    oldest_ms: AtomicI64,
    retention_ms: AtomicI64,
    retention_bytes: AtomicU64,
    compacting: Mutex<()>,
    closing: AtomicBool,
    window_ms: AtomicI64,
    poison: OnceLock<String>,
    // Whether the last commit found no room.
    full: AtomicBool,
    // Whether any float ever said when it began to count; then the log says it of all.
    has_starts: AtomicBool,
    // How many samples a restart would read from the log behind the last image of the head.
    samples_without_image: AtomicU64,
    // How many samples the last commit had: the next one tends to have as many.
    batch_samples: AtomicUsize,
    pub(crate) spare: Spare,
    counters: Counters,
    recovery: Recovery,
    _lock: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("wal_dir", &self.wal_dir).finish_non_exhaustive()
    }
}

/// The order of commits: who holds it decides what comes next.
#[derive(Debug)]
struct Log {
    writer: Writer,
    last_commit: u64,
    frames: Vec<u8>,
    // Times of chunks that were closed.
    recent: RecentTimes,
}

/// A log between two segments.
pub(crate) struct Split {
    /// The number of the new segment.
    pub(crate) number: u64,
    /// Sees exactly what was committed before it.
    pub(crate) ticket: Ticket,
    /// Its salt.
    pub(crate) salt: u32,
    /// Samples in the files before it.
    pub(crate) rows_before: u64,
    /// How many samples before it came after the last image of the head.
    pub(crate) samples_without_image: u64,
}

impl Core {
    /// Takes the directory and reads back what it holds.
    pub(crate) fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let wal_dir = dir.join("wal");
        let fs = Arc::clone(&options.fs);
        fs.create_dir(&wal_dir).map_err(|source| OpenError::Directory { dir: wal_dir.clone(), source })?;
        let lock = fs.lock(&dir.join("LOCK")).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { dir: dir.to_owned() },
            _ => OpenError::Directory { dir: dir.to_owned(), source },
        })?;
        let mut recovery = Recovery::default();
        let blocks = Blocks::open(Arc::clone(&fs), dir.join("blocks"), &mut recovery)?;
        let metadata = Metadata::open(&*fs, dir, &mut recovery);
        let replayed = replay::replay(&*fs, &wal_dir, blocks.cut(), &options, recovery)?;
        for dropped in &replayed.recovery.dropped {
            warn!(file = %dropped.file, offset = dropped.offset, bytes = dropped.bytes, samples = dropped.samples,
                reason = %dropped.reason, "dropped what is damaged");
        }
        if !replayed.recovery.foreign.is_empty() {
            warn!(dir = %wal_dir.display(), files = ?replayed.recovery.foreign, "left files alone that are not part of the log");
        }
        let has_room = options.durability == Durability::Fsync;
        let writer = Writer::begin(fs, &wal_dir, replayed.next_segment, options.segment_bytes, has_room)
            .map_err(|WriteFailure { path, source, .. }| OpenError::Write { path, source })?;
        let is_full = writer.waits_for_room();
        if is_full {
            error!(dir = %wal_dir.display(), "the disk is full: no samples are taken until there is room");
        }
        let end = end_of(&writer);
        let newest_ms = replayed.newest_ms.max(blocks.newest_ms()).unwrap_or(i64::MIN);
        let allowed_ms = options.clock.now_ms().saturating_add(millis(options.future_limit));
        let core = Core {
            wal_dir,
            head: replayed.head,
            log: Mutex::new(Log {
                writer,
                last_commit: replayed.last_commit,
                frames: Vec::new(),
                recent: RecentTimes::default(),
            }),
            durable: Durable::new(replayed.last_commit),
            readers: Readers::default(),
            files: Mutex::new(replayed.files),
            followers: Followers::default(),
            departed: Mutex::default(),
            cut_end_ms: AtomicI64::new(blocks.cut_end_ms(allowed_ms)),
            blocks,
            exemplars: replayed.exemplars,
            metadata,
            aside: Mutex::default(),
            checkpointing: Mutex::default(),
            applied: AtomicU64::new(replayed.last_commit),
            newest_ms: AtomicI64::new(newest_ms),
            oldest_ms: AtomicI64::new(newest_ms),
            retention_ms: AtomicI64::new(millis(options.retention)),
            retention_bytes: AtomicU64::new(options.retention_bytes),
            compacting: Mutex::default(),
            closing: AtomicBool::new(false),
            window_ms: AtomicI64::new(millis(options.out_of_order_window)),
            poison: OnceLock::new(),
            full: AtomicBool::new(is_full),
            has_starts: AtomicBool::new(replayed.has_starts),
            samples_without_image: AtomicU64::new(replayed.rows_behind_image),
            batch_samples: AtomicUsize::new(0),
            spare: Spare::default(),
            counters: Counters::default(),
            recovery: replayed.recovery,
            options,
            _lock: lock,
        };
        core.readers.publish(replayed.last_commit, end);
        core.counters.series_created.add(core.head.index().len() as u64);
        core.truncate();
        // Whoever followed before has not come back yet.
        if let Some(oldest) = core.files().segments.front() {
            core.followers.moved(
                &Position::default(),
                &Position::default(),
                oldest.number,
                core.options.clock.now_ms(),
            );
        }
        Ok(core)
    }

    /// What opening found.
    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    pub(crate) fn set_retention(&self, retention: Duration) {
        self.retention_ms.store(millis(retention), Ordering::Relaxed);
    }

    pub(crate) fn set_retention_bytes(&self, bytes: u64) {
        self.retention_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes blocks and log may take; 0 for any number.
    pub(crate) fn retention_bytes(&self) -> u64 {
        self.retention_bytes.load(Ordering::Relaxed)
    }

    /// How long samples are kept; 0 for ever.
    pub(crate) fn retention_ms(&self) -> i64 {
        self.retention_ms.load(Ordering::Relaxed)
    }

    /// Keeps others from changing blocks.
    pub(crate) fn compacting(&self) -> MutexGuard<'_, ()> {
        self.compacting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether long work is to be given up.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Asks long work to give up.
    pub(crate) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Bytes of the log.
    pub(crate) fn wal_bytes(&self) -> u64 {
        let finished = self.files().bytes();
        finished + self.log().writer.segment().bytes
    }

    /// Bytes of the segments that a restart reads.
    pub(crate) fn needed_log_bytes(&self) -> u64 {
        let finished = self.files().needed_bytes();
        finished + self.log().writer.segment().bytes
    }

    pub(crate) fn set_window(&self, window: Duration) {
        self.window_ms.store(millis(window), Ordering::Relaxed);
    }

    /// Takes no more writes and makes those before durable; nothing is left to do after a failed write.
    pub(crate) fn close(&self) -> Result<(), AppendError> {
        if self.is_poisoned() {
            return Ok(());
        }
        self.renew_image();
        self.save_metadata();
        let synced = self.sync();
        if synced.is_ok()
            && let Err(WriteFailure { path, source, .. }) = self.log().writer.give_room_back()
        {
            // The next start does it, and every commit is on disk.
            warn!(file = %path.display(), reason = &source as &dyn std::error::Error, "cannot cut the log off behind its end");
        }
        // A sync that failed has left its own reason.
        let _ = self.poison.set("it was closed".to_owned());
        synced
    }

    /// Writes what is known of metrics, if that changed. Those who told it tell it again, so a failure is only said.
    pub(crate) fn save_metadata(&self) {
        if let Err(reason) = self.metadata.save(&*self.options.fs) {
            warn!(reason = &reason as &dyn std::error::Error, "cannot write what is known of metrics");
        }
    }

    /// Whether the store takes no more writes.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn wal_dir(&self) -> &Path {
        &self.wal_dir
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For how many samples a new batch should have room.
    pub(crate) fn batch_samples(&self) -> usize {
        self.batch_samples.load(Ordering::Relaxed)
    }

    /// The last commit that the head has in full.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Before which moment nothing is taken or shown; `i64::MIN` in an empty store.
    pub(crate) fn cutoff_ms(&self) -> i64 {
        match (self.newest_likely_ms(), self.retention_ms.load(Ordering::Relaxed)) {
            (i64::MIN, _) | (_, 0) => i64::MIN,
            (newest_ms, retention_ms) => newest_ms.saturating_sub(retention_ms),
        }
    }

    /// Everything before was cut into blocks once; what came later for that time is in the head.
    pub(crate) fn cut_end_ms(&self) -> i64 {
        self.cut_end_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cut_end_ms(&self, end_ms: i64) {
        self.cut_end_ms.fetch_max(end_ms, Ordering::Relaxed);
    }

    /// Some while what the last cut set aside is in blocks as well.
    pub(crate) fn aside(&self) -> MutexGuard<'_, Option<u64>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far behind the newest sample of its series a sample may be.
    pub(crate) fn window_ms(&self) -> i64 {
        self.window_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn find_or_make(&self, labels: &Labels) -> Arc<MemSeries> {
        self.head.find_or_make(labels)
    }

    /// Commits what `admit` returns; nothing else is committed from its call on.
    ///
    /// `writing` ends when the batch is written: from then on nobody has to wait for it.
    pub(crate) fn commit(&self, writing: Writing<'_>, admit: impl FnOnce() -> Admitted) -> Result<(), AppendError> {
        let (commit, pending) = {
            let mut log = self.log();
            self.check_poison()?;
            let Admitted { samples: pending, exemplars } = admit();
            if pending.is_empty() && exemplars.is_empty() {
                // What a repetition repeats may be written by another batch and not be on disk yet.
                let last_commit = log.last_commit;
                drop(log);
                drop(writing);
                return self.acknowledge(last_commit);
            }
            if log.writer.is_full() {
                self.rotate(&mut log)?;
            }
            let commit = log.last_commit + 1;
            let mut frames = std::mem::take(&mut log.frames);
            frames.clear();
            let has_starts = self.has_starts.load(Ordering::Relaxed) || pending.iter().any(|p| p.start_ms != 0);
            encode_commit(&mut frames, &pending, &exemplars, has_starts, log.writer.segment().salt, commit);
            let written = log.writer.append(&frames);
            frames.shrink_to(BUFFER_BYTES_KEPT);
            log.frames = frames;
            written.map_err(|failure| self.fail(failure))?;
            if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::Relaxed) {
                info!("there is room on the disk again: samples are taken");
            }
            log.last_commit = commit;
            if has_starts {
                self.has_starts.store(true, Ordering::Relaxed);
            }
            self.apply(commit, &pending, &mut log.recent);
            for PendingExemplar { series, exemplar } in exemplars {
                self.exemplars.push(&series.labels, exemplar);
            }
            if self.options.durability == Durability::Process {
                self.readers.publish(commit, end_of(&log.writer));
            }
            (commit, pending)
        };
        drop(writing);
        self.spare.keep_pending(pending);
        self.acknowledge(commit)
    }

    /// Returns when `commit` and all before it are as durable as this store promises.
    fn acknowledge(&self, commit: u64) -> Result<(), AppendError> {
        match self.options.durability {
            Durability::Process => Ok(()),
            Durability::Fsync => self.make_durable(commit),
        }
    }

    /// Puts a written commit into the head. Readers do not see it before it is published.
    fn apply(&self, commit: u64, pending: &[Pending], recent: &mut RecentTimes) {
        let oldest_reader = self.readers.oldest_commit();
        let fresh: Vec<_> =
            pending.iter().filter(|pending| pending.begins_series()).map(|pending| &pending.series).collect();
        if !fresh.is_empty() {
            self.head.index_mut(|index| fresh.iter().for_each(|series| index.insert(series, commit)));
            self.counters.series_created.add(fresh.len() as u64);
        }
        let mut newest_ms = i64::MIN;
        for Pending { series, t_ms, bits, histogram, start_ms, .. } in pending {
            let mut state = series.state();
            state.phase = Phase::Listed;
            match histogram {
                None => {
                    state.set_start(*t_ms, *start_ms);
                    state.push(commit, *t_ms, *bits, oldest_reader, recent)
                }
                Some(histogram) => state.push_histogram(commit, *t_ms, Encoded::clone(histogram)),
            };
            newest_ms = newest_ms.max(*t_ms);
        }
        self.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
        // A commit of exemplars alone has no oldest sample.
        let oldest_ms = pending.iter().map(|pending| pending.t_ms).min().unwrap_or(self.oldest_ms());
        if self.oldest_ms.fetch_min(oldest_ms, Ordering::Relaxed) == i64::MIN {
            self.oldest_ms.store(oldest_ms, Ordering::Relaxed);
        }
        let cut_end_ms = self.cut_end_ms();
        if oldest_ms < cut_end_ms {
            let late = pending.iter().filter(|pending| pending.t_ms < cut_end_ms);
            self.counters.late_samples.add(late.count() as u64);
        }
        if !pending.is_empty() {
            self.readers.touch(commit, oldest_ms);
        }
        self.batch_samples.store(pending.len().min(BATCH_SAMPLES_EXPECTED), Ordering::Relaxed);
        let n = pending.len() as u64;
        self.counters.samples_appended.add(n);
        self.counters.samples.add(n);
        self.counters.commits.add(1);
        self.files().rows += n;
        self.samples_without_image.fetch_add(n, Ordering::Relaxed);
        self.applied.store(commit, Ordering::Release);
    }

    /// Makes everything that was committed durable, and visible if it was not yet.
    pub(crate) fn sync(&self) -> Result<(), AppendError> {
        let last_commit = self.log().last_commit;
        self.make_durable(last_commit)
    }

    /// Returns when `commit` is on disk.
    fn make_durable(&self, commit: u64) -> Result<(), AppendError> {
        let sync = || {
            let (segment, last_commit, end) = {
                let log = self.log();
                (log.writer.segment().clone(), log.last_commit, end_of(&log.writer))
            };
            writer::sync(&segment).map_err(|failure| self.fail(failure))?;
            self.counters.wal_syncs.add(1);
            // Before those who waited go on: they look for what they wrote.
            self.readers.publish(last_commit, end);
            Ok(last_commit)
        };
        self.durable.reach(commit, || self.check_poison(), sync)
    }

    fn rotate(&self, log: &mut Log) -> Result<(), AppendError> {
        let Segment { number, bytes, .. } = *log.writer.segment();
        log.writer.rotate().map_err(|failure| self.fail(failure))?;
        self.files().segments.push_back(log_files::Segment { number, bytes });
        self.readers.publish(log.last_commit, end_of(&log.writer));
        Ok(())
    }

    /// Begins a new segment, so that everything committed so far is in the files before it.
    pub(crate) fn split_log(&self) -> Result<Split, AppendError> {
        let mut log = self.log();
        self.check_poison()?;
        self.rotate(&mut log)?;
        Ok(Split {
            number: log.writer.segment().number,
            salt: log.writer.segment().salt,
            ticket: self.readers.open(i64::MIN),
            rows_before: self.files().rows,
            samples_without_image: self.samples_without_image(),
        })
    }

    /// Runs `change` while nothing is committed.
    pub(crate) fn between_commits<T>(&self, change: impl FnOnce() -> T) -> T {
        let _log = self.log();
        change()
    }

    /// How many samples a restart would read from the log behind the last image of the head.
    pub(crate) fn samples_without_image(&self) -> u64 {
        self.samples_without_image.load(Ordering::Relaxed)
    }

    /// Says that an image has so many of them.
    pub(crate) fn forget_samples_without_image(&self, samples: u64) {
        self.samples_without_image.fetch_sub(samples, Ordering::Relaxed);
    }

    /// Whether any float ever said when it began to count.
    pub(crate) fn has_starts(&self) -> bool {
        self.has_starts.load(Ordering::Relaxed)
    }

    /// Keeps a second checkpoint from beginning.
    pub(crate) fn checkpointing(&self) -> MutexGuard<'_, ()> {
        self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the oldest sample in the head, or an earlier one; `i64::MIN` when there is none.
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.oldest_ms.load(Ordering::Relaxed)
    }

    /// The time of the newest sample; `i64::MIN` in an empty store.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms.load(Ordering::Relaxed)
    }

    /// The same, and never further ahead of the clock than samples may be: what was imported may lie in any future, and must not be
    /// what retention and cuts count from.
    pub(crate) fn newest_likely_ms(&self) -> i64 {
        let ahead_ms = millis(self.options.future_limit);
        self.newest_ms().min(self.options.clock.now_ms().saturating_add(ahead_ms))
    }

    /// Says that there is a sample of this time.
    pub(crate) fn see_newest_ms(&self, newest_ms: i64) {
        self.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_oldest_ms(&self, oldest_ms: Option<i64>) {
        self.oldest_ms.store(oldest_ms.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, LogFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn departed(&self) -> MutexGuard<'_, Departed> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_poison(&self) -> Result<(), AppendError> {
        match self.poison.get() {
            Some(reason) => Err(AppendError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// After a failed write nobody knows what the file holds, so nothing more is written behind it; unless the disk was full
    /// and the write was undone.
    fn fail(&self, failure: WriteFailure) -> AppendError {
        let WriteFailure { path, source, undone } = failure;
        let what = path.display().to_string();
        if undone {
            if !self.full.swap(true, Ordering::Relaxed) {
                error!(file = %what, "the disk is full: no samples are taken until there is room");
            }
            return AppendError::Full { what, source };
        }
        self.full.store(false, Ordering::Relaxed);
        if self.poison.set(format!("cannot write {what}: {source}")).is_ok() {
            error!(file = %what, reason = &source as &dyn std::error::Error, "the store takes no more writes");
        }
        AppendError::Write { what, source }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> Stats {
        let wal_files_bytes = self.files().bytes();
        let (wal_segment, bytes) = {
            let log = self.log();
            (log.writer.segment().number, log.writer.segment().bytes)
        };
        let time = |ms: &AtomicI64| Some(ms.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MIN);
        let blocks = self.blocks.list();
        let oldest_block_ms = blocks.first().map(|block| block.summary.min_ms);
        Stats {
            series: self.head.index().len(),
            wal_segment,
            wal_bytes: bytes + wal_files_bytes,
            min_time_ms: [time(&self.oldest_ms), oldest_block_ms].into_iter().flatten().min(),
            blocks: blocks.len(),
            block_bytes: blocks.iter().map(|block| block.bytes()).sum(),
            block_index_bytes: blocks.iter().map(|block| block.index_bytes()).sum(),
            block_samples: blocks.iter().map(|block| block.summary.samples).sum(),
            damaged_blocks: blocks.iter().filter(|block| block.damage().is_some()).count(),
            max_time_ms: time(&self.newest_ms),
            poisoned: self.poison.get().cloned(),
            full: self.full.load(Ordering::Relaxed),
            exemplars: self.exemplars.counts(),
            metadata_bytes: self.metadata.bytes(),
            metadata_bytes_max: metadata::BYTES_MAX,
            ..self.counters.stats()
        }
    }
}

fn end_of(writer: &Writer) -> LogEnd {
    LogEnd { segment: writer.segment().number, offset: writer.segment().bytes }
}

/// Writes one commit: first the series that the log does not know yet, then the samples.
fn encode_commit(
    out: &mut Vec<u8>,
    pending: &[Pending],
    exemplars: &[PendingExemplar],
    has_starts: bool,
    salt: u32,
    commit: u64,
) {
    let mut part = 0;
    let mut frame = open_frame(out);
    let split = |out: &mut Vec<u8>, frame: &mut usize, part: &mut u32| {
        if out.len() - *frame > PART_BYTES {
            close_frame(out, *frame, salt, commit, *part, false);
            *part += 1;
            *frame = open_frame(out);
        }
    };
    for pending in pending.iter().filter(|pending| pending.begins_series()) {
        split(out, &mut frame, &mut part);
        encode_series(out, pending.series.id, &pending.series.labels);
    }
    if has_starts {
        let floats: Vec<StartRow> = pending
            .iter()
            .filter(|pending| pending.histogram.is_none())
            .map(|p| StartRow { id: p.series.id, t_ms: p.t_ms, start_ms: p.start_ms })
            .collect();
        for rows in floats.chunks(SECTION_ROWS) {
            split(out, &mut frame, &mut part);
            encode_starts(out, rows);
        }
    }
    let row = |p: &Pending| Row { id: p.series.id, t_ms: p.t_ms, bits: p.bits };
    if pending.iter().all(|pending| pending.histogram.is_none()) {
        for rows in pending.chunks(SECTION_ROWS) {
            split(out, &mut frame, &mut part);
            encode_rows(out, rows.iter().map(row));
        }
    } else {
        let floats: Vec<Row> = pending.iter().filter(|pending| pending.histogram.is_none()).map(row).collect();
        for rows in floats.chunks(SECTION_ROWS) {
            split(out, &mut frame, &mut part);
            encode_rows(out, rows.iter().copied());
        }
        let mut histograms = Histograms::default();
        for pending in pending {
            let Some(histogram) = &pending.histogram else { continue };
            if let Some(rows) = histograms.push(pending.series.id, pending.t_ms, histogram) {
                split(out, &mut frame, &mut part);
                encode_histograms(out, &rows);
            }
        }
        split(out, &mut frame, &mut part);
        encode_histograms(out, &histograms.rest());
    }
    for PendingExemplar { series, exemplar } in exemplars {
        split(out, &mut frame, &mut part);
        encode_exemplar(out, series.id, exemplar);
    }
    close_frame(out, frame, salt, commit, part, true);
}
