//! JSON as databags hold it: read with bounds, written the way Python's `json.dumps` writes it.
//!
//! Peers hash and compare the text and not only the value, so what we write must be the same bytes: `", "` and `": "`
//! between parts, every character outside printable ASCII escaped, floats as Python prints them, keys in the order they were set.

use std::cell::Cell;
use std::fmt;

use relatum_model::text::format_python_float;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::bag::{self, Databag};
use crate::hint::other_notation;
use crate::place::Place;
use crate::problem::Problem;

/// A larger value is refused unread. The largest real ones (all rules of a site, forwarded) stay below a tenth of this.
pub const VALUE_BYTES_MAX: usize = 8 << 20;

/// A value with more parts is refused: `[[],[],…` needs fifty times its text in memory.
pub const PARTS_MAX: usize = 500_000;

/// Why a text is not JSON that we take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The text is longer than [`VALUE_BYTES_MAX`].
    #[error("value is {0} bytes long, more than {VALUE_BYTES_MAX}")]
    TooLong(usize),
    /// The text is not JSON, is nested deeper than 128, or has more than [`PARTS_MAX`] parts.
    #[error("value is not JSON we can take: {reason}")]
    Syntax {
        /// What the reader says, without the place.
        reason: String,
        /// Where it stopped.
        place: Place,
    },
}

impl JsonError {
    fn syntax(text: &str, error: &serde_json::Error) -> Self {
        let place = Place::of_error(text, error);
        let mut reason = error.to_string();
        reason.truncate(reason.rfind(" at line ").unwrap_or(reason.len()));
        JsonError::Syntax { reason, place }
    }
}

/// Reads `text`. Keys keep their order; of a repeated key the last value counts, at the place of the first, as in Python.
///
/// `NaN`, `Infinity` and `-Infinity`, which Python writes and reads, are strings: only what has one of them is wrong then.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    if text.len() > VALUE_BYTES_MAX {
        return Err(JsonError::TooLong(text.len()));
    }
    let read = |text: &str| {
        let parts_left = Cell::new(PARTS_MAX);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Bounded { parts_left: &parts_left }.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| value)
    };
    read(text).or_else(|error| {
        let of_constant = || JsonError::syntax(text, &error);
        let quoted = without_constants(text, |constant| format!("\"{constant}\"")).ok_or_else(of_constant)?;
        // Something else may be wrong as well, such as a constant that is a key. Its place is that in the text as it came.
        if let Some(other) = without_constants(text, as_long).and_then(|text| read(&text).err()) {
            return Err(JsonError::syntax(text, &other));
        }
        // One that stands alone is nothing that anybody asks for.
        read(&quoted).ok().filter(|value| !value.is_string()).ok_or_else(of_constant)
    })
}

