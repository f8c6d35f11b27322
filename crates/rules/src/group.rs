//! A group of rules: evaluated together, one after the other, at the same times.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use relatum_config::prometheus::GlobalConfig;
use relatum_config::rules::{Rule, RuleGroup, RuleKind};
use relatum_config::template::{Query, QuerySample};
use relatum_model::storage::{Append, Refused, Scope, Select, SeriesRef};
use relatum_model::{Alert, Labels, stale_nan};
use relatum_promql::{Engine, QueryOptions, Value, VectorSample};
use tracing::warn;

use crate::alert::{ActiveAlert, AlertState, ms};
use crate::alerting::{AlertingRule, Surroundings, texts};
use crate::recording::{Recorded, record};
use crate::restore::{has_past, restore};
use crate::view::{GroupView, RuleDetails, RuleHealth, RuleView};

/// Firing alerts are sent again after this long, so that a lost one is not missed for good. Prometheus' `--rules.alert.resend-delay`.
const RESEND_AFTER: Duration = Duration::from_secs(60);
/// Alertmanager takes an alert for resolved when it was not sent again for this many intervals.
const VALID_INTERVALS: i64 = 4;

/// What a tick works with.
#[derive(Clone, Copy)]
pub struct Tick<'a> {
    /// The moment, milliseconds since 1970.
    pub now_ms: i64,
    /// Evaluates the expressions.
    pub engine: &'a Engine,
    /// What they are evaluated on.
    pub select: &'a dyn Select,
    /// Where results go.
    pub append: &'a dyn Append,
    /// Labels that templates see as `$externalLabels`.
    pub external_labels: &'a Labels,
    /// Where people reach this server, without a slash at the end.
    pub external_url: &'a str,
}

/// What came of a tick.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Alerts to send now.
    pub alerts: Vec<Alert>,
    /// How many rules were evaluated.
    pub evaluations: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many samples were appended.
    pub samples: u64,
}

/// A group with the state of its rules.
#[derive(Debug)]
pub struct Group {
    file: String,
    definition: RuleGroup,
    interval: Duration,
    query_offset: Duration,
    rules: Vec<RuleState>,
    evaluated_at_ms: Option<i64>,
    took: Duration,
    /// Series of rules that a reload took away; they end at the next tick.
    orphans: HashSet<Labels>,
    /// Whether alerts were read back after the start.
    restored: bool,
}

#[derive(Debug)]
struct RuleState {
    rule: Rule,
    alerting: Option<AlertingRule>,
    health: RuleHealth,
    last_error: Option<String>,
    evaluated_at_ms: Option<i64>,
    took: Duration,
    /// What the last evaluation appended, so that what is gone can be ended.
    series: HashSet<Labels>,
}

impl RuleState {
    fn new(rule: &Rule) -> Self {
        let alerting = match &rule.kind {
            RuleKind::Record { .. } => None,
            RuleKind::Alert { name, hold_for, keep_firing_for, annotations } => Some(AlertingRule {
                name: name.clone(),
                hold_for: *hold_for,
                keep_firing_for: *keep_firing_for,
                labels: texts(&rule.labels),
                annotations: texts(annotations),
                active: Default::default(),
                restored: !has_past(*hold_for),
            }),
        };
        RuleState {
            rule: rule.clone(),
            alerting,
            health: RuleHealth::Unknown,
            last_error: None,
            evaluated_at_ms: None,
            took: Duration::ZERO,
            series: HashSet::new(),
        }
    }
}

impl Group {
    /// A group from its definition in `file`; `defaults` count where it names none.
    pub fn new(file: impl Into<String>, definition: &RuleGroup, defaults: &GlobalConfig) -> Self {
        Group {
            file: file.into(),
            definition: definition.clone(),
            interval: definition.interval.unwrap_or(defaults.evaluation_interval),
            query_offset: definition.query_offset.unwrap_or(defaults.rule_query_offset),
            rules: definition.rules.iter().map(RuleState::new).collect(),
            evaluated_at_ms: None,
            took: Duration::ZERO,
            orphans: HashSet::new(),
            restored: false,
        }
    }

