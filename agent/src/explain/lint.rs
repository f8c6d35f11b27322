//! What is odd about the rules that run, with the places they stand at.

use relatum_relations::lint;
use relatum_relations::prometheus_scrape::ALERT_RULES;
use serde_json::Value;

use super::rules::{kept, name_of, published, rules_of, title};
use super::{Scene, since};
use crate::control::{LintFinding, LintReport, LintSelector, LintedRule};

/// The labels that say which application a rule speaks of.
const TOPOLOGY: [&str; 3] = ["juju_application", "juju_model", "juju_model_uuid"];

impl Scene<'_> {
    /// Looks at every rule that came from a relation and runs.
    pub(crate) fn lint(&self) -> LintReport {
        let mut report = LintReport::default();
        for content in self.trace.desired.rules.values() {
            let key = &content.ends.relation;
            let Some((_, relation)) = self.trace.relations.get(key) else { continue };
            let groups = content.groups();
            let (origins, published) = (kept(relation, &groups), published(relation));
            for (group, origins) in groups.iter().zip(origins) {
                for (rule, origin) in rules_of(group).iter().zip(origins) {
                    let path = format!("groups[{}].rules[{}]", origin.group, origin.rule);
                    let Some(published) = since::at(&published, &path) else { continue };
                    let linted = lint::rule(published);
                    report.rules.push(LintedRule {
                        name: title(group, rule),
                        records: rule["record"].as_str().map(|_| name_of(rule).to_owned()),
                        relation: format!("{}:{}", key.0, key.1),
                        place: self.source(relation, None, ALERT_RULES, &format!("{path}.expr")),
                        application: application(rule),
                        findings: linted.findings.into_iter().map(finding).collect(),
                        selectors: linted.selectors.into_iter().map(selector).collect(),
                    });
                }
            }
        }
        report
    }
}

fn application(rule: &Value) -> Option<String> {
    let matcher =
        |label: &&str| Some(relatum_model::Matcher::equal(*label, rule["labels"][label].as_str()?).to_string());
    let matchers: Vec<String> = TOPOLOGY.iter().filter_map(matcher).collect();
    (matchers.len() == TOPOLOGY.len()).then(|| format!("{{{}}}", matchers.join(",")))
}

fn finding(finding: lint::Finding) -> LintFinding {
    let lint::Finding { message, before, after, is_injected, is_whole } = finding;
    LintFinding { message, before, after, injected: is_injected, whole: is_whole }
}

fn selector(selector: lint::SelectorPair) -> LintSelector {
    let lint::SelectorPair { metric, before, after } = selector;
    LintSelector { metric, before, after }
}
