//! The body of `POST /api/v2/alerts`.

use relatum_model::{Alert, Labels};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::time::rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    annotations: LabelSet<'a>,
    ends_at: String,
    starts_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    labels: LabelSet<'a>,
}

struct LabelSet<'a>(&'a Labels);

impl Serialize for LabelSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The JSON text for `alerts`.
pub(super) fn encode<'a>(alerts: impl Iterator<Item = &'a Alert>) -> Vec<u8> {
    let alerts: Vec<PostableAlert<'_>> = alerts
        .map(|alert| PostableAlert {
            annotations: LabelSet(&alert.annotations),
            ends_at: rfc3339(alert.ends_at_ms),
            starts_at: rfc3339(alert.starts_at_ms),
            generator_url: &alert.generator_url,
            labels: LabelSet(&alert.labels),
        })
        .collect();
    serde_json::to_vec(&alerts).expect("texts and maps of texts always have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("a.b", "\"x\"\n")]),
            annotations: Labels::from_pairs([("summary", "gone")]),
            starts_at_ms: 1_700_000_000_123,
            ends_at_ms: 1_700_000_240_000,
            generator_url: "http://p:9090/graph?g0.expr=up&g0.tab=1".to_owned(),
        };
        let expected = concat!(
            r#"[{"annotations":{"summary":"gone"},"endsAt":"2023-11-14T22:17:20.000Z","#,
            r#""startsAt":"2023-11-14T22:13:20.123Z","generatorURL":"http://p:9090/graph?g0.expr=up&g0.tab=1","#,
            r#""labels":{"a.b":"\"x\"\n","alertname":"Down"}}]"#
        );
        assert_eq!(String::from_utf8(encode([&alert].into_iter())).unwrap(), expected);
    }
}
