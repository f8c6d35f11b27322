//! Rule files of an application, as the charm library puts them into the databag under `alert_rules`.
//!
//! A file holds `groups`, or one rule. Group names get the application's identifier, rules get its topology as labels and, in every
//! selector, as matchers. The two rules about the host itself are always added.

use serde_json::{Map, Value, json};

use crate::injection;
use crate::topology::{JUJU_APPLICATION, JUJU_MODEL, JUJU_MODEL_UUID, Topology};

/// `{"groups": […]}` for `files`, names and texts, and the host's health.
///
/// Fails with the name of the file that is none; what the rules say is judged by whoever reads the databag.
pub fn of_files(topology: &Topology, files: &[(String, String)]) -> Result<Value, String> {
    let mut groups = Vec::new();
    for (name, text) in files {
        groups.extend(file_groups(topology, name, text).map_err(|reason| format!("cannot use {name}: {reason}"))?);
    }
    groups.push(host_health(topology));
    for rule in groups.iter_mut().filter_map(|group| group.get_mut("rules")?.as_array_mut()).flatten() {
        complete(rule, topology);
    }
    Ok(json!({"groups": groups}))
}

fn file_groups(topology: &Topology, name: &str, text: &str) -> Result<Vec<Value>, String> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let file: Value = relatum_model::yaml::from_json_or_yaml(text).map_err(|error| error.to_string())?;
    let is_rule = file.get("expr").is_some() && (file.get("alert").is_some() || file.get("record").is_some());
    let mut groups = match file {
        Value::Object(mut file) if file.contains_key("groups") => match file.remove("groups") {
            Some(Value::Array(groups)) if file.is_empty() => groups,
            Some(Value::Array(_)) => return Err("it has keys beside groups".to_owned()),
            _ => return Err("groups is no list".to_owned()),
        },
        rule if is_rule => vec![json!({"name": stem, "rules": [rule]})],
        _ => return Err("it has neither groups nor a rule with alert or record".to_owned()),
    };
    for group in &mut groups {
        let Some(group) = group.as_object_mut() else { return Err("a group is no object".to_owned()) };
        let own = group.get("name").and_then(Value::as_str).ok_or("a group has no name")?;
        let name = group_name(&topology.identifier(), own);
        group.insert("name".to_owned(), Value::String(name));
    }
    Ok(groups)
}

/// `{identifier}_{name}_rules` in letters that group names may have. A name that is complete already is kept.
pub fn group_name(identifier: &str, name: &str) -> String {
    let full = if is_complete(name) {
        name.to_owned()
    } else {
        let ending = if name.ends_with("_rules") { "" } else { "_rules" };
        format!("{identifier}_{name}{ending}")
    };
    full.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }).collect()
}

/// Whether some application's identifier is in the name: `…_{8 hexadecimal digits}_…rules`.
fn is_complete(name: &str) -> bool {
    let is_digest = |part: &str| part.len() == 8 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = name.split('_').collect();
    name.ends_with("rules") && parts.len() > 2 && parts[1..parts.len() - 1].iter().any(|part| is_digest(part))
}

fn complete(rule: &mut Value, topology: &Topology) {
    let Some(rule) = rule.as_object_mut() else { return };
    let labels = rule.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    let Some(labels) = labels.as_object_mut() else { return };
    for (label, value) in topology.labels() {
        labels.entry(label).or_insert_with(|| Value::String(value.to_owned()));
    }
    // The labels of the rule and not ours: a rule may be about another application.
    let label = |name: &str| labels.get(name).and_then(Value::as_str).unwrap_or_default();
    let topology = Topology::new(label(JUJU_MODEL), label(JUJU_MODEL_UUID), label(JUJU_APPLICATION));
    if let Some(Value::String(expr)) = rule.get_mut("expr") {
        *expr = match &topology {
            Ok(topology) => injection::bound(expr, topology),
            Err(_) => injection::without_token(expr),
        };
    }
}

/// The rules every charm brings: the host is down, or nothing is heard of it.
fn host_health(topology: &Topology) -> Value {
    json!({
        "name": group_name(&topology.identifier(), "HostHealth"),
        "rules": [
            {
                "alert": "HostDown",
                "expr": "up < 1",
                "for": "5m",
                "labels": {"severity": "critical"},
                "annotations": {
                    "summary": "Host '{{ $labels.instance }}' is down.",
                    "description": "Juju application '{{ $labels.juju_application }}' in model '{{ $labels.juju_model }}' \
                        is down. Prometheus has been unable to scrape it during at least the past five minutes.",
                },
            },
            {
                "alert": "HostMetricsMissing",
                "expr": "absent(up)",
                "for": "5m",
                "labels": {"severity": "warning"},
                "annotations": {
                    "summary": "Unit '{{ $labels.juju_unit }}' of application '{{ $labels.juju_application }}' \
                        is down or failing to remote write.",
                    "description": "`Up` missing for unit '{{ $labels.juju_unit }}' of application \
                        {{ $labels.juju_application }} in model {{ $labels.juju_model }}. Please ensure the unit or \
                        the collector scraping it is up and is able to successfully reach the metrics backend.",
                },
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names() {
        for (name, expected) in [
            ("cpu", "m_12de4fae_a_cpu_rules"),
            ("cpu_rules", "m_12de4fae_a_cpu_rules"),
            ("my group", "m_12de4fae_a_my_group_rules"),
            ("other_0123abcd_app_cpu_rules", "other_0123abcd_app_cpu_rules"),
            ("0123abcd_rules", "m_12de4fae_a_0123abcd_rules"),
        ] {
            assert_eq!(group_name("m_12de4fae_a", name), expected, "{name}");
        }
    }

    #[test]
    fn files_become_what_a_charm_writes() {
        const BOUND: &str =
            r#"juju_application="a",juju_model="m",juju_model_uuid="12de4fae-06cc-4ceb-9089-567be09fec78""#;
        let topology = Topology::new("m", "12de4fae-06cc-4ceb-9089-567be09fec78", "a").unwrap();
        let single = "alert: Slow\nexpr: rate(x{%%juju_topology%%, a='b'}[5m]) > 1\nlabels: {juju_charm: own}\n";
        let files = [
            ("dir/slow.rule".to_owned(), single.to_owned()),
            (
                "g.rules".to_owned(),
                "groups: [{name: g, rules: [{record: r, expr: 'up{%%juju_topology%%}'}]}]".to_owned(),
            ),
        ];
        let rules = of_files(&topology, &files).unwrap();
        let groups = rules["groups"].as_array().unwrap();
        let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["m_12de4fae_a_slow_rules", "m_12de4fae_a_g_rules", "m_12de4fae_a_HostHealth_rules"]);
        assert_eq!(groups[0]["rules"][0]["expr"], format!("rate(x{{a=\"b\",{BOUND}}}[5m]) > 1"));
        assert_eq!(groups[0]["rules"][0]["labels"]["juju_charm"], "own");
        assert_eq!(groups[1]["rules"][0]["expr"], format!("up{{{BOUND}}}"));
        assert_eq!(groups[1]["rules"][0]["labels"]["juju_application"], "a");
        for (text, part) in
            [("a: b", "neither groups nor a rule"), ("groups: 1", "no list"), ("groups: [{}]", "no name")]
        {
            let error = of_files(&topology, &[("f.yml".to_owned(), text.to_owned())]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
