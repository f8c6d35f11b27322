//! Attributes: names with values of several kinds.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

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
    /// The value as a label has it: texts as they are, lists and maps as JSON, bytes in base64.
    pub fn to_text(&self) -> String {
        match self {
            Value::Empty => String::new(),
            Value::Text(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Double(value) => number(*value),
            Value::Bytes(bytes) => base64(bytes),
            Value::List(_) | Value::Map(_) => self.to_json().to_string(),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Value::Empty => Json::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Double(value) => {
                serde_json::Number::from_f64(*value).map_or_else(|| number(*value).into(), Json::Number)
            }
            Value::Bytes(bytes) => base64(bytes).into(),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Map(pairs) => {
                // Sorted, as Go writes maps: a label must not depend on the order in which they came.
                let mut sorted: Vec<_> = pairs.0.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                sorted.into_iter().map(|(name, value)| (name.clone(), value.to_json())).collect::<Map<_, _>>().into()
            }
        }
    }
}

fn number(value: f64) -> String {
    // As JSON writes numbers in Go: no exponent in between, and none of the words that JSON lacks.
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let mut text = String::new();
        let _ = write!(text, "{value:e}");
        if let Some((mantissa, exponent)) = text.clone().split_once('e') {
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
            text = format!("{mantissa}e{sign}{digits:0>2}");
        }
        return text;
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
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
            (Value::Double(1e-7), "1e-07"),
            (Value::Double(1e21), "1e+21"),
            (Value::Bytes(b"hello".to_vec()), "aGVsbG8="),
            (Value::Bytes(b"a".to_vec()), "YQ=="),
            (Value::List(vec![text("x"), Value::Int(2), Value::Empty]), r#"["x",2,null]"#),
            (Value::Map(map), r#"{"a":true,"b":1}"#),
        ] {
            assert_eq!(value.to_text(), expected, "{value:?}");
        }
    }
}
