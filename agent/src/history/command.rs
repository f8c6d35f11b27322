//! The command that made a revision, as it would be typed again; what must not be seen is left out.

use relatum_relations::endpoints::APPLICATION;

use crate::control::{ChangeConfiguration, Document, Relate};
use crate::secrets;

/// `verb` with its words.
pub(crate) fn line<'a>(verb: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().fold(verb.to_owned(), |line, word| line + " " + &quoted(word))
}

/// `relate`: files by their names, so that what is secret in them stays there.
pub(crate) fn relate(request: &Relate) -> String {
    let file = |document: &Option<Document>| document.as_ref().map(|document| document.name.clone());
    let mut words = request.arguments.clone();
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    option("--name", request.name.clone());
    for (name, value) in &request.labels {
        option("--label", Some(format!("{name}={value}")));
    }
    for document in &request.rules {
        option("--rules", Some(document.name.clone()));
    }
    option("--scheme", request.scheme.clone());
    option("--ca-file", file(&request.ca));
    option("--basic-auth-file", file(&request.basic_auth));
    option("--bearer-file", file(&request.bearer));
    option("--interval", request.interval.clone());
    option("--databag", file(&request.databag));
    line("relate", words.iter().map(String::as_str))
}

/// `config`.
pub(crate) fn config(request: &ChangeConfiguration) -> String {
    let set = request.set.iter().map(|(key, value)| match secrets::is_secret(key) {
        true => format!("{key}={}", secrets::HIDDEN),
        false => format!("{key}={value}"),
    });
    let mut words: Vec<String> = std::iter::once(APPLICATION.to_owned()).chain(set).collect();
    if !request.reset.is_empty() {
        words.extend(["--reset".to_owned(), request.reset.join(",")]);
    }
    line("config", words.iter().map(String::as_str))
}

/// A word as a shell reads it; the password of a URL is left out.
fn quoted(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some((scheme, rest)) = word.split_once("://") {
        let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
        if let Some((_, host)) = authority.rsplit_once('@') {
            word = format!("{scheme}://{}@{host}{}", secrets::HIDDEN, &rest[authority.len()..]);
        }
    }
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+[]<>~{}".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn commands_as_typed() {
        let document = |name: &str| Some(Document { name: name.to_owned(), text: "hunter2".to_owned() });
        let request = Relate {
            arguments: vec!["metrics-endpoint".to_owned(), "a:1".to_owned(), "https://u:hunter2@b/x".to_owned()],
            name: Some("nodes".to_owned()),
            labels: BTreeMap::from([("site".to_owned(), "upper hall's".to_owned())]),
            rules: document("r.rules").into_iter().chain(document("my rules")).collect(),
            ca: document("ca.pem"),
            bearer: document("token"),
            interval: Some("15s".to_owned()),
            ..Relate::default()
        };
        assert_eq!(
            relate(&request),
            "relate metrics-endpoint a:1 https://<secret>@b/x --name nodes --label 'site=upper hall'\\''s' \
             --rules r.rules --rules 'my rules' --ca-file ca.pem --bearer-file token --interval 15s"
        );
        let request = ChangeConfiguration {
            application: "prometheus".to_owned(),
            set: BTreeMap::from([("log_level".to_owned(), String::new()), ("password".to_owned(), "x".to_owned())]),
            reset: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(config(&request), "config prometheus log_level= password=<secret> --reset a,b");
        assert_eq!(line("remove-relation", ["a:x b:y"]), "remove-relation 'a:x b:y'");
    }
}
