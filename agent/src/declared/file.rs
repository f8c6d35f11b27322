//! One file of `relations.d`: what it may say. The schema is in `docs/formats/relations-d.md`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use relatum_config::spelling;
use relatum_model::yaml::{self, Spanned, YamlError};
use relatum_relations::endpoints;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::{Document, Relate};
use crate::packed::PackedText;

/// A file that an entry names is read up to this size.
const NAMED_BYTES_MAX: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    relations: Vec<Spanned<Entry>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Entry {
    endpoint: String,
    application: Option<String>,
    addresses: Vec<String>,
    offer: Option<String>,
    scheme: Option<String>,
    interval: Option<String>,
    labels: BTreeMap<String, String>,
    rules: Vec<String>,
    ca_file: Option<String>,
    basic_auth_file: Option<String>,
    bearer_file: Option<String>,
    token_file: Option<String>,
    remote_endpoint: Option<String>,
    app: Option<BTreeMap<String, Value>>,
    units: Option<BTreeMap<String, BTreeMap<String, Value>>>,
    databag_file: Option<String>,
}

/// One relation that a file declares.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Our endpoint.
    pub endpoint: String,
    /// The application at the other side.
    pub application: String,
    /// What is asked for, as if it had been typed: a [`Relate`] as JSON, which is how it is compared and kept.
    pub request: PackedText,
    /// The line it begins on.
    pub line: u64,
}

/// Why a file, or one of its entries, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0 if it is not known.
    pub line: u64,
    /// From 1; 0 if it is not known.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl From<YamlError> for Fault {
    fn from(error: YamlError) -> Self {
        Fault { line: error.line, column: error.column, message: error.message }
    }
}

/// Understands `text`, whose entries name files relative to `folder`. All of it or nothing: a file with one bad entry says what it
/// said before.
pub fn parse(text: &str, folder: &Path) -> Result<Vec<Declared>, Vec<Fault>> {
    // An empty document is null.
    let file: Option<File> = yaml::from_str(text).map_err(|error| vec![error.into()])?;
    let entries = file.map(|file| file.relations).unwrap_or_default();
    let (mut declared, mut faults): (Vec<Declared>, Vec<Fault>) = (Vec::new(), Vec::new());
    let mut lines: HashMap<(String, String), u64> = HashMap::new();
    for entry in entries {
        let (line, column) = (entry.line, entry.column);
        match understood(entry.value, line, folder) {
            Ok(one) => match lines.insert((one.endpoint.clone(), one.application.clone()), line) {
                None => declared.push(one),
                Some(known) => faults.push(Fault {
                    line,
                    column,
                    message: format!("{} with {} is declared on line {known} already", one.endpoint, one.application),
                }),
            },
            Err(message) => faults.push(Fault { line, column, message }),
        }
    }
    if faults.is_empty() { Ok(declared) } else { Err(faults) }
}

fn understood(entry: Entry, line: u64, folder: &Path) -> Result<Declared, String> {
    let (endpoint, application) = (entry.endpoint.clone(), entry.application.clone());
    if endpoints::named(&endpoint).is_none() {
        return Err(if endpoint.is_empty() {
            "it names no endpoint".to_owned()
        } else {
            let names = endpoints::ENDPOINTS.iter().map(|known| known.name);
            match spelling::similar(&endpoint, names) {
                Some(near) => format!("{endpoint:?} is not one of our endpoints, did you mean {near}?"),
                None => {
                    format!("{endpoint:?} is not one of our endpoints; `relatum relate` without arguments lists them")
                }
            }
        });
    }
    let has_bags = entry.app.is_some() || entry.units.is_some() || entry.remote_endpoint.is_some();
    let document = |name: &String| named(name, folder);
    let option = |name: &Option<String>| name.as_ref().map(document).transpose();
    let mut request = Relate {
        arguments: vec![endpoint.clone()],
        name: application.clone(),
        labels: entry.labels.clone(),
        scheme: entry.scheme.clone(),
        interval: entry.interval.clone(),
        rules: entry.rules.iter().map(document).collect::<Result<_, _>>()?,
        ca: option(&entry.ca_file)?,
        basic_auth: option(&entry.basic_auth_file)?,
        bearer: match (&entry.bearer_file, &entry.token_file) {
            (Some(_), Some(_)) => return Err("bearer-file and token-file say the same".to_owned()),
            (name, None) | (None, name) => option(name)?,
        },
        ..Relate::default()
    };
    let forms = [!entry.addresses.is_empty(), entry.offer.is_some(), has_bags, entry.databag_file.is_some()];
    if forms.iter().filter(|given| **given).count() != 1 {
        return Err("it needs one of addresses, offer, databag-file, or app and units".to_owned());
    }
    if has_bags {
        let application = application.as_ref().ok_or("databags need the name of their application")?;
        let mut bags = json!({"application": application, "app": entry.app.unwrap_or_default()});
        bags["units"] = json!(entry.units.unwrap_or_default());
        if let Some(remote) = entry.remote_endpoint {
            bags["endpoint"] = remote.into();
        }
        request.databag = Some(Document { name: format!("line {line}"), text: bags.to_string() });
    } else if let Some(name) = &entry.databag_file {
        request.databag = Some(named(name, folder)?);
    } else {
        request.arguments.extend(entry.offer.into_iter().chain(entry.addresses));
    }
    let default = match (endpoint.as_str(), &request.databag) {
        (_, Some(_)) => None,
        ("alertmanager", None) => Some("alertmanager"),
        ("send-remote-write", None) => Some("upstream"),
        _ => Some("targets"),
    };
    let application = request.name.clone().or_else(|| default.map(str::to_owned));
    let application = application.ok_or("a databag-file needs the name of its application beside it")?;
    request.name = Some(application.clone());
    let request = PackedText::from(serde_json::to_string(&request).expect("a request is JSON"));
    Ok(Declared { endpoint, application, request, line })
}