    /// Says that there is no past to read back: alerts are recorded from the first tick on.
    pub(crate) fn begin_anew(&mut self) {
        self.restored = true;
        for alerting in self.rules.iter_mut().filter_map(|state| state.alerting.as_mut()) {
            alerting.restored = true;
        }
    }

    /// What the group is known by across reloads: its file and its name.
    pub fn key(&self) -> (String, String) {
        (self.file.clone(), self.definition.name.clone())
    }

    /// The time between ticks.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the group is what this definition would make of it.
    pub fn is(&self, definition: &RuleGroup, defaults: &GlobalConfig) -> bool {
        self.definition == *definition
            && self.interval == definition.interval.unwrap_or(defaults.evaluation_interval)
            && self.query_offset == definition.query_offset.unwrap_or(defaults.rule_query_offset)
    }

    /// How long after a multiple of its interval a group ticks: spread by name, so that groups do not tick all at once.
    pub fn offset(&self) -> Duration {
        // FNV-1a: the same on every run and machine, so that a restart keeps the rhythm.
        struct Fnv(u64);
        impl Hasher for Fnv {
            fn finish(&self) -> u64 {
                self.0
            }
            fn write(&mut self, bytes: &[u8]) {
                for byte in bytes {
                    self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        (&self.file, &self.definition.name).hash(&mut hash);
        let interval_ms = ms(self.interval).max(1) as u64;
        Duration::from_millis(hash.finish() % interval_ms)
    }

    /// Takes over the state of the rules that `old`, the group before a reload, has in common with this one. The series of
    /// all other rules end at the next tick.
    /// `old` is left without rules.
    pub fn continue_from(&mut self, old: &mut Group) {
        let mut old_rules = std::mem::take(&mut old.rules);
        self.orphans = std::mem::take(&mut old.orphans);
        self.restored = old.restored;
        (self.evaluated_at_ms, self.took) = (old.evaluated_at_ms, old.took);
        for state in &mut self.rules {
            // As in Prometheus a rule stays the same rule while its expression or its texts are edited.
            let same = |other: &RuleState| {
                other.rule.name() == state.rule.name()
                    && other.alerting.is_some() == state.alerting.is_some()
                    && other.rule.labels == state.rule.labels
            };
            match old_rules.iter().position(same) {
                Some(at) => {
                    let old = old_rules.remove(at);
                    if let (Some(alerting), Some(old)) = (&mut state.alerting, old.alerting) {
                        alerting.active = old.active;
                        alerting.restored = old.restored;
                    }
                    state.series = old.series;
                    state.health = old.health;
                    state.last_error = old.last_error;
                    state.evaluated_at_ms = old.evaluated_at_ms;
                    state.took = old.took;
                }
                // A rule that is new in a running server has no past to read back.
                None => {
                    if let Some(alerting) = &mut state.alerting {
                        alerting.restored |= old.restored;
                    }
                }
            }
        }
        self.orphans.extend(old_rules.into_iter().flat_map(|rule| rule.series));
    }

    /// Evaluates every rule in order at `tick.now_ms`. A rule that fails is marked and does not stop the others.
    pub fn evaluate(&mut self, tick: &Tick<'_>) -> Evaluation {
        let start = Instant::now();
        let mut evaluation = Evaluation::default();
        let at_ms = tick.now_ms - ms(self.query_offset);
        let limit = self.definition.limit;
        for state in &mut self.rules {
            let rule_start = Instant::now();
            evaluation.evaluations += 1;
            let outcome = evaluate_rule(state, tick, at_ms, limit);
            state.evaluated_at_ms = Some(tick.now_ms);
            state.took = rule_start.elapsed();
            match outcome {
                Ok(n_samples) => {
                    state.health = RuleHealth::Good;
                    state.last_error = None;
                    evaluation.samples += n_samples;
                }
                Err(error) => {
                    evaluation.failures += 1;
                    if state.health != RuleHealth::Bad {
                        warn!(
                            group = self.definition.name,
                            rule = state.rule.name(),
                            error,
                            "a rule cannot be evaluated"
                        );
                    }
                    state.health = RuleHealth::Bad;
                    state.last_error = Some(error);
                }
            }
        }
        if !self.orphans.is_empty() {
            let ends = self.orphans.drain().map(|labels| (labels, Recorded::Float(stale_nan()))).collect::<Vec<_>>();
            if let Err(error) = append(tick.append, &ends, at_ms) {
                warn!(group = self.definition.name, error, "series of removed rules cannot be ended");
            }
        }
        // Only active alerts can be given a past. The first tick may come before the first scrape and find none, so the
        // second one is waited for.
        if !self.restored && self.evaluated_at_ms.is_some() {
            self.restored = self.restore(tick);
        }
        // What a failing rule fired before expires at Alertmanager: nobody knows whether it still holds.
        evaluation.alerts = self.due_alerts(tick, |state| state.health == RuleHealth::Good);
        self.evaluated_at_ms = Some(tick.now_ms);
        self.took = start.elapsed();
        evaluation
    }

    fn restore(&mut self, tick: &Tick<'_>) -> bool {
        for alerting in self.rules.iter_mut().filter_map(|state| state.alerting.as_mut()) {
            if let Err(error) = restore(alerting, tick.select, tick.now_ms) {
                warn!(alert = alerting.name, %error, "the state of alerts before the restart cannot be read");
                return false;
            }
        }
        true
    }

    fn due_alerts(&mut self, tick: &Tick<'_>, counts: impl Fn(&RuleState) -> bool) -> Vec<Alert> {
        let valid_ms = VALID_INTERVALS * ms(self.interval.max(RESEND_AFTER));
        let mut alerts = Vec::new();
        for state in self.rules.iter_mut().filter(|state| counts(state)) {
            let Some(alerting) = &mut state.alerting else { continue };
            for alert in alerting.active.values_mut().filter(|alert| alert.is_due(tick.now_ms, RESEND_AFTER)) {
                alert.sent_at_ms = Some(tick.now_ms);
                alerts.push(Alert {
                    labels: alert.labels.clone(),
                    annotations: alert.annotations.clone(),
                    starts_at_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
                    ends_at_ms: alert.resolved_at_ms.unwrap_or(tick.now_ms + valid_ms),
                    generator_url: generator_url(tick.external_url, &state.rule.expr.to_string()),
                });
            }
        }
        alerts
    }

    /// Ends every series of the group: it was removed. Its firing alerts are resolved; they are returned to be sent.
    pub fn retire(&mut self, tick: &Tick<'_>) -> Vec<Alert> {
        let at_ms = tick.now_ms - ms(self.query_offset);
        let series = self.rules.iter_mut().flat_map(|state| state.series.drain()).chain(self.orphans.drain());
        let ends: Vec<(Labels, Recorded)> = series.map(|labels| (labels, Recorded::Float(stale_nan()))).collect();
        if let Err(error) = append(tick.append, &ends, at_ms) {
            warn!(group = self.definition.name, error, "series of a removed group cannot be ended");
        }
        for alerting in self.rules.iter_mut().filter_map(|state| state.alerting.as_mut()) {
            alerting.active.retain(|_, alert| alert.state == AlertState::Firing);
            for alert in alerting.active.values_mut() {
                alert.state = AlertState::Inactive;
                alert.resolved_at_ms = Some(tick.now_ms);
                // Whatever was sent before, its end is news.
                alert.sent_at_ms = None;
            }
        }
        self.due_alerts(tick, |_| true)
    }

    /// The group as it stands.
    pub fn view(&self) -> GroupView {
        GroupView {
            name: self.definition.name.clone(),
            file: self.file.clone(),
            interval: self.interval,
            limit: self.definition.limit,
            evaluated_at_ms: self.evaluated_at_ms,
            took: self.took,
            rules: self.rules.iter().map(view).collect(),
        }
    }
}

fn view(state: &RuleState) -> RuleView {
    let annotations = match &state.rule.kind {
        RuleKind::Alert { annotations, .. } => annotations.clone(),
        RuleKind::Record { .. } => Vec::new(),
    };
    let alerting = state.alerting.as_ref().map(|alerting| {
        let alerts: Vec<ActiveAlert> =
            alerting.active.values().filter(|alert| alert.state != AlertState::Inactive).cloned().collect();
        RuleDetails {
            hold_for: alerting.hold_for,
            keep_firing_for: alerting.keep_firing_for,
            annotations,
            state: alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive),
            alerts,
        }
    });
    RuleView {
        name: state.rule.name().to_owned(),
        query: state.rule.expr.to_string(),
        labels: state.rule.labels.clone(),
        health: state.health,
        last_error: state.last_error.clone(),
        evaluated_at_ms: state.evaluated_at_ms,
        took: state.took,
        alerting,
    }
}

/// How the templates of an alert ask for more: at the moment its rule is evaluated.
struct TemplateQuery<'a> {
    tick: &'a Tick<'a>,
    at_ms: i64,
}

impl Query for TemplateQuery<'_> {
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let Tick { engine, select, .. } = *self.tick;
        let answer = engine
            .instant(select, &Scope::all(), expr, self.at_ms, &QueryOptions::default())
            .map_err(|error| error.to_string())?;
        let samples = samples(answer.value)?;
        Ok(samples.into_iter().map(|sample| QuerySample { labels: sample.labels, value: sample.value }).collect())
    }

    fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

