//! The rules of one relation, as they are rendered.

use std::sync::Arc;

use relatum_relations::prometheus_scrape::RuleFile;
use serde_json::Value;

use super::Desired;
use super::view::Ends;
use crate::packed::PackedList;

/// One file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whose they are.
    pub ends: Ends,
    /// The name of the file below `rules/`.
    pub file_name: String,
    /// How many rules all groups have together.
    pub n_rules: usize,
    groups: PackedList,
}

impl Rules {
    pub(super) fn new(ends: Ends, file: RuleFile) -> Self {
        let n_rules = file.groups.iter().map(|group| group["rules"].as_array().map_or(0, Vec::len)).sum();
        Rules { ends, file_name: file.file_name, n_rules, groups: PackedList::new(&file.groups) }
    }

    /// The groups, in the order of the file.
    pub fn groups(&self) -> Vec<Value> {
        self.groups.values()
    }
}

impl Desired {
    /// Has the rules of one relation evaluated.
    pub(super) fn add_rules(&mut self, rules: Arc<Rules>) {
        self.yields.entry(rules.ends.relation.clone()).or_default().rules += rules.n_rules;
        self.rules.insert(rules.file_name.clone(), rules);
    }
}
