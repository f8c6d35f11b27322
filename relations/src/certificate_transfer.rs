//! `certificate_transfer`: certificates of authorities that we shall trust.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bag::{self, Databag, Relation};
use crate::json::{self, type_name};
use crate::place::located;
use crate::problem::Problem;

/// The name of the interface.
pub const INTERFACE: &str = "certificate_transfer";

const CERTIFICATES: &str = "certificates";

/// A longer certificate is refused; with all extensions in use, real ones stay below a tenth of this.
const CERTIFICATE_BYTES_MAX: usize = 64 << 10;

/// Our application's databag: that we read version 1.
pub fn requirer_app_bag() -> Databag {
    Databag::from([("version".to_owned(), "1".to_owned())])
}

/// A certificate, and who told us of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The text as published, without white space around it.
    pub pem: String,
    /// Whether it can be trusted; the charm installs it in any case.
    pub is_fit: bool,
    /// Endpoint, id and, in version 0 of the interface, unit of everyone who published it, in order.
    pub origins: Vec<((String, u64), Option<String>)>,
}

/// The certificates of all `relations`, each once: those that pass `check` first, both kinds sorted by text, so that what is unfit
/// moves nothing that is not.
///
/// Version 1 is a list in the application's databag, version 0 the keys `certificate`, `ca` and `chain` in those of the units,
/// which count only where there is no list or an empty one. `check` says why a text is no certificate.
pub fn certificates<'a>(
    relations: impl IntoIterator<Item = &'a Relation>,
    check: impl Fn(&str) -> Result<(), String>,
) -> (Vec<Certificate>, Vec<Problem>) {
    let mut origins_by_pem: BTreeMap<(bool, String), Vec<_>> = BTreeMap::new();
    let mut problems = Vec::new();
    for relation in relations {
        let place = (relation.endpoint.clone(), relation.id);
        let mut of_relation = Vec::new();
        let mut take = |bag: &Databag, keys: &[&str], unit: Option<String>| {
            for key in keys {
                for (path, found) in under(bag, key) {
                    let checked = found.and_then(|pem| {
                        let fault = check(&pem).err();
                        let problem = fault.map(|fault| Problem::new(format!("cannot trust a certificate: {fault}")));
                        origins_by_pem.entry((problem.is_some(), pem)).or_default().push((place.clone(), unit.clone()));
                        problem.map_or(Ok(()), Err)
                    });
                    if let Err(problem) = checked {
                        of_relation.push(Problem { unit: unit.clone(), ..problem.key(key).path(&path) });
                    }
                }
            }
        };
        let has_list = bag::value(&relation.remote.app_bag, CERTIFICATES).is_some_and(|list| list.trim() != "[]");
        if has_list {
            take(&relation.remote.app_bag, &[CERTIFICATES], None);
        } else {
            for (unit, bag) in &relation.remote.units {
                take(bag, &["certificate", "ca", "chain"], Some(unit.to_string()));
            }
        }
        // Once for all of them: each look for a place is a walk through the value.
        problems.extend(located(of_relation, relation));
    }
    problems.sort();
    let sorted = |((is_unfit, pem), mut origins): ((bool, String), Vec<_>)| {
        origins.sort();
        origins.dedup();
        Certificate { pem, is_fit: !is_unfit, origins }
    };
    (origins_by_pem.into_iter().map(sorted).collect(), problems)
}

/// The certificates under `key`, a list as JSON or one as plain text, each with its path.
fn under(bag: &Databag, key: &str) -> Vec<(String, Result<String, Problem>)> {
    let one = |text: &str| match text.trim() {
        text if text.len() > CERTIFICATE_BYTES_MAX => Err(Problem::new("a certificate is too long")),
        "" => Err(Problem::new("a certificate is empty")),
        text => Ok(text.to_owned()),
    };
    match bag::value(bag, key) {
        None => Vec::new(),
        Some(text) if text.trim_start().starts_with("-----BEGIN") => vec![(String::new(), one(text))],
        Some(_) => match json::read(bag, key) {
            Ok(None) => Vec::new(),
            Ok(Some(Value::Array(items))) => {
                let item = |(at, item): (usize, &Value)| {
                    let found = match item {
                        Value::String(text) => one(text),
                        other => Err(Problem::new(format!("an entry is {}, not a string", type_name(other)))),
                    };
                    (format!("[{at}]"), found)
                };
                items.iter().enumerate().map(item).collect()
            }
            Ok(Some(Value::String(text))) => vec![(String::new(), one(&text))],
            Ok(Some(other)) => {
                vec![(String::new(), Err(Problem::new(format!("value is {}, not a list", type_name(&other)))))]
            }
            Err(refused) => vec![(String::new(), Err(refused))],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[track_caller]
    fn check(app: &[(&str, &str)], unit: &[(&str, &str)], expected: &[&str], n_problems: usize) {
        let bag = |entries: &[(&str, &str)]| -> Databag {
            entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let mut remote = Side { app_bag: bag(app), ..Side::new("ca") };
        remote.units.insert("ca/0".parse().expect("a unit's name"), bag(unit));
        let (endpoint, interface) = ("receive-ca-cert".to_owned(), INTERFACE.to_owned());
        let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
        let is_unfit = |pem: &str| if pem == "0" { Err("it is none".to_owned()) } else { Ok(()) };
        let (found, problems) = certificates([&relation], is_unfit);
        let found: Vec<&str> = found.iter().map(|certificate| certificate.pem.as_str()).collect();
        assert_eq!((found.as_slice(), problems.len()), (expected, n_problems));
    }

    #[test]
    fn both_versions() {
        check(&[], &[], &[], 0);
        check(&[("certificates", r#"["B", "A", "A\n"]"#)], &[], &["A", "B"], 0);
        check(&[("certificates", r#"["A", 7, ""]"#)], &[], &["A"], 2);
        check(&[("certificates", "[")], &[], &[], 1);
        // What is none comes last, so that the numbers of the others stay.
        check(&[("certificates", r#"["B", "0", "A"]"#)], &[], &["A", "B", "0"], 1);
        let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----";
        check(&[], &[("ca", pem), ("chain", r#"["C"]"#)], &[pem, "C"], 0);
        // A list makes the units' databags a thing of the past.
        check(&[("certificates", r#"["A"]"#)], &[("ca", pem)], &["A"], 0);
        // One that is empty does not: the library on the other side begins with it.
        check(&[("certificates", "[]"), ("version", "1")], &[("ca", pem)], &[pem], 0);
        // Version 0 as the library of version 1 writes it.
        check(&[], &[("ca", r#""A""#), ("certificate", r#""A""#), ("chain", r#"["A", "B"]"#)], &["A", "B"], 0);
    }
}
