//! Log lines as Loki's push API takes them, in JSON: one stream, which is us.

use relatum_relations::topology::Topology;
use serde_json::{Map, Value, json};

use crate::control::LogLine;

/// The body of a push. The labels are our topology, as with every other charm's log; level and module stand in the line, for a
/// stream each would be many small ones.
pub(super) fn body(topology: &Topology, lines: &[LogLine]) -> Vec<u8> {
    let labels: Map<String, Value> =
        super::origin(topology).map(|(name, value)| (name.to_owned(), value.into())).collect();
    let value = |line: &LogLine| {
        let nanoseconds = i128::from(line.at_ms) * 1_000_000;
        json!([nanoseconds.to_string(), format!("{} {}: {}", line.level, line.target, line.message)])
    };
    let values: Vec<Value> = lines.iter().map(value).collect();
    json!({"streams": [{"stream": labels, "values": values}]}).to_string().into_bytes()
}
