//! Alerting rules: which alerts an expression gives, and the series that record their state.

use std::collections::BTreeMap;
use std::time::Duration;

use relatum_config::rules::{Rule, RuleKind};
use relatum_config::template::{Query, Template, TemplateData};
use relatum_model::labels::{ALERT_NAME, METRIC_NAME};
use relatum_model::{Labels, LabelsBuilder};
use relatum_promql::VectorSample;
use tracing::warn;

use crate::alert::{ActiveAlert, AlertState};

/// The series that hold the state of every alert, and when it began.
const STATE_METRIC: &str = "ALERTS";
pub(crate) const SINCE_METRIC: &str = "ALERTS_FOR_STATE";
const STATE_LABEL: &str = "alertstate";

/// What an alerting rule says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AlertingRule<'a> {
    pub(crate) name: &'a str,
    pub(crate) hold_for: Duration,
    pub(crate) keep_firing_for: Duration,
    /// Templates.
    pub(crate) labels: &'a [(String, String)],
    /// Templates.
    pub(crate) annotations: &'a [(String, String)],
}

impl<'a> AlertingRule<'a> {
    /// Of a rule that alerts.
    pub(crate) fn of(rule: &'a Rule) -> Option<Self> {
        match &rule.kind {
            RuleKind::Record { .. } => None,
            RuleKind::Alert { name, hold_for, keep_firing_for, annotations } => Some(AlertingRule {
                name,
                hold_for: *hold_for,
                keep_firing_for: *keep_firing_for,
                labels: &rule.labels,
                annotations,
            }),
        }
    }
}

/// The alerts of an alerting rule.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    /// By labels; resolved alerts are kept for a while.
    pub(crate) active: BTreeMap<Labels, ActiveAlert>,
    /// Whether `active` continues what was before a restart. Until then nothing is recorded, so that the record of the time
    /// before is not overwritten before it is read.
    pub(crate) restored: bool,
}

/// Named templates, or why they are none. They were checked with their file, so the latter is rare.
type Texts<'a> = Vec<(&'a str, Result<Template, String>)>;

/// Parses the templates of labels or annotations. They are far larger than their texts and seldom needed, so they are not kept.
fn texts(pairs: &[(String, String)]) -> Texts<'_> {
    let parse = |text: &str| Template::parse(text).map_err(|error| error.to_string());
    pairs.iter().map(|(name, text)| (name.as_str(), parse(text))).collect()
}

/// What a template can see besides the sample, and ask.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) external_labels: &'a Labels,
    pub(crate) external_url: &'a str,
    pub(crate) query: &'a dyn Query,
}

impl Alerts {
    /// Moves every alert on, given what the expression gave at `now_ms`; returns the series to append.
    ///
    /// Fails when two samples give one alert, or more than `limit` alerts (0 means any number) are active.
    pub(crate) fn evaluate(
        &mut self,
        rule: AlertingRule<'_>,
        samples: &[VectorSample],
        now_ms: i64,
        limit: usize,
        surroundings: Surroundings<'_>,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let mut holding = BTreeMap::new();
        let templates = (!samples.is_empty()).then(|| Templates::of(rule));
        for (templates, sample) in templates.iter().flat_map(|templates| samples.iter().map(move |s| (templates, s))) {
            let (labels, annotations) = templates.expand(sample, surroundings);
            let alert = ActiveAlert::new(labels.clone(), annotations, sample.value, now_ms);
            if holding.insert(labels, alert).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        // Alerts whose condition does not hold at this tick.
        let AlertingRule { hold_for, keep_firing_for, .. } = rule;
        self.active.retain(|labels, alert| {
            holding.contains_key(labels) || alert.step(false, now_ms, hold_for, keep_firing_for)
        });
        for (labels, alert) in holding {
            let entry = self.active.entry(labels).or_insert_with(|| alert.clone());
            if entry.state == AlertState::Inactive {
                *entry = alert;
            } else {
                entry.value = alert.value;
                entry.annotations = alert.annotations;
            }
            entry.step(true, now_ms, hold_for, keep_firing_for);
        }
        let n_active = self.active.values().filter(|alert| alert.state != AlertState::Inactive).count();
        if limit > 0 && n_active > limit {
            self.active.clear();
            return Err(format!("exceeded limit of {limit} with {n_active} alerts"));
        }
        Ok(if self.restored { self.series() } else { Vec::new() })
    }

    /// The state of every alert that is pending or firing, as series.
    fn series(&self) -> Vec<(Labels, f64)> {
        let active = self.active.values().filter(|alert| alert.state != AlertState::Inactive);
        active
            .flat_map(|alert| {
                let mut labels = alert.labels.to_builder();
                let since = labels.set(METRIC_NAME, SINCE_METRIC).build();
                let state = labels.set(METRIC_NAME, STATE_METRIC).set(STATE_LABEL, alert.state.as_str()).build();
                // Whole seconds, as Prometheus records them.
                [(state, 1.0), (since, alert.active_at_ms.div_euclid(1000) as f64)]
            })
            .collect()
    }
}

/// The parsed texts of a rule.
struct Templates<'a> {
    rule: &'a str,
    labels: Texts<'a>,
    annotations: Texts<'a>,
}

impl<'a> Templates<'a> {
    fn of(rule: AlertingRule<'a>) -> Self {
        Templates { rule: rule.name, labels: texts(rule.labels), annotations: texts(rule.annotations) }
    }

    fn expand(&self, sample: &VectorSample, surroundings: Surroundings<'_>) -> (Labels, Labels) {
        let data = TemplateData {
            labels: &sample.labels,
            external_labels: surroundings.external_labels,
            external_url: surroundings.external_url,
            value: sample.value,
        };
        let mut labels = sample.labels.to_builder();
        labels.remove(METRIC_NAME);
        for (name, text) in &self.labels {
            labels.set(*name, self.render(text, &data, surroundings.query));
        }
        labels.set(ALERT_NAME, self.rule);
        let mut annotations = LabelsBuilder::new();
        for (name, text) in &self.annotations {
            annotations.set(*name, self.render(text, &data, surroundings.query));
        }
        (labels.build(), annotations.build())
    }

    /// A template that fails shows why in its place, as in Prometheus: an alert without a text beats no alert.
    fn render(&self, text: &Result<Template, String>, data: &TemplateData<'_>, query: &dyn Query) -> String {
        let rendered = match text {
            Ok(template) => template.render_with(data, query).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        rendered.unwrap_or_else(|error| {
            warn!(alert = self.rule, error, "a template of an alert cannot be expanded");
            format!("<error expanding template: {error}>")
        })
    }
}
