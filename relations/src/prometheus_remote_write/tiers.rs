//! How alerting rules travel up the tiers: which of them go on, and what is said of where they come from.
//!
//! A tier hands on what it holds: the rules of its own relations and those it was handed itself. Recording rules stay, for their
//! results travel as samples. Beside the rules, under a key of its own that others pass over, stands where each group was defined and
//! which tiers are below, so that a group that comes on two ways is loaded once and a tier that is below itself is found out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::requirer_app_bag;
use crate::bag::{Databag, Relation};
use crate::json;
use crate::problem::Problem;

/// The key in the sender's application databag.
pub const KEY: &str = "relatum_tiers";

/// The version of what stands there.
const VERSION: u32 = 1;

/// More tiers than anybody has below one.
const TIERS_MAX: usize = 1000;

/// A longer way is a mistake.
const PATH_MAX: usize = 16;

/// One tier below the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its id: the uuid of its model.
    pub tier: String,
    /// Its model's name, for people.
    pub model: String,
    /// The ids of the tiers on the way from it to the sender, both included.
    pub path: Vec<String>,
}

/// Where a group of rules was defined; the same however it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The id of the tier.
    pub tier: String,
    /// The relation there, `endpoint:id`.
    pub relation: String,
    /// The group's name there.
    pub group: String,
}

/// What a sender says of itself and of the groups it hands on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The sender and all that it receives from, each once.
    pub tiers: Vec<Tier>,
    /// By the group's name in the sender's databag.
    pub groups: BTreeMap<String, Origin>,
}

impl Manifest {
    /// What the sender of `relation` says. `None` if it is no tier, or one that cannot be understood.
    pub fn read(relation: &Relation) -> (Option<Manifest>, Option<Problem>) {
        let refused = |message: String| (None, Some(Problem::new(message).key(KEY).relation(relation)));
        let value = match json::read(&relation.remote.app_bag, KEY) {
            Ok(None) => return (None, None),
            Ok(Some(value)) => value,
            Err(problem) => return (None, Some(problem.relation(relation))),
        };
        let manifest: Manifest = match serde_json::from_value(value) {
            Ok(manifest) => manifest,
            Err(error) => return refused(format!("cannot be understood: {error}")),
        };
        if manifest.version != VERSION {
            return refused(format!("is of version {}, this tier knows {VERSION}", manifest.version));
        }
        if manifest.tiers.len() > TIERS_MAX || manifest.tiers.iter().any(|tier| tier.path.len() > PATH_MAX) {
            return refused(format!(
                "there are more than {TIERS_MAX} tiers, or one is more than {PATH_MAX} tiers away"
            ));
        }
        (Some(manifest), None)
    }

    /// Why nothing may be taken from this sender: `tier` is below itself. `model` is its name.
    pub fn loop_through(&self, tier: &str, model: &str) -> Option<String> {
        let name = |id: &String| {
            let known = self.tiers.iter().find(|known| known.tier == *id);
            known.map_or_else(|| id.clone(), |known| format!("{} ({id})", known.model))
        };
        let found = self.tiers.iter().find(|known| known.tier == tier || known.path.iter().any(|id| id == tier))?;
        let path: Vec<String> = found.path.iter().map(name).collect();
        Some(format!("this tier would receive from itself: {} → {model} ({tier})", path.join(" → ")))
    }
}

/// What is handed on: all groups that are here, and the tiers below.
#[derive(Debug, Default)]
pub struct Outbound {
    groups: Vec<(Origin, Value)>,
    known: BTreeSet<Origin>,
    tiers: Vec<Tier>,
}

impl Outbound {
    /// Nothing but the tier itself.
    pub fn new(tier: &str, model: &str) -> Self {
        let own = Tier { tier: tier.to_owned(), model: model.to_owned(), path: vec![tier.to_owned()] };
        Outbound { tiers: vec![own], ..Outbound::default() }
    }

    /// Adds the tiers of a sender. Of two ways from one tier the shorter is told.
    pub fn add_tiers(&mut self, manifest: &Manifest) {
        let own = self.tiers[0].tier.clone();
        for below in &manifest.tiers {
            let mut path = below.path.clone();
            path.push(own.clone());
            match self.tiers.iter_mut().find(|known| known.tier == below.tier) {
                Some(known) if known.path.len() <= path.len() => {}
                Some(known) => known.path = path,
                None => self.tiers.push(Tier { path, ..below.clone() }),
            }
        }
        self.tiers[1..].sort_by(|a, b| a.tier.cmp(&b.tier));
    }

    /// Adds a group; once for each origin. Rules that record are left out, and with them groups that have no others.
    pub fn add_group(&mut self, origin: Origin, group: &Value) {
        let Value::Object(fields) = group else { return };
        let rules = fields.get("rules").and_then(Value::as_array);
        let alerting: Vec<Value> =
            rules.into_iter().flatten().filter(|rule| rule.get("alert").is_some()).cloned().collect();
        if alerting.is_empty() || !self.known.insert(origin.clone()) {
            return;
        }
        let mut fields = fields.clone();
        fields.insert("rules".to_owned(), Value::Array(alerting));
        self.groups.push((origin, Value::Object(fields)));
    }

