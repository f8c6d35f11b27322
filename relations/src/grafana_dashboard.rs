//! `grafana_dashboard`: dashboards go from those who know what to show to Grafana.
//!
//! A dashboard travels as JSON, compressed with xz and in base64, inside JSON. Both directions are here: [`provider_app_bag`] hands
//! out ours, [`dashboards`] reads what a provider published, be it another's or our own.

use std::error::Error;
use std::io::{self, Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lzma_rust2::{CheckType, XzOptions, XzReader, XzWriter};
use serde_json::{Map, Value, json};
use sha3::Shake256;
use sha3::digest::{ExtendableOutput, Update, XofReader};
use thiserror::Error;

use crate::bag::{Databag, Relation};
use crate::json::{self, dumps, dumps_object, type_name};
use crate::place::{located, step};
use crate::problem::Problem;
use crate::text::sha256_hex;
use crate::topology::Topology;

/// The name of the interface.
pub const INTERFACE: &str = "grafana_dashboard";

const DASHBOARDS: &str = "dashboards";
/// Key in the consumer's application databag that tells the provider what was wrong.
const EVENT: &str = "event";

/// What a dashboard may grow to when unpacked: xz packs zeros a thousandfold and more.
const DASHBOARD_BYTES_MAX: usize = 8 << 20;
/// What all dashboards of one relation may grow to.
const RELATION_BYTES_MAX: usize = 64 << 20;
/// How much memory unpacking may take; the size of the window stands in the packed bytes.
const MEMORY_KIB_MAX: u32 = 32 << 10;
/// Of what Grafana complains about, this many dashboards are named, and this much of each text is kept.
const COMPLAINTS_MAX: usize = 100;
const COMPLAINT_CHARACTERS_MAX: usize = 300;
/// The libraries' own level, which nobody who reads can tell from another.
const PRESET: u32 = 6;

/// A dashboard on its way to a databag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// The name of its file.
    pub file_name: String,
    /// Its JSON, as text.
    pub content: String,
}

impl Dashboard {
    /// `file:` and the name without its last ending, as the libraries name it: `file:a` for `a.json`, `file:a.json` for `a.json.tmpl`.
    pub fn id(&self) -> String {
        let stem = self.file_name.rsplit_once('.').map_or(self.file_name.as_str(), |(stem, _)| stem);
        format!("file:{stem}")
    }
}

/// Our application's databag. `topology` is that of the leader's unit.
///
/// `uuid` is made from the content, so that nothing changes when nothing has changed; the libraries draw a new one at each write.
pub fn provider_app_bag(topology: &Topology, dashboards: &[Dashboard]) -> Databag {
    let charm = topology.charm_name().unwrap_or_else(|| topology.application());
    let mut templates = Map::new();
    for dashboard in dashboards {
        let id = dashboard.id();
        let template = json!({
            "charm": charm,
            "content": encode(&dashboard.content),
            "juju_topology": {
                "model": topology.model(),
                "model_uuid": topology.model_uuid(),
                "application": topology.application(),
                "unit": topology.unit(),
            },
            "inject_dropdowns": true,
            "dashboard_alt_uid": alt_uid(charm, &id),
        });
        templates.insert(id, template);
    }
    let uuid = uuid_of(&dumps_object(&templates));
    Databag::from([(DASHBOARDS.to_owned(), dumps(&json!({"templates": templates, "uuid": uuid})))])
}

