//! Our own samples and those of other stores as one: what queries and rules select from.
//!
//! Another store that fails makes an answer incomplete, which its reader is told; it is no reason to show nothing at all.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};

use relatum_model::storage::{Cancel, Hints, Reader, Scope, Select, SelectError, SeriesSet, TimeRange};
use relatum_model::{Labels, Matcher, Samples, Series};
use relatum_promql::Answer;
use relatum_transport::remote_read::RemoteSources;
use relatum_tsdb::Store;

/// The store, and the other stores that can be asked. Warnings are collected until they are taken, so each query has one of its own.
pub(crate) struct Everywhere {
    store: Arc<Store>,
    // `None` if only what is at hand is read.
    others: Option<Arc<RemoteSources>>,
    warnings: Mutex<Vec<String>>,
}

impl Everywhere {
    pub(crate) fn new(store: Arc<Store>, others: Arc<RemoteSources>) -> Self {
        Everywhere { store, others: Some(others), warnings: Mutex::default() }
    }

    /// Only what is at hand; see [`Store::open_at_hand`].
    pub(crate) fn at_hand(store: Arc<Store>) -> Self {
        Everywhere { store, others: None, warnings: Mutex::default() }
    }

    /// `answer` with a warning for each thing that could not be read.
    pub(crate) fn noted(&self, mut answer: Answer) -> Answer {
        answer.warnings.extend(self.take_warnings());
        answer
    }

    /// What could not be read since the last call, each sentence once.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

impl Select for Everywhere {
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError> {
        let Some(others) = self.others.as_deref() else { return Ok(self.store.open_at_hand(scope, range)) };
        let own = self.store.open(scope, range)?;
        if others.is_empty() {
            return Ok(own);
        }
        let oldest_ms = self.store.stats().min_time_ms;
        Ok(Box::new(Together { own, others, warnings: &self.warnings, scope: scope.clone(), range, oldest_ms }))
    }
}

struct Together<'e> {
    own: Box<dyn Reader + 'e>,
    others: &'e RemoteSources,
    warnings: &'e Mutex<Vec<String>>,
    scope: Scope,
    range: TimeRange,
    oldest_ms: Option<i64>,
}

