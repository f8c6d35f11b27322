//! A store in memory, for tests: keeps everything, refuses what a real store refuses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use relatum_model::exemplar::Exemplar;
use relatum_model::exposition::{MetricDescription, MetricKind};
use relatum_model::storage::{
    Append, AppendError, Appender, ExemplarRefused, KnownSample, Position, Refused, SelectError, SeriesRef, Tail,
    TailBatch,
};
use relatum_model::{Labels, Sample, is_stale};

/// All samples by series.
type Content = BTreeMap<Labels, Vec<Sample>>;

#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    content: Mutex<Content>,
    log: Mutex<Vec<(Labels, Sample)>>,
    exemplars: Mutex<Vec<(Labels, Exemplar)>>,
    /// The series by their references.
    references: Mutex<Vec<(SeriesRef, Labels)>>,
    /// What was said of metrics, as it came.
    described: Mutex<Vec<(String, MetricDescription)>>,
    failing: AtomicBool,
    taken_by_name: AtomicUsize,
}

impl MemoryStore {
    /// Whether commits fail from now on.
    pub(crate) fn fail_commits(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// How many samples were taken without a look at labels.
    pub(crate) fn taken_by_name(&self) -> usize {
        self.taken_by_name.load(Ordering::Relaxed)
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// The values of the series written as `labels`, oldest first; staleness markers are `None`.
    pub(crate) fn values(&self, labels: &str) -> Vec<Option<f64>> {
        let samples = self.series(labels);
        samples.iter().map(|sample| (!is_stale(sample.value)).then_some(sample.value)).collect()
    }

    /// The samples of the series written as `labels`, oldest first.
    pub(crate) fn series(&self, labels: &str) -> Vec<Sample> {
        self.lock().iter().find(|(found, _)| found.to_string() == labels).map(|(_, s)| s.clone()).unwrap_or_default()
    }

    /// All exemplars as they came: series, labels and value.
    pub(crate) fn exemplars(&self) -> Vec<String> {
        let exemplars = self.exemplars.lock().expect("no test panics while it holds the exemplars");
        exemplars.iter().map(|(series, one)| format!("{series} {} {}@{}", one.labels, one.value, one.t_ms)).collect()
    }

    /// What was said of metrics, as it came: name, kind and help.
    pub(crate) fn described(&self) -> Vec<String> {
        let shown =
            |(metric, said): &(String, MetricDescription)| format!("{metric} {} {}", said.kind.as_str(), said.help);
        self.said().iter().map(shown).collect()
    }

    /// Remembers what somebody says of a metric.
    pub(crate) fn describe(&self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        let description = MetricDescription { kind, help: help.to_owned(), unit: unit.to_owned() };
        self.said().push((metric.to_owned(), description));
    }

    fn said(&self) -> MutexGuard<'_, Vec<(String, MetricDescription)>> {
        self.described.lock().expect("no test panics while it holds the descriptions")
    }

    /// All series as they are written, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().map(Labels::to_string).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no test panics while it holds the store")
    }
}

impl Append for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch { store: self, added: Vec::new(), examples: Vec::new() })
    }
}

struct Batch<'a> {
    store: &'a MemoryStore,
    added: Vec<(Labels, Sample)>,
    examples: Vec<(Labels, Exemplar)>,
}

impl Appender for Batch<'_> {
    fn append(&mut self, _: SeriesRef, labels: &Labels, t_ms: i64, value: f64) -> Result<SeriesRef, Refused> {
        let newest = self.added.iter().rev().find(|(found, _)| found == labels).map(|(_, sample)| *sample);
        let newest = newest.or_else(|| self.store.lock().get(labels).and_then(|samples| samples.last().copied()));
        match newest {
            Some(newest) if newest.t_ms > t_ms => return Err(Refused::OutOfOrder),
            Some(newest) if newest.t_ms == t_ms && newest.value.to_bits() != value.to_bits() => {
                return Err(Refused::DuplicateTimestamp);
            }
            Some(newest) if newest.t_ms == t_ms => {}
            _ => self.added.push((labels.clone(), Sample { t_ms, value })),
        }
        let mut references = self.store.references.lock().expect("no test panics while it holds the references");
        if let Some((reference, _)) = references.iter().find(|(_, known)| known == labels) {
            return Ok(*reference);
        }
        // No other store has it.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let reference = SeriesRef(NEXT.fetch_add(1, Ordering::Relaxed));
        references.push((reference, labels.clone()));
        Ok(reference)
    }

    fn append_known(&mut self, samples: &[KnownSample]) -> usize {
        let is_taken = |known: &KnownSample| {
            let Sample { t_ms, value } = known.sample;
            let labels = self.labels(known.series);
            labels.is_some_and(|labels| self.append(known.series, &labels, t_ms, value).is_ok())
        };
        let taken = samples.iter().map(is_taken).take_while(|taken| *taken).count();
        self.store.taken_by_name.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    fn labels(&self, cached: SeriesRef) -> Option<Labels> {
        let references = self.store.references.lock().expect("no test panics while it holds the references");
        references.iter().find(|(reference, _)| *reference == cached).map(|(_, labels)| labels.clone())
    }

    fn append_exemplar(&mut self, _: SeriesRef, labels: &Labels, exemplar: Exemplar) -> Result<bool, ExemplarRefused> {
        self.examples.push((labels.clone(), exemplar));
        Ok(true)
    }

    fn describe(&mut self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        self.store.describe(metric, kind, help, unit);
    }

    fn commit(self: Box<Self>) -> Result<(), AppendError> {
        if self.store.failing.load(Ordering::Relaxed) {
            return Err(AppendError::Poisoned { reason: "the test says so".to_owned() });
        }
        let mut content = self.store.lock();
        self.store.exemplars.lock().expect("no test panics while it holds the exemplars").extend(self.examples);
        self.store.log.lock().expect("no test panics while it holds the log").extend(self.added.iter().cloned());
        for (labels, sample) in self.added {
            content.entry(labels).or_default().push(sample);
        }
        Ok(())
    }

    fn rollback(self: Box<Self>) {}
}

impl Tail for MemoryStore {
    fn end(&self) -> Position {
        Position(self.log.lock().expect("no test panics while it holds the log").len().to_string())
    }

    fn read(&self, from: &Position, samples_max: usize) -> Result<TailBatch, SelectError> {
        let log = self.log.lock().expect("no test panics while it holds the log");
        let from: usize = if from.0.is_empty() { 0 } else { from.0.parse().expect("a position is a number") };
        let to = from.saturating_add(samples_max).min(log.len());
        Ok(TailBatch { samples: log[from..to].to_vec(), next: Position(to.to_string()), ..TailBatch::default() })
    }

    fn description(&self, family: &str) -> Option<MetricDescription> {
        self.said().iter().find(|(metric, _)| metric == family).map(|(_, said)| said.clone())
    }

    fn descriptions(&self, each: &mut dyn FnMut(&str, &MetricDescription)) {
        self.said().iter().for_each(|(metric, said)| each(metric, said));
    }
}