    /// The application's databag for every receiver. It depends on what was added, not on the order.
    pub fn into_bag(mut self) -> Databag {
        self.groups.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let mut groups = Vec::new();
        let mut manifest = Manifest { version: VERSION, tiers: self.tiers, groups: BTreeMap::new() };
        for (origin, mut group) in self.groups {
            // A file has a name once; where two tiers or relations use the same, the later one says whose it is.
            let mut name = origin.group.clone();
            if taken.contains(&name) {
                let tier: String = origin.tier.chars().take(8).collect();
                name = format!("{}_{tier}_{}", origin.group, origin.relation.replace(':', "_"));
            }
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            group["name"] = Value::from(name.as_str());
            manifest.groups.insert(name, origin);
            groups.push(group);
        }
        let rules = if groups.is_empty() { json!({}) } else { json!({ "groups": groups }) };
        let mut bag = requirer_app_bag(&rules);
        let manifest = serde_json::to_value(manifest).expect("a manifest is JSON");
        bag.insert(KEY.to_owned(), json::dumps(&manifest));
        bag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    fn origin(tier: &str, relation: &str, group: &str) -> Origin {
        Origin { tier: tier.to_owned(), relation: relation.to_owned(), group: group.to_owned() }
    }

    fn group(name: &str) -> Value {
        json!({"name": name, "interval": "5s", "rules": [{"alert": "A", "expr": "up == 0"}, {"record": "r", "expr": "up"}]})
    }

    fn relation(bag: Databag) -> Relation {
        let remote = Side { app_bag: bag, ..Side::new("below") };
        let endpoint = "receive-remote-write".to_owned();
        Relation {
            id: 3,
            endpoint,
            interface: super::super::INTERFACE.to_owned(),
            local: Side::new("prometheus"),
            remote,
        }
    }

    fn read(bag: Databag) -> Manifest {
        Manifest::read(&relation(bag)).0.expect("our own manifest is understood")
    }

    #[test]
    fn alerting_rules_go_on_once_and_under_one_name_each() {
        let mut outbound = Outbound::new("t2", "middle");
        outbound.add_group(origin("t2", "metrics-endpoint:1", "node"), &group("node"));
        outbound.add_group(origin("t1", "metrics-endpoint:1", "node"), &group("node"));
        // The same once more, over another way, under the name that the way gave it.
        outbound.add_group(origin("t1", "metrics-endpoint:1", "node"), &group("node_t1_x"));
        outbound.add_group(
            origin("t2", "metrics-endpoint:2", "records"),
            &json!({"name": "records", "rules": [{"record": "r"}]}),
        );
        outbound.add_group(origin("t2", "metrics-endpoint:2", "odd"), &json!("odd"));
        let bag = outbound.into_bag();
        let rules = json::parse(&bag["alert_rules"]).unwrap();
        assert_eq!(
            rules,
            json!({"groups": [
                {"name": "node", "interval": "5s", "rules": [{"alert": "A", "expr": "up == 0"}]},
                {"name": "node_t2_metrics-endpoint_1", "interval": "5s", "rules": [{"alert": "A", "expr": "up == 0"}]},
            ]})
        );
        let manifest = read(bag);
        assert_eq!(manifest.groups["node"], origin("t1", "metrics-endpoint:1", "node"));
        assert_eq!(manifest.groups["node_t2_metrics-endpoint_1"], origin("t2", "metrics-endpoint:1", "node"));
        assert_eq!(Outbound::new("t", "m").into_bag()["alert_rules"], "{}");
    }

    #[test]
    fn a_tier_below_itself_is_found() {
        let bottom = read(Outbound::new("t1", "bottom").into_bag());
        assert_eq!(bottom.loop_through("t2", "middle"), None);
        let mut middle = Outbound::new("t2", "middle");
        middle.add_tiers(&bottom);
        let middle = read(middle.into_bag());
        assert_eq!(middle.loop_through("t3", "top"), None);
        assert_eq!(
            middle.loop_through("t1", "bottom").as_deref(),
            Some("this tier would receive from itself: bottom (t1) → middle (t2) → bottom (t1)")
        );
        // The shorter way counts.
        let mut top = Outbound::new("t3", "top");
        top.add_tiers(&middle);
        top.add_tiers(&bottom);
        let paths: Vec<Vec<String>> = read(top.into_bag()).tiers.into_iter().map(|tier| tier.path).collect();
        assert_eq!(paths, [vec!["t3"], vec!["t1", "t3"], vec!["t2", "t3"]]);
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let (manifest, problem) = Manifest::read(&relation(Databag::from([(KEY.to_owned(), text.to_owned())])));
        let text = problem.map(|problem| problem.to_string()).unwrap_or_default();
        assert!(manifest.is_none() && text.contains(part), "{text}");
    }

    #[test]
    fn what_is_no_manifest() {
        check_refused("[", "relatum_tiers");
        check_refused("[1]", "cannot be understood");
        check_refused(r#"{"version": 2, "tiers": [], "groups": {}}"#, "version 2");
        let long: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let far = json!({"version": 1, "tiers": [{"tier": "a", "model": "m", "path": long}], "groups": {}});
        check_refused(&far.to_string(), "tiers away");
    }
}
