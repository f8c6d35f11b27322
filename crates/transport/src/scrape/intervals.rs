//! How far apart scrapes really were, as a summary for each interval that is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relatum_model::Labels;
use relatum_model::exposition::{FamilySample, MetricFamily, MetricKind};
use relatum_model::time::format_duration;

/// The quantiles that are shown: Prometheus'.
const QUANTILES: [(&str, f64); 5] = [("0.01", 0.01), ("0.05", 0.05), ("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

/// Quantiles are those of the latest observations. Enough of them for the outermost quantile to mean something.
const OBSERVATIONS_KEPT: usize = 1000;

/// Intervals that are told apart; jobs have a handful, but relabelling can make any number.
const INTERVALS_MAX: usize = 100;

/// The summaries by interval.
#[derive(Debug, Default)]
pub(crate) struct Intervals(Mutex<BTreeMap<Duration, Summary>>);

#[derive(Debug, Default)]
struct Summary {
    latest: VecDeque<f64>,
    sum: f64,
    count: u64,
}

impl Intervals {
    /// Notes that two scrapes of a target that is due every `interval` were `actual` apart.
    pub(crate) fn observe(&self, interval: Duration, actual: Duration) {
        let mut summaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if summaries.len() >= INTERVALS_MAX && !summaries.contains_key(&interval) {
            return;
        }
        let summary = summaries.entry(interval).or_default();
        if summary.latest.len() == OBSERVATIONS_KEPT {
            summary.latest.pop_front();
        }
        summary.latest.push_back(actual.as_secs_f64());
        summary.sum += actual.as_secs_f64();
        summary.count += 1;
    }

    pub(crate) fn family(&self) -> MetricFamily {
        let (name, help) = ("prometheus_target_interval_length_seconds", "Actual intervals between scrapes.");
        let mut family = MetricFamily::new(MetricKind::Summary, name, help);
        for (interval, summary) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let interval = format_duration(*interval);
            let mut sorted: Vec<f64> = summary.latest.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            for (text, quantile) in QUANTILES {
                let at = ((sorted.len() - 1) as f64 * quantile).round() as usize;
                let labels = Labels::from_pairs([("interval", interval.as_str()), ("quantile", text)]);
                family.push(labels, sorted[at]);
            }
            let labels = Labels::from_pairs([("interval", interval.as_str())]);
            family.samples.push(FamilySample { suffix: "_sum", labels: labels.clone(), value: summary.sum });
            family.samples.push(FamilySample { suffix: "_count", labels, value: summary.count as f64 });
        }
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let intervals = Intervals::default();
        for n in 0..2 * OBSERVATIONS_KEPT {
            intervals.observe(Duration::from_secs(15), Duration::from_millis(n as u64));
        }
        let text = relatum_model::exposition::write_text(&[intervals.family()]);
        let expected = [
            r#"{interval="15s",quantile="0.01"} 1.01"#,
            r#"{interval="15s",quantile="0.5"} 1.5"#,
            r#"_count{interval="15s"} 2000"#,
        ];
        for line in expected {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
