//! Series in memory, as a source for queries in tests and tools.

use std::collections::{BTreeMap, BTreeSet};

use relatum_model::storage::{Cancel, Hints, Reader, Scope, Select, SelectError, SeriesSet, TimeRange};
use relatum_model::{Labels, Matcher, Sample, Samples, Series};

/// Series that are held in memory, sorted by labels.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    series: BTreeMap<Labels, Samples>,
}

impl Memory {
    /// Holds nothing.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Adds a sample; of two samples at the same time the later added one counts.
    pub fn add(&mut self, labels: &Labels, t_ms: i64, value: f64) {
        let samples = self.series.entry(labels.clone()).or_default();
        match samples.timestamps.binary_search(&t_ms) {
            Ok(at) => samples.values[at] = value,
            Err(at) => {
                samples.timestamps.insert(at, t_ms);
                samples.values.insert(at, value);
            }
        }
    }

    /// The newest sample of a series.
    pub fn newest(&self, labels: &Labels) -> Option<Sample> {
        self.series.get(labels)?.iter().next_back()
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
            let from = samples.timestamps.partition_point(|t| *t < range.min_ms);
            let to = samples.timestamps.partition_point(|t| *t <= range.max_ms);
            let is_selected = from < to && matchers.iter().all(|matcher| matcher.matches_labels(labels));
            is_selected.then(|| Series {
                labels: labels.clone(),
                samples: Samples {
                    timestamps: samples.timestamps[from..to].to_vec(),
                    values: samples.values[from..to].to_vec(),
                },
            })
        })
    }
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

    fn label_sets(&self, matchers: &[Matcher], _: &Cancel) -> Result<Vec<Labels>, SelectError> {
        Ok(self.selected(matchers).map(|series| series.labels).collect())
    }

    fn label_names(&self, matchers: &[Matcher], _: &Cancel) -> Result<Vec<String>, SelectError> {
        let mut names = BTreeSet::new();
        for series in self.selected(matchers) {
            names.extend(series.labels.iter().map(|(name, _)| name.to_owned()));
        }
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], _: &Cancel) -> Result<Vec<String>, SelectError> {
        let values: BTreeSet<String> =
            self.selected(matchers).filter_map(|series| series.labels.get(name).map(str::to_owned)).collect();
        Ok(values.into_iter().collect())
    }
}
