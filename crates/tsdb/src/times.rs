//! Times that many series share.
//!
//! The series of one target are scraped together, so their chunks have the same times. Each such column is held once.

use std::sync::Arc;

use crate::block::column::encode_integers;

/// How many columns are remembered. The series of a target end their chunks in one commit, or in a few.
const RECENT_MAX: usize = 16;

/// The columns of the chunks that were closed last.
#[derive(Debug, Default)]
pub(crate) struct RecentTimes {
    // What was used last stands first.
    recent: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    times: Box<[i64]>,
    bytes: Arc<[u8]>,
}

impl RecentTimes {
    /// The column that holds `times`.
    pub(crate) fn column(&mut self, times: &[i64]) -> Arc<[u8]> {
        if let Some(at) = self.recent.iter().position(|recent| *recent.times == *times) {
            self.recent[..=at].rotate_right(1);
            return Arc::clone(&self.recent[0].bytes);
        }
        let mut column = Vec::new();
        encode_integers(&mut column, times);
        let bytes: Arc<[u8]> = Arc::from(column);
        self.recent.truncate(RECENT_MAX - 1);
        self.recent.insert(0, Column { times: Box::from(times), bytes: Arc::clone(&bytes) });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_shared() {
        let mut recent = RecentTimes::default();
        let times = |n: i64| (0..10).map(|i| i * 15 + n).collect::<Vec<i64>>();
        let columns: Vec<_> = (0..16).map(|n| recent.column(&times(n))).collect();
        assert!((0..16).all(|n| Arc::ptr_eq(&columns[n as usize], &recent.column(&times(n)))));
        recent.column(&times(16));
        assert!(!Arc::ptr_eq(&columns[0], &recent.column(&times(0))), "it was used longest ago");
        assert!(Arc::ptr_eq(&columns[15], &recent.column(&times(15))));
    }
}
