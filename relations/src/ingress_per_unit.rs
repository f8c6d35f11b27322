//! `ingress_per_unit`: a proxy gives each of our units a URL that works from outside.

use std::collections::BTreeMap;

use relatum_model::yaml::Spanned;
use serde_json::Value;

use crate::bag::{self, Databag, Relation};
use crate::json::{self, type_name};
use crate::name::UnitName;
use crate::place::{Place, step};
use crate::problem::Problem;
use crate::text::UrlParts;

/// The name of the interface.
pub const INTERFACE: &str = "ingress_per_unit";

/// Key in the provider's application databag: a YAML map from unit to `{url: …}`.
const INGRESS: &str = "ingress";

/// A longer URL is refused.
const URL_BYTES_MAX: usize = 2048;

/// Our unit's databag: what the proxy shall send to `scheme://host:port`. It strips the prefix it gives us, and redirects plain
/// HTTP where it has a certificate.
pub fn requirer_unit_bag(model: &str, unit: &UnitName, scheme: &str, host: &str, port: u16) -> Databag {
    let entries = [
        ("model", model),
        ("name", &unit.to_string()),
        ("host", host),
        ("port", &port.to_string()),
        ("mode", "http"),
        ("scheme", scheme),
        ("strip-prefix", "true"),
        ("redirect-https", "true"),
    ];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The URL under which `unit` is reached through the proxy of `relation`, as published. `None` without a problem: not yet.
///
/// What the proxy says about other units does not matter, however wrong.
pub fn url(relation: &Relation, unit: &UnitName) -> (Option<String>, Option<Problem>) {
    match published_url(&relation.remote.app_bag, unit) {
        Ok(url) => (url, None),
        Err((part, message)) => {
            let path = match part {
                Part::Value => String::new(),
                Part::Entry => step(&unit.to_string()),
                Part::Url => format!("{}.url", step(&unit.to_string())),
            };
            let problem = Problem::new(message).key(INGRESS).path(&path).relation(relation);
            let place = place_of(&relation.remote.app_bag, unit);
            (None, Some(place.map_or(problem.clone(), |place| problem.place(place))))
        }
    }
}

/// Which part of the value is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    Entry,
    Url,
}

/// Where the entry of `unit` stands, if there is one; where the text stops being YAML, if it is none.
fn place_of(bag: &Databag, unit: &UnitName) -> Option<Place> {
    let text = bag::value(bag, INGRESS).filter(|text| text.len() <= json::VALUE_BYTES_MAX)?;
    let (line, column) = match relatum_model::yaml::from_str::<BTreeMap<String, Spanned<Value>>>(text) {
        Ok(units) => units.get(&unit.to_string()).map(|entry| (entry.line, entry.column))?,
        Err(error) => (error.line, error.column),
    };
    (line > 0).then_some(Place { line: usize::try_from(line).ok()?, column: usize::try_from(column).ok()? })
}

fn published_url(bag: &Databag, unit: &UnitName) -> Result<Option<String>, (Part, String)> {
    let fault = |part, message: String| Err((part, message));
    let Some(text) = bag::value(bag, INGRESS) else { return Ok(None) };
    if text.len() > json::VALUE_BYTES_MAX {
        return fault(Part::Value, format!("value is {} bytes long, more than {}", text.len(), json::VALUE_BYTES_MAX));
    }
    let published: Value = relatum_model::yaml::from_str(text)
        .map_err(|error| (Part::Value, format!("value is not YAML we can take: {error}")))?;
    let entry = match published {
        Value::Object(mut units) => units.remove(&unit.to_string()),
        Value::Null => None,
        other => return fault(Part::Value, format!("value is {}, not a map from unit to URL", type_name(&other))),
    };
    let url = match entry {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(mut entry)) => entry.remove("url"),
        Some(other) => return fault(Part::Entry, format!("entry of {unit} is {}, not a map", type_name(&other))),
    };
    match url {
        Some(Value::String(url)) if url.len() > URL_BYTES_MAX => fault(Part::Url, format!("url of {unit} is too long")),
        Some(Value::String(url)) => {
            UrlParts::split(&url).map_err(|reason| (Part::Url, format!("cannot use the url of {unit}: {reason}")))?;
            Ok(Some(url))
        }
        Some(other) => fault(Part::Url, format!("url of {unit} is {}, not a string", type_name(&other))),
        None => fault(Part::Entry, format!("url of {unit} is missing")),
    }
}

/// Where a unit is reached, from inside and from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// `scheme://host:port`, without the ingress.
    pub internal: String,
    /// What [`url`] gave.
    pub external: Option<String>,
}

impl Urls {
    /// The URL from furthest outside that we know.
    pub fn most_external(&self) -> &str {
        self.external.as_deref().unwrap_or(&self.internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(published: &str, expected: Result<Option<&str>, &str>) {
        let unit = UnitName::new("prometheus", 0).expect("a unit's name");
        let bag = Databag::from([(INGRESS.to_owned(), published.to_owned())]);
        let seen = published_url(&bag, &unit);
        match expected {
            Ok(url) => assert_eq!(seen.as_ref().map(Option::as_deref), Ok(url), "{published}"),
            Err(part) => assert!(seen.as_ref().is_err_and(|(_, error)| error.contains(part)), "{published}: {seen:?}"),
        }
    }

    #[test]
    fn urls() {
        check("", Ok(None));
        check("{}", Ok(None));
        check("prometheus/0:\n  url: http://h/p\n", Ok(Some("http://h/p")));
        check(r#"{"prometheus/0": {"url": "https://h/p/"}}"#, Ok(Some("https://h/p/")));
        // Of other units only.
        check("prometheus/1:\n  url: http://h/p\n", Ok(None));
        check("prometheus/1: 7\nprometheus/0: {url: 'http://h'}", Ok(Some("http://h")));
        check("prometheus/0: {}", Err("missing"));
        check("prometheus/0: {url: 7}", Err("a number"));
        check("prometheus/0: {url: h/p}", Err("no scheme"));
        check("prometheus/0: {url: 'http://u:p@h'}", Err("password"));
        check("[1, 2]", Err("a list"));
        check("{", Err("not YAML"));
        check("a: &a [x]\nb: *c", Err("not YAML"));
    }
}
