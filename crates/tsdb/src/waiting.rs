//! Rows of the log on their way into the head.
//!
//! The log has them by time, the head has them by series, and each series lies somewhere else in memory. So rows are collected
//! and sorted by series before they are applied, a part on each core: what a series needs is then fetched once for many rows.

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::series::MemSeries;
use crate::system::expect_use_of;
use crate::times::RecentTimes;
use crate::wal::record::Row;

/// So many rows wait for each series, on average, before they are applied. More of them take more memory than they save time.
const ROWS_PER_SERIES: usize = 6;
/// At least so many rows wait before they are applied.
const ROWS_MIN: usize = 1 << 16;
/// More threads than this do not make it faster: the memory is what they wait for.
const THREADS_MAX: usize = 8;
/// So many series ahead of the one that is worked on are fetched, and half as many ahead the ends of their chunks.
const SERIES_AHEAD: usize = 8;

/// The series of a log and the rows that are not in the head yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    // By place: the number in the log, and the series.
    ids: Vec<u64>,
    series: Vec<Arc<MemSeries>>,
    places: HashMap<u64, u32, FixedState>,
    rows: Vec<WaitingRow>,
    // Room to sort them, kept: so much memory is dear to get. Where the next row of each series goes, and the rows.
    next: Vec<u32>,
    sorted: Vec<WaitingRow>,
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

    /// The series of a log that means them by `ids`.
    pub(crate) fn of(ids: Vec<u64>, series: Vec<Arc<MemSeries>>) -> Self {
        let places = ids.iter().enumerate().map(|(place, id)| (*id, place as u32)).collect();
        Waiting { ids, series, places, ..Waiting::default() }
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
            self.rows.reserve(self.rows_max());
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
        self.rows.len() >= self.rows_max()
    }

    fn rows_max(&self) -> usize {
        (self.series.len() * ROWS_PER_SERIES).max(ROWS_MIN)
    }

    /// Puts all rows into the head, those of a series in the order in which they came. Those before `in_blocks_before_ms` are in
    /// blocks, and those before `cut_end_ms` came late.
    pub(crate) fn apply(&mut self, in_blocks_before_ms: i64, cut_end_ms: i64) -> Applied {
        if self.rows.is_empty() {
            return Applied::default();
        }
        // How many rows each series has, then where the first of them goes.
        let next = &mut self.next;
        next.clear();
        next.resize(self.series.len(), 0);
        self.rows.iter().for_each(|row| next[row.place as usize] += 1);
        let mut sum = 0;
        for n in &mut *next {
            sum += std::mem::replace(n, sum);
        }
        let n_rows = self.rows.len();
        if self.sorted.len() < n_rows {
            self.sorted.resize(n_rows, WaitingRow::default());
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = cores.min(THREADS_MAX).min(n_rows.div_ceil(ROWS_MIN / 4)).max(1);
        let shares = shares(next, n_rows, n_threads);
        let (rows, series, base_commit) = (&self.rows, &self.series, self.base_commit);
        let work = |share: Share, next: &mut [u32], sorted: &mut [WaitingRow]| {
            share.sort(rows, next, sorted);
            apply(series, sorted, base_commit, in_blocks_before_ms, cut_end_ms)
        };
        let all = std::thread::scope(|scope| {
            let (mut workers, mut own) = (Vec::new(), None);
            let (mut next, mut sorted) = (&mut **next, &mut self.sorted[..n_rows]);
            let n_shares = shares.len();
            for (n, share) in shares.into_iter().enumerate() {
                let (its_next, next_of_others) = next.split_at_mut(share.places.len());
                let (its_rows, rows_of_others) = sorted.split_at_mut(share.rows.len());
                (next, sorted) = (next_of_others, rows_of_others);
                if n + 1 == n_shares {
                    own = Some(work(share, its_next, its_rows));
                } else {
                    workers.push(scope.spawn(|| work(share, its_next, its_rows)));
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
}

/// What one thread works on: some series, one behind the other, and where their rows are once they are sorted.
struct Share {
    places: Range<usize>,
    rows: Range<usize>,
}

/// Shares of about as many rows each. `starts` tells where the rows of each series begin.
fn shares(starts: &[u32], n_rows: usize, n_shares: usize) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::with_capacity(n_shares);
    for n in 1..=n_shares {
        let (place, row) = shares.last().map_or((0, 0), |share| (share.places.end, share.rows.end));
        let end = if n == n_shares {
            starts.len()
        } else {
            starts.partition_point(|start| (*start as usize) < n_rows / n_shares * n)
        };
        let end_row = starts.get(end).map_or(n_rows, |start| *start as usize);
        shares.push(Share { places: place..end, rows: row..end_row });
    }
    shares
}

impl Share {
    /// Puts those of `rows` that belong to it into `sorted`. `next` tells where the next row of each of its series goes.
    fn sort(&self, rows: &[WaitingRow], next: &mut [u32], sorted: &mut [WaitingRow]) {
        for row in rows {
            let place = (row.place as usize).wrapping_sub(self.places.start);
            if let Some(at) = next.get_mut(place) {
                sorted[*at as usize - self.rows.start] = *row;
                *at += 1;
            }
        }
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
        let place = rows[0].place as usize;
        if let Some(later) = series.get(place + SERIES_AHEAD) {
            expect_use_of(&**later);
        }
        if let Some(later) = series.get(place + SERIES_AHEAD / 2) {
            later.state().expect_push();
        }
        let mut state = series[place].state();
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

#[cfg(test)]
mod tests {
    use relatum_model::Labels;

    use super::*;

    /// The places and rows of each share, where series have so many rows.
    #[track_caller]
    fn check_shares(counts: &[u32], n_shares: usize, expected: &[(Range<usize>, Range<usize>)]) {
        let starts: Vec<u32> = counts.iter().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
        let shares = shares(&starts, counts.iter().sum::<u32>() as usize, n_shares);
        let found: Vec<_> = shares.into_iter().map(|share| (share.places, share.rows)).collect();
        assert_eq!(found, expected, "{counts:?}");
    }

    #[test]
    fn shares_have_about_as_many_rows() {
        check_shares(&[2, 2, 2, 2], 2, &[(0..2, 0..4), (2..4, 4..8)]);
        check_shares(&[6, 1, 1], 2, &[(0..1, 0..6), (1..3, 6..8)]);
        check_shares(&[0, 0, 5, 0], 3, &[(0..3, 0..5), (3..3, 5..5), (3..4, 5..5)]);
        check_shares(&[3], 2, &[(0..1, 0..3), (1..1, 3..3)]);
        check_shares(&[1, 1, 1], 1, &[(0..3, 0..3)]);
    }

    #[test]
    fn rows_of_many_series_get_to_their_own() {
        const SERIES: u64 = 1000;
        let labels = |n: u64| Labels::from_pairs([("n".to_owned(), n.to_string())]);
        let all: Vec<_> = (0..SERIES).map(|n| Arc::new(MemSeries::new(labels(n), n * 3 + 1, n as u32))).collect();
        let mut waiting = Waiting::of(all.iter().map(|series| series.id).collect(), all.clone());
        let (mut pushed, mut applied) = (0, 0);
        for commit in 1..=200u64 {
            // Every other commit lacks some, and the order is another one each time.
            for n in (0..SERIES).map(|n| (n * 7 + commit) % SERIES).filter(|n| commit % 2 == 0 || n % 5 > 0) {
                assert!(waiting.push(commit, Row { id: n * 3 + 1, t_ms: commit as i64, bits: n }));
                pushed += 1;
            }
            if waiting.are_many() || commit == 200 {
                applied += waiting.apply(i64::MIN, i64::MIN).samples;
            }
        }
        assert!(!waiting.push(1, Row { id: 2, t_ms: 1, bits: 0 }), "nobody defined it");
        assert_eq!((pushed, applied, waiting.is_empty()), (180_000, 180_000, true));
        for (n, series) in all.iter().enumerate() {
            let state = series.state();
            let expected = if n % 5 > 0 { 200 } else { 100 };
            assert_eq!((state.samples(), state.newest()), (expected, Some((200, n as u64))), "series {n}");
        }
    }
}
