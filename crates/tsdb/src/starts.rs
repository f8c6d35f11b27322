//! When the floats of a series began to count.
//!
//! A process that exposes start timestamps gives every sample of a counter the same one until it starts anew. So what is kept are
//! the changes: which start counts from which sample on. Few series have any.

use relatum_model::Samples;

use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;
use crate::chunk::{unzigzag, zigzag};

/// The start timestamps of one series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    // From which time on which start counts; sorted, one for each time.
    changes: Vec<(i64, i64)>,
    // The newest sample of which it was said.
    last_ms: i64,
}

impl Starts {
    /// Nothing is known of any sample.
    pub(crate) const fn none() -> Self {
        Starts { changes: Vec::new(), last_ms: 0 }
    }

    /// Whether nothing is known of any sample.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// When the sample of `t_ms` began to count; 0 if that is not known.
    #[cfg(test)]
    fn at(&self, t_ms: i64) -> i64 {
        self.before(self.changes.partition_point(|(from_ms, _)| *from_ms <= t_ms))
    }

    fn before(&self, at: usize) -> i64 {
        at.checked_sub(1).map_or(0, |at| self.changes[at].1)
    }

    /// Says when the sample of `t_ms` began to count. `newest_ms` is the newest sample of the series.
    pub(crate) fn set(&mut self, t_ms: i64, start_ms: i64, newest_ms: Option<i64>) {
        let at = self.changes.partition_point(|(from_ms, _)| *from_ms <= t_ms);
        let so_far = self.before(at);
        let is_late = newest_ms.is_some_and(|newest_ms| newest_ms > t_ms) || (!self.is_empty() && self.last_ms > t_ms);
        self.last_ms = if self.is_empty() { t_ms } else { self.last_ms.max(t_ms) };
        if so_far == start_ms {
            return;
        }
        if at > 0 && self.changes[at - 1].0 == t_ms {
            self.changes[at - 1].1 = start_ms;
        } else {
            self.changes.insert(at, (t_ms, start_ms));
        }
        // A late sample says nothing of those behind it.
        let behind = self.changes.partition_point(|(from_ms, _)| *from_ms <= t_ms);
        if is_late && self.changes.get(behind).is_none_or(|(from_ms, _)| *from_ms > t_ms + 1) {
            self.changes.insert(behind, (t_ms + 1, so_far));
        }
    }

    /// Forgets what concerns only samples before `oldest_ms`.
    pub(crate) fn forget_before(&mut self, oldest_ms: i64) {
        let gone = self.changes.partition_point(|(from_ms, _)| *from_ms <= oldest_ms).saturating_sub(1);
        self.changes.drain(..gone);
    }

    /// Writes them for an image of the head.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.changes.len() as u64);
        for (from_ms, start_ms) in &self.changes {
            put_varint(out, zigzag(*from_ms));
            put_varint(out, zigzag(*start_ms));
        }
        put_varint(out, zigzag(self.last_ms));
    }

    /// Reads what [`Starts::encode`] wrote.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Starts, Damage> {
        let n = cursor.count(1)?;
        let changes = (0..n).map(|_| Ok((unzigzag(cursor.varint()?), unzigzag(cursor.varint()?))));
        let changes = changes.collect::<Result<Vec<_>, Damage>>()?;
        if !changes.is_sorted_by(|a: &(i64, i64), b| a.0 < b.0) {
            return Err(Damage("starts of a series are out of order"));
        }
        Ok(Starts { changes, last_ms: unzigzag(cursor.varint()?) })
    }

    /// Adds to `samples` when each float began to count.
    pub(crate) fn fill(&self, samples: &mut Samples) {
        if self.is_empty() || samples.timestamps.is_empty() {
            return;
        }
        let mut at = 0;
        let starts = samples.timestamps.iter().map(|t_ms| {
            while self.changes.get(at).is_some_and(|(from_ms, _)| from_ms <= t_ms) {
                at += 1;
            }
            self.before(at)
        });
        let starts: Vec<i64> = starts.collect();
        if starts.iter().any(|start_ms| *start_ms != 0) {
            samples.starts = starts;
        }
    }
}

/// Adds floats with their starts, which are empty where none is known, behind those of `samples`.
pub(crate) fn extend(samples: &mut Samples, times: &[i64], values: &[f64], starts: &[i64]) {
    if !starts.is_empty() || !samples.starts.is_empty() {
        samples.starts.resize(samples.timestamps.len(), 0);
        samples.starts.extend_from_slice(starts);
        samples.starts.resize(samples.timestamps.len() + times.len(), 0);
    }
    samples.timestamps.extend_from_slice(times);
    samples.values.extend_from_slice(values);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_start_that_stays_is_one_change() {
        let mut starts = Starts::default();
        for t_ms in 10..20 {
            starts.set(t_ms, 5, Some(t_ms));
        }
        starts.set(20, 0, Some(20));
        assert_eq!(starts.changes, [(10, 5), (20, 0)]);
        starts.forget_before(15);
        assert_eq!((starts.at(15), starts.changes.len()), (5, 2));
        starts.forget_before(25);
        assert_eq!(starts.changes, [(20, 0)]);
    }

    proptest! {
        #[test]
        fn each_sample_has_its_own(said in prop::collection::vec((0i64..40, 0i64..3), 0..60)) {
            let (mut starts, mut expected) = (Starts::default(), BTreeMap::new());
            for (t_ms, start_ms) in said {
                if expected.contains_key(&t_ms) {
                    continue;
                }
                expected.insert(t_ms, start_ms);
                // Nothing is kept before the first start.
                if start_ms != 0 || !starts.is_empty() {
                    starts.set(t_ms, start_ms, expected.keys().next_back().copied());
                }
            }
            let mut samples = Samples::of_floats(expected.keys().copied().collect(), vec![0.0; expected.len()]);
            starts.fill(&mut samples);
            samples.starts.resize(expected.len(), 0);
            prop_assert_eq!(samples.starts, expected.values().copied().collect::<Vec<_>>());
        }
    }
}
