//! `loki_push_api`: where our log lines go.

use crate::bag::Relation;
use crate::problem::Problem;
use crate::published_url::{self, PublishedUrl};

/// The name of the interface.
pub const INTERFACE: &str = "loki_push_api";

/// The push URLs of all `relations`, sorted, each once. Lines go to every one of them.
pub fn endpoints<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> (Vec<PublishedUrl>, Vec<Problem>) {
    published_url::read(relations, "endpoint")
}
