//! Rendered files and databags as they may be shown: every secret reads `<secret>`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::RelationDetail;
use crate::pipeline::desire::MATERIALS;

/// What is shown in place of a secret.
pub(crate) const HIDDEN: &str = "<secret>";

/// Keys of Prometheus' format whose texts are secrets.
const KEYS: [&str; 9] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "key",
    "secret_key",
    "basic_auth_password",
    "secrets",
    "proxy_connect_header",
];

/// Whether what stands under `key` is a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    KEYS.contains(&key) || key.ends_with("_file")
}

/// `text` of the file at `path` without its secrets. A file that has none is as it was, comments included; one that cannot be read
/// is hidden as a whole.
pub(crate) fn hide(path: &str, text: String) -> String {
    if path.starts_with(MATERIALS) {
        // Certificates are public, keys and tokens are not.
        return if path.ends_with(".key") || path.ends_with(".token") { format!("{HIDDEN}\n") } else { text };
    }
    if !path.ends_with(".yml") {
        return text;
    }
    let Ok(mut value) = relatum_model::yaml::from_str::<Value>(&text) else { return format!("{HIDDEN}\n") };
    if !hide_in(&mut value) {
        return text;
    }
    relatum_model::yaml::to_string(&value).unwrap_or_else(|_| format!("{HIDDEN}\n"))
}

/// Hides the secrets in every databag of a relation.
pub(crate) fn hide_in_relation(detail: &mut RelationDetail) {
    let units = detail.related_units.iter_mut().chain([&mut detail.local_unit]).map(|unit| &mut unit.data);
    units.chain([&mut detail.application_data, &mut detail.local_application_data]).for_each(hide_in_databag);
}

/// A value that is JSON or YAML loses the secrets inside it and others stay as they were written, unless their own key is a
/// secret's. What cannot be read, though it speaks of secrets, is hidden as a whole.
pub(crate) fn hide_in_databag(bag: &mut BTreeMap<String, String>) {
    for (key, value) in bag {
        if KEYS.contains(&key.as_str()) {
            *value = HIDDEN.to_owned();
        } else if let Ok(mut json) = serde_json::from_str::<Value>(value) {
            if hide_in(&mut json) {
                *value = json.to_string();
            }
        } else if let Ok(mut yaml) = relatum_model::yaml::from_str::<Value>(value) {
            if hide_in(&mut yaml) {
                *value = relatum_model::yaml::to_string(&yaml).unwrap_or_else(|_| HIDDEN.to_owned());
            }
        } else if KEYS.iter().any(|key| value.contains(key)) {
            *value = HIDDEN.to_owned();
        }
        if is_private_key(value) {
            *value = HIDDEN.to_owned();
        }
    }
}

/// Charms write keys in PEM form where Prometheus has the name of a file.
fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

/// Whether something was hidden.
pub(crate) fn hide_in(value: &mut Value) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |hidden, item| hide_in(item) | hidden),
        Value::Object(fields) => fields.iter_mut().fold(false, |hidden, (key, value)| {
            // Labels and parameters of that name are no secrets: those stand in lists or below other keys.
            let is_secret =
                (KEYS.contains(&key.as_str()) && !value.is_null()) || value.as_str().is_some_and(is_private_key);
            if is_secret {
                *value = Value::from(HIDDEN);
            }
            (is_secret || (!is_plain(key) && hide_in(value))) | hidden
        }),
        _ => false,
    }
}

/// Maps whose keys are chosen by people, not by the format.
fn is_plain(key: &str) -> bool {
    matches!(key, "labels" | "params" | "external_labels" | "annotations")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &str) {
        assert_eq!(hide(path, text.to_owned()), expected);
    }

    #[test]
    fn secrets_are_hidden() {
        check(
            "scrape/a_1.yml",
            "# c\nscrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: 'p'}\n  authorization:\n    credentials: t\n",
            "scrape_configs:\n- job_name: a\n  basic_auth:\n    username: u\n    password: <secret>\n  authorization:\n    credentials: <secret>\n",
        );
        let plain = "# kept\nscrape_configs:\n- static_configs:\n  - labels: {password: x, answer: \"yes\"}\n";
        check("scrape/a_1.yml", plain, plain);
        check("tls/a-client.key", "KEY", "<secret>\n");
        check("tls/a.token", "TOKEN", "<secret>\n");
        check("tls/a-ca.crt", "CERT", "CERT");
        check("scrape/a_1.yml", "password: [", "<secret>\n");
    }

    #[track_caller]
    fn check_databag(key: &str, value: &str, expected: &str) {
        let mut bag = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        hide_in_databag(&mut bag);
        assert_eq!(bag[key], expected, "{key}: {value}");
    }

    #[test]
    fn secrets_in_databags_are_hidden() {
        check_databag(
            "scrape_jobs",
            r#"[{"basic_auth": {"password": "p"}}]"#,
            r#"[{"basic_auth":{"password":"<secret>"}}]"#,
        );
        check_databag("jobs", "- bearer_token: t\n", "- bearer_token: <secret>\n");
        check_databag("password", "p", "<secret>");
        let pem = "-----BEGIN RSA PRIVATE KEY-----";
        check_databag("anything", pem, "<secret>");
        check_databag("jobs", &format!(r#"[{{"key_file":"{pem}"}}]"#), r#"[{"key_file":"<secret>"}]"#);
        // What has no secrets stays byte by byte as the charm wrote it.
        check_databag("scrape_jobs", r#"[{"labels":  {"password": "x"}}]"#, r#"[{"labels":  {"password": "x"}}]"#);
        check_databag("port", "80", "80");
        check_databag("broken", "{\"jobs\": [", "{\"jobs\": [");
        check_databag("broken", "{\"password\": [", "<secret>");
    }
}
