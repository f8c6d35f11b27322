//! `tls-certificates`: we ask for a certificate, an authority signs it.
//!
//! The request goes out as text, and its answer is found by that same text. Making keys and requests is not for here: a private
//! key never comes near a databag.

use std::fmt;

use serde_json::{Value, json};

use crate::bag::{Databag, Relation};
use crate::json::{self, dumps, type_name};
use crate::place::located;
use crate::problem::Problem;

/// The name of the interface.
pub const INTERFACE: &str = "tls-certificates";

const REQUESTS: &str = "certificate_signing_requests";
const CERTIFICATES: &str = "certificates";
const REQUEST_ERRORS: &str = "request_errors";

/// A longer refusal is cut.
const REFUSAL_CHARACTERS_MAX: usize = 300;

/// Our unit's databag: requests in PEM, each for the certificate of a server and not of an authority.
///
/// An authority takes back what it signed for a request that is no longer here.
pub fn requirer_unit_bag<'a>(csrs: impl IntoIterator<Item = &'a str>) -> Databag {
    let request = |csr: &str| json!({"certificate_signing_request": csr.trim(), "ca": false});
    let requests = Value::Array(csrs.into_iter().map(request).collect());
    Databag::from([(REQUESTS.to_owned(), dumps(&requests))])
}

/// What an authority made of our request, each part in PEM and without white space around it.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// Our certificate.
    pub certificate: String,
    /// That of the authority, for others to trust.
    pub ca: String,
    /// From ours to the authority's; empty if the authority gave none.
    pub chain: Vec<String>,
}

impl Signed {
    /// What a server presents: our certificate, then those between it and the authority.
    pub fn presented(&self) -> String {
        let between = self.chain.iter().filter(|link| **link != self.certificate && **link != self.ca);
        let mut text = String::new();
        for part in [&self.certificate].into_iter().chain(between) {
            text.push_str(part);
            text.push('\n');
        }
        text
    }
}

/// Certificates are no secrets, but nobody wants to read them in a log.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("n_chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The answer to the request `csr`. `None` without a problem: not yet, or only other requests were answered.
///
/// Of several answers the last counts, because authorities append. One that has been revoked is not an answer.
pub fn signed(relation: &Relation, csr: &str) -> (Option<Signed>, Vec<Problem>) {
    let problem = |message: String| Problem::new(message).key(CERTIFICATES).relation(relation);
    let entries = match json::read(&relation.remote.app_bag, CERTIFICATES) {
        Ok(None) => return (None, Vec::new()),
        Ok(Some(Value::Array(entries))) => entries,
        Ok(Some(other)) => return (None, vec![problem(format!("value is {}, not a list", type_name(&other)))]),
        Err(refused) => return (None, vec![refused.relation(relation)]),
    };
    let mut problems = Vec::new();
    let mut found = None;
    for (at, entry) in entries.iter().enumerate() {
        let text = |key: &str| entry[key].as_str().map(str::trim).filter(|text| !text.is_empty());
        if text("certificate_signing_request") != Some(csr.trim()) {
            continue;
        }
        if entry["revoked"].as_bool() == Some(true) {
            let message = format!("certificate {} has been revoked", at + 1);
            problems.push(problem(message).path(&format!("[{at}].revoked")).hint("another one is asked for"));
            found = None;
            continue;
        }
        let (Some(certificate), Some(ca)) = (text("certificate"), text("ca")) else {
            let message = format!("certificate {} lacks the text of certificate or ca", at + 1);
            problems.push(problem(message).path(&format!("[{at}]")));
            continue;
        };
        let chain = match &entry["chain"] {
            Value::Array(links) => {
                links.iter().filter_map(|link| link.as_str().map(|link| link.trim().to_owned())).collect()
            }
            _ => Vec::new(),
        };
        found = Some(Signed { certificate: certificate.to_owned(), ca: ca.to_owned(), chain });
    }
    (found, located(problems, relation))
}

