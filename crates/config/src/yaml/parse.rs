//! From text to tree.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Node, Scalar, Value};
use crate::problem::{Kind, Problem};

/// The largest text that is read, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// How deep collections may be nested; readers call themselves once for each level.
const DEPTH_MAX: usize = 64;

/// How many nodes aliases may add to those of the text.
const REPEATED_NODES_MAX: u64 = 1_000_000;

/// The first document of `text`, and whether more follow it. `None` is an empty document.
pub(crate) fn parse(text: &str) -> Result<(Option<Node>, bool), Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(at(0, 0, format!("the text is larger than {TEXT_BYTES_MAX} bytes")));
    }
    let options = granit_parser::options! { flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| at(error.marker().line(), error.marker().col() + 1, error.info()))?;
        if matches!(event, Event::DocumentStart(..)) && builder.documents > 0 {
            return Ok((builder.root, true));
        }
        builder.event(event, span)?;
    }
    Ok((builder.root, false))
}

fn at(line: usize, column: usize, message: String) -> Problem {
    Problem { line: line as u64, column: column as u64, key: String::new(), kind: Kind::Invalid, message }
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The items of a sequence, or keys and values in turn.
    items: Vec<Node>,
    is_mapping: bool,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    next_id: u32,
    repeated: u64,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.as_deref().map(tag_name);
                let node = self.node(span, Value::Scalar(Scalar { text: text.into_owned(), plain, tag }));
                self.finish(node, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.start(span, anchor, false),
            Event::MappingStart(_, anchor, _) => self.start(span, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser closes only what it opened");
                let weight = 1 + open.items.iter().map(|item| item.weight).sum::<u64>();
                let value = if open.is_mapping { mapping(open.items)? } else { Value::Sequence(open.items) };
                self.finish(Node { value: Rc::new(value), weight, ..open.node }, open.anchor);
            }
            Event::Alias(id) => {
                // An anchor that is not finished yet contains its own alias.
                let node = self.anchors.get(&id).cloned().ok_or_else(|| {
                    at(span.start.line(), span.start.col() + 1, "anchor value contains itself".to_owned())
                })?;
                self.repeated = self.repeated.saturating_add(node.weight);
                if self.repeated > REPEATED_NODES_MAX {
                    let message = "document contains excessive aliasing".to_owned();
                    return Err(at(span.start.line(), span.start.col() + 1, message));
                }
                let node = Node { line: span.start.line() as u64, column: span.start.col() as u64 + 1, ..node };
                self.finish(node, 0);
            }
            Event::DocumentEnd => self.documents += 1,
            _ => {}
        }
        Ok(())
    }

    fn node(&mut self, span: Span, value: Value) -> Node {
        let id = self.next_id;
        self.next_id += 1;
        let (line, column) = (span.start.line() as u64, span.start.col() as u64 + 1);
        Node { id, line, column, weight: 1, value: Rc::new(value) }
    }

    fn start(&mut self, span: Span, anchor: usize, is_mapping: bool) {
        let node = self.node(span, Value::Sequence(Vec::new()));
        self.open.push(Open { node, anchor, items: Vec::new(), is_mapping });
    }

    fn finish(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
    }
}

fn tag_name(tag: &Tag) -> String {
    tag.core_suffix().unwrap_or(tag.suffix()).to_owned()
}

/// Pairs keys with values, and replaces `<<` by what it merges in: keys that stand in the mapping itself win, then those of
/// the earlier merged mapping.
fn mapping(items: Vec<Node>) -> Result<Value, Problem> {
    let mut pairs: Vec<(Node, Node)> = Vec::with_capacity(items.len() / 2);
    let mut merged: Vec<Node> = Vec::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let is_merge =
            key.scalar().is_some_and(|s| s.text == "<<" && s.plain && s.tag.as_deref().is_none_or(|t| t == "merge"));
        if !is_merge {
            pairs.push((key, value));
            continue;
        }
        match &*value.value {
            Value::Mapping(_) => merged.push(value),
            Value::Sequence(values) => merged.extend(values.iter().cloned()),
            Value::Scalar(_) => merged.push(value),
        }
    }
    if merged.is_empty() {
        return Ok(Value::Mapping(pairs));
    }
    let mut names: HashSet<String> = pairs.iter().filter_map(|(key, _)| Some(key.scalar()?.text.clone())).collect();
    for from in merged {
        let Value::Mapping(inherited) = &*from.value else {
            let message = "map merge requires map or sequence of maps as the value".to_owned();
            return Err(at(from.line as usize, from.column as usize, message));
        };
        for (key, value) in inherited {
            if key.scalar().is_none_or(|scalar| names.insert(scalar.text.clone())) {
                pairs.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(Value::Mapping(pairs))
}
