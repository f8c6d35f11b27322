//! What operators do not allow, no job does: each is left out, or the one target of it, and the place is named.

use relatum_config::prometheus::GlobalConfig;
use relatum_relations::prometheus_scrape::client_tls::accept;
use relatum_relations::prometheus_scrape::permissions::{DeniedTargets, Permissions};
use relatum_relations::prometheus_scrape::{self, EVENT};
use relatum_relations::{Databag, Relation, Side};
use serde_json::Value;

const METADATA: &str = r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "a"}"#;

/// `jobs` of one unit at 10.0.0.1 under `permissions`: the targets that are left, and the problems as people see them.
#[track_caller]
fn check(jobs: &str, permissions: &Permissions, targets: &[&str], problems: &[&str]) {
    for metadata in [METADATA, ""] {
        let mut remote = Side::new("a");
        remote.app_bag.insert("scrape_jobs".to_owned(), jobs.to_owned());
        remote.app_bag.insert("scrape_metadata".to_owned(), metadata.to_owned());
        let unit = Databag::from([("prometheus_scrape_unit_address".to_owned(), "10.0.0.1".to_owned())]);
        remote.units.insert("a/0".parse().expect("a unit's name"), unit);
        let (endpoint, interface) = ("metrics-endpoint".to_owned(), "prometheus_scrape".to_owned());
        let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
        let scraped = prometheus_scrape::read(&relation, &GlobalConfig::default(), permissions, accept);
        let lists = scraped.jobs.iter().filter_map(|job| job.config["static_configs"].as_array()).flatten();
        let left: Vec<&str> =
            lists.filter_map(|list| list["targets"].as_array()).flatten().filter_map(Value::as_str).collect();
        assert_eq!(left, targets, "{jobs} {:?}", scraped.problems);
        let seen: Vec<String> = scraped.problems.iter().map(ToString::to_string).collect();
        assert_eq!(seen.len(), problems.len(), "{jobs} {seen:?}");
        for (seen, part) in seen.iter().zip(problems) {
            assert!(seen.contains(part), "{part:?} in {seen:?}");
            let event = prometheus_scrape::event(&scraped).unwrap_or_default();
            assert!(event.contains("scrape_job_errors"), "the peer is told in {EVENT}: {event}");
        }
    }
}

fn denied(list: &str) -> Permissions {
    Permissions { allow_proxy_url: true, denied: DeniedTargets::parse(list).expect("a list") }
}

#[test]
fn proxies() {
    let none = Permissions::default();
    let job = r#"[{"job_name": "j", "proxy_url": "http://p:3128", "static_configs": [{"targets": ["h:1"]}]}]"#;
    check(
        job,
        &none,
        &[],
        &[
            "metrics-endpoint:1 scrape_jobs[0].proxy_url 1:33: job 1 (\"j\"): proxy_url is not allowed: a relation may not choose \
           through whom we reach a target (allow_proxy_url=true allows it to all relations)",
        ],
    );
    check(job, &Permissions::of_charm(), &["h:1"], &[]);
    check(&job.replace("http://p:3128", ""), &none, &["h:1"], &[]);
    // A proxy is reached, too.
    check(job, &denied("p"), &[], &["scrape_jobs[0].proxy_url 1:33: "]);
    let harmless = r#"[{"job_name": "j", "params": {"proxy_url": ["x"]}, "static_configs": [{"targets": ["h:1"]}]}]"#;
    check(harmless, &none, &["h:1"], &[]);
}

#[test]
fn targets() {
    let two = r#"[{"job_name": "j", "static_configs": [{"targets": ["h:1", "169.254.169.254:80"]}]}]"#;
    check(two, &Permissions::default(), &["h:1", "169.254.169.254:80"], &[]);
    check(
        two,
        &denied("10.9.0.0/16, 169.254.0.0/16"),
        &["h:1"],
        &[
            "scrape_jobs[0].static_configs[0].targets[1] 1:59: job 1 (\"j\"): the operator does not allow to reach this address \
           (169.254.0.0/16 is among denied_targets)",
        ],
    );
    check(two, &denied("h"), &["169.254.169.254:80"], &["targets[0]"]);
    // Nothing is left of the job; the next one stays.
    let more = r#"[{"job_name": "j", "static_configs": [{"targets": ["h:1"]}]}, {"job_name": "k", "static_configs": [{"targets": ["i:1"]}]}]"#;
    check(more, &denied("h"), &["i:1"], &["scrape_jobs[0].static_configs[0].targets[0]"]);
    check(
        r#"[{"job_name": "j", "static_configs": [{"targets": ["127.1:1", "[::ffff:7f00:1]:2"]}]}]"#,
        &denied("127.0.0.0/8"),
        &[],
        &["targets[0]", "targets[1]"],
    );
}

