//! The rules that every sender hands on besides its own: that its series still arrive.

use serde_json::{Value, json};

use relatum_model::Matcher;
use relatum_promql::syntax::{self, Injection, ParseOptions};

use crate::injection;
use crate::name::UnitName;
use crate::topology::{JUJU_UNIT, Topology};

/// The group of rules that fire when series of `units` stop arriving, and when those of all of them do.
///
/// A unit missing is critical for a subordinate, which has a host to itself, and a warning for others.
pub fn group(topology: &Topology, units: &[UnitName], is_subordinate: bool) -> Value {
    let of_application = injection::matchers(topology);
    let severity = if is_subordinate { "critical" } else { "warning" };
    // By name, as the libraries sort: unit 10 comes before unit 2.
    let mut names: Vec<String> = units.iter().map(UnitName::to_string).collect();
    names.sort();
    let mut rules: Vec<Value> = Vec::new();
    for name in &names {
        let mut matchers = of_application.to_vec();
        matchers.push(Matcher::equal(JUJU_UNIT, name));
        let summary = "Unit '{{ $labels.juju_unit }}' of application '{{ $labels.juju_application }}' is down or failing to remote write.";
        let description = "`Up` missing for unit '{{ $labels.juju_unit }}' of application {{ $labels.juju_application }} in model \
             {{ $labels.juju_model }}. Please ensure the unit or the collector scraping it is up and is able to successfully reach \
             the metrics backend.";
        rules.push(rule("HostMetricsMissing", &matchers, labels(topology, severity, Some(name)), summary, description));
    }
    let summary = "Metrics not received from application '{{ $labels.juju_application }}'. All units are down or failing to remote write.";
    let description = "`Up` missing for ALL units of application {{ $labels.juju_application }} in model {{ $labels.juju_model }}. This can \
         also mean the units or the collector scraping them are unable to reach the remote write endpoint of the metrics backend. \
         Please ensure the correct firewall rules are applied.";
    rules.push(rule(
        "AggregatorMetricsMissing",
        &of_application,
        labels(topology, "critical", None),
        summary,
        description,
    ));
    let name = format!("{}_AggregatorHostHealth_rules", topology.identifier());
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' };
    json!({"name": name.chars().map(fits).collect::<String>(), "rules": rules})
}

fn labels(topology: &Topology, severity: &str, unit: Option<&str>) -> Value {
    let head = [("severity", severity)].into_iter().chain(unit.map(|unit| (JUJU_UNIT, unit)));
    head.chain(topology.labels()).map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn rule(alert: &str, matchers: &[Matcher], labels: Value, summary: &str, description: &str) -> Value {
    let mut expr = syntax::parse("absent(up)", &ParseOptions::default()).expect("the expression is valid");
    syntax::add_matchers(&mut expr, matchers, Injection::SkipIfPresent);
    json!({
        "alert": alert,
        "expr": expr.to_string(),
        "for": "5m",
        "labels": labels,
        "annotations": {"summary": summary, "description": description},
    })
}
