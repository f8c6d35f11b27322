//! `ingress`: under which URL others reach us; and those who want to know: `catalogue`, `prometheus-api`.

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::{catalogue, ingress_per_unit, prometheus_api};

use super::view::View;
use super::{Desired, Us, on};

impl Desired {
    /// Asks the ingress for a URL, and takes the one it gave.
    pub(super) fn find_outside_url(&mut self, us: &Us, views: &[View<'_>]) {
        let internal = self.urls.internal.clone();
        let (scheme, host, port) = parts(&internal);
        for view in on(views, "ingress") {
            let bag = ingress_per_unit::requirer_unit_bag(us.topology.model(), &us.unit, scheme, host, port);
            self.publish_unit(view, us, bag);
            let (url, problem) = ingress_per_unit::url(view.relation(), &us.unit);
            self.problems.extend(problem.map(super::problem));
            if let Some(url) = url {
                self.yields.entry(view.key()).or_default().note = url.clone();
                self.urls.external = Some(url);
            }
        }
    }

    /// Tells where we are.
    pub(super) fn announce_outside_url(&mut self, views: &[View<'_>]) {
        let (tile, api) = (catalogue::requirer_app_bag(&self.urls), prometheus_api::provider_app_bag(&self.urls));
        for view in on(views, "catalogue") {
            self.publish(view, APPLICATION, tile.clone());
        }
        for view in on(views, "prometheus-api") {
            self.publish(view, APPLICATION, api.clone());
        }
    }
}

/// Scheme, host and port of a URL of our own making.
pub(super) fn parts(url: &str) -> (&str, &str, u16) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    (scheme, host, port.parse().unwrap_or(if scheme == "https" { 443 } else { 80 }))
}
