//! Rendered files as they may be shown: every secret reads `<secret>`.

use serde_json::Value;

use crate::pipeline::desire::MATERIALS;

const HIDDEN: &str = "<secret>";

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

/// `text` of the file at `path` without its secrets. A file that has none is as it was, comments included; one that cannot be read
/// is hidden as a whole.
pub(crate) fn hide(path: &str, text: String) -> String {
    if path.starts_with(MATERIALS) {
        // Certificates are public, keys are not.
        return if path.ends_with(".key") { format!("{HIDDEN}\n") } else { text };
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

/// Whether something was hidden.
fn hide_in(value: &mut Value) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |hidden, item| hide_in(item) | hidden),
        Value::Object(fields) => fields.iter_mut().fold(false, |hidden, (key, value)| {
            // Labels and parameters of that name are no secrets: those stand in lists or below other keys.
            let is_secret = KEYS.contains(&key.as_str()) && !value.is_null();
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
        check("tls/a-ca.crt", "CERT", "CERT");
        check("scrape/a_1.yml", "password: [", "<secret>\n");
    }
}
