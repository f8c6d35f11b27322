//! Saved units, and what comes of them.

use std::path::Path;

use serde_json::{Value, json};

use super::result::Replayed;
use super::{ModelName, read, replay};

mod units;

fn replayed(case: &Value) -> Replayed {
    let cases = read(&case.to_string(), &ModelName::default()).unwrap();
    replay(&cases[0], Path::new("/etc/prometheus")).unwrap()
}

fn local() -> Value {
    json!({
        "model": "cos", "model_uuid": "3f1a2b4c-5d6e-4f70-8a91-b2c3d4e5f607", "app": "prom", "unit": "prom/0",
        "charm_name": "prometheus-k8s", "fqdn": "prom.example", "pvc_capacity": "10Gi",
    })
}

fn application_data(port: u16) -> Value {
    let metadata = json!({
        "model": "shop", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "zinc",
        "unit": "zinc/0", "charm_name": "zinc-k8s",
    });
    json!({
        "scrape_metadata": metadata.to_string(),
        "scrape_jobs": json!([{"static_configs": [{"targets": [format!("*:{port}")]}]}]).to_string(),
    })
}

fn relation() -> Value {
    json!({
        "endpoint": "metrics-endpoint", "interface": "prometheus_scrape", "id": 7, "remote_app": "zinc",
        "remote_app_data": application_data(80),
        "remote_units_data": {"zinc/0": {
            "prometheus_scrape_unit_address": "10.0.0.1", "prometheus_scrape_unit_name": "zinc/0",
        }},
    })
}

#[test]
fn events_bring_and_take_what_is_rendered() {
    let check = |events: Value, target: Option<&str>, reloads: usize| {
        let steps = json!([application_data(81), application_data(82)]);
        let replayed = replayed(&json!({
            "local": local(), "relations": [relation()], "remote_app_data_steps": steps, "expected": {"events": events},
        }));
        assert_eq!(replayed.scrape_jobs.len(), usize::from(target.is_some()), "{events}: {replayed:?}");
        assert_eq!(replayed.reloads, reloads, "{events}");
        let main = &replayed.files["/etc/prometheus/prometheus.yml"];
        assert!(main.contains("juju_unit: prom/0") && main.contains("prom.example:9090"), "{main}");
        assert!(target.is_none_or(|target| main.contains(target)), "{events}: {main}");
        assert_eq!(main.contains("10.0.0.1:"), target.is_some(), "{events}: {main}");
    };
    let first = Some("10.0.0.1:80");
    // Without events everything is there at once.
    check(json!([]), first, 0);
    check(json!([["created", 7], ["joined", 7, 0], ["changed", 7, 0], ["config_changed"]]), first, 1);
    check(json!([["created", 7], ["joined", 7, 0], ["broken", 7]]), None, 2);
    // What no event brings is there from the start.
    check(json!([["changed", 7, 0]]), first, 0);
    check(json!([["created", 7], ["changed", 7, 0]]), first, 0);
    check(json!([["departed", 7, 0]]), None, 0);
    check(json!([["changed", 7, 0], ["remote_app_data_set", 7], ["changed", 7, 0]]), Some("10.0.0.1:81"), 1);
    check(json!([["remote_app_data_set", 7], ["remote_app_data_set", 7], [], [7]]), Some("10.0.0.1:82"), 1);
}

#[test]
fn the_server_is_as_the_case_says() {
    for (workload, status, message) in [
        ("runs", "active", ""),
        ("unreachable", "maintenance", "Configuring Prometheus"),
        ("refuses", "blocked", "Invalid prometheus configuration; see debug logs"),
    ] {
        let replayed = replayed(&json!({"local": local(), "workload": workload}));
        assert_eq!((replayed.status.status.as_str(), replayed.status.message.as_str()), (status, message));
    }
}

/// Whoever scrapes us and whoever takes our spans has to do with the authority that signed our certificate.
#[test]
fn a_certificate_reaches_all_that_speaks_of_us() {
    let signed = json!([{"certificate": "C", "certificate_signing_request": "R", "ca": "A", "chain": []}]);
    let receivers = json!([{"protocol": {"name": "otlp_grpc", "type": "grpc"}, "url": "tempo:4317"}]);
    let on = |endpoint: &str, interface: &str, id: u64, app: Value| {
        json!({"endpoint": endpoint, "interface": interface, "id": id, "remote_app": format!("peer{id}"),
            "remote_app_data": app, "remote_units_data": {format!("peer{id}/0"): {}}})
    };
    let mut relations = vec![
        on("self-metrics-endpoint", "prometheus_scrape", 2, json!({})),
        on("workload-tracing", "tracing", 3, json!({"receivers": receivers.to_string()})),
    ];
    let check = |relations: &[Value], tls: Value, insecure: &str| {
        let replayed = replayed(&json!({"local": local(), "relations": relations}));
        let jobs: Value =
            serde_json::from_str(&replayed.databags["self-metrics-endpoint:2"].app["scrape_jobs"]).unwrap();
        assert_eq!(jobs[0]["tls_config"], tls);
        let main = &replayed.files["/etc/prometheus/prometheus.yml"];
        let tracing = main.split("tracing:").nth(1).unwrap_or_default();
        assert!(tracing.contains(insecure), "{main}");
        assert_eq!(tracing.contains("ca_file: /usr/local/share/ca-certificates/ca.crt"), !tls.is_null(), "{main}");
    };
    check(&relations, Value::Null, "insecure: true");
    relations.push(on("certificates", "tls-certificates", 4, json!({"certificates": signed.to_string()})));
    check(&relations, json!({"ca_file": "A"}), "insecure: false");
}

