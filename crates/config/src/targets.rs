//! Lists of targets in files of their own: what `file_sd_configs` names and `http_sd_configs` answers.

use serde::Deserialize;
use serde_json::Value;

use relatum_model::LabelsBuilder;

use crate::problem::{Kind, Problem};
use crate::prometheus::{StaticConfig, read_group};
use crate::yaml::{self, Cursor, Findings};

/// How a list of targets is written: for a file its extension says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetFormat {
    /// `.json`, and what a URL answers.
    Json,
    /// `.yml` and `.yaml`.
    Yaml,
}

/// Reads a list of targets. An empty YAML text is an empty list; an empty JSON text is none.
pub fn parse_targets(text: &str, format: TargetFormat) -> Result<Vec<StaticConfig>, Vec<Problem>> {
    match format {
        TargetFormat::Json => parse_json(text).map_err(|problem| vec![problem]),
        TargetFormat::Yaml => parse_yaml(text),
    }
}

fn parse_yaml(text: &str) -> Result<Vec<StaticConfig>, Vec<Problem>> {
    let (root, _) = yaml::parse(text).map_err(|problem| vec![problem])?;
    let findings = Findings::default();
    let mut groups = Vec::new();
    if let Some(root) = &root {
        for item in Cursor::new(root, &findings).items() {
            if item.is_null() {
                item.invalid("nil target group item found");
            }
            groups.extend(read_group(item, |_, _| {}));
        }
    }
    let found = findings.finish(root.as_ref());
    if found.problems.is_empty() { Ok(groups) } else { Err(found.problems) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<serde_json::Map<String, Value>>,
}

fn parse_json(text: &str) -> Result<Vec<StaticConfig>, Problem> {
    let invalid = |line: usize, column: usize, message: String| Problem {
        line: line as u64,
        column: column as u64,
        key: String::new(),
        kind: Kind::Invalid,
        message,
    };
    let parsed: Result<Option<Vec<Option<Group>>>, _> = serde_json::from_str(text);
    let groups = parsed.map_err(|error| {
        // The place stands apart, so that it is not said twice.
        let message = error.to_string();
        let end = message.rfind(" at line ").unwrap_or(message.len());
        invalid(error.line(), error.column(), message[..end].to_owned())
    })?;
    let mut out = Vec::new();
    for (at, group) in groups.unwrap_or_default().into_iter().enumerate() {
        let nowhere = |message: String| Problem { key: format!("[{at}]"), ..invalid(0, 0, message) };
        let group = group.ok_or_else(|| nowhere("nil target group item found".to_owned()))?;
        let mut labels = LabelsBuilder::new();
        for (name, value) in group.labels.unwrap_or_default() {
            match value {
                _ if name.is_empty() => return Err(nowhere("\"\" is not a valid label name".to_owned())),
                Value::String(value) => _ = labels.set(name, value),
                Value::Null => {}
                other => return Err(nowhere(format!("label {name:?} is not a string but {other}"))),
            }
        }
        out.push(StaticConfig { targets: group.targets.unwrap_or_default(), labels: labels.build() });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, format: TargetFormat, expected: Result<&str, &str>) {
        let shown = match parse_targets(text, format) {
            Ok(groups) => {
                let shown = groups.iter().map(|group| format!("{}{}", group.targets.join(","), group.labels));
                Ok(shown.collect::<Vec<_>>().join(" "))
            }
            Err(problems) => Err(problems[0].to_string()),
        };
        assert_eq!(shown.as_deref().map_err(|error| error.as_str()), expected, "input {text:?}");
    }

    #[test]
    fn lists() {
        use TargetFormat::{Json, Yaml};
        check("", Yaml, Ok(""));
        check("- targets: ['a:1', b]\n  labels: {x: 1}\n- {}\n", Yaml, Ok("a:1,b{x=\"1\"} {}"));
        check("- target: [a]\n", Yaml, Err("1:3: field target not found, did you mean targets? (in [0].target)"));
        check("- \n", Yaml, Err("1:3: nil target group item found (in [0])"));
        check("a: b\n", Yaml, Err("1:1: cannot unmarshal !!map into []string"));
        check(r#"[{"targets": ["a:1"], "labels": {"x": "\u00e9"}}]"#, Json, Ok("a:1{x=\"é\"}"));
        check("[null]", Json, Err("nil target group item found (in [0])"));
        check("", Json, Err("1:0: EOF while parsing a value"));
        check("[{\"target\": []}]", Json, Err("1:10: unknown field `target`, expected `targets` or `labels`"));
        check(r#"[{"labels": {"x": 1}}]"#, Json, Err("label \"x\" is not a string but 1 (in [0])"));
        check(&"[".repeat(100_000), Json, Err("1:3: invalid type: sequence, expected a string"));
    }
}