/// The samples of a result; a scalar is one without labels.
fn samples(value: Value) -> Result<Vec<VectorSample>, String> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar { t_ms, value } => Ok(vec![VectorSample::of_float(Labels::empty(), t_ms, value)]),
        Value::String { .. } | Value::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// Evaluates one rule and appends what it gives; returns how many samples that were.
fn evaluate_rule(state: &mut RuleState, tick: &Tick<'_>, at_ms: i64, limit: usize) -> Result<u64, String> {
    let options = QueryOptions::default();
    let answer = tick
        .engine
        .instant_expr(tick.select, &Scope::all(), &state.rule.expr, at_ms, &options)
        .map_err(|error| error.to_string())?;
    let samples = samples(answer.value)?;
    let mut series = match (&mut state.alerting, &state.rule.kind) {
        (Some(alerting), _) => {
            let surroundings = Surroundings {
                external_labels: tick.external_labels,
                external_url: tick.external_url,
                query: &TemplateQuery { tick, at_ms },
            };
            let series = alerting.evaluate(&samples, tick.now_ms, limit, surroundings)?;
            series.into_iter().map(|(labels, value)| (labels, Recorded::Float(value))).collect()
        }
        (None, RuleKind::Record { name }) => record(name, &state.rule.labels, &samples, limit)?,
        (None, RuleKind::Alert { .. }) => unreachable!("an alerting rule has its alerts"),
    };
    let now: HashSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
    let n_samples = series.len() as u64;
    series.extend(state.series.difference(&now).map(|gone| (gone.clone(), Recorded::Float(stale_nan()))));
    append(tick.append, &series, at_ms)?;
    state.series = now;
    Ok(n_samples)
}

