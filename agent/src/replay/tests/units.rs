//! Several units of our application, as decision 0008 says: all read and render the same, only the leader writes for the
//! application, and a follower that becomes the leader settles in one pass.

use std::collections::BTreeMap;

use relatum_relations::Databag;

use super::*;

/// One relation of every endpoint that has something to read or to say; what one of them says is wrong.
fn relations() -> Vec<Value> {
    let on = |endpoint: &str, interface: &str, id: u64, app: Value, unit: Value| {
        json!({"endpoint": endpoint, "interface": interface, "id": id, "remote_app": format!("peer{id}"),
            "remote_app_data": app, "remote_units_data": {format!("peer{id}/0"): unit}})
    };
    let rules =
        json!({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}, {"alert": "B", "expr": "up{"}]}]});
    let mut scraped = relation();
    scraped["remote_app_data"]["alert_rules"] = rules.to_string().into();
    vec![
        scraped,
        on("receive-remote-write", "prometheus_remote_write", 8, json!({"alert_rules": rules.to_string()}), json!({})),
        on("alertmanager", "alertmanager_dispatch", 9, json!({}), json!({"url": "http://am:9093"})),
        on("self-metrics-endpoint", "prometheus_scrape", 10, json!({}), json!({})),
        on("grafana-source", "grafana_datasource", 11, json!({}), json!({})),
        on("grafana-dashboard", "grafana_dashboard", 12, json!({}), json!({})),
        on("catalogue", "catalogue", 13, json!({}), json!({})),
        on("prometheus-api", "prometheus_api", 14, json!({}), json!({})),
        on("receive-ca-cert", "certificate_transfer", 15, json!({}), json!({})),
        on("logging", "loki_push_api", 17, json!({}), json!({"endpoint": r#"{"url": "http://loki/push"}"#})),
        on("ingress", "ingress_per_unit", 16, json!({"ingress": "prom/1: {url: 'http://gw/prom-1'}"}), json!({})),
    ]
}

/// What the application says in each relation.
type Said = BTreeMap<String, Databag>;

/// Replays unit `number`, which finds that the application said `before`.
fn unit(number: u32, is_leader: bool, before: &Said) -> (Replayed, Said) {
    let mut local = local();
    local["unit"] = format!("prom/{number}").into();
    local["fqdn"] = format!("prom-{number}.example").into();
    local["leader"] = is_leader.into();
    let mut relations = relations();
    for relation in &mut relations {
        let key = format!("{}:{}", relation["endpoint"].as_str().unwrap(), relation["id"]);
        relation["local_app_data"] = json!(before.get(&key).cloned().unwrap_or_default());
    }
    let replayed = replayed(&json!({"local": local, "relations": relations}));
    let said = replayed.databags.iter().map(|(key, bags)| (key.clone(), bags.app.clone())).collect();
    (replayed, said)
}

#[test]
fn only_one_writes_and_all_do_the_same() {
    let (leader, said) = unit(0, true, &Said::new());
    for key in [
        "metrics-endpoint:7",
        "receive-remote-write:8",
        "self-metrics-endpoint:10",
        "grafana-source:11",
        "catalogue:13",
        "logging:17",
    ] {
        assert!(!said[key].is_empty(), "{key} in {said:?}");
    }
    let (follower, untouched) = unit(1, false, &said);
    // It says nothing for the application, neither where somebody else has nor where nobody has yet.
    assert_eq!(untouched, said);
    assert!(unit(1, false, &Said::new()).1.values().all(Databag::is_empty));
    // It does what the leader does, and blames what the leader blames.
    assert_eq!(follower.scrape_jobs, leader.scrape_jobs);
    assert_eq!(json!(follower.problems), json!(leader.problems));
    assert_eq!(json!(follower.status), json!(leader.status));
    let rules = |replayed: &Replayed| {
        let files = replayed.files.clone();
        files.into_iter().filter(|(path, _)| path.ends_with(".rules")).collect::<Vec<_>>()
    };
    assert!(rules(&leader).len() == 2 && rules(&leader) == rules(&follower), "{:?}", leader.files.keys());
    // Its own unit's databag is its own.
    let url = |replayed: &Replayed| replayed.databags["receive-remote-write:8"].unit["remote_write"].clone();
    assert!(
        url(&leader).contains("prom-0.example") && url(&follower).contains("http://gw/prom-1/"),
        "{}",
        url(&follower)
    );
}

/// What differs is what the application says of its leader: once written anew, nothing is left to do.
#[test]
fn a_follower_that_becomes_the_leader_settles_at_once() {
    let (_, before) = unit(0, true, &Said::new());
    let (_, after) = unit(1, true, &before);
    assert_eq!(unit(1, true, &after).1, after);
    assert_eq!(unit(1, false, &after).1, after);
    for key in ["metrics-endpoint:7", "receive-remote-write:8", "grafana-source:11"] {
        assert_eq!(after[key], before[key], "{key} is not about a unit");
    }
    assert!(before["self-metrics-endpoint:10"]["scrape_metadata"].contains("prom/0"));
    assert!(after["self-metrics-endpoint:10"]["scrape_metadata"].contains("prom/1"));
}
