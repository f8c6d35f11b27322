//! `self-metrics-endpoint`: we are scraped as any application is, and bring the rules about ourselves.

use relatum_relations::alert_rules;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::provide;
use serde_json::Value;

use super::view::View;
use super::{Desired, Us, on};

/// The rules about ourselves: file name and content.
const RULES: [(&str, &str); 2] = [
    ("self_health.yaml", include_str!("../../../../alert_rules/self_health.yaml")),
    ("tier_health.yaml", include_str!("../../../../alert_rules/tier_health.yaml")),
];

impl Desired {
    /// Says where we are scraped, and with which rules.
    pub(super) fn announce_own_metrics(&mut self, us: &Us, views: &[View<'_>]) {
        for view in on(views, "self-metrics-endpoint") {
            let urls = provide::at_urls(&us.unit, &self.urls, self.authority.as_ref().map(|known| known.pem.as_str()));
            let Some((unit, job)) = urls else { continue };
            let topology = us.topology.clone().with_unit(&us.unit.to_string()).expect("our unit has a unit's name");
            self.publish(view, APPLICATION, provide::app_bag(&topology, &[job], &own_rules(us)));
            self.publish_unit(view, us, unit);
            self.report(provide::complaints(view.relation()));
        }
    }
}

/// `{"groups": […]}` with our topology.
pub(super) fn own_rules(us: &Us) -> Value {
    let files = RULES.map(|(name, content)| (name.to_owned(), content.to_owned()));
    alert_rules::of_files(&us.topology, &files).expect("the rules we ship are tested")
}
