//! After a restart an alert goes on from where it was: its recorded beginning is read back.

use std::time::Duration;

use relatum_model::labels::{ALERT_NAME, METRIC_NAME};
use relatum_model::storage::{Cancel, Hints, Scope, Select, SelectError, TimeRange};
use relatum_model::{Labels, Matcher, is_stale};

use crate::alert::ms;
use crate::alerting::{AlertingRule, Alerts, SINCE_METRIC};

/// An outage longer than this is no interruption any more: alerts begin anew. Prometheus' `--rules.alert.for-outage-tolerance`.
const OUTAGE_MAX_MS: i64 = 3_600_000;
/// An alert that was about to fire gets at least this long after the outage. Prometheus' `--rules.alert.for-grace-period`.
const GRACE_MS: i64 = 600_000;

/// Whether alerts with this `for` are read back. With a shorter one than the grace, waiting anew is sooner than the grace's end.
pub(crate) fn has_past(hold_for: Duration) -> bool {
    ms(hold_for) >= GRACE_MS
}

/// Gives the active ones of the alerts of `rule` the beginning they had before the outage.
///
/// Time in which nothing was evaluated does not count towards `for`.
pub(crate) fn restore(
    rule: AlertingRule<'_>,
    alerts: &mut Alerts,
    store: &dyn Select,
    now_ms: i64,
) -> Result<(), SelectError> {
    let hold_ms = ms(rule.hold_for);
    if has_past(rule.hold_for) && !alerts.active.is_empty() {
        let range = TimeRange { min_ms: now_ms - OUTAGE_MAX_MS, max_ms: now_ms };
        let reader = store.open(&Scope::all(), range)?;
        let matchers = [Matcher::equal(METRIC_NAME, SINCE_METRIC), Matcher::equal(ALERT_NAME, rule.name)];
        for series in reader.series(&matchers, &Hints::default(), &Cancel::new())? {
            let series = series?;
            let labels: Labels = series.labels.without_metric_name();
            let Some(alert) = alerts.active.get_mut(&labels) else { continue };
            let Some(last) = series.samples.iter().next_back().filter(|sample| !is_stale(sample.value)) else {
                continue;
            };
            alert.active_at_ms = resumed_ms((last.value * 1000.0) as i64, last.t_ms, now_ms, hold_ms);
        }
    }
    alerts.restored = true;
    Ok(())
}

/// When an alert that began at `began_ms` and was last seen at `seen_ms` counts as begun, looked at after the outage.
fn resumed_ms(began_ms: i64, seen_ms: i64, now_ms: i64, hold_ms: i64) -> i64 {
    let left_ms = hold_ms - (seen_ms - began_ms);
    if left_ms <= 0 {
        // It was firing already.
        began_ms
    } else if left_ms < GRACE_MS {
        now_ms + GRACE_MS - hold_ms
    } else {
        began_ms + (now_ms - seen_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        const MIN: i64 = 60_000;
        for (began, seen, now, hold, expected, why) in [
            (0, 30, 40, 20, 0, "it fired before"),
            (0, 10, 15, 60, 5, "five minutes of outage do not count"),
            (0, 18, 30, 20, 20, "two minutes were left; it gets ten"),
        ] {
            assert_eq!(resumed_ms(began * MIN, seen * MIN, now * MIN, hold * MIN), expected * MIN, "{why}");
        }
    }
}
