//! From a value to the tree that its text would be read to.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::{Node, Scalar, Value};

/// Deeper values are for whoever reads the text to judge, and larger ones.
const DEPTH_MAX: usize = 32;
const NODES_MAX: u32 = 1_000_000;

/// The tree of a mapping of `key` to the list of `items`, without places. `None` where only its text says what it is: numbers have many
/// spellings.
///
/// Whatever writes a value puts quotes around each string that could be taken for something else, so here every string has them.
pub(crate) fn tree_of_list<'a>(key: &str, items: impl IntoIterator<Item = impl Into<Item<'a>>>) -> Option<Node> {
    let mut grower = Grower::default();
    let key = grower.key(key);
    let items: Vec<Node> =
        items.into_iter().map(|item| grower.node(item.into(), DEPTH_MAX - 2)).collect::<Option<_>>()?;
    let weight = 1 + items.iter().map(|item| item.weight).sum::<u64>();
    let list = grower.grown(weight, Value::Sequence(items))?;
    grower.grown(1 + key.weight + list.weight, Value::Mapping(vec![(key, list)]))
}

/// A value, or the entries of one that is an object.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    Value(&'a Json),
    Object(&'a Map<String, Json>),
}

impl<'a> From<&'a Json> for Item<'a> {
    fn from(value: &'a Json) -> Self {
        match value {
            Json::Object(entries) => Item::Object(entries),
            value => Item::Value(value),
        }
    }
}

impl<'a> From<&'a Map<String, Json>> for Item<'a> {
    fn from(entries: &'a Map<String, Json>) -> Self {
        Item::Object(entries)
    }
}

#[derive(Default)]
struct Grower {
    next_id: u32,
}

impl Grower {
    fn node(&mut self, item: Item<'_>, depth_left: usize) -> Option<Node> {
        let depth_left = depth_left.checked_sub(1)?;
        let mut weight = 1;
        let value = match item {
            Item::Object(entries) => {
                let mut pairs = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.key(key);
                    let value = self.node(value.into(), depth_left)?;
                    weight += key.weight + value.weight;
                    pairs.push((key, value));
                }
                Value::Mapping(pairs)
            }
            Item::Value(value) => match value {
                Json::Null => scalar("null", true),
                Json::Bool(value) => scalar(if *value { "true" } else { "false" }, true),
                Json::Number(number) if number.is_f64() => return None,
                Json::Number(number) => scalar(&number.to_string(), true),
                Json::String(text) => scalar(text, false),
                Json::Array(items) => {
                    let grow = |item: &Json| self.node(item.into(), depth_left);
                    let items: Vec<Node> = items.iter().map(grow).collect::<Option<_>>()?;
                    weight += items.iter().map(|item| item.weight).sum::<u64>();
                    Value::Sequence(items)
                }
                Json::Object(entries) => return self.node(Item::Object(entries), depth_left + 1),
            },
        };
        self.grown(weight, value)
    }

    fn key(&mut self, text: &str) -> Node {
        self.next_id += 1;
        Node { id: self.next_id, line: 0, column: 0, weight: 1, value: Rc::new(scalar(text, false)) }
    }

    /// A node of what is grown already; `None` if there are too many.
    fn grown(&mut self, weight: u64, value: Value) -> Option<Node> {
        self.next_id += 1;
        let node = || Node { id: self.next_id, line: 0, column: 0, weight, value: Rc::new(value) };
        (self.next_id <= NODES_MAX).then(node)
    }
}

fn scalar(text: &str, plain: bool) -> Value {
    Value::Scalar(Scalar { text: text.to_owned(), plain, tag: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::parse;

    /// What a node says.
    fn shown(node: &Node) -> String {
        match &*node.value {
            Value::Scalar(_) if node.is_null() => "null".to_owned(),
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::Sequence(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Value::Mapping(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| format!("{}={}", shown(key), shown(value)));
                format!("{{{}}} {}", pairs.collect::<Vec<_>>().join(" "), node.weight)
            }
        }
    }

    #[test]
    fn a_value_has_the_tree_of_its_text() {
        for value in [
            json!({"a": [1, -2, true, null, {}, []], "b": {"yes": "no", "<<": "~", "null": "null"}}),
            json!({"k": ["", " a", "a\nb\n", "1h", "0x1", "{{ x }}", "\u{0}\u{85}", "10.0.0.1:80", "- a", "*"]}),
            json!({"deep": [[[[{"a": {"b": [u64::MAX, i64::MIN]}}]]]]}),
        ] {
            let text = relatum_model::yaml::to_string(&json!({"list": [value, 1]})).unwrap();
            let read = parse(&text).unwrap().0.unwrap();
            assert_eq!(shown(&tree_of_list("list", [&value, &json!(1)]).unwrap()), shown(&read), "{text}");
            let entries = value.as_object().unwrap();
            let text = relatum_model::yaml::to_string(&json!({"list": [value]})).unwrap();
            let read = parse(&text).unwrap().0.unwrap();
            assert_eq!(shown(&tree_of_list("list", [entries]).unwrap()), shown(&read), "{text}");
        }
        let deep = (0..DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        for value in [json!(1.5), json!({"a": [1e100]}), deep] {
            assert!(tree_of_list("list", [&value]).is_none(), "{value}");
        }
    }
}