/// What the authority says against the request `csr`: newer ones say it instead of keeping silent.
pub fn refusals(relation: &Relation, csr: &str) -> Vec<Problem> {
    let problem = |message: String| Problem::new(message).key(REQUEST_ERRORS);
    let entries = match json::read(&relation.remote.app_bag, REQUEST_ERRORS) {
        Ok(None) => return Vec::new(),
        Ok(Some(Value::Array(entries))) => entries,
        Ok(Some(other)) => {
            return vec![problem(format!("value is {}, not a list", type_name(&other))).relation(relation)];
        }
        Err(refused) => return vec![refused.relation(relation)],
    };
    let is_of = |entry: &Value| entry["csr"].as_str().map(str::trim) == Some(csr.trim());
    let refusal = |(at, entry): (usize, &Value)| {
        let part = |key: &str| entry["error"][key].as_str().filter(|text| !text.is_empty());
        let text = [part("message"), part("reason")].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let text: String = text.chars().take(REFUSAL_CHARACTERS_MAX).collect();
        let why = if text.is_empty() { "it does not say why".to_owned() } else { text };
        problem(format!("the authority refuses our request: {why}")).path(&format!("[{at}]"))
    };
    let refusals = entries.iter().enumerate().filter(|(_, entry)| is_of(entry)).map(refusal);
    located(refusals.collect(), relation)
}

/// Whether the authority has taken back what it made of the request `csr`.
pub fn is_revoked(relation: &Relation, csr: &str) -> bool {
    let entries = match json::read(&relation.remote.app_bag, CERTIFICATES) {
        Ok(Some(Value::Array(entries))) => entries,
        _ => return false,
    };
    let is_of = |entry: &&Value| entry["certificate_signing_request"].as_str().map(str::trim) == Some(csr.trim());
    entries.iter().rfind(is_of).is_some_and(|entry| entry["revoked"].as_bool() == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Side;

    #[track_caller]
    fn check(certificates: &str, expected: Option<&str>, n_problems: usize) {
        let mut remote = Side::new("ca");
        remote.app_bag.insert(CERTIFICATES.to_owned(), certificates.to_owned());
        let (endpoint, interface) = ("certificates".to_owned(), INTERFACE.to_owned());
        let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
        let (found, problems) = signed(&relation, "CSR\n");
        let presented = found.map(|signed| signed.presented());
        assert_eq!((presented.as_deref(), problems.len()), (expected, n_problems), "{certificates}");
    }

    #[test]
    fn answers() {
        let entry = |csr: &str, more: &str| {
            format!(r#"{{"certificate_signing_request": "{csr}", "certificate": "C", "ca": "A"{more}}}"#)
        };
        check("", None, 0);
        check(&format!("[{}]", entry("CSR", "")), Some("C\n"), 0);
        check(&format!("[{}]", entry("OTHER", "")), None, 0);
        // The chain goes from our certificate to the authority's; neither is presented twice.
        check(&format!("[{}]", entry("CSR", r#", "chain": ["C", "B", "A"]"#)), Some("C\nB\n"), 0);
        check(&format!("[{}]", entry("CSR", r#", "revoked": true"#)), None, 1);
        check(r#"[{"certificate_signing_request": "CSR"}, 7]"#, None, 1);
        check("[", None, 1);
    }

    #[test]
    fn refusals_of_ours() {
        let refused = |value: &str| {
            let mut remote = Side::new("ca");
            remote.app_bag.insert(REQUEST_ERRORS.to_owned(), value.to_owned());
            let (endpoint, interface) = ("certificates".to_owned(), INTERFACE.to_owned());
            let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
            refusals(&relation, "CSR\n").into_iter().map(|problem| String::from(problem.message)).collect::<Vec<_>>()
        };
        let error = |csr: &str, error: &str| format!(r#"[{{"csr": "{csr}", "error": {error}}}]"#);
        assert_eq!(
            refused(&error(
                "CSR\\n",
                r#"{"code": 101, "name": "ip_not_allowed", "message": "No addresses", "reason": "policy"}"#
            )),
            ["the authority refuses our request: No addresses: policy"]
        );
        assert_eq!(refused(&error("CSR", "7")), ["the authority refuses our request: it does not say why"]);
        assert_eq!(refused(&error("OTHER", "{}")), [""; 0]);
        assert_eq!(refused(""), [""; 0]);
        assert_eq!(refused("7"), ["value is a number, not a list"]);
    }
}
