//! Forgetting: retention in the head, and checkpoints that shorten the log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use relatum_model::Labels;
use relatum_model::storage::{AppendError, SeriesRef, TimeRange};
use tracing::info;

use crate::core::{Core, Split};
use crate::fs::AppendFile;
use crate::log_files::Checkpoint;
use crate::series::{MemSeries, Phase};
use crate::system::give_memory_back;
use crate::wal::FileKind;
use crate::wal::frame::{FileHeader, close_frame, open_frame};
use crate::wal::record::{
    HistogramRows, Row, SECTION_ROWS, StartRow, encode_exemplar, encode_histograms, encode_rows, encode_series,
    encode_starts,
};

/// A frame of a checkpoint that is longer is followed by the next one.
const FRAME_BYTES: usize = 256 << 10;

impl Core {
    /// Applies the retention, and writes a checkpoint when more than half of the log is samples that nobody can see any more.
    pub(crate) fn maintain(&self) -> Result<(), AppendError> {
        self.save_metadata();
        let before = self.counters().cuts.get() + self.counters().compactions.get();
        let forgotten = self.forget_what_was_cut();
        // A walk over all series, so only when it may find something; each cut has one as well.
        if forgotten || self.oldest_ms() < self.cutoff_ms() {
            self.truncate();
        }
        let due = if self.check_poison().is_ok() { self.cut_due(self.counters().late_samples.get()) } else { None };
        let cut = due.map_or(Ok(()), |end_ms| self.cut(end_ms));
        // First what nobody reads: it counts beside the blocks.
        self.trim_log()?;
        self.drop_blocks()?;
        // On a full disk there is no room for a cut, and what was dropped just now may make some.
        cut?;
        self.compact()?;
        let moved = self.counters().cuts.get() + self.counters().compactions.get();
        if forgotten || moved > before {
            give_memory_back();
        }
        let (needed_bytes, rows) = {
            let files = self.files();
            (files.needed_bytes(), files.rows)
        };
        let garbage = rows.saturating_sub(self.counters().samples.get());
        if needed_bytes > self.options().segment_bytes && garbage > rows / 2 && self.check_poison().is_ok() {
            self.checkpoint()?;
        }
        if self.maintain_image() {
            give_memory_back();
        }
        Ok(())
    }

    /// Returns whether something was waiting and is not any more.
    fn forget_what_was_cut(&self) -> bool {
        let _alone = self.checkpointing();
        let waiting = self.aside().is_some();
        waiting && self.forget_aside()
    }

    /// Drops samples that no reader may see any more, then series that have none left.
    pub(crate) fn truncate(&self) {
        // Whoever was promised older samples still gets them; the next round takes those.
        let cutoff_ms =
            self.readers.oldest_cutoff_ms().map_or(self.cutoff_ms(), |promised| promised.min(self.cutoff_ms()));
        let (mut samples, mut oldest_ms, mut late_samples) = (0, None, 0);
        let cut_ms = self.cut_end_ms();
        let mut empty = Vec::new();
        self.head().visit(|series| {
            let mut state = series.state();
            state.truncate(cutoff_ms);
            samples += state.samples();
            late_samples += state.samples_before(cut_ms);
            oldest_ms = match (oldest_ms, state.oldest_ms()) {
                (Some(a), Some(b)) => Some(std::cmp::min::<i64>(a, b)),
                (a, b) => a.or(b),
            };
            if state.is_empty() {
                empty.push(Arc::clone(series));
            }
        });
        self.counters().samples.set(samples);
        self.counters().late_samples.set(late_samples);
        self.set_oldest_ms(oldest_ms);
        if empty.is_empty() {
            return;
        }
        // A commit may have filled some of them in the meantime; from here on none can.
        self.between_commits(|| {
            empty.retain(|series| {
                let state = series.state();
                // Another round may have removed it already.
                state.is_empty() && state.phase != Phase::Detached
            });
            let listed: Vec<_> = empty.iter().filter(|series| series.state().phase == Phase::Listed).collect();
            self.counters().series_removed.add(listed.len() as u64);
            let segment = self.readers.end().0.segment;
            let mut departed = self.departed();
            listed.iter().for_each(|series| departed.insert(series.id, series.labels.clone(), segment));
            drop(departed);
            self.head().remove(&empty);
        });
    }

    /// Writes what lives into one file and removes the files it replaces.
    ///
    /// ```text
    /// segments ..k-1  --split-->  segments ..k-1, k  --write, sync, rename-->  checkpoint k, segments ..k  --remove-->  checkpoint k, segment k
    /// ```
    ///
    /// A crash at any arrow leaves a log that reads back the same.
    pub(crate) fn checkpoint(&self) -> Result<(), AppendError> {
        let _alone = self.checkpointing();
        let split = self.split_log()?;
        self.finish_checkpoint(split)
    }

    /// Writes the checkpoint that belongs behind `split`.
    pub(crate) fn finish_checkpoint(&self, split: Split) -> Result<(), AppendError> {
        let Split { number, ticket, rows_before, .. } = split;
        let fs = &self.options().fs;
        let path = self.wal_dir().join(FileKind::Checkpoint.file_name(number));
        let unfinished = path.with_extension("checkpoint.tmp");
        let written = self.write_checkpoint(&unfinished, number, ticket.commit).and_then(|(bytes, rows)| {
            fs.rename(&unfinished, &path)?;
            fs.sync_dir(self.wal_dir())?;
            Ok((bytes, rows))
        });
        self.readers.close(ticket);
        let (bytes, rows) = match written {
            Ok(written) => written,
            Err(source) => {
                // The log is whole without it; the leftover goes now or when the store is opened next.
                let _ = fs.remove(&unfinished);
                return Err(AppendError::Write { what: path.display().to_string(), source });
            }
        };
        let replaced = {
            let mut files = self.files();
            // What was committed since the split stays.
            files.rows = files.rows - rows_before + rows;
            files.checkpoint.replace(Checkpoint { number, bytes, commit: ticket.commit })
        };
        self.counters().checkpoints.add(1);
        info!(number, bytes, samples = rows, "wrote a checkpoint of the log");
        if let Some(Checkpoint { number, .. }) = replaced {
            self.remove_log_file(&FileKind::Checkpoint.file_name(number))?;
        }
        self.drop_image_before(number);
        self.trim_log()
    }

