//! A group of rules: evaluated together, one after the other, at the same times.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use relatum_config::prometheus::GlobalConfig;
use relatum_config::rules::{Rule, RuleGroup, RuleKind};
use relatum_config::template::{Query, QuerySample};
use relatum_model::storage::{Append, Refused, Scope, Select, SeriesRef};
use relatum_model::{Alert, Labels, stale_nan};
use relatum_promql::syntax::Expr;
use relatum_promql::{Engine, Probe, QueryOptions, QueryStats, Value, VectorSample};
use tracing::warn;

use crate::alert::{ActiveAlert, AlertState, ms};
use crate::alerting::{AlertingRule, Alerts, Surroundings};
use crate::recording::{Recorded, record};
use crate::restore::{has_past, restore};
use crate::view::{GroupView, RuleAlerts, RuleHealth, RuleView};

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
    /// Is told of each query that a rule asks.
    pub watch: Option<&'a dyn Fn(&RuleQuery<'_>)>,
}

/// A query that a rule asked.
#[derive(Debug)]
pub struct RuleQuery<'a> {
    /// The group of the rule.
    pub group: &'a GroupSource,
    /// What was asked.
    pub expr: &'a Expr,
    /// The moment of the evaluation.
    pub at_ms: i64,
    /// Why there is no answer.
    pub error: Option<&'a str>,
    /// How long it took, to read its text included.
    pub took: Duration,
    /// What was measured on the way.
    pub stats: QueryStats,
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

/// What a group is made of: it is the same group for as long as this is the same.
#[derive(Debug, Clone)]
pub struct GroupSource {
    file: Arc<str>,
    definition: Arc<RuleGroup>,
    interval: Duration,
    query_offset: Duration,
}

impl GroupSource {
    /// A definition in `file`; `defaults` count where it says nothing.
    pub fn new(file: Arc<str>, definition: Arc<RuleGroup>, defaults: &GlobalConfig) -> Self {
        GroupSource {
            interval: definition.interval.unwrap_or(defaults.evaluation_interval),
            query_offset: definition.query_offset.unwrap_or(defaults.rule_query_offset),
            file,
            definition,
        }
    }

    /// The file's path.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The group's name, which no other group of the file has.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What the file says of it.
    pub fn definition(&self) -> &RuleGroup {
        &self.definition
    }

    /// The time between ticks.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl PartialEq for GroupSource {
    fn eq(&self, other: &Self) -> bool {
        let is_same = Arc::ptr_eq(&self.definition, &other.definition) || self.definition == other.definition;
        is_same && (&self.file, self.interval, self.query_offset) == (&other.file, other.interval, other.query_offset)
    }
}

/// A group with the state of its rules.
#[derive(Debug)]
pub struct Group {
    source: GroupSource,
    /// In the order of the definition.
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
    /// Of a rule that alerts.
    alerts: Option<Alerts>,
    health: RuleHealth,
    last_error: Option<String>,
    evaluated_at_ms: Option<i64>,
    took: Duration,
    /// What the last evaluation appended, so that what is gone can be ended, and how the store calls it.
    series: Appended,
}

/// Series that were appended to, and how the store calls them.
type Appended = HashMap<Labels, SeriesRef, RandomState>;

impl RuleState {
    fn new(rule: &Rule) -> Self {
        let alerts =
            AlertingRule::of(rule).map(|rule| Alerts { restored: !has_past(rule.hold_for), ..Alerts::default() });
        RuleState {
            alerts,
            health: RuleHealth::Unknown,
            last_error: None,
            evaluated_at_ms: None,
            took: Duration::ZERO,
            series: Appended::default(),
        }
    }
}

impl Group {
    /// A group that was never evaluated.
    pub fn new(source: GroupSource) -> Self {
        Group {
            rules: source.definition.rules.iter().map(RuleState::new).collect(),
            source,
            evaluated_at_ms: None,
            took: Duration::ZERO,
            orphans: HashSet::new(),
            restored: false,
        }
    }

    /// Says that there is no past to read back: alerts are recorded from the first tick on.
    pub(crate) fn begin_anew(&mut self) {
        self.restored = true;
        for alerts in self.rules.iter_mut().filter_map(|state| state.alerts.as_mut()) {
            alerts.restored = true;
        }
    }

    /// What it is made of.
    pub fn source(&self) -> &GroupSource {
        &self.source
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
        (self.source.file(), self.source.name()).hash(&mut hash);
        let interval_ms = ms(self.source.interval).max(1) as u64;
        Duration::from_millis(hash.finish() % interval_ms)
    }