/// A file that an entry names.
fn named(name: &String, folder: &Path) -> Result<Document, String> {
    let path = folder.join(name);
    let read = || {
        if fs::metadata(&path)?.len() > NAMED_BYTES_MAX {
            return Err(std::io::Error::other(format!("it is larger than {NAMED_BYTES_MAX} bytes")));
        }
        fs::read_to_string(&path)
    };
    let text = read().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Document { name: name.clone(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &[&str]>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cpu.rules"), "groups: []").unwrap();
        let shown = |one: Declared| {
            let request: Relate = serde_json::from_str(&one.request.read()).unwrap();
            format!("{} {} {:?}", one.line, one.application, request.arguments)
        };
        let seen = parse(text, folder.path());
        let seen = seen.map(|all| all.into_iter().map(shown).collect::<Vec<_>>());
        let seen = seen.map_err(|faults| {
            let shown = |fault: Fault| format!("{}:{}: {}", fault.line, fault.column, fault.message);
            faults.into_iter().map(shown).collect::<Vec<_>>()
        });
        match (seen, expected) {
            (Ok(seen), Ok(expected)) => assert_eq!(seen, expected, "{text}"),
            (Err(seen), Err(expected)) => {
                assert_eq!(seen.len(), expected.len(), "{text}: {seen:?}");
                for (seen, part) in seen.iter().zip(expected) {
                    assert!(seen.contains(part), "{text}: {seen}");
                }
            }
            (seen, _) => panic!("{text}: {seen:?}"),
        }
    }

    #[test]
    fn files() {
        check("", Ok(&[]));
        check("relations: []", Ok(&[]));
        check(
            "relations:\n- endpoint: metrics-endpoint\n  addresses: [10.0.0.5:9100]\n  rules: [cpu.rules]\n\
             - endpoint: alertmanager\n  addresses: [10.0.0.9:9093]\n\
             - {endpoint: ingress, application: traefik, app: {ingress: '{}'}, units: {traefik/0: {}}}\n",
            Ok(&[
                "2 targets [\"metrics-endpoint\", \"10.0.0.5:9100\"]",
                "5 alertmanager [\"alertmanager\", \"10.0.0.9:9093\"]",
                "7 traefik [\"ingress\"]",
            ]),
        );
        check("relations: [", Err(&["1:"]));
        check("relation: []", Err(&["1:1: unknown field `relation`"]));
        check("relations: []\n---\nrelations: []", Err(&["multiple"]));
        check(
            "relations:\n- endpoint: metric\n- addresses: [a:1]\n",
            Err(&["2:3: \"metric\" is not", "3:3: it names no"]),
        );
        check("relations:\n- endpoint: metrics-endpoint\n", Err(&["2:3: it needs one of"]));
        check(
            "relations:\n- {endpoint: metrics-endpoint, addresses: ['a:1']}\n- {endpoint: metrics-endpoint, addresses: ['b:1']}\n",
            Err(&["3:3: metrics-endpoint with targets is declared on line 2 already"]),
        );
        check(
            "relations:\n- {endpoint: metrics-endpoint, addresses: ['a:1'], rules: [none.rules]}\n",
            Err(&["cannot read"]),
        );
    }
}
