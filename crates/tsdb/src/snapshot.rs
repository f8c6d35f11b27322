//! What one reader sees of one series in memory, and how samples of one series from several places become one run.

use relatum_model::storage::TimeRange;
use relatum_model::{HistogramSample, Sample, Samples};

use crate::chunk::Chunk;
use crate::histogram::Encoded;
use crate::starts::{self, Starts};

/// The samples of one series that one reader sees.
pub(crate) struct Snapshot {
    /// Samples of the chunks outside of it are not seen.
    pub(crate) range: TimeRange,
    /// Sorted by time and disjoint.
    pub(crate) chunks: Vec<Chunk>,
    /// Sorted by time.
    pub(crate) late: Vec<(i64, u64)>,
    pub(crate) histograms: Vec<(i64, Encoded)>,
    /// The histogram before the range.
    pub(crate) before: Option<(i64, Encoded)>,
    pub(crate) starts: Starts,
    /// What a cut is moving into blocks.
    pub(crate) aside: Option<Box<Snapshot>>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            range: TimeRange::ALL,
            chunks: Vec::new(),
            late: Vec::new(),
            histograms: Vec::new(),
            before: None,
            starts: Starts::default(),
            aside: None,
        }
    }
}

impl Snapshot {
    /// The native histograms as they are held, with their times.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (i64, &Encoded)> {
        let of_aside = self.aside.iter().flat_map(|aside| &aside.histograms);
        self.histograms.iter().chain(of_aside).map(|(t_ms, histogram)| (*t_ms, histogram))
    }

    /// The histogram before the range, decoded.
    pub(crate) fn before(&self) -> Option<HistogramSample> {
        let of_aside = self.aside.iter().filter_map(|aside| aside.before.as_ref());
        let last = self.before.iter().chain(of_aside).max_by_key(|(t_ms, _)| *t_ms);
        last.and_then(|(t_ms, histogram)| histogram.decode(*t_ms).ok())
    }

    /// The samples, oldest first.
    pub(crate) fn decode(&self) -> Samples {
        let n = self.chunks.iter().map(|chunk| chunk.count() as usize).sum::<usize>() + self.late.len();
        let mut samples = Samples::of_floats(Vec::with_capacity(n), Vec::with_capacity(n));
        let mut late = self.late.iter().copied().peekable();
        for (t_ms, bits) in self.chunks.iter().flat_map(Chunk::iter) {
            if t_ms < self.range.min_ms {
                continue;
            }
            if t_ms > self.range.max_ms {
                break;
            }
            while let Some((late_ms, late_bits)) = late.next_if(|(late_ms, _)| *late_ms < t_ms) {
                samples.push(late_ms, f64::from_bits(late_bits));
            }
            samples.push(t_ms, f64::from_bits(bits));
        }
        for (late_ms, late_bits) in late {
            samples.push(late_ms, f64::from_bits(late_bits));
        }
        // They were decoded when they were read back, and those that came since were encoded here.
        let histograms = self.histograms.iter().filter_map(|(t_ms, histogram)| histogram.decode(*t_ms).ok());
        samples.histograms.extend(histograms);
        if let Some(aside) = &self.aside {
            samples = merge(aside.decode(), samples);
        }
        self.starts.fill(&mut samples);
        samples
    }
}

/// Samples of one series from two places, oldest first; of two for one moment the first place's counts.
pub(crate) fn merge(mut first: Samples, mut second: Samples) -> Samples {
    if first.is_empty() || second.is_empty() {
        return if first.is_empty() { second } else { first };
    }
    let histograms = merge_histograms(&mut first, &mut second);
    let mut merged = merge_floats(first, second);
    merged.histograms = histograms;
    merged
}

fn merge_floats(mut first: Samples, mut second: Samples) -> Samples {
    let (Some(&first_end), Some(&second_start)) = (first.timestamps.last(), second.timestamps.first()) else {
        return if first.timestamps.is_empty() { second } else { first };
    };
    if first_end < second_start {
        if first.starts.is_empty() && second.starts.is_empty() {
            first.timestamps.append(&mut second.timestamps);
            first.values.append(&mut second.values);
        } else {
            starts::extend(&mut first, &second.timestamps, &second.values, &second.starts);
        }
        return first;
    }
    let n = first.len() + second.len();
    let mut merged = Samples::of_floats(Vec::with_capacity(n), Vec::with_capacity(n));
    let mut rest = with_starts(&second).peekable();
    for (sample, start_ms) in with_starts(&first) {
        while let Some((earlier, start_ms)) = rest.next_if(|(other, _)| other.t_ms < sample.t_ms) {
            merged.push_started(earlier.t_ms, start_ms, earlier.value);
        }
        rest.next_if(|(other, _)| other.t_ms == sample.t_ms);
        merged.push_started(sample.t_ms, start_ms, sample.value);
    }
    rest.for_each(|(sample, start_ms)| merged.push_started(sample.t_ms, start_ms, sample.value));
    merged
}

/// The floats, each with when it began to count, or 0.
fn with_starts(samples: &Samples) -> impl Iterator<Item = (Sample, i64)> + '_ {
    samples.iter().zip(samples.starts.iter().copied().chain(std::iter::repeat(0)))
}

/// Takes the histograms of both; one that stands where the other place has a float counts only if it is of the first, and the
/// float goes then.
fn merge_histograms(first: &mut Samples, second: &mut Samples) -> Vec<HistogramSample> {
    let mut histograms = std::mem::take(&mut first.histograms);
    let taken = |times: &[i64], t_ms: i64| times.binary_search(&t_ms).is_ok();
    let others = std::mem::take(&mut second.histograms);
    if histograms.is_empty() && others.is_empty() {
        return histograms;
    }
    let times: Vec<i64> = histograms.iter().map(|sample| sample.t_ms).collect();
    if second.timestamps.iter().any(|t_ms| taken(&times, *t_ms)) {
        let mut kept = Samples::default();
        for (sample, start_ms) in with_starts(second).filter(|(sample, _)| !taken(&times, sample.t_ms)) {
            kept.push_started(sample.t_ms, start_ms, sample.value);
        }
        *second = kept;
    }
    let free = |sample: &HistogramSample| !taken(&times, sample.t_ms) && !taken(&first.timestamps, sample.t_ms);
    histograms.extend(others.into_iter().filter(free));
    histograms.sort_by_key(|sample| sample.t_ms);
    histograms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_order_and_the_first() {
        let samples = |times: &[i64], value: f64| Samples::of_floats(times.to_vec(), vec![value; times.len()]);
        for (a, b, expected) in [
            (&[1, 2][..], &[3][..], &[1, 2, 3][..]),
            (&[1, 5], &[0, 1, 3, 7], &[0, 1, 3, 5, 7]),
            (&[], &[1], &[1]),
            (&[2], &[], &[2]),
            (&[5, 6], &[1, 2], &[1, 2, 5, 6]),
        ] {
            let merged = merge(samples(a, 1.0), samples(b, 2.0));
            assert_eq!(merged.timestamps, expected);
            assert!(merged.iter().all(|s| (s.value == 1.0) == a.contains(&s.t_ms)));
        }
    }
}