    /// Takes over the state of the rules that `old`, the group before a reload, has in common with this one. The series of
    /// all other rules end at the next tick.
    /// `old` is left without rules.
    pub fn continue_from(&mut self, old: &mut Group) {
        let mut old_rules: Vec<(&Rule, RuleState)> =
            old.source.definition.rules.iter().zip(std::mem::take(&mut old.rules)).collect();
        self.orphans = std::mem::take(&mut old.orphans);
        self.restored = old.restored;
        (self.evaluated_at_ms, self.took) = (old.evaluated_at_ms, old.took);
        for (rule, state) in self.source.definition.rules.iter().zip(&mut self.rules) {
            // As in Prometheus a rule stays the same rule while its expression or its texts are edited.
            let same = |(other, old): &(&Rule, RuleState)| {
                other.name() == rule.name()
                    && old.alerts.is_some() == state.alerts.is_some()
                    && other.labels == rule.labels
            };
            match old_rules.iter().position(same) {
                Some(at) => {
                    let (_, old) = old_rules.remove(at);
                    if let (Some(alerts), Some(old)) = (&mut state.alerts, old.alerts) {
                        *alerts = old;
                    }
                    state.series = old.series;
                    state.health = old.health;
                    state.last_error = old.last_error;
                    state.evaluated_at_ms = old.evaluated_at_ms;
                    state.took = old.took;
                }
                // A rule that is new in a running server has no past to read back.
                None => {
                    if let Some(alerts) = &mut state.alerts {
                        alerts.restored |= old.restored;
                    }
                }
            }
        }
        self.orphans.extend(old_rules.into_iter().flat_map(|(_, state)| state.series.into_keys()));
    }

