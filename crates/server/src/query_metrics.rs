//! What queries took, all together: Prometheus' `prometheus_engine_*`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use relatum_model::Labels;
use relatum_model::exposition::{FamilySample, MetricFamily, MetricKind};
use relatum_promql::QueryStats;

/// The quantiles that are shown: Prometheus'.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

/// Quantiles are those of the latest queries: of so many, enough for the outermost quantile to mean something.
const OBSERVATIONS_KEPT: usize = 500;
/// And of so long, as with Prometheus.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// The parts of a query's time, in the order of [`Slices`].
const SLICES: [&str; 4] = ["inner_eval", "prepare_time", "queue_time", "result_sort"];

/// How long the parts of one query took; `None` for one that it does not have.
#[derive(Debug, Clone, Copy, Default)]
struct Slices([Option<Duration>; 4]);

/// What queries took so far.
#[derive(Debug, Default)]
pub(crate) struct QueryMetrics {
    slices: Mutex<[Summary; 4]>,
    samples: AtomicU64,
}

#[derive(Debug, Default)]
struct Summary {
    latest: VecDeque<(Instant, f64)>,
    sum: f64,
    count: u64,
}

impl QueryMetrics {
    /// Counts a query of a client, after it waited for its turn. Only the result of a range is sorted.
    pub(crate) fn count(&self, waited: Duration, stats: &QueryStats, is_range: bool) {
        let sorting = is_range.then_some(stats.sorting);
        self.add(Slices([Some(stats.evaluation), Some(stats.preparation), Some(waited), sorting]), stats);
    }

    /// Counts a query of a rule.
    pub(crate) fn count_of_rule(&self, stats: &QueryStats) {
        self.add(Slices([Some(stats.evaluation), Some(stats.preparation), None, None]), stats);
    }

    fn add(&self, Slices(parts): Slices, stats: &QueryStats) {
        self.samples.fetch_add(stats.samples_looked_at, Ordering::Relaxed);
        let now = Instant::now();
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        for (summary, took) in slices.iter_mut().zip(parts) {
            if let Some(took) = took {
                summary.observe(took.as_secs_f64(), now);
            }
        }
    }

    /// As families for `/metrics`.
    pub(crate) fn metrics(&self) -> [MetricFamily; 2] {
        [
            self.durations(Instant::now()),
            MetricFamily::counter(
                "prometheus_engine_query_samples_total",
                "Samples that all queries looked at.",
                self.samples.load(Ordering::Relaxed) as f64,
            ),
        ]
    }

    fn durations(&self, now: Instant) -> MetricFamily {
        let (name, help) = ("prometheus_engine_query_duration_seconds", "How long the parts of queries took.");
        let mut family = MetricFamily::new(MetricKind::Summary, name, help);
        let slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        for (slice, summary) in SLICES.into_iter().zip(&*slices) {
            let sorted = summary.sorted(now);
            for (text, quantile) in QUANTILES {
                // Without a query there is nothing that could be said.
                let at = (sorted.len().saturating_sub(1) as f64 * quantile).round() as usize;
                let value = sorted.get(at).copied().unwrap_or(f64::NAN);
                family.push(Labels::from_pairs([("quantile", text), ("slice", slice)]), value);
            }
            let labels = Labels::from_pairs([("slice", slice)]);
            family.samples.push(FamilySample { suffix: "_sum", labels: labels.clone(), value: summary.sum });
            family.samples.push(FamilySample { suffix: "_count", labels, value: summary.count as f64 });
        }
        family
    }
}

impl Summary {
    fn observe(&mut self, seconds: f64, now: Instant) {
        if self.latest.len() == OBSERVATIONS_KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back((now, seconds));
        self.sum += seconds;
        self.count += 1;
    }

    /// The observations that quantiles are of.
    fn sorted(&self, now: Instant) -> Vec<f64> {
        let is_new = |at: Instant| now.saturating_duration_since(at) <= KEPT_FOR;
        let mut sorted: Vec<f64> =
            self.latest.iter().filter(|(at, _)| is_new(*at)).map(|(_, seconds)| *seconds).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_queries() {
        let metrics = QueryMetrics::default();
        let text = || relatum_model::exposition::write_text(&metrics.metrics());
        #[track_caller]
        fn check(text: &str, lines: &[&str]) {
            for line in lines {
                let line = format!("prometheus_engine_query_{line}\n");
                assert!(text.contains(&line), "{line} is not in\n{text}");
            }
        }
        check(&text(), &[r#"duration_seconds{quantile="0.5",slice="queue_time"} NaN"#, "samples_total 0"]);
        for n in 1..=2 * OBSERVATIONS_KEPT as u64 {
            let evaluation = Duration::from_millis(n);
            let stats = QueryStats { evaluation, samples_looked_at: 2, ..QueryStats::default() };
            metrics.count(Duration::from_secs(1), &stats, n == 7);
        }
        metrics.count_of_rule(&QueryStats { samples_looked_at: 5, ..QueryStats::default() });
        check(
            &text(),
            &[
                r#"duration_seconds{quantile="0.5",slice="inner_eval"} 0.751"#,
                r#"duration_seconds{quantile="0.99",slice="queue_time"} 1"#,
                r#"duration_seconds_sum{slice="queue_time"} 1000"#,
                r#"duration_seconds_count{slice="queue_time"} 1000"#,
                r#"duration_seconds_count{slice="inner_eval"} 1001"#,
                r#"duration_seconds_count{slice="prepare_time"} 1001"#,
                r#"duration_seconds_count{slice="result_sort"} 1"#,
                "samples_total 2005",
            ],
        );
        // What was long ago counts, but says nothing about now.
        let later = metrics.durations(Instant::now() + 2 * KEPT_FOR);
        assert!(later.samples[0].value.is_nan() && later.samples[4].value > 1000.0);
    }
}
