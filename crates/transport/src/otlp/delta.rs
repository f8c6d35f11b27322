//! Points that count since the point before, summed up since the first.
//!
//! What a stream has come to is kept in memory; one that is silent for some minutes is forgotten and begins anew. A point that comes
//! once more, because its sender did not get our answer, is answered with the same sum once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use relatum_model::Labels;
use relatum_model::otlp::{ExplicitHistogram, ExponentialBuckets, ExponentialHistogram, Point};

/// How many streams are summed up at once. More are refused: a sum that forgets is no sum.
pub(super) const STREAMS_MAX: usize = 100_000;

/// A stream that is silent for this long is forgotten.
const SILENT_MAX: Duration = Duration::from_secs(300);

/// How often silent streams are looked for.
const CLEANING_EVERY: Duration = Duration::from_secs(30);

/// The buckets that an exponential histogram may have on one side; finer ones are merged beyond.
const BUCKETS_MAX: usize = 1_000;

/// What a stream has come to.
#[derive(Debug, Clone)]
struct Stream<T> {
    start_ns: u64,
    time_ns: u64,
    value: T,
    seen: Instant,
}

/// Something that can be summed up.
pub(super) trait Sum: Clone {
    /// Adds `other`; `false` if it cannot be added, so that the sum begins anew.
    fn add(&mut self, other: &Self) -> bool;
}

impl Sum for f64 {
    fn add(&mut self, other: &Self) -> bool {
        *self += other;
        true
    }
}

impl Sum for ExplicitHistogram {
    fn add(&mut self, other: &Self) -> bool {
        if self.bounds != other.bounds || self.bucket_counts.len() != other.bucket_counts.len() {
            return false;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        for (count, more) in self.bucket_counts.iter_mut().zip(&other.bucket_counts) {
            *count = count.saturating_add(*more);
        }
        true
    }
}

impl Sum for ExponentialHistogram {
    fn add(&mut self, other: &Self) -> bool {
        // The coarser of the two says how fine the sum can be.
        let mut scale = self.scale.min(other.scale);
        let merged = |mine: &ExponentialBuckets, theirs: &ExponentialBuckets, scale: i32| {
            let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
            for (buckets, from) in [(mine, self.scale), (theirs, other.scale)] {
                let coarser = from.saturating_sub(scale).clamp(0, 62);
                for (at, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    let index = (i64::from(buckets.offset) + at as i64) >> coarser;
                    let sum = counts.entry(index).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
            counts
        };
        let width = |counts: &BTreeMap<i64, u64>| match (counts.first_key_value(), counts.last_key_value()) {
            (Some((first, _)), Some((last, _))) => (last - first) as usize + 1,
            _ => 0,
        };
        let (positive, negative) = loop {
            let positive = merged(&self.positive, &other.positive, scale);
            let negative = merged(&self.negative, &other.negative, scale);
            if width(&positive).max(width(&negative)) <= BUCKETS_MAX {
                break (positive, negative);
            }
            scale -= 1;
        };
        let dense = |counts: &BTreeMap<i64, u64>| {
            let Some((first, _)) = counts.first_key_value() else { return Some(ExponentialBuckets::default()) };
            let mut dense = vec![0; width(counts)];
            for (index, count) in counts {
                dense[(index - first) as usize] = *count;
            }
            Some(ExponentialBuckets { offset: i32::try_from(*first).ok()?, counts: dense })
        };
        let (Some(positive), Some(negative)) = (dense(&positive), dense(&negative)) else { return false };
        *self = ExponentialHistogram {
            count: self.count.saturating_add(other.count),
            sum: self.sum.zip(other.sum).map(|(a, b)| a + b),
            scale,
            zero_count: self.zero_count.saturating_add(other.zero_count),
            zero_threshold: self.zero_threshold.max(other.zero_threshold),
            positive,
            negative,
        };
        true
    }
}

/// Why a point is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdded {
    /// It is older than what is summed up already.
    Old,
    /// There are as many streams as there may be.
    TooMany,
}

/// The streams of one kind.
#[derive(Debug)]
pub(super) struct Streams<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    streams: HashMap<Labels, Stream<T>>,
    cleaned: Instant,
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Streams(Mutex::new(Kept { streams: HashMap::new(), cleaned: Instant::now() }))
    }
}

