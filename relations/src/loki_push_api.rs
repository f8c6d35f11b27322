//! `loki_push_api`: where our log lines go.

use serde_json::json;

use crate::bag::{Databag, Relation};
use crate::json::{dumps, dumps_object};
use crate::problem::Problem;
use crate::published_url::{self, PublishedUrl};
use crate::topology::Topology;

/// The name of the interface.
pub const INTERFACE: &str = "loki_push_api";

/// The push URLs of all `relations`, sorted, each once. Lines go to every one of them.
pub fn endpoints<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> (Vec<PublishedUrl>, Vec<Problem>) {
    published_url::read(relations, "endpoint")
}

/// Our application's databag: who sends, and that no rules come with the lines. `topology` is that of the leader's unit.
pub fn requirer_app_bag(topology: &Topology) -> Databag {
    Databag::from([
        ("metadata".to_owned(), dumps_object(&topology.to_metadata())),
        ("alert_rules".to_owned(), dumps(&json!({}))),
    ])
}
