//! Spans as OpenTelemetry's protocol has them over HTTP, in JSON.

use std::fmt::Write;

use relatum_relations::topology::Topology;
use serde::Deserialize;
use serde_json::{Value, json};

use super::span::Span;

/// What is posted to, below the address of a receiver.
const PATH: &str = "/v1/traces";

/// The URL for spans of the receiver at `address`.
pub(crate) fn url(address: &str) -> String {
    let scheme = if address.contains("://") { "" } else { "http://" };
    format!("{scheme}{}{PATH}", address.trim_end_matches('/'))
}

/// The body of a request.
pub(super) fn body(topology: &Topology, spans: &[Span]) -> Vec<u8> {
    let attribute = |(name, value): (&str, &str)| json!({"key": name, "value": {"stringValue": value}});
    let mut resource = vec![
        attribute(("service.name", &format!("{}-{}", topology.application(), "relatum"))),
        attribute(("service.version", env!("CARGO_PKG_VERSION"))),
    ];
    resource.extend(super::origin(topology).map(attribute));
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({"name": "relatum", "version": env!("CARGO_PKG_VERSION")});
    json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"scope": scope, "spans": spans}]}]})
        .to_string()
        .into_bytes()
}

fn span(span: &Span) -> Value {
    let attribute = |(name, value): &(&'static str, String)| json!({"key": name, "value": {"stringValue": value}});
    // Times are 64-bit numbers, which JSON of protobuf writes as strings; ids are in hexadecimal digits.
    let mut value = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": span.name,
        "kind": span.role as u8,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "status": if span.has_failed { json!({"code": 2}) } else { json!({}) },
    });
    if let Some(parent) = &span.parent {
        value["parentSpanId"] = hex(parent).into();
    }
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How many spans the receiver of a request refused, by its answer. What is no such answer, as Loki's, refuses none.
pub(super) fn n_refused(answer: &[u8]) -> u64 {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Answer {
        partial_success: Partial,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Partial {
        rejected_spans: Value,
    }
    let refused = serde_json::from_slice::<Answer>(answer).unwrap_or_default().partial_success.rejected_spans;
    refused.as_u64().or_else(|| refused.as_str()?.parse().ok()).unwrap_or(0)
}