    /// Writes everything a reader of `commit` sees; returns the bytes of the file and the samples in it.
    fn write_checkpoint(&self, path: &Path, number: u64, commit: u64) -> io::Result<(u64, u64)> {
        let header = FileHeader::new(FileKind::Checkpoint, number);
        let file = self.options().fs.create(path)?;
        file.append(&header.encode())?;
        let mut out = Parts { file: &*file, salt: header.salt, commit, part: 0, buffer: Vec::new(), at: 0, written: 0 };
        out.at = open_frame(&mut out.buffer);
        // Followers read the names of series that are gone from the segments that are kept for them.
        if let Some(first) = self.followers.oldest_segment(self.options().clock.now_ms()) {
            for (id, labels) in self.departed().since(first) {
                encode_series(&mut out.buffer, id, &labels);
                out.split()?;
            }
        }
        let range = TimeRange { min_ms: self.cutoff_ms(), max_ms: i64::MAX };
        // What a cut set aside is either in blocks already, or the cut failed and the log still has to hold it.
        let in_blocks = self.aside().is_some();
        let mut samples = 0;
        let (mut rows, mut starts): (Vec<Row>, Vec<StartRow>) = Default::default();
        let mut histograms = HistogramRows::default();
        for series in self.listed() {
            // Series without a visible sample are defined as well: a later segment may go on with their numbers.
            encode_series(&mut out.buffer, series.id, &series.labels);
            out.split()?;
            let state = series.state();
            let snapshot =
                if in_blocks { state.snapshot_without_aside(range, commit) } else { state.snapshot(range, commit) };
            drop(state);
            for (t_ms, histogram) in snapshot.histograms() {
                samples += 1;
                if let Some(rows) = histograms.push(series.id, t_ms, histogram) {
                    encode_histograms(&mut out.buffer, &rows);
                    out.split()?;
                }
            }
            let decoded = snapshot.decode();
            for (sample, start_ms) in decoded.iter().zip(&decoded.starts) {
                starts.push(StartRow { id: series.id, t_ms: sample.t_ms, start_ms: *start_ms });
                if starts.len() == SECTION_ROWS {
                    out.starts(&mut starts)?;
                }
            }
            // Before the samples themselves.
            out.starts(&mut starts)?;
            for sample in decoded.iter() {
                rows.push(Row { id: series.id, t_ms: sample.t_ms, bits: sample.value.to_bits() });
                if rows.len() == SECTION_ROWS {
                    samples += out.rows(&mut rows)?;
                }
            }
        }
        samples += out.rows(&mut rows)?;
        encode_histograms(&mut out.buffer, &histograms.rest());
        out.exemplars(self)?;
        close_frame(&mut out.buffer, out.at, out.salt, commit, out.part, true);
        out.flush()?;
        file.sync()?;
        Ok((crate::wal::frame::FILE_HEADER_BYTES as u64 + out.written, samples))
    }

    fn listed(&self) -> Vec<Arc<MemSeries>> {
        self.head().index().all().cloned().collect()
    }
}

/// The frames of a checkpoint, one after the other.
struct Parts<'f> {
    file: &'f dyn AppendFile,
    salt: u32,
    commit: u64,
    part: u32,
    buffer: Vec<u8>,
    at: usize,
    written: u64,
}

impl Parts<'_> {
    fn starts(&mut self, rows: &mut Vec<StartRow>) -> io::Result<()> {
        if !rows.is_empty() {
            encode_starts(&mut self.buffer, rows);
            rows.clear();
            self.split()?;
        }
        Ok(())
    }

    /// Exemplars stay longer than the samples of their series, which are named anew then.
    fn exemplars(&mut self, store: &Core) -> io::Result<()> {
        let departed: HashMap<Labels, u64> =
            store.departed().since(0).into_iter().map(|(id, labels)| (labels, id)).collect();
        let mut named = HashMap::new();
        for (labels, exemplar) in store.exemplars.all() {
            let listed = store.head().find(SeriesRef::NONE, &labels).map(|series| series.id);
            let id = match listed.or_else(|| named.get(&labels).copied()) {
                Some(id) => id,
                None => {
                    let id = departed.get(&labels).copied().unwrap_or_else(|| store.head().take_id());
                    encode_series(&mut self.buffer, id, &labels);
                    named.insert(labels, id);
                    id
                }
            };
            encode_exemplar(&mut self.buffer, id, &exemplar);
            self.split()?;
        }
        Ok(())
    }

    fn rows(&mut self, rows: &mut Vec<Row>) -> io::Result<u64> {
        if !rows.is_empty() {
            encode_rows(&mut self.buffer, rows.iter().copied());
        }
        let n = rows.len() as u64;
        rows.clear();
        self.split()?;
        Ok(n)
    }

    /// Writes the frame if it is long enough, and begins the next one.
    fn split(&mut self) -> io::Result<()> {
        if self.buffer.len() > FRAME_BYTES {
            close_frame(&mut self.buffer, self.at, self.salt, self.commit, self.part, false);
            self.flush()?;
            self.part += 1;
            self.at = open_frame(&mut self.buffer);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
