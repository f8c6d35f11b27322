//! `receive-ca-cert`: certificates of authorities that we were sent, to be trusted as if they were installed on this machine.

use relatum_relations::certificate_transfer::{self, Certificate};
use relatum_relations::endpoints::APPLICATION;
use relatum_server::outgoing::Authorities;

use super::view::View;
use super::{Desired, MATERIALS, on};

/// All authorities that are trusted beside the system's, below `rendered/`.
pub(crate) const AUTHORITIES_PATH: &str = "tls/authorities.crt";

impl Desired {
    /// Trusts those that were sent, one file each as the charm keeps them, and one with all that are certificates.
    pub(super) fn trust(&mut self, views: &[View<'_>]) {
        for view in on(views, "receive-ca-cert") {
            self.publish(view, APPLICATION, certificate_transfer::requirer_app_bag());
        }
        let relations = on(views, "receive-ca-cert").map(|view| view.relation());
        let (found, problems) =
            certificate_transfer::certificates(relations, |pem| Authorities::read(pem.as_bytes()).map(drop));
        self.report(problems);
        let trusted: Vec<&Certificate> = found.iter().filter(|certificate| certificate.is_fit).collect();
        for view in on(views, "receive-ca-cert") {
            let key = view.key();
            let is_of = |known: &&&Certificate| known.origins.iter().any(|(relation, _)| *relation == key);
            let count = trusted.iter().filter(is_of).count();
            if count > 0 {
                let note = match self.place.agent_target {
                    None => format!("{count} trusted"),
                    Some(_) => format!(
                        "{count} kept in {MATERIALS}/; the server beside this agent trusts what its system does"
                    ),
                };
                self.note(&key, note);
            }
        }
        for (number, certificate) in found.iter().enumerate() {
            self.materials.insert(
                format!("{MATERIALS}/juju_receive-ca-cert_{number}.crt").into(),
                certificate.pem.as_str().into(),
            );
        }
        // The authority that signed ours signed others, too; the charm trusts it for everything.
        let own = self
            .authority
            .as_ref()
            .map(|known| known.pem.as_str())
            .filter(|own| Authorities::read(own.as_bytes()).is_ok());
        let all: Vec<&str> = trusted.iter().map(|certificate| certificate.pem.as_str()).chain(own).collect();
        if !all.is_empty() {
            self.materials.insert(AUTHORITIES_PATH.into(), format!("{}\n", all.join("\n")).into());
        }
    }
}
