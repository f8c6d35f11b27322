//! The advice that a problem gets which has none of its own: what to do about a fault of its kind, else what has to stand under its key.

use relatum_config::spelling::similar;
use relatum_promql::syntax::functions;

/// The interface (empty where the key means the same in all), the key, and what to put there.
const SHAPES: &[(&str, &str, &str)] = &[
    ("", "scrape_jobs", "it holds a JSON list of jobs as in scrape_configs of prometheus.yml"),
    ("", "scrape_metadata", "it holds a JSON object with model, model_uuid and application"),
    (
        "",
        "alert_rules",
        r#"it holds a JSON object {"groups": [...]} as in a rule file, which relatum check rules reads"#,
    ),
    ("", "prometheus_scrape_unit_address", "it holds an IP address or a host name"),
    ("", "prometheus_scrape_host", "it holds an IP address or a host name"),
    ("", "prometheus_scrape_unit_name", "it holds the name of the unit, APPLICATION/NUMBER"),
    ("", "prometheus_scrape_unit_path", "it holds the path of a URL"),
    ("", "prometheus_scrape_unit_fqdn", "it holds a host name"),
    ("", "event", "it holds a JSON object with valid, errors and scrape_job_errors"),
    ("", "remote_write", r#"it holds a JSON object {"url": "http://HOST/api/v1/write"}"#),
    ("", "relatum_tiers", "only another relatum writes it; both sides have to be of one version"),
    ("", "url", "it holds the URL of the Alertmanager, such as http://HOST:9093"),
    ("", "public_address", "it holds the address of the Alertmanager, such as HOST:9093"),
    ("", "ingress", "it holds a YAML or JSON object from the names of units to {url: http://HOST/PATH}"),
    ("", "datasource_uids", "it holds a JSON object from the names of our units to the uids of their data sources"),
    ("", "datasources", "it holds a JSON list of objects with type, uid and grafana_uid"),
    (
        "",
        "dashboards",
        r#"it holds a JSON object {"templates": {NAME: {"content": ...}}}, each content packed by xz and base64"#,
    ),
    (
        "tls-certificates",
        "certificates",
        "it holds a JSON list of objects with certificate, certificate_signing_request, ca and chain",
    ),
    (
        "",
        "request_errors",
        "the authority has to allow what we ask for: a certificate of a server for the name of this host",
    ),
    ("certificate_transfer", "certificates", "it holds a JSON list of certificates in PEM"),
    ("certificate_transfer", "certificate", "it holds a certificate in PEM"),
    ("certificate_transfer", "ca", "it holds a certificate in PEM"),
    ("certificate_transfer", "chain", "it holds a JSON list of certificates in PEM"),
    ("", "receivers", "it holds a JSON list of objects with protocol, itself one with name and type, and url"),
    ("", "endpoint", r#"it holds a JSON object {"url": "http://HOST:3100/loki/api/v1/push"}"#),
];

/// A part of what is wrong inside the value of a key, and what to do about it. The first that fits counts.
const ADVICE: &[(&str, &str, &str)] = &[
    (
        "alert_rules",
        "unexpected left brace",
        "templates such as {{ $value }} are for labels and annotations; an expression has none",
    ),
    ("alert_rules", "in label matching", "a matcher is a label, one of =, !=, =~ and !~, and a value in quotes"),
    ("alert_rules", "expected type range vector", "put a range after the selector, such as [5m]"),
    ("alert_rules", "could not parse expression", "`relatum promql format EXPRESSION` tries an expression"),
    ("alert_rules", "field 'expr' must be set", "expr is the expression whose result fires the alert or is recorded"),
    ("alert_rules", "one of 'record' or 'alert'", "alert names what fires, record names the series that is written"),
    ("alert_rules", "only one of 'record' and 'alert'", "make two rules of it"),
    ("alert_rules", "in recording rule", "only rules with alert have for, keep_firing_for and annotations"),
    ("alert_rules", "is repeated in the same file", "every group needs a name of its own"),
    ("alert_rules", "template: ", "templates are written {{ $labels.NAME }} and {{ $value }}"),
    ("alert_rules", "juju_model_uuid", "it is the uuid that `juju show-model` prints, in lower case"),
    ("alert_rules", "did you mean", "`relatum check rules FILE` tells of a file what is told here of the databag"),
    ("alert_rules", " not found", "what is your own goes below labels or annotations"),
    ("scrape_jobs", "timeout greater than", "give the job a scrape_timeout of at most its scrape_interval"),
    ("scrape_jobs", "error parsing regexp", "it is a regular expression as RE2 has them, each backslash twice in JSON"),
    (
        "scrape_jobs",
        "unknown relabel action",
        "it is replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase or uppercase",
    ),
    ("scrape_jobs", "not a text in PEM", "publish what is in the file"),
    ("scrape_jobs", "both cert_file and key_file", "publish the texts of both files"),
    ("scrape_jobs", "at most one of", "leave one of them in the job"),
    (
        "scrape_jobs",
        "not a valid hostname",
        "a target is HOST:PORT; scheme and path of the job go under scheme and metrics_path",
    ),
    ("scrape_jobs", "job_name is missing", "publish scrape_metadata, or name the job"),
    ("scrape_jobs", "names a file on our disk", "publish what is in the file under the key without _file"),
    ("scrape_metadata", "model_uuid", "it is the uuid that `juju show-model` prints, in lower case"),
    ("", " in duration ", "a duration is written such as 30s, 5m or 1h30m"),
    ("", "not a valid duration", "a duration is written such as 30s, 5m or 1h30m"),
    ("alert_rules", "", "`relatum check rules FILE` tells of a file what is told here of the databag"),
    ("scrape_jobs", "", "it has the form that it has in scrape_configs of prometheus.yml"),
];

/// What to do about `message`, which is about the value under `key` of a databag of `interface`, or about the part of it at `path`.
pub(crate) fn hint(interface: &str, key: &str, path: &str, message: &str) -> Option<String> {
    if path.is_empty() {
        return shape(interface, key).map(str::to_owned);
    }
    let unknown = message.split_once("unknown function with name \"").and_then(|(_, rest)| rest.split_once('"'));
    let meant = unknown.and_then(|(name, _)| similar(name, functions().iter().map(|function| function.name)));
    if let Some(meant) = meant {
        return Some(format!("did you mean {meant}?"));
    }
    let is_meant = |(of, part, _): &&(&str, &str, &str)| (of.is_empty() || *of == key) && message.contains(part);
    let advice = ADVICE.iter().find(is_meant).map(|(.., advice)| *advice);
    advice.or_else(|| shape(interface, key)).map(str::to_owned)
}

/// What a text that is not JSON may have been meant as.
pub(crate) fn other_notation(text: &str) -> Option<&'static str> {
    let start: String = text.chars().filter(|c| !c.is_whitespace()).take(3).collect();
    let first_line = text.trim_start().lines().next().unwrap_or_default();
    let is_yaml = first_line.starts_with("- ")
        || first_line.starts_with("---")
        || first_line.split_once(':').is_some_and(|(key, rest)| {
            key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && (rest.is_empty() || rest.starts_with(' '))
        });
    if start.starts_with("{'") || start.starts_with("[{'") || start.starts_with("['") {
        Some("this looks like str() of a Python object; json.dumps() writes JSON")
    } else if is_yaml {
        Some("this looks like YAML; a databag holds JSON, as json.dumps() writes it")
    } else {
        None
    }
}

/// What has to stand under `key` of a databag of `interface`.
fn shape(interface: &str, key: &str) -> Option<&'static str> {
    let is_meant = |(of, known, _): &&(&str, &str, &str)| *known == key && (of.is_empty() || *of == interface);
    SHAPES.iter().find(is_meant).map(|(.., shape)| *shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_advice_of_their_kind() {
        for (key, path, message, expected) in [
            (
                "alert_rules",
                "groups[0].rules[0].expr",
                "1:1: parse error: unknown function with name \"rte\"",
                "did you mean rate?",
            ),
            (
                "alert_rules",
                "groups[0].rules[0].expr",
                "could not parse expression: 1:1: parse error: x",
                "relatum promql format",
            ),
            ("alert_rules", "groups[0].rules[0].for", "unknown unit \"x\" in duration \"1x\"", "30s, 5m"),
            ("alert_rules", "groups[0].rules[0].x", "field x not found", "below labels"),
            ("alert_rules", "groups[0].rules[0].labls", "field labls not found, did you mean labels?", "check rules"),
            ("alert_rules", "", "value is a list, not an object", "it holds a JSON object"),
            ("scrape_jobs", "[0].x", "x", "scrape_configs"),
            ("scrape_jobs", "[0].static_configs[0].targets[0]", "\"http://a\" is not a valid hostname", "HOST:PORT"),
            ("receivers", "[0].url", "url of receiver 1 is no address", "it holds a JSON list"),
        ] {
            let seen = hint("", key, path, message).unwrap_or_default();
            assert!(seen.contains(expected), "{key} {message}: {seen}");
        }
        assert_eq!(hint("", "no-such-key", "a", "b"), None);
    }

    #[test]
    fn notations() {
        for (text, expected) in [
            ("[{'job_name': 'x'}]", "Python"),
            ("{'groups': []}", "Python"),
            ("groups:\n- name: g", "YAML"),
            ("- job_name: x", "YAML"),
            ("---\n{}", "YAML"),
            ("http://loki:3100", ""),
            ("[{", ""),
            ("", ""),
        ] {
            assert!(other_notation(text).unwrap_or_default().contains(expected), "{text}");
            assert_eq!(other_notation(text).is_none(), expected.is_empty(), "{text}");
        }
    }
}
