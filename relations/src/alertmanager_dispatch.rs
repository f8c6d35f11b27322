//! `alertmanager_dispatch`: where alerts are sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bag::{self, Databag, Relation};
use crate::name::UnitName;
use crate::problem::Problem;
use crate::text::{UrlParts, bracketed};

/// The name of the interface.
pub const INTERFACE: &str = "alertmanager_dispatch";

const URL: &str = "url";
/// With [`SCHEME`], what version 0 of the interface has instead of a URL: `host[:port][/path]`.
const PUBLIC_ADDRESS: &str = "public_address";
const SCHEME: &str = "scheme";

/// A longer URL is refused.
const URL_BYTES_MAX: usize = 2048;

/// An Alertmanager, and who told us of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alertmanager {
    /// Its URL as published; with a scheme in any case.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `host[:port]`.
    pub target: String,
    /// What comes before the API's own path; `/` for none.
    pub path_prefix: String,
    /// Endpoint, relation id and unit of everyone who published it, in order. Units behind one proxy publish one URL.
    pub origins: Vec<((String, u64), String)>,
}

/// The Alertmanagers of all `relations`, sorted by URL.
pub fn alertmanagers<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> (Vec<Alertmanager>, Vec<Problem>) {
    let mut by_url: BTreeMap<String, Alertmanager> = BTreeMap::new();
    let mut problems = Vec::new();
    for relation in relations {
        for (unit, bag) in &relation.remote.units {
            match alertmanager(relation, unit, bag) {
                Ok(None) => {}
                Ok(Some(found)) => match by_url.get_mut(&found.url) {
                    Some(known) => known.origins.extend(found.origins),
                    None => {
                        by_url.insert(found.url.clone(), found);
                    }
                },
                Err(problem) => problems.push(problem.unit(unit).relation(relation)),
            }
        }
    }
    for alertmanager in by_url.values_mut() {
        alertmanager.origins.sort();
    }
    problems.sort();
    (by_url.into_values().collect(), problems)
}

/// A unit that has published neither form is not there yet.
fn alertmanager(relation: &Relation, unit: &UnitName, bag: &Databag) -> Result<Option<Alertmanager>, Problem> {
    let (key, url) = match (bag::value(bag, URL), bag::value(bag, PUBLIC_ADDRESS)) {
        (Some(url), _) if url.contains("://") => (URL, url.to_owned()),
        (Some(address), _) => (URL, format!("http://{address}")),
        (None, Some(address)) => {
            let scheme = bag::value(bag, SCHEME).unwrap_or("http");
            (PUBLIC_ADDRESS, format!("{scheme}://{}", bracketed(address)))
        }
        (None, None) => return Ok(None),
    };
    let refused = |reason: &str| {
        let hint = "publish a URL such as http://host:9093/prefix";
        Problem::new(format!("cannot use the address of this Alertmanager: {reason}")).key(key).hint(hint)
    };
    if url.len() > URL_BYTES_MAX {
        return Err(refused("it is too long"));
    }
    let parts = UrlParts::split(&url).map_err(refused)?;
    Ok(Some(Alertmanager {
        scheme: parts.scheme,
        target: parts.authority,
        path_prefix: if parts.path.is_empty() { "/".to_owned() } else { parts.path },
        origins: vec![((relation.endpoint.clone(), relation.id), unit.to_string())],
        url,
    }))
}

/// The list under `alerting.alertmanagers`: one entry for each scheme and path prefix, all sorted.
pub fn configuration(alertmanagers: &[Alertmanager]) -> Vec<Value> {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for alertmanager in alertmanagers {
        let group = groups.entry((&alertmanager.scheme, &alertmanager.path_prefix)).or_default();
        group.push(&alertmanager.target);
    }
    groups
        .into_iter()
        .map(|((scheme, path_prefix), mut targets)| {
            targets.sort_unstable();
            targets.dedup();
            json!({"scheme": scheme, "path_prefix": path_prefix, "static_configs": [{"targets": targets}]})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[track_caller]
    fn check(bag: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let mut remote = Side::new("am");
        let bag: Databag = bag.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        remote.units.insert("am/0".parse().expect("a unit's name"), bag);
        let relation = Relation {
            id: 1,
            endpoint: "alertmanager".to_owned(),
            interface: INTERFACE.to_owned(),
            local: Side::new("prometheus"),
            remote,
        };
        let (found, problems) = alertmanagers([&relation]);
        let seen = match problems.first() {
            Some(problem) => Err(problem.key.as_deref().unwrap_or_default()),
            None => Ok(found.first().map(|alertmanager| alertmanager.url.as_str())),
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn addresses() {
        check(&[], Ok(None));
        check(&[("private-address", "10.1.0.1")], Ok(None));
        check(&[("url", "http://a:9093/x")], Ok(Some("http://a:9093/x")));
        check(&[("url", "a:9093")], Ok(Some("http://a:9093")));
        // Both forms: the newer counts.
        check(&[("url", "http://a"), ("public_address", "b")], Ok(Some("http://a")));
        check(&[("public_address", "b:1/p")], Ok(Some("http://b:1/p")));
        check(&[("public_address", "b"), ("scheme", "https")], Ok(Some("https://b")));
        check(&[("public_address", "fe80::1")], Ok(Some("http://[fe80::1]")));
        check(&[("url", "http://")], Err("url"));
        check(&[("url", "http://user:secret@a")], Err("url"));
        check(&[("public_address", "b"), ("scheme", "gopher")], Err("public_address"));
    }
}
