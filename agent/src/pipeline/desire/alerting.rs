//! `alertmanager`: where alerts go.

use relatum_relations::alertmanager_dispatch as dispatch;

use super::view::View;
use super::{Desired, on, told_by};

impl Desired {
    /// Adds the Alertmanagers of all relations.
    pub(super) fn add_alertmanagers(&mut self, views: &[View<'_>]) {
        let (found, problems) = dispatch::alertmanagers(on(views, "alertmanager").map(|view| view.relation()));
        self.report(problems);
        self.alertmanagers = dispatch::configuration(&found);
        for view in on(views, "alertmanager") {
            let key = view.key();
            let urls = told_by(&key, found.iter().map(|known| (&known.url, &known.origins)));
            self.note(&key, urls);
        }
    }
}
