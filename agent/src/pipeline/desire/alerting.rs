//! `alertmanager`: where alerts go.

use relatum_relations::alertmanager_dispatch as dispatch;

use super::view::View;
use super::{Desired, on};

impl Desired {
    /// Adds the Alertmanagers of all relations.
    pub(super) fn add_alertmanagers(&mut self, views: &[View<'_>]) {
        let (found, problems) = dispatch::alertmanagers(on(views, "alertmanager").map(|view| &view.relation));
        self.report(problems);
        self.alertmanagers = dispatch::configuration(&found);
        for view in on(views, "alertmanager") {
            let key = view.key();
            let urls: Vec<&str> = found
                .iter()
                .filter(|known| known.origins.iter().any(|(relation, _)| *relation == key))
                .map(|known| known.url.as_str())
                .collect();
            self.note(&key, urls.join(" "));
        }
    }
}