    /// Evaluates every rule in order at `tick.now_ms`. A rule that fails is marked and does not stop the others.
    pub fn evaluate(&mut self, tick: &Tick<'_>) -> Evaluation {
        let start = Instant::now();
        let mut evaluation = Evaluation::default();
        let at_ms = tick.now_ms - ms(self.source.query_offset);
        let definition = Arc::clone(&self.source.definition);
        for (rule, state) in definition.rules.iter().zip(&mut self.rules) {
            let rule_start = Instant::now();
            evaluation.evaluations += 1;
            let outcome = ask(rule, &self.source, tick, at_ms)
                .and_then(|value| evaluate_rule(rule, value, state, tick, at_ms, definition.limit));
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
                        warn!(group = definition.name, rule = rule.name(), error, "a rule cannot be evaluated");
                    }
                    state.health = RuleHealth::Bad;
                    state.last_error = Some(error);
                }
            }
        }
        if !self.orphans.is_empty() {
            let ends = self.orphans.drain().map(|labels| (labels, Recorded::Float(stale_nan()))).collect::<Vec<_>>();
            if let Err(error) = append(tick.append, &ends, &mut Appended::default(), at_ms) {
                warn!(group = self.source.definition.name, error, "series of removed rules cannot be ended");
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
        for (rule, state) in self.source.definition.rules.iter().zip(&mut self.rules) {
            let (Some(rule), Some(alerts)) = (AlertingRule::of(rule), &mut state.alerts) else { continue };
            if let Err(error) = restore(rule, alerts, tick.select, tick.now_ms) {
                warn!(alert = rule.name, %error, "the state of alerts before the restart cannot be read");
                return false;
            }
        }
        true
    }

    fn due_alerts(&mut self, tick: &Tick<'_>, counts: impl Fn(&RuleState) -> bool) -> Vec<Alert> {
        let valid_ms = VALID_INTERVALS * ms(self.source.interval.max(RESEND_AFTER));
        let mut alerts = Vec::new();
        let rules = self.source.definition.rules.iter().zip(&mut self.rules);
        for (rule, state) in rules.filter(|(_, state)| counts(state)) {
            let Some(alerts_of_rule) = &mut state.alerts else { continue };
            for alert in alerts_of_rule.active.values_mut().filter(|alert| alert.is_due(tick.now_ms, RESEND_AFTER)) {
                alert.sent_at_ms = Some(tick.now_ms);
                alerts.push(Alert {
                    labels: alert.labels.clone(),
                    annotations: alert.annotations.clone(),
                    starts_at_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
                    ends_at_ms: alert.resolved_at_ms.unwrap_or(tick.now_ms + valid_ms),
                    generator_url: generator_url(tick.external_url, &rule.expr.to_string()),
                });
            }
        }
        alerts
    }

    /// Ends every series of the group: it was removed. Its firing alerts are resolved; they are returned to be sent.
    pub fn retire(&mut self, tick: &Tick<'_>) -> Vec<Alert> {
        let at_ms = tick.now_ms - ms(self.source.query_offset);
        let series = self
            .rules
            .iter_mut()
            .flat_map(|state| state.series.drain().map(|(labels, _)| labels))
            .chain(self.orphans.drain());
        let ends: Vec<(Labels, Recorded)> = series.map(|labels| (labels, Recorded::Float(stale_nan()))).collect();
        if let Err(error) = append(tick.append, &ends, &mut Appended::default(), at_ms) {
            warn!(group = self.source.definition.name, error, "series of a removed group cannot be ended");
        }
        for alerts in self.rules.iter_mut().filter_map(|state| state.alerts.as_mut()) {
            alerts.active.retain(|_, alert| alert.state == AlertState::Firing);
            for alert in alerts.active.values_mut() {
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
            source: self.source.clone(),
            evaluated_at_ms: self.evaluated_at_ms,
            took: self.took,
            rules: self.rules.iter().enumerate().map(|(at, state)| self.view_of(at, state)).collect(),
        }
    }

    fn view_of(&self, at: usize, state: &RuleState) -> RuleView {
        let alerting = state.alerts.as_ref().map(|alerts| {
            let alerts: Vec<ActiveAlert> =
                alerts.active.values().filter(|alert| alert.state != AlertState::Inactive).cloned().collect();
            RuleAlerts { state: alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive), alerts }
        });
        RuleView {
            source: Arc::clone(&self.source.definition),
            at,
            health: state.health,
            last_error: state.last_error.clone(),
            evaluated_at_ms: state.evaluated_at_ms,
            took: state.took,
            alerting,
        }
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

/// The value of a rule's expression.
fn ask(rule: &Rule, group: &GroupSource, tick: &Tick<'_>, at_ms: i64) -> Result<Value, String> {
    let begun = Instant::now();
    let expr = rule.expr.parse().map_err(|error| error.to_string())?;
    let preparation = begun.elapsed();
    let options = QueryOptions { probe: tick.watch.map(|_| Probe::new()), ..QueryOptions::default() };
    let answer = tick.engine.instant_expr(tick.select, &Scope::all(), &expr, at_ms, &options);
    let took = begun.elapsed();
    let value = answer.map(|answer| answer.value).map_err(|error| error.to_string());
    if let Some(watch) = tick.watch {
        let stats = options.probe.map(|probe| probe.stats()).unwrap_or_default();
        let stats = QueryStats { preparation, ..stats };
        let error = value.as_ref().err().map(String::as_str);
        watch(&RuleQuery { group, expr: &expr, at_ms, error, took, stats });
    }
    value
}

/// Evaluates one rule, whose expression has this value, and appends what it gives; returns how many samples that were.
fn evaluate_rule(
    rule: &Rule,
    value: Value,
    state: &mut RuleState,
    tick: &Tick<'_>,
    at_ms: i64,
    limit: usize,
) -> Result<u64, String> {
    let samples = samples(value)?;
    let mut series = match (&mut state.alerts, &rule.kind) {
        (Some(alerts), _) => {
            let surroundings = Surroundings {
                external_labels: tick.external_labels,
                external_url: tick.external_url,
                query: &TemplateQuery { tick, at_ms },
            };
            let alerting = AlertingRule::of(rule).expect("a rule with alerts is an alerting rule");
            let series = alerts.evaluate(alerting, &samples, tick.now_ms, limit, surroundings)?;
            series.into_iter().map(|(labels, value)| (labels, Recorded::Float(value))).collect()
        }
        (None, RuleKind::Record { name }) => record(name, &rule.labels, &samples, limit)?,
        (None, RuleKind::Alert { .. }) => unreachable!("an alerting rule has its alerts"),
    };
    let known = |labels: &Labels| state.series.get(labels).copied().unwrap_or_default();
    let mut now: Appended = series.iter().map(|(labels, _)| (labels.clone(), known(labels))).collect();
    let n_samples = series.len() as u64;
    let gone = state.series.keys().filter(|labels| !now.contains_key(*labels));
    series.extend(gone.map(|gone| (gone.clone(), Recorded::Float(stale_nan()))));
    append(tick.append, &series, &mut now, at_ms)?;
    state.series = now;
    Ok(n_samples)
}

/// Appends in one batch; `known` tells how the store calls its series, and learns it. A sample that is refused because a newer one
/// is there already, as after a clock step, is left out.
fn append(store: &dyn Append, series: &[(Labels, Recorded)], known: &mut Appended, at_ms: i64) -> Result<(), String> {
    if series.is_empty() {
        return Ok(());
    }
    let mut appender = store.appender();
    let mut refused = None;
    for (labels, value) in series {
        let cached = known.get(labels).copied().unwrap_or_default();
        let appended = match value {
            Recorded::Float(value) => appender.append(cached, labels, at_ms, *value),
            Recorded::Histogram(histogram) => appender.append_histogram(cached, labels, at_ms, 0, histogram),
        };
        match appended {
            Ok(cached) => known.get_mut(labels).into_iter().for_each(|known| *known = cached),
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
