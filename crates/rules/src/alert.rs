//! One alert of one rule: its state, and when it changes.

use std::time::Duration;

use relatum_model::Labels;

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// It fired once and does no more.
    Inactive,
    /// Its condition holds, but not for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// The word of the API and of the label `alertstate`.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// How long a resolved alert is remembered, so that Alertmanager hears of its end even after some failed sends.
const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// One alert, from the moment its condition first held.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveAlert {
    /// What identifies it, `alertname` included.
    pub labels: Labels,
    /// Texts for people, as of the last tick.
    pub annotations: Labels,
    /// The value of the expression at the last tick at which the condition held.
    pub value: f64,
    /// Its state.
    pub state: AlertState,
    /// When its condition began to hold, milliseconds since 1970.
    pub active_at_ms: i64,
    /// When it began to fire.
    pub fired_at_ms: Option<i64>,
    /// When it stopped to fire.
    pub resolved_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub kept_since_ms: Option<i64>,
    /// When it was handed out for sending the last time.
    pub sent_at_ms: Option<i64>,
}

impl ActiveAlert {
    /// An alert whose condition holds for the first time.
    pub(crate) fn new(labels: Labels, annotations: Labels, value: f64, now_ms: i64) -> Self {
        ActiveAlert {
            labels,
            annotations,
            value,
            state: AlertState::Pending,
            active_at_ms: now_ms,
            fired_at_ms: None,
            resolved_at_ms: None,
            kept_since_ms: None,
            sent_at_ms: None,
        }
    }

    /// Moves on after looking at the condition at `now_ms`; answers whether the alert is still worth remembering.
    ///
    /// ```text
    ///            holds                 held for `hold_for`
    /// (nothing) ------> Pending ---------------------------> Firing --holds no more, nor for `keep_firing_for`--> Inactive
    ///    ^                 |                                                                                         |
    ///    '-- no more ------'                                    (nothing) <------- 15 minutes after its end --------'
    /// ```
    pub(crate) fn step(&mut self, holds: bool, now_ms: i64, hold_for: Duration, keep_firing_for: Duration) -> bool {
        if holds {
            self.kept_since_ms = None;
        } else if !self.is_kept(now_ms, keep_firing_for) {
            return match self.state {
                AlertState::Pending => false,
                AlertState::Firing => {
                    self.state = AlertState::Inactive;
                    self.resolved_at_ms = Some(now_ms);
                    true
                }
                AlertState::Inactive => {
                    self.resolved_at_ms.is_some_and(|at_ms| now_ms - at_ms <= RESOLVED_RETENTION_MS)
                }
            };
        }
        let has_held = now_ms - self.active_at_ms >= ms(hold_for);
        if self.state == AlertState::Pending && has_held {
            self.state = AlertState::Firing;
            self.fired_at_ms = Some(now_ms);
        } else if self.state == AlertState::Firing && !has_held {
            // A reload made `for` longer, or the beginning was read back: it has to hold for the rest.
            self.state = AlertState::Pending;
            (self.fired_at_ms, self.sent_at_ms, self.kept_since_ms) = (None, None, None);
        }
        true
    }

    /// Whether it fires on although its condition does not hold.
    fn is_kept(&mut self, now_ms: i64, keep_firing_for: Duration) -> bool {
        if self.state != AlertState::Firing || keep_firing_for.is_zero() {
            return false;
        }
        now_ms - *self.kept_since_ms.get_or_insert(now_ms) < ms(keep_firing_for)
    }

    /// Whether Alertmanager should hear of it at `now_ms`: it was never sent, it ended since, or the last time is too long ago.
    pub(crate) fn is_due(&self, now_ms: i64, resend_after: Duration) -> bool {
        match (self.state, self.sent_at_ms) {
            (AlertState::Pending, _) => false,
            (_, None) => true,
            (_, Some(sent_ms)) => {
                self.resolved_at_ms.is_some_and(|at_ms| at_ms > sent_ms) || sent_ms + ms(resend_after) < now_ms
            }
        }
    }
}

pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each character is one tick a minute apart: `+` holds, `-` does not. Answers a letter a tick: p, f, i, or `.` for forgotten.
    #[track_caller]
    fn check(holds: &str, hold_for_min: u64, keep_min: u64, expected: &str) {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut alert: Option<ActiveAlert> = None;
        let mut states = String::new();
        for (at, c) in holds.chars().enumerate() {
            let now_ms = at as i64 * 60_000;
            let holds = c == '+';
            let ended = alert.as_ref().is_none_or(|a| a.state == AlertState::Inactive);
            if holds && ended {
                alert = Some(ActiveAlert::new(Labels::empty(), Labels::empty(), 1.0, now_ms));
            }
            alert = alert.filter_map_step(holds, now_ms, minutes(hold_for_min), minutes(keep_min));
            states.push(alert.as_ref().map_or('.', |a| a.state.as_str().chars().next().unwrap()));
        }
        assert_eq!(states, expected, "{holds} for {hold_for_min} keep {keep_min}");
    }

    trait Step {
        fn filter_map_step(self, holds: bool, now_ms: i64, hold_for: Duration, keep: Duration) -> Self;
    }

    impl Step for Option<ActiveAlert> {
        fn filter_map_step(self, holds: bool, now_ms: i64, hold_for: Duration, keep: Duration) -> Self {
            self.and_then(|mut alert| alert.step(holds, now_ms, hold_for, keep).then_some(alert))
        }
    }

    #[test]
    fn states() {
        check("+++-", 0, 0, "fffi");
        check("++++-", 2, 0, "ppffi");
        // A condition that stops to hold while pending starts anew.
        check("++-+++", 2, 0, "pp.ppf");
        check("+----", 0, 2, "fffii");
        check("+-+---", 0, 2, "fffffi");
        // Remembered for 15 minutes after its end.
        check("+-----------------", 0, 0, "fiiiiiiiiiiiiiiii.");
        check("+-+", 0, 0, "fif");
    }

    #[test]
    fn a_longer_for_makes_it_pending_again() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut alert = ActiveAlert::new(Labels::empty(), Labels::empty(), 1.0, 0);
        alert.step(true, 0, Duration::ZERO, Duration::ZERO);
        assert_eq!(alert.state, AlertState::Firing);
        alert.step(true, 60_000, minutes(5), Duration::ZERO);
        assert_eq!((alert.state, alert.fired_at_ms), (AlertState::Pending, None));
        alert.step(true, 300_000, minutes(5), Duration::ZERO);
        assert_eq!((alert.state, alert.fired_at_ms), (AlertState::Firing, Some(300_000)));
    }

    #[test]
    fn sending() {
        let mut alert = ActiveAlert::new(Labels::empty(), Labels::empty(), 1.0, 0);
        let minute = Duration::from_secs(60);
        assert!(!alert.is_due(0, minute), "pending");
        alert.step(true, 0, Duration::ZERO, Duration::ZERO);
        assert!(alert.is_due(0, minute));
        alert.sent_at_ms = Some(0);
        assert!(!alert.is_due(60_000, minute));
        assert!(alert.is_due(60_001, minute));
        alert.step(false, 10_000, Duration::ZERO, Duration::ZERO);
        assert!(alert.is_due(10_000, minute), "its end is news");
    }
}
