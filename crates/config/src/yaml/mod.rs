//! YAML as a tree with places: what typed readers of the file formats walk over.
//!
//! A deserializer stops at its first error, loses where a value stood, and resolves types before the reader says which one it
//! wants. Here the text becomes a tree first, and the readers ask it for a string or a number as Go's YAML would decode it,
//! noting every fault on the way. Aliases share their node, so a text of repeated aliases costs no memory; the bound on how
//! often nodes may be repeated keeps walking them cheap too.

mod emit;
mod parse;
mod read;
mod scalar;
mod tree;

use std::rc::Rc;

pub(crate) use emit::emit;
pub(crate) use parse::parse;
pub(crate) use read::{Cursor, Findings, Section};
pub(crate) use tree::tree_of_list;

/// A node of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Different for nodes that were written separately, the same for all uses of one anchor.
    id: u32,
    /// Where it is used: for an alias the place of the alias.
    line: u64,
    column: u64,
    /// How many nodes it is when every alias is written out.
    weight: u64,
    value: Rc<Value>,
}

#[derive(Debug)]
enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// Keys in the order of the text; merges (`<<`) are resolved, repeated keys are still there.
    Mapping(Vec<(Node, Node)>),
}

#[derive(Debug)]
struct Scalar {
    text: String,
    /// Whether the text was written without quotes, so that its type follows from its look.
    plain: bool,
    /// A `!!tag`, without its exclamation marks.
    tag: Option<String>,
}

impl Scalar {
    fn is_null(&self) -> bool {
        match &self.tag {
            None => self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            Some(tag) => tag == "null",
        }
    }
}

impl Node {
    /// Whether it says nothing: `~`, `null` or an empty place.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&*self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    fn scalar(&self) -> Option<&Scalar> {
        match &*self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}
