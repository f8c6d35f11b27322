//! `receive-ca-cert`, `certificates`: certificates of authorities that we were sent; our own is not asked for yet, and `status` says so.

use relatum_relations::certificate_transfer;
use relatum_relations::endpoints::APPLICATION;

use super::view::View;
use super::{Desired, MATERIALS, on};

impl Desired {
    /// Keeps the certificates of authorities that we were sent, one file each.
    pub(super) fn trust(&mut self, views: &[View<'_>]) {
        for view in on(views, "receive-ca-cert") {
            self.publish(view, APPLICATION, certificate_transfer::requirer_app_bag());
        }
        let (found, problems) =
            certificate_transfer::certificates(on(views, "receive-ca-cert").map(|view| view.relation()));
        self.report(problems);
        for view in on(views, "receive-ca-cert") {
            let key = view.key();
            let count = found.iter().filter(|known| known.origins.iter().any(|(relation, _)| *relation == key)).count();
            if count > 0 {
                self.note(&key, format!("{count} kept in {MATERIALS}/ (scrapes do not trust them by themselves yet)"));
            }
        }
        for view in on(views, "certificates") {
            self.note(&view.key(), "no certificate is asked for yet");
        }
        for (number, certificate) in found.iter().enumerate() {
            self.materials
                .insert(format!("{MATERIALS}/juju_receive-ca-cert_{number}.crt"), certificate.pem.as_str().into());
        }
    }
}
