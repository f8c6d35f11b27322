//! `grafana-source`, `send-datasource`, `grafana-dashboard`: what Grafana gets from us, and what comes back.

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::grafana_dashboard::{self, Dashboard};
use relatum_relations::{grafana_datasource, grafana_datasource_exchange};

use super::view::View;
use super::{Desired, Us, on};

/// The dashboards we ship: file name and content.
const DASHBOARDS: [(&str, &str); 3] = [
    ("relatum.json", include_str!("../../../../dashboards/relatum.json")),
    ("system_metrics.json", include_str!("../../../../dashboards/system_metrics.json")),
    ("application_metrics.json", include_str!("../../../../dashboards/application_metrics.json")),
];

impl Desired {
    /// Offers the data source and the dashboards, and passes on under which uids Grafana knows us.
    pub(super) fn serve_grafana(&mut self, us: &Us, views: &[View<'_>]) {
        let interval = self.settings.scrape_interval.clone();
        let file = grafana_datasource::provisioning(&us.topology, &us.unit, &self.urls.internal, &interval);
        self.datasources = file["datasources"].clone();
        let mut grafanas = Vec::new();
        for view in on(views, "grafana-source") {
            self.publish(view, APPLICATION, grafana_datasource::provider_app_bag(&us.topology, &interval));
            self.publish_unit(view, us, grafana_datasource::provider_unit_bag(&self.urls.internal));
            let (answer, problems) = grafana_datasource::answer(view.relation());
            self.report(problems);
            if let Some(answer) = answer {
                let uids: Vec<&str> = answer.datasource_uids.values().map(String::as_str).collect();
                self.note(&view.key(), format!("data source {}", uids.join(" ")));
                grafanas.push(answer);
            }
        }
        for view in on(views, "send-datasource") {
            self.publish(view, APPLICATION, grafana_datasource_exchange::provider_app_bag(&grafanas));
            let (_, problems) = grafana_datasource_exchange::datasources(view.relation());
            self.report(problems);
        }
        if on(views, "grafana-dashboard").next().is_some() {
            let dashboards =
                DASHBOARDS.map(|(name, content)| Dashboard { file_name: name.to_owned(), content: content.to_owned() });
            let topology = us.topology.clone().with_unit(&us.unit.to_string()).expect("our unit has a unit's name");
            let bag = grafana_dashboard::provider_app_bag(&topology, &dashboards);
            for view in on(views, "grafana-dashboard") {
                self.publish(view, APPLICATION, bag.clone());
                self.report(grafana_dashboard::complaints(view.relation()));
                self.note(&view.key(), format!("{} dashboard", DASHBOARDS.len()));
            }
        }
    }
}
