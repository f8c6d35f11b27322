//! Series in memory, as a source for queries in tests and tools.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use relatum_model::histogram::Hinting;
use relatum_model::storage::{Cancel, Hints, Parts, Reader, Scope, Select, SelectError, SeriesSet, TimeRange};
use relatum_model::windows::Shown;
use relatum_model::{Histogram, HistogramSample, Labels, Matcher, NativeHistogram, Sample, Samples, Series};

/// Series that are held in memory, sorted by labels.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Samples>,
    part_series: Option<usize>,
}

impl Memory {
    /// Holds nothing.
    pub fn new() -> Self {
        Memory::default()
    }

    /// The same, handed out in parts of so many series, for several threads.
    pub fn in_parts(mut self, part_series: usize) -> Self {
        self.part_series = Some(part_series.max(1));
        self
    }

    /// Adds a float; of two samples at the same time the later added one counts.
    pub fn add(&mut self, labels: &Labels, t_ms: i64, value: f64) {
        self.add_started(labels, t_ms, 0, value);
    }

    /// Adds a float that began to count at `start_ms`; 0 if that is not known.
    pub fn add_started(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, value: f64) {
        let samples = self.series.entry(labels.clone()).or_default();
        if samples.timestamps.last().is_none_or(|last| *last < t_ms) {
            samples.push_started(t_ms, start_ms, value);
        } else {
            let mut floats: Vec<(i64, i64, f64)> = Vec::with_capacity(samples.timestamps.len() + 1);
            let starts = samples.starts.iter().copied().chain(std::iter::repeat(0));
            floats.extend(samples.iter().zip(starts).map(|(sample, start)| (sample.t_ms, start, sample.value)));
            match floats.binary_search_by_key(&t_ms, |(t, ..)| *t) {
                Ok(at) => floats[at] = (t_ms, start_ms, value),
                Err(at) => floats.insert(at, (t_ms, start_ms, value)),
            }
            let histograms = std::mem::take(&mut samples.histograms);
            *samples = Samples { histograms, ..Samples::default() };
            for (t_ms, start_ms, value) in floats {
                samples.push_started(t_ms, start_ms, value);
            }
        }
        samples.histograms.retain(|histogram| histogram.t_ms != t_ms);
    }

    /// Adds a histogram; of two samples at the same time the later added one counts.
    pub fn add_histogram(&mut self, labels: &Labels, t_ms: i64, start_ms: i64, histogram: Histogram<f64>) {
        let samples = self.series.entry(labels.clone()).or_default();
        if let Ok(at) = samples.timestamps.binary_search(&t_ms) {
            samples.timestamps.remove(at);
            samples.values.remove(at);
            if !samples.starts.is_empty() {
                samples.starts.remove(at);
            }
        }
        let sample = HistogramSample { t_ms, start_ms, histogram: Arc::new(NativeHistogram::Float(histogram)) };
        match samples.histograms.binary_search_by_key(&t_ms, |histogram| histogram.t_ms) {
            Ok(at) => samples.histograms[at] = sample,
            Err(at) => samples.histograms.insert(at, sample),
        }
    }

    /// The newest float of a series.
    pub fn newest(&self, labels: &Labels) -> Option<Sample> {
        self.series.get(labels)?.iter().next_back()
    }

    /// The newest histogram of a series.
    pub fn newest_histogram(&self, labels: &Labels) -> Option<&HistogramSample> {
        self.series.get(labels)?.histograms.last()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl Select for Memory {
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError> {
        Ok(Box::new(View { memory: self, always: scope.matchers().to_vec(), range }))
    }
}

struct View<'a> {
    memory: &'a Memory,
    always: Vec<Matcher>,
    range: TimeRange,
}

impl View<'_> {
    fn selected(&self, matchers: &[Matcher]) -> impl Iterator<Item = Series> + Send + use<'_> {
        let matchers: Vec<Matcher> = self.always.iter().chain(matchers).cloned().collect();
        let range = self.range;
        self.memory.series.iter().filter_map(move |(labels, samples)| {
            if !matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                return None;
            }
            let inside = samples.within(range.min_ms, range.max_ms);
            (!inside.is_empty()).then(|| Series { labels: labels.clone(), samples: hinted(inside, samples) })
        })
    }
}

/// The histograms among `inside` with the hints they have among `all`.
fn hinted(mut inside: Samples, all: &Samples) -> Samples {
    if inside.histograms.is_empty() {
        return inside;
    }
    let mut hinting = Hinting::default();
    let mut floats = all.timestamps.iter().peekable();
    let first_ms = inside.histograms[0].t_ms;
    let mut shown = inside.histograms.iter_mut();
    for sample in &all.histograms {
        while floats.next_if(|t| **t < sample.t_ms).is_some() {
            hinting.interrupt();
        }
        let mut histogram = sample.histogram.to_float();
        histogram.counter_reset = hinting.next(&histogram);
        if sample.t_ms >= first_ms
            && let Some(shown) = shown.next()
        {
            shown.histogram = Arc::new(NativeHistogram::Float(histogram));
        }
    }
    inside
}

impl Reader for View<'_> {
    fn series<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<SeriesSet<'a>, SelectError> {
        let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let cancel = cancel.clone();
        Ok(Box::new(
            self.selected(matchers)
                .take(limit)
                .map(move |series| if cancel.is_cancelled() { Err(SelectError::Cancelled) } else { Ok(series) }),
        ))
    }

    fn parts<'a>(
        &'a self,
        matchers: &[Matcher],
        _: &Hints,
        cancel: &Cancel,
    ) -> Result<Option<Box<dyn Parts + 'a>>, SelectError> {
        let Some(part_series) = self.memory.part_series else { return Ok(None) };
        let all: Vec<Series> = self.selected(matchers).collect();
        let parts = all.chunks(part_series).map(<[Series]>::to_vec).collect();
        Ok(Some(Box::new(InParts { parts, cancel: cancel.clone() })))
    }

    fn label_sets(&self, matchers: &[Matcher], limit: usize, _: &Cancel) -> Result<Vec<Labels>, SelectError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(self.selected(matchers).take(limit).map(|series| series.labels).collect())
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize, _: &Cancel) -> Result<Vec<String>, SelectError> {
        let mut names = BTreeSet::new();
        for series in self.selected(matchers) {
            names.extend(series.labels.iter().map(|(name, _)| name.to_owned()));
        }
        Ok(first_of(names, limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        _: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        let values = self.selected(matchers).filter_map(|series| series.labels.get(name).map(str::to_owned));
        Ok(first_of(values.collect(), limit))
    }
}

/// The first `limit` texts, or all if that is 0.
fn first_of(texts: BTreeSet<String>, limit: usize) -> Vec<String> {
    texts.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}

struct InParts {
    parts: Vec<Vec<Series>>,
    cancel: Cancel,
}

impl Parts for InParts {
    fn count(&self) -> usize {
        self.parts.len()
    }

    fn visit(
        &self,
        part: usize,
        each: &mut dyn FnMut(&Labels, &mut Shown) -> ControlFlow<()>,
    ) -> Result<(), SelectError> {
        for series in &self.parts[part] {
            if self.cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
            if each(&series.labels, &mut Shown::all(series.samples.clone())).is_break() {
                break;
            }
        }
        Ok(())
    }
}
