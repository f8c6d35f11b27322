//! `receive-ca-cert`, `certificates`: whom we trust, and who we are to others.

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
            certificate_transfer::certificates(on(views, "receive-ca-cert").map(|view| &view.relation));
        self.report(problems);
        for (number, certificate) in found.iter().enumerate() {
            self.materials.insert(format!("{MATERIALS}/juju_receive-ca-cert_{number}.crt"), certificate.pem.clone());
        }
    }
}
