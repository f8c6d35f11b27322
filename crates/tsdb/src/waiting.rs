//! Rows of the log on their way into the head.
//!
//! The log has them by time, the head has them by series, and each series lies somewhere else in memory. So rows are collected
//! and sorted by series before they are applied, a part on each core: what a series needs is then fetched once for many rows.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::series::MemSeries;
use crate::times::RecentTimes;
use crate::wal::record::Row;

/// So many rows wait for each series, on average, before they are applied. More of them take more memory than they save time.
const ROWS_PER_SERIES: usize = 6;
/// At least so many rows wait before they are applied.
const ROWS_MIN: usize = 1 << 16;
/// More threads than this do not make it faster: the memory is what they wait for.
const THREADS_MAX: usize = 8;

/// The series of a log and the rows that are not in the head yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    // By place: the number in the log, and the series.
    ids: Vec<u64>,
    series: Vec<Arc<MemSeries>>,
    places: HashMap<u64, u32, FixedState>,
    rows: Vec<WaitingRow>,
    // The commit that the rows count from.
    base_commit: u64,
    // Where the row before belonged: the next one tends to belong behind it.
    last: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct WaitingRow {
    place: u32,
    commit: u32,
    t_ms: i64,
    bits: u64,
}

/// What came of rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Applied {
    /// Samples that are in the head.
    pub(crate) samples: u64,
    /// The time of the newest one.
    pub(crate) newest_ms: Option<i64>,
}

impl Waiting {
    /// Says which series the log means by `id`.
    pub(crate) fn define(&mut self, id: u64, series: Arc<MemSeries>) {
        match self.places.get(&id) {
            // A checkpoint and a segment may both define it.
            Some(place) => self.series[*place as usize] = series,
            None => {
                self.places.insert(id, self.series.len() as u32);
                self.ids.push(id);
                self.series.push(series);
            }
        }
    }

    /// Says that the log means each of `all` by its own number.
    pub(crate) fn define_all(&mut self, all: Vec<Arc<MemSeries>>) {
        self.ids.reserve_exact(all.len());
        self.series.reserve_exact(all.len());
        self.places.reserve(all.len());
        all.into_iter().for_each(|series| self.define(series.id, series));
    }

    /// The series the log means by `id`.
    pub(crate) fn series(&self, id: u64) -> Option<&Arc<MemSeries>> {
        self.places.get(&id).map(|place| &self.series[*place as usize])
    }

    /// Adds a row of `commit`; `false` if its series is not known.
    pub(crate) fn push(&mut self, commit: u64, row: Row) -> bool {
        let next = self.last + 1;
        let place = if self.ids.get(next) == Some(&row.id) {
            next
        } else {
            match self.places.get(&row.id) {
                Some(place) => *place as usize,
                None => return false,
            }
        };
        self.last = place;
        if self.rows.is_empty() {
            self.base_commit = commit;
        }
        // Commits rise, and so many of them are never collected.
        let commit = u32::try_from(commit.saturating_sub(self.base_commit)).unwrap_or(u32::MAX);
        self.rows.push(WaitingRow { place: place as u32, commit, t_ms: row.t_ms, bits: row.bits });
        true
    }

    /// Whether no row waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it is time to apply them.
    pub(crate) fn are_many(&self) -> bool {
        self.rows.len() >= (self.series.len() * ROWS_PER_SERIES).max(ROWS_MIN)
    }

    /// Puts all rows into the head, those of a series in the order in which they came. Those before `in_blocks_before_ms` are in
    /// blocks, and those before `cut_end_ms` came late.
    pub(crate) fn apply(&mut self, in_blocks_before_ms: i64, cut_end_ms: i64) -> Applied {
        if self.rows.is_empty() {
            return Applied::default();
        }
        let (sorted, ends) = self.sorted();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = cores.min(THREADS_MAX).min(sorted.len().div_ceil(ROWS_MIN / 4)).max(1);
        let share = sorted.len().div_ceil(n_threads);
        let base_commit = self.base_commit;
        let work = |rows: &[WaitingRow]| apply(&self.series, rows, base_commit, in_blocks_before_ms, cut_end_ms);
        let all = std::thread::scope(|scope| {
            let (mut workers, mut own, mut from) = (Vec::new(), None, 0);
            for n in 1..=n_threads {
                // A series is worked on by one thread alone.
                let end = ends.get(ends.partition_point(|end| (*end as usize) < share * n)).copied();
                let to = end.map_or(sorted.len(), |end| end as usize).max(from);
                let rows = &sorted[from..to];
                from = to;
                if n == n_threads {
                    own = Some(work(rows));
                } else {
                    workers.push(scope.spawn(|| work(rows)));
                }
            }
            let of_workers = workers.into_iter().map(|worker| worker.join().expect("applying rows does not panic"));
            of_workers.chain(own).collect::<Vec<Applied>>()
        });
        self.rows.clear();
        all.iter().fold(Applied::default(), |a, b| Applied {
            samples: a.samples + b.samples,
            newest_ms: a.newest_ms.max(b.newest_ms),
        })
    }

    /// The rows by series, and where those of each series end.
    fn sorted(&self) -> (Vec<WaitingRow>, Vec<u32>) {
        let mut next = vec![0u32; self.series.len()];
        for row in &self.rows {
            next[row.place as usize] += 1;
        }
        let mut sum = 0;
        for n in &mut next {
            sum += std::mem::replace(n, sum);
        }
        let mut sorted = vec![WaitingRow::default(); self.rows.len()];
        for row in &self.rows {
            let at = &mut next[row.place as usize];
            sorted[*at as usize] = *row;
            *at += 1;
        }
        (sorted, next)
    }
}

fn apply(
    series: &[Arc<MemSeries>],
    rows: &[WaitingRow],
    base_commit: u64,
    in_blocks_before_ms: i64,
    cut_end_ms: i64,
) -> Applied {
    let mut applied = Applied::default();
    let mut recent = RecentTimes::default();
    for rows in rows.chunk_by(|a, b| a.place == b.place) {
        let mut state = series[rows[0].place as usize].state();
        for row in rows {
            if row.t_ms < in_blocks_before_ms {
                state.seed(row.t_ms, row.bits);
                continue;
            }
            if row.t_ms < cut_end_ms {
                state.read_back_late();
            }
            if state.push(base_commit + u64::from(row.commit), row.t_ms, row.bits, u64::MAX, &mut recent) {
                applied.samples += 1;
                applied.newest_ms = applied.newest_ms.max(Some(row.t_ms));
            }
        }
    }
    applied
}