/// What Python's `json.dumps` writes for floats that JSON has no text for.
const CONSTANTS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// `text` with what `fill` says in the place of each of [`CONSTANTS`] outside of strings; `None` if it has none of them.
pub(crate) fn without_constants(text: &str, fill: impl Fn(&str) -> String) -> Option<String> {
    let mut filled = String::new();
    let (mut done, mut at, mut is_string) = (0, 0, false);
    while let Some(byte) = text.as_bytes().get(at) {
        let constant = || CONSTANTS.into_iter().find(|constant| text.as_bytes()[at..].starts_with(constant.as_bytes()));
        match byte {
            b'"' => is_string = !is_string,
            b'\\' if is_string => at += 1,
            b'N' | b'I' | b'-' if !is_string && let Some(constant) = constant() => {
                filled.push_str(&text[done..at]);
                filled.push_str(&fill(constant));
                at += constant.len();
                done = at;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if done == 0 {
        return None;
    }
    filled.push_str(&text[done..]);
    Some(filled)
}

/// A number as long as `constant`, so that all else stands where it stood.
pub(crate) fn as_long(constant: &str) -> String {
    format!("{:<1$}", 0, constant.len())
}

/// Reads the value under `key`. What Python takes for false (no key, `null`, `""`, `[]`, `{}`, …) is `None`: peers mean
/// "nothing" by it.
pub(crate) fn read(bag: &Databag, key: &str) -> Result<Option<Value>, Problem> {
    let Some(text) = bag::value(bag, key) else { return Ok(None) };
    let value = parse(text).map_err(|error| {
        let problem = Problem::new(error.to_string()).key(key);
        match error {
            JsonError::TooLong(_) => problem,
            JsonError::Syntax { place, .. } => {
                let problem = problem.place(place);
                other_notation(text).map_or(problem.clone(), |hint| problem.hint(hint))
            }
        }
    })?;
    Ok(Some(value).filter(|value| !is_empty(value)))
}

/// Whether Python would take `value` for false.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// The name of `value`'s type, for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Builds a [`Value`], taking one from the budget for each part before it is kept.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    parts_left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn take<E: serde::de::Error>(&self) -> Result<(), E> {
        match self.parts_left.get().checked_sub(1) {
            Some(left) => {
                self.parts_left.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!("more than {PARTS_MAX} parts"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(self)?;
            entries.insert(key, value);
        }
        Ok(Value::Object(entries))
    }
}

/// Writes `value` as Python's `json.dumps(value)` does.
pub fn dumps(value: &Value) -> String {
    let mut text = String::new();
    dump(value, &mut text);
    text
}

/// Writes `entries` as Python's `json.dumps` writes a dictionary.
pub fn dumps_object(entries: &Map<String, Value>) -> String {
    let mut text = String::new();
    dump_object(entries, &mut text);
    text
}

fn dump(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => text.push_str(&format_python_float(float)),
            None => text.push_str(&number.to_string()),
        },
        Value::String(string) => dump_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                dump(item, text);
            }
            text.push(']');
        }
        Value::Object(entries) => dump_object(entries, text),
    }
}

fn dump_object(entries: &Map<String, Value>, text: &mut String) {
    text.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        dump_string(key, text);
        text.push_str(": ");
        dump(value, text);
    }
    text.push('}');
}

fn dump_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is what Python 3 prints for `json.dumps(json.loads(text))`.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).map(|value| dumps(&value)).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn prints_as_python() {
        check(r#"{"b":1,"a":[true,false,null]}"#, r#"{"b": 1, "a": [true, false, null]}"#);
        check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#);
        check(r#""é😀/\u007f\u0000\n\"\\""#, r#""\u00e9\ud83d\ude00/\u007f\u0000\n\"\\""#);
        check("[1.0, -0.0, 0.1, 1e15, 1e16, 1.5e300]", "[1.0, -0.0, 0.1, 1000000000000000.0, 1e+16, 1.5e+300]");
        check("[0.0001, 0.00001, 123456789.125]", "[0.0001, 1e-05, 123456789.125]");
        // Two texts are equally near.
        check("[26818201253895.5625]", "[26818201253895.562]");
        check("[18446744073709551615, -9223372036854775808]", "[18446744073709551615, -9223372036854775808]");
        check("{}", "{}");
    }

    #[test]
    fn constants_of_python_are_strings() {
        check(r#"{"a": NaN, "b": [Infinity,-Infinity, -1]}"#, r#"{"a": "NaN", "b": ["Infinity", "-Infinity", -1]}"#);
        check(
            r#"["NaN", "\"", NaN, "\\", Infinity, "-Infinity"]"#,
            r#"["NaN", "\"", "NaN", "\\", "Infinity", "-Infinity"]"#,
        );
        // What else is wrong is named where it stands.
        let Err(JsonError::Syntax { place, .. }) = parse("[NaN, -Infinity, oops]") else { panic!("it is no JSON") };
        assert_eq!(place, Place { line: 1, column: 18 });
    }

    #[test]
    fn refuses_hostile_values() {
        let long = format!("\"{}\"", "x".repeat(10 << 20));
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let wide = format!("[{}[]]", "[],".repeat(1_000_000));
        let keys = format!("{{{}}}", (0..600_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
        for text in [
            &long,
            &deep,
            &wide,
            &keys,
            "",
            "[1,]",
            "NaN",
            "[nan]",
            "NaN NaN",
            "{NaN: 1}",
            "{\"a\": {-Infinity: 1}}",
            "1e999",
            "\"\\ud800\"",
            "{} {}",
            "\u{0}",
        ] {
            assert!(parse(text).is_err(), "{}", text.chars().take(20).collect::<String>());
        }
    }
}
