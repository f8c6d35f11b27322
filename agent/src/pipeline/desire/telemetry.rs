//! `charm-tracing`, `workload-tracing`, `logging`: where spans and log lines could go.

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::{loki_push_api, tracing};

use super::view::View;
use super::{Desired, on, told_by};

impl Desired {
    /// Asks for the protocols that fit, and notes the addresses.
    pub(super) fn find_telemetry(&mut self, views: &[View<'_>]) {
        for (endpoint, protocol) in [("charm-tracing", tracing::OTLP_HTTP), ("workload-tracing", tracing::OTLP_GRPC)] {
            for view in on(views, endpoint) {
                self.publish(view, APPLICATION, tracing::requirer_app_bag(&[protocol]));
                let (address, problems) = tracing::endpoint(view.relation(), protocol);
                self.report(problems);
                if let Some(address) = address {
                    if endpoint == "workload-tracing" {
                        self.tracing = Some(tracing::configuration(&address, None));
                    }
                    self.note(&view.key(), format!("{address} (no spans are sent yet)"));
                }
            }
        }
        let (found, problems) = loki_push_api::endpoints(on(views, "logging").map(|view| view.relation()));
        self.report(problems);
        for view in on(views, "logging") {
            let key = view.key();
            let urls = told_by(&key, found.iter().map(|known| (&known.url, &known.origins)));
            if !urls.is_empty() {
                self.note(&key, format!("{urls} (no log lines are sent yet)"));
            }
        }
    }
}
