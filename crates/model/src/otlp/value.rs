//! Attributes: names with values of several kinds.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::text::{format_json_number, format_value_short};

/// A value of an attribute.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// None at all.
    #[default]
    Empty,
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float.
    Double(f64),
    /// Several values.
    List(Vec<Value>),
    /// Values by name.
    Map(Attributes),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Attributes, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(pub Vec<(String, Value)>);

impl Attributes {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl Value {
    /// The value as a label has it, which is as the OpenTelemetry collector writes it: texts as they are, lists and maps as JSON, bytes in
    /// base64.
    pub fn to_text(&self) -> String {
        match self {
            Value::Empty => String::new(),
            Value::Text(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Double(value) => format_json_number(*value)
                .unwrap_or_else(|| format!("json: unsupported value: {}", format_value_short(*value))),
            Value::Bytes(bytes) => base64(bytes),
            Value::List(_) | Value::Map(_) => {
                let mut json = String::new();
                self.push_json(&mut json).map_or_else(String::new, |()| json)
            }
        }
    }

    /// `None` for what JSON cannot say.
    fn push_json(&self, out: &mut String) -> Option<()> {
        match self {
            Value::Empty => out.push_str("null"),
            Value::Text(text) => push_string(out, text),
            Value::Bool(_) | Value::Int(_) => out.push_str(&self.to_text()),
            Value::Double(value) => out.push_str(&format_json_number(*value)?),
            Value::Bytes(bytes) => push_string(out, &base64(bytes)),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    item.push_json(out)?;
                }
                out.push(']');
            }
            Value::Map(pairs) => {
                // Sorted, as Go writes maps: a label must not depend on the order in which they came. Of a name twice the last counts.
                let sorted: BTreeMap<&str, &Value> =
                    pairs.0.iter().map(|(name, value)| (name.as_str(), value)).collect();
                out.push('{');
                for (at, (name, value)) in sorted.into_iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    push_string(out, name);
                    out.push(':');
                    value.push_json(out)?;
                }
                out.push('}');
            }
        }
        Some(())
    }
}

/// As Go writes strings into JSON.
fn push_string(out: &mut String, text: &str) {
    let json = Json::from(text).to_string();
    out.push_str(&json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            match at <= chunk.len() {
                true => out.push(char::from(ALPHABET[(group >> (18 - 6 * at)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_labels() {
        let text = |text: &str| Value::Text(text.to_owned());
        let map = Attributes(vec![("b".to_owned(), Value::Int(1)), ("a".to_owned(), Value::Bool(true))]);
        for (value, expected) in [
            (Value::Empty, ""),
            (text("x"), "x"),
            (Value::Int(-3), "-3"),
            (Value::Double(1.5), "1.5"),
            (Value::Double(2.0), "2"),
            (Value::Double(1e-7), "1e-7"),
            (Value::Double(1e21), "1e+21"),
            (Value::Bytes(b"hello".to_vec()), "aGVsbG8="),
            (Value::Bytes(b"a".to_vec()), "YQ=="),
            (Value::List(vec![text("x"), Value::Int(2), Value::Empty]), r#"["x",2,null]"#),
            (Value::Map(map), r#"{"a":true,"b":1}"#),
            (Value::Double(f64::INFINITY), "json: unsupported value: +Inf"),
            (Value::List(vec![Value::Double(1e-7), Value::Double(2.0)]), "[1e-7,2]"),
            (Value::List(vec![text("<&>\u{2028}\u{7}\u{8}\n")]), r#"["<&>\u2028\u0007\b\n"]"#),
            // JSON cannot say it, so nothing is said.
            (Value::List(vec![Value::Int(1), Value::Double(f64::NAN)]), ""),
        ] {
            assert_eq!(value.to_text(), expected, "{value:?}");
        }
    }
}