impl<T: Sum> Streams<T> {
    /// Makes `point` count since the first point of its stream.
    pub(super) fn add(&self, labels: &Labels, point: &mut Point<T>, now: Instant) -> Result<(), NotAdded> {
        let kept = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(kept.cleaned) > CLEANING_EVERY {
            kept.streams.retain(|_, stream| now.saturating_duration_since(stream.seen) <= SILENT_MAX);
            kept.cleaned = now;
        }
        let n_streams = kept.streams.len();
        match kept.streams.get_mut(labels) {
            None if n_streams >= STREAMS_MAX => return Err(NotAdded::TooMany),
            None => {
                let value = point.value.clone();
                let stream = Stream { start_ns: point.start_ns, time_ns: point.time_ns, value, seen: now };
                kept.streams.insert(labels.clone(), stream);
            }
            Some(stream) if point.time_ns < stream.time_ns => return Err(NotAdded::Old),
            Some(stream) => {
                if point.time_ns > stream.time_ns {
                    if !stream.value.add(&point.value) {
                        (stream.value, stream.start_ns) = (point.value.clone(), point.start_ns);
                    }
                    stream.time_ns = point.time_ns;
                }
                stream.seen = now;
                (point.value, point.start_ns) = (stream.value.clone(), stream.start_ns);
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).streams.len()
    }
}

/// The streams of all kinds.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) numbers: Streams<f64>,
    pub(super) explicit: Streams<ExplicitHistogram>,
    pub(super) exponential: Streams<ExponentialHistogram>,
}

impl Sums {
    /// How many streams there are.
    pub(super) fn streams(&self) -> usize {
        self.numbers.len() + self.explicit.len() + self.exponential.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(start_ns: u64, time_ns: u64, value: f64) -> Point<f64> {
        Point { start_ns, time_ns, value, ..Point::default() }
    }

    #[test]
    fn numbers() {
        let (streams, now) = (Streams::default(), Instant::now());
        let labels = Labels::from_pairs([("__name__", "m")]);
        let check = |start_ns, time_ns, value, expected: Result<(u64, f64), NotAdded>| {
            let mut point = point(start_ns, time_ns, value);
            let added = streams.add(&labels, &mut point, now).map(|()| (point.start_ns, point.value));
            assert_eq!(added, expected, "{time_ns}");
        };
        check(1, 10, 2.0, Ok((1, 2.0)));
        check(10, 20, 3.0, Ok((1, 5.0)));
        // The sender did not hear that we had it.
        check(10, 20, 3.0, Ok((1, 5.0)));
        check(5, 10, 1.0, Err(NotAdded::Old));
        check(30, 40, 1.0, Ok((1, 6.0)));
        // Silent for long.
        let mut late = point(50, 60, 1.0);
        streams.add(&Labels::from_pairs([("a", "b")]), &mut late, now + Duration::from_secs(400)).unwrap();
        assert_eq!(streams.len(), 1);
    }

    #[test]
    fn histograms_of_different_scales() {
        let histogram = |scale, offset, counts: &[u64]| ExponentialHistogram {
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale,
            positive: ExponentialBuckets { offset, counts: counts.to_vec() },
            ..ExponentialHistogram::default()
        };
        let mut sum = histogram(1, 2, &[1, 2, 3]);
        assert!(sum.add(&histogram(0, -1, &[4, 0, 5])));
        // At scale 0 the first had bucket 1 with 1+2 and bucket 2 with 3.
        let expected = ExponentialHistogram { count: 15, sum: Some(2.0), ..histogram(0, -1, &[4, 0, 8, 3]) };
        assert_eq!(sum, expected);
        let far = histogram(8, 2_000_000, &[1]);
        let mut wide = histogram(8, -2_000_000, &[1]);
        assert!(wide.add(&far));
        assert!(wide.positive.counts.len() <= BUCKETS_MAX && wide.count == 2, "{}", wide.scale);
    }

    #[test]
    fn other_bounds_begin_anew() {
        let histogram = |bounds: &[f64]| ExplicitHistogram {
            count: 1,
            sum: None,
            bucket_counts: vec![1; bounds.len() + 1],
            bounds: bounds.to_vec(),
        };
        let mut sum = histogram(&[1.0]);
        assert!(sum.add(&histogram(&[1.0])));
        assert_eq!((sum.count, sum.bucket_counts.clone()), (2, vec![2, 2]));
        assert!(!sum.add(&histogram(&[1.0, 2.0])));
    }
}
