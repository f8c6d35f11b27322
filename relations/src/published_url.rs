//! URLs that units publish as `{"url": …}`: which there are, and who told us of each.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bag::{Databag, Relation};
use crate::json::{self, dumps, type_name};
use crate::place::located;
use crate::problem::Problem;
use crate::text::UrlParts;

/// A longer URL is refused.
const URL_BYTES_MAX: usize = 2048;

/// Endpoint on our side and id of a relation, and the unit on the other side.
pub type Origin = ((String, u64), String);

/// A URL, and who told us of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedUrl {
    /// The URL as published, with its scheme.
    pub url: String,
    /// Endpoint, relation id and unit of everyone who published it, in order. Units behind one proxy publish one URL.
    pub origins: Vec<Origin>,
}

/// The value with which a unit publishes `url`.
pub(crate) fn value_of(url: &str) -> String {
    dumps(&serde_json::json!({ "url": url }))
}

/// The URLs under `key` in the units' databags of all `relations`, sorted, each once.
pub(crate) fn read<'a>(
    relations: impl IntoIterator<Item = &'a Relation>,
    key: &str,
) -> (Vec<PublishedUrl>, Vec<Problem>) {
    let mut origins_by_url: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    let mut problems = Vec::new();
    for relation in relations {
        for (unit, bag) in &relation.remote.units {
            let place = (relation.endpoint.clone(), relation.id);
            match url(bag, key) {
                Ok(None) => {}
                Ok(Some(url)) => origins_by_url.entry(url).or_default().push((place, unit.to_string())),
                Err(problem) => problems.extend(located(vec![problem.unit(unit)], relation)),
            }
        }
    }
    problems.sort();
    let sorted = |(url, mut origins): (String, Vec<Origin>)| {
        origins.sort();
        PublishedUrl { url, origins }
    };
    (origins_by_url.into_iter().map(sorted).collect(), problems)
}

fn url(bag: &Databag, key: &str) -> Result<Option<String>, Problem> {
    let refused = |message: String| Problem::new(message).key(key);
    let of_url = |message: String| refused(message).path("url");
    let url = match json::read(bag, key)? {
        None => return Ok(None),
        Some(Value::Object(mut object)) => object.remove("url"),
        Some(other) => return Err(refused(format!("value is {}, not an object", type_name(&other)))),
    };
    match url {
        Some(Value::String(url)) if url.len() > URL_BYTES_MAX => Err(of_url("url is too long".to_owned())),
        Some(Value::String(url)) => match UrlParts::split(&url) {
            Ok(_) => Ok(Some(url)),
            Err(reason) => Err(of_url(format!("cannot use the url: {reason}"))),
        },
        Some(other) => Err(of_url(format!("url is {}, not a string", type_name(&other)))),
        None => Err(of_url("url is missing".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Result<Option<&str>, &str>) {
        let bag = Databag::from([("endpoint".to_owned(), value.to_owned())]);
        let seen = url(&bag, "endpoint").map_err(|problem| String::from(problem.message));
        assert_eq!(seen.as_ref().map(Option::as_deref).map_err(String::as_str), expected, "{value}");
    }

    #[test]
    fn values() {
        check("", Ok(None));
        check("{}", Ok(None));
        check(r#"{"url": "http://h/x", "more": 1}"#, Ok(Some("http://h/x")));
        check(r#"{"uri": "http://h/x"}"#, Err("url is missing"));
        check(r#"{"url": 7}"#, Err("url is a number, not a string"));
        check(r#""http://h/x""#, Err("value is a string, not an object"));
        check(r#"{"url": "file:///etc/passwd"}"#, Err("cannot use the url: its scheme is neither http nor https"));
    }
}
