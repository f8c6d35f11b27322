//! `receive-remote-write` and `send-remote-write`: samples and rules from the tier below, and on to the tier above.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_remote_write::{self as remote_write, Received, health};
use relatum_relations::prometheus_scrape::EVENT;
use serde_json::{Value, json};

use super::view::View;
use super::{Desired, Memory, Us, on, own_metrics};
use crate::relate::OUR_UNIT;

impl Desired {
    /// Says where others may write to, and takes their rules.
    pub(super) fn receive_writes(&mut self, views: &[View<'_>], memory: &mut Memory) {
        let mut remembered = HashMap::new();
        let mut all: Vec<Received> = Vec::new();
        for view in on(views, "receive-remote-write") {
            let versions = view.remote_versions();
            let read = match memory.received.remove(&view.key()) {
                Some((known, read)) if known == versions => read,
                _ => Arc::new(remote_write::read(&view.relation)),
            };
            remembered.insert(view.key(), (versions, Arc::clone(&read)));
            let mut bag = view.relation.local.app_bag.clone();
            match remote_write::event(&read) {
                Some(event) => bag.insert(EVENT.to_owned(), event),
                None => bag.remove(EVENT),
            };
            self.publish(view, APPLICATION, bag);
            self.publish(view, OUR_UNIT, remote_write::provider_unit_bag(&self.urls));
            self.report(read.problems.iter().cloned());
            all.push(Received::clone(&read));
        }
        memory.received = remembered;
        let taken: Vec<String> = self.rules.keys().cloned().collect();
        for file in remote_write::rule_files(&all, taken.iter().map(String::as_str)) {
            self.add_rules(file);
        }
    }

    /// Sends samples to whoever wants them, and hands on the rules that are evaluated above, too.
    pub(super) fn send_writes(&mut self, us: &Us, views: &[View<'_>]) {
        if on(views, "send-remote-write").next().is_none() {
            return;
        }
        let (found, problems) = remote_write::endpoints(on(views, "send-remote-write").map(|view| &view.relation));
        self.report(problems);
        let bag = remote_write::requirer_app_bag(&self.rules_for_above(us));
        for view in on(views, "send-remote-write") {
            self.publish(view, APPLICATION, bag.clone());
            let key = view.key();
            let urls: Vec<&str> = found
                .iter()
                .filter(|known| known.origins.iter().any(|(relation, _)| *relation == key))
                .map(|known| known.url.as_str())
                .collect();
            self.note(&key, urls.join(" "));
        }
        self.remote_writes = found.iter().map(|known| destination(&known.url, &known.origins[0].0)).collect();
    }

    /// The alerting rules of all relations, those about ourselves, and that we are heard of at all: `{"groups": […]}`.
    ///
    /// Recorded series travel as samples, so the rules that record them stay here.
    fn rules_for_above(&self, us: &Us) -> Value {
        let mut groups: BTreeMap<String, Value> = BTreeMap::new();
        let own = own_metrics::own_rules(us);
        let own = own["groups"].as_array().cloned().unwrap_or_default();
        let health = health::group(&us.topology, std::slice::from_ref(&us.unit), false);
        for group in self.rules.values().flat_map(|(_, groups)| groups).chain(&own).chain([&health]) {
            let Some(alerting) = alerting_only(group) else { continue };
            let name = alerting["name"].as_str().unwrap_or_default().to_owned();
            match groups.get(&name) {
                None => drop(groups.insert(name, alerting)),
                // The same rules by two ways.
                Some(known) if *known == alerting => {}
                Some(_) => {
                    let mut number = 2;
                    while groups.contains_key(&format!("{name}_{number}")) {
                        number += 1;
                    }
                    let name = format!("{name}_{number}");
                    groups.insert(name.clone(), renamed(alerting, &name));
                }
            }
        }
        json!({ "groups": groups.into_values().collect::<Vec<_>>() })
    }
}

/// The group without the rules that record; `None` if no rule is left.
fn alerting_only(group: &Value) -> Option<Value> {
    let mut group = group.clone();
    let rules = group.get_mut("rules")?.as_array_mut()?;
    rules.retain(|rule| rule.get("alert").is_some());
    (!rules.is_empty()).then_some(group)
}

fn renamed(mut group: Value, name: &str) -> Value {
    group["name"] = Value::from(name);
    group
}

/// An entry of the list under `remote_write`. Whoever is told to wait gets every sample later, and alerts are evaluated anew above,
/// so their series would only collide there.
fn destination(url: &str, (endpoint, id): &(String, u64)) -> Value {
    json!({
        "url": url,
        "name": format!("{endpoint}_{id}"),
        "queue_config": {"retry_on_http_429": true},
        "write_relabel_configs": [{
            "source_labels": ["__name__"],
            "regex": "ALERTS|ALERTS_FOR_STATE",
            "action": "drop",
        }],
    })
}
