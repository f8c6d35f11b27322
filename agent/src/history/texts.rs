//! A world as texts, one for each thing that can be compared by itself. Lines follow the structure of what they say, so that a
//! difference line by line shows what differs.

use std::collections::BTreeMap;
use std::fmt::Write;

use relatum_relations::endpoints::APPLICATION;
use serde_json::Value;

use crate::secrets;
use crate::store::{Role, World};
use crate::workload::Files;

/// What `world` says, by name: `applications`, `options`, `relations`, and `databags/ENDPOINT:ID/OWNER`.
pub(crate) fn of(world: &World, show_secrets: bool) -> Files {
    let mut texts = Files::new();
    let mut applications = String::new();
    for (name, application) in &*world.applications {
        let units: Vec<String> = application.units.iter().map(|number| format!("{name}/{number}")).collect();
        let _ = writeln!(applications, "{name}:\n  charm: {}\n  units: [{}]", application.charm, units.join(", "));
        let mut settings = BTreeMap::from([("settings".to_owned(), application.settings.clone())]);
        if application.settings != "{}" {
            hide(&mut settings, show_secrets);
            applications += &indented(&bag(&settings));
        }
    }
    let mut relations = String::new();
    for relation in world.relations.iter() {
        let (id, interface) = (relation.id, &relation.interface);
        let _ = writeln!(relations, "{id}: {} → {} ({interface})", relation.provider, relation.requirer);
        let role = if relation.requirer.application == APPLICATION { Role::Requirer } else { Role::Provider };
        let ours = &relation.end(role).name;
        for ((bag_role, owner), content) in &relation.bags {
            let mut content = content.content.read();
            hide(&mut content, show_secrets);
            // A relation with ourselves has two bags of one owner.
            let is_ambiguous = relation.provider.application == relation.requirer.application;
            let end = if is_ambiguous { format!(" ({})", bag_role.as_str()) } else { String::new() };
            texts.insert(format!("databags/{ours}:{id}/{owner}{end}").into(), bag(&content).into());
        }
    }
    let options: Vec<String> = world.config.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    texts.insert("applications".into(), applications.into());
    texts.insert("relations".into(), relations.into());
    texts.insert("options".into(), options.concat().into());
    texts
}

fn hide(bag: &mut BTreeMap<String, String>, show_secrets: bool) {
    if !show_secrets {
        secrets::hide_in_databag(bag);
    }
}

/// A databag as YAML; what is JSON inside a text is laid out.
fn bag(content: &BTreeMap<String, String>) -> String {
    let value = |text: &String| match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() || value.is_array() => value,
        _ => Value::String(text.clone()),
    };
    let decoded: BTreeMap<&String, Value> = content.iter().map(|(key, text)| (key, value(text))).collect();
    match decoded.is_empty() {
        true => String::new(),
        false => relatum_model::yaml::to_string(&decoded).unwrap_or_default(),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