#[test]
fn only_the_leader_changes_what_its_application_says() {
    for (is_leader, expected) in [(true, json!({"event": "{}"})), (false, json!({"event": "old"}))] {
        let mut local = local();
        local["leader"] = is_leader.into();
        let rules = json!({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}]}]});
        let mut relation = relation();
        relation["remote_app_data"]["alert_rules"] = rules.to_string().into();
        relation["local_app_data"] = json!({"event": "old"});
        let replayed = replayed(&json!({"local": local, "relations": [relation]}));
        assert_eq!(json!(replayed.databags["metrics-endpoint:7"].app), expected);
    }
}

#[test]
fn the_parts_of_a_result_are_always_there() {
    let mut bad = relation();
    bad["remote_app_data"]["scrape_jobs"] = "[".into();
    let mut unknown = relation();
    unknown["endpoint"] = "metrics".into();
    unknown["id"] = 8.into();
    let result = json!(replayed(&json!({"local": local(), "relations": [bad, unknown]})));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&result),
        ["status", "scrape_jobs", "files", "command", "databags", "problems", "reloads"],
        "{result}"
    );
    let problems = result["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for problem in problems {
        assert_eq!(keys(problem), ["relation", "unit", "key", "path", "line", "column", "message", "hint"]);
    }
    assert_eq!(problems[0]["message"], "we have no endpoint metrics");
    assert_eq!(problems[1]["relation"], "metrics-endpoint:7");
    assert_eq!((&problems[1]["line"], &problems[1]["column"]), (&json!(1), &json!(1)));
}

/// As Juju 3 prints it.
const SHOWN: &str = r#"
prom/3:
  opened-ports: []
  charm: ch:amd64/noble/prometheus-k8s-220
  leader: true
  life: alive
  relation-info:
  - relation-id: 4
    endpoint: prometheus-peers
    related-endpoint: prometheus-peers
    application-data: {}
    local-unit:
      in-scope: true
      data:
        egress-subnets: 10.152.183.20/32
  - relation-id: 7
    endpoint: metrics-endpoint
    related-endpoint: metrics-endpoint
    application-data:
      scrape_jobs: '[{"metrics_path": "/metrics", "static_configs": [{"targets": ["*:80"]}]}]'
      scrape_metadata: '{"model": "shop", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78",
        "application": "zinc", "unit": "zinc/0", "charm_name": "zinc-k8s"}'
    local-unit:
      in-scope: true
      data:
        egress-subnets: 10.152.183.20/32
    related-units:
      zinc/0:
        in-scope: true
        data:
          prometheus_scrape_unit_address: 10.0.0.1
          prometheus_scrape_unit_name: zinc/0
      zinc/10:
        in-scope: true
        data:
          prometheus_scrape_unit_address: 10.0.0.10
          prometheus_scrape_unit_name: zinc/10
  - relation-id: 9
    endpoint: ingress
    related-endpoint: ingress-per-unit
    application-data: {}
    local-unit:
      in-scope: true
      data:
        host: prom-3.prom-endpoints.cos.svc.cluster.local
        port: "9090"
  provider-id: prom-3
  address: 10.1.0.77
"#;

#[test]
fn what_juju_shows_of_a_unit_is_a_case() {
    let model = ModelName { name: "cos".to_owned(), uuid: "3f1a2b4c-5d6e-4f70-8a91-b2c3d4e5f607".to_owned() };
    let as_json = relatum_model::yaml::from_json_or_yaml(SHOWN).unwrap().to_string();
    for text in [SHOWN, &as_json] {
        let cases = read(text, &model).unwrap();
        assert_eq!(cases.len(), 1);
        let replayed = replay(&cases[0], Path::new("/etc/prometheus")).unwrap();
        assert_eq!(replayed.scrape_jobs.len(), 2, "{replayed:?}");
        let main = &replayed.files["/etc/prometheus/prometheus.yml"];
        for part in ["10.0.0.10:80", "juju_unit: prom/3", "juju_charm: prometheus-k8s", "prom-3.prom-endpoints"] {
            assert!(main.contains(part), "{part} in {main}");
        }
        let keys: Vec<&String> = replayed.databags.keys().collect();
        assert_eq!(keys, ["ingress:9", "metrics-endpoint:7"]);
        assert_eq!(replayed.databags["ingress:9"].unit["name"], "prom/3");
        assert!(replayed.problems.is_empty(), "{:?}", replayed.problems);
    }
}

#[test]
fn what_is_no_case_is_refused() {
    for text in [
        "",
        "[]",
        "{",
        "{}",
        "a: b",
        "prom/0: 7",
        r#"{"local": {}}"#,
        r#"{"local": 7}"#,
        "x: {relation-info: []}",
        "prom/0: {relation-info: 1}",
    ] {
        assert!(read(text, &ModelName::default()).is_err(), "{text}");
    }
    for (key, value) in [("unit", "prom"), ("unit", "other/0"), ("model_uuid", "x"), ("model", "")] {
        let mut local = local();
        local[key] = value.into();
        let cases = read(&json!({"local": local}).to_string(), &ModelName::default()).unwrap();
        assert!(replay(&cases[0], Path::new("/x")).is_err(), "{key}: {value}");
    }
}