/// Appends in one batch. A sample that is refused because a newer one is there already, as after a clock step, is left out.
fn append(store: &dyn Append, series: &[(Labels, Recorded)], at_ms: i64) -> Result<(), String> {
    if series.is_empty() {
        return Ok(());
    }
    let mut appender = store.appender();
    let mut refused = None;
    for (labels, value) in series {
        let appended = match value {
            Recorded::Float(value) => appender.append(SeriesRef::NONE, labels, at_ms, *value),
            Recorded::Histogram(histogram) => appender.append_histogram(SeriesRef::NONE, labels, at_ms, 0, histogram),
        };
        match appended {
            Ok(_) => {}
            Err(error @ (Refused::OutOfOrder | Refused::DuplicateTimestamp | Refused::TooOld)) => {
                refused.get_or_insert((labels, error));
            }
            Err(error) => return Err(format!("{labels}: {error}")),
        }
    }
    if let Some((labels, error)) = refused {
        warn!(series = %labels, %error, "a rule's result was not stored");
    }
    appender.commit().map_err(|error| error.to_string())
}

/// Where a person sees the expression behind an alert: the query page of this server.
fn generator_url(external_url: &str, expr: &str) -> String {
    let mut url = format!("{external_url}/graph?g0.expr=");
    for byte in expr.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            b' ' => url.push('+'),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url.push_str("&g0.tab=1");
    url
}