impl Reader for Together<'_> {
    fn series<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<SeriesSet<'a>, SelectError> {
        // A store that reads less because of a limit might leave out what others have more of.
        let own = self.own.series(matchers, &Hints { limit: 0, ..hints.clone() }, cancel)?;
        let mut sets: Vec<SeriesSet<'a>> = vec![own];
        sets.extend(self.elsewhere(matchers));
        Ok(Box::new(Merged::new(sets)))
    }

    fn label_sets(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        // The first of all are among the first of each.
        let mut sets = self.own.label_sets(matchers, limit, cancel)?;
        sets.extend(self.labels_elsewhere(matchers, cancel)?);
        sets.sort_unstable();
        sets.dedup();
        if limit > 0 {
            sets.truncate(limit);
        }
        Ok(sets)
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<String>, SelectError> {
        let own = self.own.label_names(matchers, limit, cancel)?;
        // Others would have to send all they have.
        if matchers.is_empty() {
            return Ok(own);
        }
        let elsewhere = self.labels_elsewhere(matchers, cancel)?;
        let names = elsewhere.iter().flatten().map(|(name, _)| name.to_owned());
        Ok(first_of(names.chain(own), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError> {
        let own = self.own.label_values(name, matchers, limit, cancel)?;
        if matchers.is_empty() {
            return Ok(own);
        }
        let elsewhere = self.labels_elsewhere(matchers, cancel)?;
        let values = elsewhere.iter().filter_map(|labels| labels.get(name)).map(str::to_owned);
        Ok(first_of(values.chain(own), limit))
    }
}

/// The first `limit` texts, each once, or all if that is 0. The first of all are among the first of each store.
fn first_of(texts: impl Iterator<Item = String>, limit: usize) -> Vec<String> {
    texts.collect::<BTreeSet<_>>().into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}

impl Together<'_> {
    /// The series that other stores have.
    fn labels_elsewhere(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<Labels>, SelectError> {
        let mut found = Vec::new();
        for set in self.elsewhere(matchers) {
            for series in set {
                found.push(series?.labels);
            }
            if cancel.is_cancelled() {
                return Err(SelectError::Cancelled);
            }
        }
        Ok(found)
    }

    /// What other stores have, one set for each.
    fn elsewhere<'a>(&self, matchers: &[Matcher]) -> Vec<SeriesSet<'a>> {
        let all: Vec<Matcher> = matchers.iter().chain(self.scope.matchers()).cloned().collect();
        let answer = self.others.read(&all, self.range, self.oldest_ms);
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(answer.warnings);
        let mut sets: Vec<SeriesSet<'a>> = Vec::new();
        for series in answer.series {
            // Others answer whatever they like; what was not asked for is left out.
            let (all, range) = (all.clone(), self.range);
            let asked = series.into_iter().filter_map(move |one| {
                let samples = one.samples.within(range.min_ms, range.max_ms);
                let is_asked = all.iter().all(|matcher| matcher.matches_labels(&one.labels)) && !samples.is_empty();
                is_asked.then_some(Ok(Series { labels: one.labels, samples }))
            });
            sets.push(Box::new(asked));
        }
        sets
    }
}

/// Several sets in the order of their labels as one; a series that several have is one series.
struct Merged<'a> {
    sets: Vec<SeriesSet<'a>>,
    // The next series of each set, least first; of equal ones the first set's.
    next: BinaryHeap<Reverse<(Labels, usize)>>,
    waiting: Vec<Option<Samples>>,
    failed: Option<SelectError>,
}

impl<'a> Merged<'a> {
    fn new(sets: Vec<SeriesSet<'a>>) -> Self {
        let waiting = sets.iter().map(|_| None).collect();
        let mut merged = Merged { sets, next: BinaryHeap::new(), waiting, failed: None };
        for at in 0..merged.sets.len() {
            merged.advance(at);
        }
        merged
    }

    fn advance(&mut self, at: usize) {
        match self.sets[at].next() {
            None => {}
            Some(Ok(series)) => {
                self.waiting[at] = Some(series.samples);
                self.next.push(Reverse((series.labels, at)));
            }
            Some(Err(error)) => self.failed = Some(error),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<Series, SelectError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut found: Option<Series> = None;
        loop {
            if let Some(error) = self.failed.take() {
                self.next.clear();
                return Some(Err(error));
            }
            let is_more = match (&found, self.next.peek()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(series), Some(Reverse((labels, _)))) => series.labels == *labels,
            };
            if !is_more {
                return found.map(Ok);
            }
            let Some(Reverse((labels, at))) = self.next.pop() else { return found.map(Ok) };
            let samples = self.waiting[at].take().unwrap_or_default();
            self.advance(at);
            match &mut found {
                None => found = Some(Series { labels, samples }),
                Some(series) => series.samples = united(&series.samples, &samples),
            }
        }
    }
}

/// The samples of both, in the order of time; where both have one, the first's.
fn united(a: &Samples, b: &Samples) -> Samples {
    let mut out = Samples::default();
    let start = |samples: &Samples, at: usize| samples.starts.get(at).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    while i < a.timestamps.len() || j < b.timestamps.len() {
        let (at, bt) = (a.timestamps.get(i).copied(), b.timestamps.get(j).copied());
        let is_first = match (at, bt) {
            (Some(at), Some(bt)) => at <= bt,
            (at, _) => at.is_some(),
        };
        if is_first {
            out.push_started(a.timestamps[i], start(a, i), a.values[i]);
            j += usize::from(at == bt);
            i += 1;
        } else {
            out.push_started(b.timestamps[j], start(b, j), b.values[j]);
            j += 1;
        }
    }
    out.histograms = a.histograms.iter().chain(&b.histograms).cloned().collect();
    // Stable, so that of two at one time the first's comes first.
    out.histograms.sort_by_key(|sample| sample.t_ms);
    out.histograms.dedup_by_key(|sample| sample.t_ms);
    if !out.histograms.is_empty() {
        // Each said something of the one that was before it in its own store.
        out.tell_resets(None);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(job: &str, times: &[i64], value: f64) -> Series {
        Series {
            labels: Labels::from_pairs([("__name__", "m"), ("job", job)]),
            samples: Samples::of_floats(times.to_vec(), vec![value; times.len()]),
        }
    }

    #[test]
    fn sets_as_one() {
        let sets: Vec<SeriesSet<'_>> = vec![
            Box::new([series("a", &[3, 4], 1.0), series("c", &[1], 1.0)].into_iter().map(Ok)),
            Box::new([series("a", &[1, 3], 2.0), series("b", &[1], 2.0)].into_iter().map(Ok)),
        ];
        let merged: Vec<Series> = Merged::new(sets).map(Result::unwrap).collect();
        let shown =
            |series: &Series| (series.labels.get("job").unwrap_or("").to_owned(), series.samples.values.clone());
        assert_eq!(
            merged.iter().map(shown).collect::<Vec<_>>(),
            [("a".into(), vec![2.0, 1.0, 1.0]), ("b".into(), vec![2.0]), ("c".into(), vec![1.0])]
        );
        assert_eq!(merged[0].samples.timestamps, [1, 3, 4]);
    }

    #[test]
    fn a_failure_ends_the_set() {
        let failing = [Ok(series("a", &[1], 1.0)), Err(SelectError::Cancelled)];
        let mut merged = Merged::new(vec![Box::new(failing.into_iter())]);
        assert!(merged.next().unwrap().is_err());
        assert!(merged.next().is_none());
    }
}
