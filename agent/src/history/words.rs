//! What a revision changed, in the words of juju instead of tables and columns. Values of databags are not shown: they may be secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::{HistoryChange, HistoryChangeKind, HistoryEntry};
use crate::store::{ChangeKind, Revision, RowChange};

/// A revision as the control API shows it.
pub(crate) fn entry(revision: Revision) -> HistoryEntry {
    HistoryEntry {
        revision: revision.id,
        at_ms: revision.at_ms,
        author: revision.author,
        description: revision.description,
        changes: revision.changes.iter().map(change).collect(),
        left_out: revision.left_out,
    }
}

/// One thing that a revision changed.
pub(crate) fn change(row: &RowChange) -> HistoryChange {
    let kind = match row.kind() {
        ChangeKind::Added => HistoryChangeKind::Added,
        ChangeKind::Changed => HistoryChangeKind::Changed,
        ChangeKind::Removed => HistoryChangeKind::Removed,
    };
    let (object, detail) = described(row);
    HistoryChange { kind, object, detail }
}

fn described(row: &RowChange) -> (String, String) {
    let known = row.after.as_ref().or(row.before.as_ref()).unwrap_or(&Value::Null);
    let text = |key: &str| known[key].as_str().unwrap_or_default().to_owned();
    match row.object.as_str() {
        "meta" => (text("key").replace('_', "-"), text("value")),
        "application" => (format!("application {}", row.key), application(row)),
        "unit" => (format!("unit {}", row.key.replace(' ', "/")), String::new()),
        "relation" => (
            format!("relation {}", row.key),
            format!(
                "{}:{} → {}:{}  {}",
                text("provider_application"),
                text("provider_endpoint"),
                text("requirer_application"),
                text("requirer_endpoint"),
                text("interface"),
            ),
        ),
        "databag" => (format!("databag of {} in relation {}", text("owner"), known["relation"]), keys(row)),
        "config" => (format!("option {}", text("key")), values(row)),
        "offer" => (format!("offer {}", row.key), text("endpoint")),
        "connection" => (format!("user of offer {}", text("offer")), text("model")),
        "upstream" => (format!("offer behind relation {}", row.key), text("url")),
        "declared" => (format!("declaration of relation {}", row.key), String::new()),
        object => (format!("{object} {}", row.key), String::new()),
    }
}

fn application(row: &RowChange) -> String {
    let (Some(before), Some(after)) = (&row.before, &row.after) else {
        let known = row.after.as_ref().or(row.before.as_ref());
        return known.and_then(|known| known["charm"].as_str()).unwrap_or_default().to_owned();
    };
    let title = |column: &&str| if *column == "next_unit" { "number of the next unit" } else { column }.to_owned();
    let differs = |column: &&str| before[*column] != after[*column];
    ["origin", "charm", "settings", "next_unit"]
        .iter()
        .filter(|column| differs(column))
        .map(title)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `scrape_jobs, +alert_rules, -event`.
fn keys(row: &RowChange) -> String {
    let bag = |row: &Option<Value>| -> BTreeMap<String, String> {
        let content = row.as_ref().and_then(|row| row["content"].as_str());
        content.and_then(|content| serde_json::from_str(content).ok()).unwrap_or_default()
    };
    let (before, after) = (bag(&row.before), bag(&row.after));
    let mut words = Vec::new();
    for (key, value) in &after {
        match before.get(key) {
            None if row.before.is_none() => words.push(key.clone()),
            None => words.push(format!("+{key}")),
            Some(known) if known != value => words.push(key.clone()),
            Some(_) => {}
        }
    }
    let is_gone = row.after.is_none();
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    words.extend(gone.map(|key| if is_gone { key.clone() } else { format!("-{key}") }));
    words.join(", ")
}

fn values(row: &RowChange) -> String {
    let value = |row: &Option<Value>| row.as_ref().map(|row| row["value"].as_str().unwrap_or_default().to_owned());
    match (value(&row.before), value(&row.after)) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(value), None) | (None, Some(value)) => value,
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(object: &str, key: &str, before: Value, after: Value, expected: &str) {
        let row = |value: Value| Some(value).filter(|value| !value.is_null());
        let row = RowChange { object: object.to_owned(), key: key.to_owned(), before: row(before), after: row(after) };
        let change = change(&row);
        assert_eq!(format!("{:?} {}: {}", change.kind, change.object, change.detail), expected);
    }

    #[test]
    fn rows_in_words() {
        check("unit", "mysql 0", json!(null), json!({"application": "mysql"}), "Added unit mysql/0: ");
        let option = |value: &str| json!({"application": "prometheus", "key": "log_level", "value": value});
        check(
            "config",
            "prometheus log_level",
            option("info"),
            option("debug"),
            "Changed option log_level: info → debug",
        );
        check("config", "prometheus log_level", option("info"), json!(null), "Removed option log_level: info");
        let bag = |content: &str| json!({"relation": 3, "owner": "zinc/0", "content": content});
        check(
            "databag",
            "3 provider zinc/0",
            bag(r#"{"a":"1","b":"2","c":"3"}"#),
            bag(r#"{"a":"1","b":"3","d":"4"}"#),
            "Changed databag of zinc/0 in relation 3: b, +d, -c",
        );
        check(
            "databag",
            "3 provider zinc/0",
            json!(null),
            bag(r#"{"a":"1"}"#),
            "Added databag of zinc/0 in relation 3: a",
        );
        let application = |settings: &str| json!({"charm": "zinc-k8s", "settings": settings});
        check("application", "zinc", json!(null), application("{}"), "Added application zinc: zinc-k8s");
        check("application", "zinc", application("{}"), application("{1}"), "Changed application zinc: settings");
    }
}
