//! Values of databags laid open: JSON inside texts, and what is packed with xz and written in base64, as dashboards are.

use relatum_relations::bag::Databag;
use relatum_relations::grafana_dashboard;
use serde_json::{Map, Value};

/// Encodings lie inside one another at most this deep.
const DEPTH_MAX: usize = 6;

/// What all packed values of one databag may grow to.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// What xz begins with, in base64.
const PACKED_PREFIX: &str = "/Td6WFoA";

/// The keys of `bag` with their values laid open, where that shows more than the texts do.
pub(crate) fn bag(bag: &Databag) -> Map<String, Value> {
    let mut bytes_left = UNPACKED_BYTES_MAX;
    let open = |(key, text): (&String, &String)| {
        let opened = text_value(text, DEPTH_MAX, &mut bytes_left)?;
        Some((key.clone(), opened))
    };
    bag.iter().filter_map(open).collect()
}

/// What `text` holds, if it is more than a text.
fn text_value(text: &str, depth: usize, bytes_left: &mut usize) -> Option<Value> {
    if depth == 0 {
        return None;
    }
    if text.starts_with(PACKED_PREFIX) {
        let unpacked = grafana_dashboard::decode(text, *bytes_left).ok()?;
        *bytes_left = bytes_left.saturating_sub(unpacked.len());
        return Some(text_value(&unpacked, depth - 1, bytes_left).unwrap_or(Value::String(unpacked)));
    }
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    Some(opened(serde_json::from_str(text).ok()?, depth - 1, bytes_left))
}

fn opened(value: Value, depth: usize, bytes_left: &mut usize) -> Value {
    match value {
        Value::String(text) => text_value(&text, depth, bytes_left).unwrap_or(Value::String(text)),
        Value::Array(items) => items.into_iter().map(|item| opened(item, depth, bytes_left)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, opened(value, depth, bytes_left))).collect())
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        let found = bag(&Databag::from([("key".to_owned(), text.to_owned())]));
        assert_eq!(found.get("key").cloned().unwrap_or_default(), expected, "{text}");
    }

    #[test]
    fn encodings_are_opened() {
        check("10.0.0.1", json!(null));
        check("[1, 2", json!(null));
        check("{}", json!({}));
        check(r#"{"a": "{\"b\": \"[1]\"}", "c": "[x"}"#, json!({"a": {"b": [1]}, "c": "[x"}));
        let packed = grafana_dashboard::encode(r#"{"title": "T"}"#);
        assert!(packed.starts_with(PACKED_PREFIX), "{packed}");
        check(&packed, json!({"title": "T"}));
        check(
            &json!({"templates": {"file:a": {"content": packed}}}).to_string(),
            json!({"templates": {"file:a": {"content": {"title": "T"}}}}),
        );
        check(&grafana_dashboard::encode("plain"), json!("plain"));
        check("/Td6WFoA broken", json!(null));
        // A text in a text in a text: bounded, the innermost stays as it is.
        let mut nested = "[1]".to_owned();
        for _ in 0..10 {
            nested = json!([nested]).to_string();
        }
        assert!(bag(&Databag::from([("key".to_owned(), nested)]))["key"].to_string().contains("\\\""));
    }
}
