//! What juju shows of the unit: of all that is wrong at once, what the charm's status would say.

use crate::charm_options::Effect;

/// What the charm says when a relation has rules that are not fit to run, whatever else it publishes.
pub const INVALID_RULES: &str = "Invalid alert rules. See debug-log";

/// What the charm says when Prometheus would not take the configuration.
pub const INVALID_CONFIGURATION: &str = "Invalid prometheus configuration; see debug logs";

/// How the workload took what was rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Nobody answers where it should be.
    Unreachable,
    /// It does not take the configuration.
    Refuses,
    /// It runs what was rendered.
    Runs,
}

/// A status in juju's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// `blocked`, `maintenance` or `active`.
    pub current: &'static str,
    /// Empty when there is nothing to say.
    pub message: String,
}

/// The status that wins: what only a person can repair before what passes by itself, and of these the first in the charm's order.
pub fn unit_status(options: &Effect, has_unfit_rules: bool, workload: Workload) -> UnitStatus {
    let refused = (workload == Workload::Refuses).then_some(INVALID_CONFIGURATION);
    let unfit = has_unfit_rules.then_some(INVALID_RULES);
    let mut blocked = options.blocked.iter().map(String::as_str).chain(refused).chain(unfit);
    let (current, message) = match (blocked.next(), workload) {
        (Some(message), _) => ("blocked", message),
        (None, Workload::Unreachable) => ("maintenance", "Configuring Prometheus"),
        (None, _) => ("active", ""),
    };
    UnitStatus { current, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::charm_options::effect;

    #[track_caller]
    fn check(retention: &str, has_unfit_rules: bool, workload: Workload, current: &str, message: &str) {
        let options = Map::from_iter([("metrics_retention_time".to_owned(), Value::from(retention))]);
        let status = unit_status(&effect(&options, None), has_unfit_rules, workload);
        assert_eq!((status.current, status.message.as_str()), (current, message));
    }

    #[test]
    fn the_first_in_the_charms_order_wins() {
        check("1d", false, Workload::Runs, "active", "");
        check("1d", false, Workload::Unreachable, "maintenance", "Configuring Prometheus");
        check("1d", true, Workload::Unreachable, "blocked", INVALID_RULES);
        check("1d", true, Workload::Refuses, "blocked", INVALID_CONFIGURATION);
        check("1x", true, Workload::Refuses, "blocked", "Invalid time spec : 1x");
    }
}
