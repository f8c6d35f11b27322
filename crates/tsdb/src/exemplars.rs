//! The exemplars of a store: the newest ones of all series, as many as the bound allows.
//!
//! They are in memory and in the log, and not in blocks: whoever looks at them looks at what happened lately. When there is no
//! room the one that came first goes, whatever series it belongs to.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use relatum_model::exemplar::{EXEMPLAR_CHARS_MAX, Exemplar};
use relatum_model::storage::{ExemplarRefused, Scope, SeriesExemplars, TimeRange};
use relatum_model::{Labels, Matcher};

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    max: usize,
    // Of each series, in the order of time; none is empty.
    by_series: HashMap<Labels, VecDeque<Exemplar>, RandomState>,
    // The series of each in the order in which they came.
    order: VecDeque<Labels>,
    appended: u64,
    out_of_order: u64,
}

impl Exemplars {
    /// Holds up to `max` from now on.
    pub(crate) fn set_max(&self, max: usize) {
        let mut inner = self.inner();
        inner.max = max;
        inner.shrink();
    }

    /// Whether any are held at all.
    pub(crate) fn are_wanted(&self) -> bool {
        self.inner().max > 0
    }

    /// Whether `exemplar` may follow what is held of `series`, and `before` it in the same batch. `Ok(false)` is a repetition, which
    /// changes nothing.
    pub(crate) fn check(
        &self,
        series: &Labels,
        exemplar: &Exemplar,
        before: Option<&Exemplar>,
    ) -> Result<bool, ExemplarRefused> {
        let chars = |labels: &Labels| {
            labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum::<usize>()
        };
        if chars(&exemplar.labels) > EXEMPLAR_CHARS_MAX {
            return Err(ExemplarRefused::LabelsTooLong);
        }
        let mut inner = self.inner();
        let newest = before.or_else(|| inner.by_series.get(series).and_then(VecDeque::back));
        let found = match newest {
            Some(newest) if newest.is_same(exemplar) => Ok(false),
            // Of several for one moment the smaller values come first, as those of a histogram do.
            Some(newest) if exemplar.t_ms < newest.t_ms => Err(ExemplarRefused::OutOfOrder),
            Some(newest) if exemplar.t_ms == newest.t_ms && exemplar.value < newest.value => {
                Err(ExemplarRefused::OutOfOrder)
            }
            _ => Ok(true),
        };
        inner.out_of_order += u64::from(found.is_err());
        found
    }

    /// Takes one that was checked, or that the log has.
    pub(crate) fn push(&self, series: &Labels, exemplar: Exemplar) {
        let mut inner = self.inner();
        if inner.max == 0 {
            return;
        }
        let held = inner.by_series.entry(series.clone()).or_default();
        // The log may have it twice: in a checkpoint and in the segment behind it.
        if held.iter().any(|other| other.is_same(&exemplar)) {
            return;
        }
        let at = held.partition_point(|other| other.t_ms <= exemplar.t_ms);
        held.insert(at, exemplar);
        inner.order.push_back(series.clone());
        inner.appended += 1;
        inner.shrink();
    }

