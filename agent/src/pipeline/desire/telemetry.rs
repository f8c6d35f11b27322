//! `charm-tracing`, `workload-tracing`, `logging`: where spans and log lines go.

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::provide;
use relatum_relations::{loki_push_api, tracing};

use super::view::View;
use super::{Desired, Us, on, told_by};
use crate::store::World;
use crate::telemetry::{Kind, Receiver, otlp};

const ENDPOINTS: [&str; 3] = ["charm-tracing", "workload-tracing", "logging"];

impl Desired {
    /// Asks for the protocols that fit, and notes the addresses.
    pub(super) fn find_telemetry(&mut self, us: &Us, views: &[View<'_>]) {
        for (endpoint, protocol) in [("charm-tracing", tracing::OTLP_HTTP), ("workload-tracing", tracing::OTLP_GRPC)] {
            for view in on(views, endpoint) {
                self.publish(view, APPLICATION, tracing::requirer_app_bag(&[protocol]));
                let (address, problems) = tracing::endpoint(view.relation(), protocol);
                self.report(problems);
                if let Some(address) = &address
                    && endpoint == "workload-tracing"
                {
                    // As the charm does: where we have a certificate, whoever takes spans has one of the same authority.
                    let ca_file = self.authority.as_ref().map(|authority| authority.file.as_str());
                    self.tracing = Some(tracing::configuration(address, ca_file));
                }
                // A server beside the agent sends its spans itself, and knows this protocol; we know the other one.
                let is_ours = endpoint == "charm-tracing" || self.place.agent_target.is_none();
                let over_http = tracing::endpoint(view.relation(), tracing::OTLP_HTTP).0;
                match (over_http.filter(|_| is_ours), address) {
                    (Some(address), _) => self.note(&view.key(), address),
                    (None, Some(address)) if is_ours => {
                        self.note(&view.key(), format!("{address} (no spans are sent: it takes them over gRPC only)"));
                    }
                    (None, Some(address)) => self.note(&view.key(), address),
                    (None, None) => {}
                }
            }
        }
        let (found, problems) = loki_push_api::endpoints(on(views, "logging").map(|view| view.relation()));
        self.report(problems);
        for view in on(views, "logging") {
            let topology = us.topology.clone().with_unit(&us.unit.to_string()).expect("our unit has a unit's name");
            self.publish(view, APPLICATION, loki_push_api::requirer_app_bag(&topology));
            self.report(provide::complaints(view.relation()));
            let key = view.key();
            let urls = told_by(&key, found.iter().map(|known| (&known.url, &known.origins)));
            if !urls.is_empty() {
                self.note(&key, urls);
            }
        }
    }
}

/// Where the agent sends what it tells of itself, each place once.
pub(crate) fn receivers(world: &World) -> Vec<Receiver> {
    let views: Vec<View<'_>> =
        world.relations.iter().flat_map(View::of).filter(|view| ENDPOINTS.contains(&view.endpoint())).collect();
    let (pushes, _) = loki_push_api::endpoints(on(&views, "logging").map(|view| view.relation()));
    let mut receivers: Vec<Receiver> = pushes
        .into_iter()
        .map(|push| Receiver {
            kind: Kind::LogLines,
            url: push.url,
            relations: push.origins.iter().map(|((_, relation), _)| *relation).collect(),
        })
        .collect();
    for (endpoint, kind) in [("charm-tracing", Kind::PassSpans), ("workload-tracing", Kind::QuerySpans)] {
        for view in on(&views, endpoint) {
            let Some(address) = tracing::endpoint(view.relation(), tracing::OTLP_HTTP).0 else { continue };
            let url = otlp::url(&address);
            match receivers.iter_mut().find(|known| known.kind == kind && known.url == url) {
                Some(known) => known.relations.push(view.stored.id),
                None => receivers.push(Receiver { kind, url, relations: vec![view.stored.id] }),
            }
        }
    }
    receivers
}
