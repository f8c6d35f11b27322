//! What has to stand under a key: the advice that a problem gets which has none of its own.

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
    ("certificate_transfer", "certificates", "it holds a JSON list of certificates in PEM"),
    ("certificate_transfer", "certificate", "it holds a certificate in PEM"),
    ("certificate_transfer", "ca", "it holds a certificate in PEM"),
    ("certificate_transfer", "chain", "it holds a JSON list of certificates in PEM"),
    ("", "receivers", "it holds a JSON list of objects with protocol, itself one with name and type, and url"),
    ("", "endpoint", r#"it holds a JSON object {"url": "http://HOST:3100/loki/api/v1/push"}"#),
];

/// What has to stand under `key` of a databag of `interface`.
pub(crate) fn shape(interface: &str, key: &str) -> Option<&'static str> {
    let is_meant = |(of, known, _): &&(&str, &str, &str)| *known == key && (of.is_empty() || *of == interface);
    SHAPES.iter().find(is_meant).map(|(.., shape)| *shape)
}