/// The uid of a dashboard that has none of its own: the same wherever one charm's dashboard comes from.
fn alt_uid(charm: &str, id: &str) -> String {
    let mut digest = [0; 8];
    Shake256::default().chain(format!("{charm}-{id}")).finalize_xof().read(&mut digest);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A uuid of version 4 in form, made from `text`.
fn uuid_of(text: &str) -> String {
    let digest = sha256_hex(text);
    format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

/// A dashboard as a provider published it.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Its id in the relation.
    pub id: String,
    /// The charm it comes from.
    pub charm: Option<String>,
    /// Its uid, or the one the provider suggests because it has none.
    pub uid: Option<String>,
    /// The dashboard.
    pub content: Map<String, Value>,
}

/// The dashboards that the other side of `relation` published, in its order.
pub fn dashboards(relation: &Relation) -> (Vec<Published>, Vec<Problem>) {
    let (found, problems) = in_bag(&relation.remote.app_bag);
    (found, located(problems, relation))
}

/// What the Grafana of `relation` says is wrong with the dashboards that we published.
pub fn complaints(relation: &Relation) -> Vec<Problem> {
    let event = match json::read(&relation.remote.app_bag, EVENT) {
        Ok(None) => return Vec::new(),
        Ok(Some(Value::Object(event))) => event,
        Ok(Some(other)) => {
            let problem = Problem::new(format!("value is {}, not an object", type_name(&other)));
            return vec![problem.key(EVENT).relation(relation)];
        }
        Err(refused) => return vec![refused.relation(relation)],
    };
    let errors = match event.get("errors") {
        Some(Value::Array(errors)) => errors.as_slice(),
        _ => &[],
    };
    let cut = |text: Option<&Value>, instead: &str| -> String {
        text.and_then(Value::as_str).unwrap_or(instead).chars().take(COMPLAINT_CHARACTERS_MAX).collect()
    };
    let complaint = |(at, error): (usize, &Value)| {
        let name = cut(error.get("dashboard_id"), "of no name");
        let reason = cut(error.get("error"), "it does not say why");
        Problem::new(format!("Grafana refuses our dashboard {name:?}: {reason}"))
            .key(EVENT)
            .path(&format!("errors[{at}]"))
    };
    let mut complaints: Vec<Problem> = errors.iter().take(COMPLAINTS_MAX).enumerate().map(complaint).collect();
    if complaints.is_empty() && event.get("valid") == Some(&Value::Bool(false)) {
        complaints.push(Problem::new("Grafana refuses our dashboards and does not say why").key(EVENT));
    }
    located(complaints, relation)
}

/// The dashboards in a provider's application databag, in its order: also in our own, to show what we gave out.
pub fn in_bag(bag: &Databag) -> (Vec<Published>, Vec<Problem>) {
    let problem = |message: String| Problem::new(message).key(DASHBOARDS);
    let templates = match json::read(bag, DASHBOARDS) {
        Ok(None) => return (Vec::new(), Vec::new()),
        Ok(Some(value)) => match &value["templates"] {
            Value::Null => return (Vec::new(), Vec::new()),
            Value::Object(templates) => templates.clone(),
            other => {
                return (
                    Vec::new(),
                    vec![problem(format!("templates is {}, not an object", type_name(other))).path("templates")],
                );
            }
        },
        Err(refused) => return (Vec::new(), vec![refused]),
    };
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut bytes_left = RELATION_BYTES_MAX;
    for (id, template) in templates {
        match published(&id, &template, &mut bytes_left) {
            Ok(dashboard) => found.push(dashboard),
            Err(reason) => {
                let name: String = id.chars().take(100).collect();
                let path = format!("templates{}.content", step(&id));
                problems.push(problem(format!("dashboard {name:?}: {reason}")).path(&path));
            }
        }
    }
    (found, problems)
}

fn published(id: &str, template: &Value, bytes_left: &mut usize) -> Result<Published, String> {
    let packed = template["content"].as_str().ok_or("it has no content")?;
    let text = decode(packed, *bytes_left).map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    *bytes_left = bytes_left.saturating_sub(text.len());
    let content = match json::parse(&text).map_err(|error| error.to_string())? {
        Value::Object(content) => content,
        other => return Err(format!("it is {}, not an object", type_name(&other))),
    };
    let owned = |value: Option<&Value>| value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let uid = owned(content.get("uid")).or_else(|| owned(template.get("dashboard_alt_uid")));
    Ok(Published { id: id.to_owned(), charm: owned(template.get("charm")), uid, content })
}

/// `text` as databags hold it: xz with its 64-bit checksum, in base64. The same bytes each time.
pub fn encode(text: &str) -> String {
    let mut options = XzOptions::with_preset(PRESET);
    options.set_check_sum_type(CheckType::Crc64);
    let packed = XzWriter::new(Vec::new(), options).and_then(|mut writer| {
        writer.write_all(text.as_bytes())?;
        writer.finish()
    });
    BASE64_STANDARD.encode(packed.expect("writing to memory does not fail"))
}

/// Why a text is not what [`encode`] makes.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is not base64.
    #[error("cannot decode the content as base64")]
    Base64(#[source] base64::DecodeError),
    /// What the base64 holds is not xz.
    #[error("cannot unpack the content as xz")]
    Xz(#[source] io::Error),
    /// It grows larger than we take.
    #[error("content is larger than {0} bytes when unpacked")]
    TooLong(usize),
    /// What was packed is not text.
    #[error("content is not UTF-8")]
    NotText,
}

/// The opposite of [`encode`]; gives up after `bytes_max` bytes, or after the most a single dashboard may have.
pub fn decode(packed: &str, bytes_max: usize) -> Result<String, DecodeError> {
    let bytes_max = bytes_max.min(DASHBOARD_BYTES_MAX);
    let packed = BASE64_STANDARD.decode(packed.trim()).map_err(DecodeError::Base64)?;
    let mut text = Vec::new();
    let reader = XzReader::new_mem_limit(packed.as_slice(), false, MEMORY_KIB_MAX);
    reader.take(bytes_max as u64 + 1).read_to_end(&mut text).map_err(DecodeError::Xz)?;
    if text.len() > bytes_max {
        return Err(DecodeError::TooLong(bytes_max));
    }
    String::from_utf8(text).map_err(|_| DecodeError::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[test]
    fn ids_and_uids() {
        for (file_name, expected) in [("a.json", "file:a"), ("a.json.tmpl", "file:a.json"), ("a", "file:a")] {
            let dashboard = Dashboard { file_name: file_name.to_owned(), content: String::new() };
            assert_eq!(dashboard.id(), expected);
        }
        // What the library made of the same names.
        assert_eq!(alt_uid("prometheus-k8s", "file:prometheus-k8s_rev1.json"), "5f5f804ea96e0a36");
    }

    #[test]
    fn what_grafana_says_of_ours() {
        let said = |event: &str| {
            let mut remote = Side::new("grafana");
            remote.app_bag.insert(EVENT.to_owned(), event.to_owned());
            let (endpoint, interface) = ("grafana-dashboard".to_owned(), INTERFACE.to_owned());
            let found = complaints(&Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote });
            found.into_iter().map(|problem| String::from(problem.message)).collect::<Vec<_>>()
        };
        for event in ["", "{}", r#"{"errors": []}"#, r#"{"valid": true}"#] {
            assert_eq!(said(event), Vec::<String>::new(), "{event}");
        }
        for (event, expected) in [
            (
                r#"{"errors": [{"dashboard_id": "file:a", "error": "Input format not supported by decoder"}]}"#,
                r#"Grafana refuses our dashboard "file:a": Input format not supported by decoder"#,
            ),
            (r#"{"errors": [7]}"#, r#"Grafana refuses our dashboard "of no name": it does not say why"#),
            (r#"{"valid": false}"#, "Grafana refuses our dashboards and does not say why"),
            ("[]", ""),
            ("[1]", "value is a list, not an object"),
        ] {
            assert_eq!(said(event), if expected.is_empty() { vec![] } else { vec![expected] }, "{event}");
        }
    }

    #[track_caller]
    fn check(packed: &str, expected: Result<&str, &str>) {
        let seen = decode(packed, 1000).map_err(|error| error.to_string());
        assert_eq!(seen.as_deref().map_err(String::as_str), expected, "{packed:.40}");
    }

    #[test]
    fn packed() {
        let whole = encode(r#"{"title": "é"}"#);
        check(&whole, Ok(r#"{"title": "é"}"#));
        check(&encode(""), Ok(""));
        // Packed by Python: base64.b64encode(lzma.compress(b"x")).
        check("/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAAeAAAAABFru+D+O4WCgABGQGlLIHMH7bzfQEAAAAABFla", Ok("x"));
        check("?", Err("cannot decode the content as base64"));
        check("eA==", Err("cannot unpack the content as xz"));
        check(&whole[..whole.len() / 8 * 4], Err("cannot unpack the content as xz"));
        check(&encode(&" ".repeat(1001)), Err("content is larger than 1000 bytes when unpacked"));
    }

    #[test]
    fn one_bad_dashboard_is_left_out() {
        let topology = Topology::new("m", "12de4fae-06cc-4ceb-9089-567be09fec78", "a").expect("a topology");
        let dashboard =
            |name: &str, content: &str| Dashboard { file_name: name.to_owned(), content: content.to_owned() };
        let bag = provider_app_bag(
            &topology,
            &[dashboard("a.json", "{}"), dashboard("b.json", "{"), dashboard("c.json", "7")],
        );
        let (found, problems) = in_bag(&bag);
        let ids: Vec<&str> = found.iter().map(|dashboard| dashboard.id.as_str()).collect();
        assert_eq!((ids, problems.len()), (vec!["file:a"], 2));
        for value in ["{", "7", "{}", r#"{"templates": []}"#, r#"{"templates": {"x": 7}}"#] {
            let bag = Databag::from([(DASHBOARDS.to_owned(), value.to_owned())]);
            assert!(in_bag(&bag).0.is_empty(), "{value}");
        }
    }
}