/// Relabelling gives a target its last address; a label of that name does not.
#[test]
fn addresses_are_compared_as_they_are_reached() {
    let job = |more: &str| format!(r#"[{{"job_name": "j", "static_configs": [{{"targets": ["h:1"]}}], {more}}}]"#);
    let relabelled = job(r#""relabel_configs": [{"target_label": "__address__", "replacement": "127.0.0.1:80"}]"#);
    check(&relabelled, &denied("127.0.0.0/8"), &[], &["targets[0]"]);
    check(&relabelled, &denied("h"), &["h:1"], &[]);
    let dropped = job(r#""relabel_configs": [{"source_labels": ["__address__"], "regex": "h.*", "action": "drop"}]"#);
    check(&dropped, &denied("h"), &["h:1"], &[]);
    let joined = job(
        r#""params": {"module": ["127"]}, "relabel_configs": [{"source_labels": ["__param_module"], "target_label": "__address__", "replacement": "$1.0.0.1"}]"#,
    );
    check(&joined, &denied("127.0.0.0/8"), &[], &["targets[0]"]);
    let labelled =
        r#"[{"job_name": "j", "static_configs": [{"targets": ["h:1"], "labels": {"__address__": "127.0.0.1"}}]}]"#;
    check(labelled, &denied("127.0.0.0/8"), &["h:1"], &[]);
    check(labelled, &denied("h"), &[], &["targets[0]"]);
}

/// A hundred thousand bad targets cost a hundred thousand looks, and the good one among them stays.
#[test]
fn many_bad_targets_are_left_out_at_once() {
    for (bad, list) in [("a/b", "denied"), ("denied", "denied")] {
        let mut targets = vec![bad; 100_000];
        targets.push("good:1");
        let jobs = serde_json::json!([{"job_name": "j", "static_configs": [{"targets": targets}]}]).to_string();
        let mut remote = Side::new("a");
        remote.app_bag.insert("scrape_jobs".to_owned(), jobs);
        remote.units.insert("a/0".parse().expect("a unit's name"), Databag::new());
        let (endpoint, interface) = ("metrics-endpoint".to_owned(), "prometheus_scrape".to_owned());
        let relation = Relation { id: 1, endpoint, interface, local: Side::new("prometheus"), remote };
        let scraped = prometheus_scrape::read(&relation, &GlobalConfig::default(), &denied(list), accept);
        let left: Vec<&Value> = scraped.jobs.iter().map(|job| &job.config["static_configs"][0]["targets"]).collect();
        assert_eq!(left, [&serde_json::json!(["good:1"])], "{bad}");
        let rest = scraped.problems.iter().any(|problem| problem.message.contains("99950 more faults"));
        assert!(scraped.problems.len() < 60 && rest, "{:?}", scraped.problems);
    }
}

/// A unit's own address may be denied like any other.
#[test]
fn wildcards_lead_to_units() {
    let mut relation = Relation {
        id: 1,
        endpoint: "metrics-endpoint".to_owned(),
        interface: "prometheus_scrape".to_owned(),
        local: Side::new("prometheus"),
        remote: Side::new("a"),
    };
    let jobs = r#"[{"static_configs": [{"targets": ["*:80"]}]}]"#;
    relation.remote.app_bag = [("scrape_jobs", jobs), ("scrape_metadata", METADATA)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    for (unit, address) in [("a/0", "10.0.0.1"), ("a/1", "127.0.0.1"), ("a/2", "10.0.0.2")] {
        let bag = Databag::from([("prometheus_scrape_unit_address".to_owned(), address.to_owned())]);
        relation.remote.units.insert(unit.parse().expect("a unit's name"), bag);
    }
    let scraped = prometheus_scrape::read(&relation, &GlobalConfig::default(), &denied("127.0.0.0/8"), accept);
    let units: Vec<&str> = scraped.jobs.iter().filter_map(|job| job.origin.unit.as_deref()).collect();
    assert_eq!(units, ["a/0", "a/2"]);
    // Whom we may reach does not lead us to whom we may not.
    assert!(scraped.jobs.iter().all(|job| job.config["follow_redirects"] == false));
    // Where a name leads to is for whoever connects to see.
    assert!(scraped.jobs.iter().all(|job| job.config["denied_networks"] == serde_json::json!(["127.0.0.0/8"])));
    let seen: Vec<String> = scraped.problems.iter().map(ToString::to_string).collect();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].contains("scrape_jobs[0].static_configs[0].targets[0] 1:35: job 1: a/1: the operator"), "{seen:?}");
}
