//! `prometheus_remote_write`: others send us their series and rules, or we send ours.
//!
//! As provider, [`read`] takes the rules of one sender and [`provider_unit_bag`] says where to send. As requirer, [`endpoints`] says
//! where, and [`requirer_app_bag`] hands on the rules; [`tiers`] says which, and what goes with them between tiers.

pub mod health;
pub mod tiers;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bag::{Databag, Relation};
use crate::ingress_per_unit::Urls;
use crate::json::dumps;
use crate::problem::Problem;
use crate::prometheus_scrape::{self, ALERT_RULES, RULE_FILE_PREFIX, RuleFile};
use crate::published_url::{self, PublishedUrl};
use crate::text::file_stem;

/// The name of the interface.
pub const INTERFACE: &str = "prometheus_remote_write";

const REMOTE_WRITE: &str = "remote_write";

/// Our unit's databag as provider: where to send.
pub fn provider_unit_bag(urls: &Urls) -> Databag {
    let url = format!("{}/api/v1/write", urls.most_external().trim_end_matches('/'));
    Databag::from([(REMOTE_WRITE.to_owned(), published_url::value_of(&url))])
}

/// What one sender asks us to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Endpoint on our side and id of the relation.
    pub relation: (String, u64),
    /// The rules that are fit to run. Its file name is not final before [`rule_files`].
    pub rules: Option<RuleFile>,
    /// Whether the peer published rules at all, fit or not.
    pub has_rules: bool,
    /// What was left out, in the order in which it stands in the databag.
    pub problems: Vec<Problem>,
}

/// Understands `relation` as provider. The result depends on this relation alone.
pub fn read(relation: &Relation) -> Received {
    let (rules, has_rules, problems) = prometheus_scrape::read_rules(relation);
    Received { relation: (relation.endpoint.clone(), relation.id), rules, has_rules, problems }
}

/// The value of the key `event` in our application's databag; `None` means that the key has to go.
pub fn event(received: &Received) -> Option<String> {
    prometheus_scrape::event_of(&received.problems, received.has_rules)
}

/// The rule files of all senders, in order of their relations. `taken` are the names of files that others write.
///
/// A file is named after the application its rules speak of. Where that name is taken, as by the same application sending
/// over two relations, it gets endpoint and id of the relation too, so that none overwrites another.
pub fn rule_files<'a>(received: &[Received], taken: impl IntoIterator<Item = &'a str>) -> Vec<RuleFile> {
    let mut taken: BTreeSet<String> = taken.into_iter().map(str::to_owned).collect();
    let mut files: Vec<RuleFile> = received.iter().filter_map(|received| received.rules.clone()).collect();
    files.sort_by_key(|file| (file.relation.1, file.relation.0.clone()));
    for file in &mut files {
        let plain = format!("{RULE_FILE_PREFIX}{}", file_stem(&file.identifier));
        let mut stem = plain.clone();
        if taken.contains(&format!("{plain}.rules")) {
            stem = format!("{plain}_{}_{}", file.relation.0, file.relation.1);
        }
        while taken.contains(&format!("{stem}.rules")) {
            stem.push('_');
        }
        file.file_name = format!("{stem}.rules");
        taken.insert(file.file_name.clone());
    }
    files
}

/// Our application's databag as requirer: rules to be evaluated where the series go, `{"groups": […]}` or `{}`.
pub fn requirer_app_bag(alert_rules: &Value) -> Databag {
    Databag::from([(ALERT_RULES.to_owned(), dumps(alert_rules))])
}

/// Where to send: the URLs of all `relations`, sorted, each once. Series go to every one of them.
pub fn endpoints<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> (Vec<PublishedUrl>, Vec<Problem>) {
    published_url::read(relations, REMOTE_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(senders: &[(u64, &str)], taken: &[&str], expected: &[&str]) {
        let received = senders.iter().map(|&(id, identifier)| Received {
            relation: ("receive-remote-write".to_owned(), id),
            rules: Some(RuleFile {
                relation: ("receive-remote-write".to_owned(), id),
                identifier: identifier.to_owned(),
                file_name: String::new(),
                groups: Vec::new(),
            }),
            has_rules: true,
            problems: Vec::new(),
        });
        let received: Vec<Received> = received.collect();
        let files = rule_files(&received, taken.iter().copied());
        let names: Vec<&str> = files.iter().map(|file| file.file_name.as_str()).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn file_names() {
        check(&[(1, "m_1_a"), (2, "m_1_b")], &[], &["juju_m_1_a.rules", "juju_m_1_b.rules"]);
        check(&[(2, "m_1_a"), (1, "m_1_a")], &[], &["juju_m_1_a.rules", "juju_m_1_a_receive-remote-write_2.rules"]);
        check(&[(1, "../x")], &[], &["juju_.._x.rules"]);
        // A sender calls itself as the file of another is called.
        check(
            &[(1, "a"), (2, "a_b")],
            &["juju_a.rules", "juju_a_b.rules"],
            &["juju_a_receive-remote-write_1.rules", "juju_a_b_receive-remote-write_2.rules"],
        );
    }
}