    /// Those of the series that satisfy the scope and all matchers of any of `sets`, inside `range`, by series.
    pub(crate) fn select(&self, scope: &Scope, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars> {
        let inner = self.inner();
        let satisfies = |labels: &Labels| {
            scope.matchers().iter().all(|matcher| matcher.matches_labels(labels))
                && sets.iter().any(|set| set.iter().all(|matcher| matcher.matches_labels(labels)))
        };
        let mut found: Vec<SeriesExemplars> = inner
            .by_series
            .iter()
            .filter(|(labels, _)| satisfies(labels))
            .map(|(labels, held)| SeriesExemplars {
                labels: labels.clone(),
                exemplars: held.iter().filter(|exemplar| range.contains(exemplar.t_ms)).cloned().collect(),
            })
            .filter(|series| !series.exemplars.is_empty())
            .collect();
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// All, in the order in which they came, for what replaces the log.
    pub(crate) fn all(&self) -> Vec<(Labels, Exemplar)> {
        let inner = self.inner();
        let mut next: HashMap<&Labels, usize, RandomState> = HashMap::default();
        let of_order = inner.order.iter().filter_map(|labels| {
            let at = next.entry(labels).or_default();
            *at += 1;
            Some((labels.clone(), inner.by_series.get(labels)?.get(*at - 1)?.clone()))
        });
        of_order.collect()
    }

    /// How many are held, for how many there is room, of how many series they are, how many came, and how many came too late.
    pub(crate) fn counts(&self) -> ExemplarCounts {
        let inner = self.inner();
        ExemplarCounts {
            held: inner.order.len(),
            max: inner.max,
            series: inner.by_series.len(),
            appended: inner.appended,
            out_of_order: inner.out_of_order,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets go of the oldest ones for which there is no room.
    fn shrink(&mut self) {
        while self.order.len() > self.max {
            let Some(series) = self.order.pop_front() else { return };
            let left = self.by_series.get_mut(&series).map(|held| {
                held.pop_front();
                held.len()
            });
            if left == Some(0) {
                self.by_series.remove(&series);
            }
        }
    }
}

/// How a store stands with exemplars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExemplarCounts {
    /// How many there are.
    pub held: usize,
    /// For how many there is room; 0 when none are kept.
    pub max: usize,
    /// Of how many series they are.
    pub series: usize,
    /// How many were taken, replay included.
    pub appended: u64,
    /// How many were refused because they were older than the newest of their series.
    pub out_of_order: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(t_ms: i64, value: f64) -> Exemplar {
        Exemplar { labels: Labels::from_pairs([("trace_id", t_ms.to_string())]), value, t_ms }
    }

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    #[track_caller]
    fn check(exemplars: &Exemplars, expected: &[(&str, &[i64])]) {
        let found = exemplars.select(&Scope::all(), &[Vec::new()], TimeRange::ALL);
        let found: Vec<(String, Vec<i64>)> = found
            .iter()
            .map(|found| (found.labels.to_string(), found.exemplars.iter().map(|exemplar| exemplar.t_ms).collect()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(name, times)| ((*name).to_owned(), times.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let exemplars = Exemplars::default();
        exemplars.push(&series("a"), exemplar(1, 1.0));
        check(&exemplars, &[]);
        exemplars.set_max(4);
        for (name, t_ms) in [("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 5)] {
            exemplars.push(&series(name), exemplar(t_ms, 1.0));
        }
        check(&exemplars, &[("a", &[1, 2]), ("b", &[1, 5])]);
        exemplars.push(&series("c"), exemplar(0, 1.0));
        check(&exemplars, &[("a", &[2]), ("b", &[1, 5]), ("c", &[0])]);
        let all: Vec<_> = exemplars.all().into_iter().map(|(labels, e)| (labels.to_string(), e.t_ms)).collect();
        assert_eq!(all, [("b".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 5), ("c".to_owned(), 0)]);
        exemplars.set_max(1);
        check(&exemplars, &[("c", &[0])]);
        exemplars.set_max(0);
        check(&exemplars, &[]);
    }

    #[test]
    fn what_is_refused() {
        let exemplars = Exemplars::default();
        exemplars.set_max(10);
        exemplars.push(&series("a"), exemplar(5, 1.0));
        let long = Exemplar { labels: Labels::from_pairs([("trace_id", "x".repeat(121))]), ..exemplar(6, 1.0) };
        let just = Exemplar { labels: Labels::from_pairs([("trace_id", "é".repeat(120))]), ..exemplar(6, 1.0) };
        for (exemplar, expected) in [
            (exemplar(5, 1.0), Ok(false)),
            (exemplar(4, 1.0), Err(ExemplarRefused::OutOfOrder)),
            (exemplar(5, 0.5), Err(ExemplarRefused::OutOfOrder)),
            (exemplar(5, 2.0), Ok(true)),
            (exemplar(6, 0.0), Ok(true)),
            (long, Err(ExemplarRefused::LabelsTooLong)),
            (just, Ok(true)),
        ] {
            assert_eq!(exemplars.check(&series("a"), &exemplar, None), expected, "{exemplar:?}");
        }
        assert_eq!(
            exemplars.check(&series("a"), &exemplar(6, 1.0), Some(&exemplar(7, 1.0))),
            Err(ExemplarRefused::OutOfOrder)
        );
        assert_eq!(exemplars.counts().out_of_order, 3);
    }
}
