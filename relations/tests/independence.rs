//! One relation never shows in what another gives: not by its order, not by going away, not by being broken.

use std::collections::BTreeMap;

use proptest::prelude::*;
use relatum_config::prometheus::GlobalConfig;
use relatum_relations::prometheus_scrape::client_tls::accept;
use relatum_relations::prometheus_scrape::permissions::Permissions;
use relatum_relations::prometheus_scrape::{self, Job, RuleFile, Scraped, finish};
use relatum_relations::{Databag, Relation, Side, alertmanager_dispatch, grafana_datasource};
use serde_json::json;

/// Values of a databag, good and bad. `APP` stands for the application's name, so that relations do not share names by chance:
/// then their jobs would, rightly, get suffixes.
const SCRAPE_JOBS: &[&str] = &[
    r#"[{"static_configs": [{"targets": ["*:80"]}]}]"#,
    r#"[{"job_name": "APP-a"}, {"job_name": "APP-a"}, {"job_name": "APP-a", "metrics_path": "/x"}]"#,
    r#"[{"job_name": "APP", "static_configs": [{"targets": ["10.0.0.1:1", "h:2", "*:3"], "labels": {"a": "b"}}]}]"#,
    r#"[{"job_name": "APP-slow", "scrape_timeout": "2h"}, {"job_name": "APP-good"}]"#,
    r#"[{"job_name": "APP-tls", "scheme": "https", "tls_config": {"ca_file": "-----BEGIN X-----"}}]"#,
    r#"[{"static_configs": 7}, 7, null, {"job_name": []}]"#,
    r#"[{"job_name": "#,
    "{}",
    "7",
    "",
];
const METADATA: &[&str] = &[
    r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "APP"}"#,
    r#"{"model": "m", "model_uuid": "12345678-1234-1234-1234-123456789012", "application": "APP"}"#,
    r#"{"model": "m"}"#,
    "[7]",
    "{",
    "",
];
const ALERT_RULES: &[&str] = &[
    r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up{%%juju_topology%%} == 0", "labels":
        {"juju_model": "m", "juju_model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "juju_application": "APP"}}]}]}"#,
    r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up{"}, {"record": "r", "expr": "up"}]}, {"name": "g"}]}"#,
    r#"{"groups": [{"name": "g", "rules": []}, {"name": "h", "interval": "1x"}], "more": 1}"#,
    r#"{"groups": {}}"#,
    "[[[",
    "",
];
const ADDRESSES: &[&str] = &["10.0.0.1", "fe80::1", "host:9100", "a b", ""];

fn relation(id: u64) -> impl Strategy<Value = Relation> {
    let any_of = |values: &'static [&'static str]| prop::sample::select(values);
    let bags = (any_of(SCRAPE_JOBS), any_of(METADATA), any_of(ALERT_RULES));
    let units = prop::collection::btree_map(0u32..12, any_of(ADDRESSES), 0..4);
    (bags, units).prop_map(move |((jobs, metadata, rules), units)| {
        let application = format!("app{id}x");
        let mut remote = Side::new(application.clone());
        for (key, value) in [
            (prometheus_scrape::SCRAPE_JOBS, jobs),
            (prometheus_scrape::SCRAPE_METADATA, metadata),
            (prometheus_scrape::ALERT_RULES, rules),
        ] {
            remote.app_bag.insert(key.to_owned(), value.replace("APP", &application));
        }
        for (number, address) in units {
            let unit = format!("{application}/{number}").parse().expect("a unit's name");
            let bag = Databag::from([("prometheus_scrape_unit_address".to_owned(), address.to_owned())]);
            remote.units.insert(unit, bag);
        }
        let endpoint = "metrics-endpoint".to_owned();
        Relation { id, endpoint, interface: "prometheus_scrape".to_owned(), local: Side::new("prometheus"), remote }
    })
}

fn relations() -> impl Strategy<Value = Vec<Relation>> {
    (relation(1), relation(2), relation(3), relation(11)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

fn read(relations: &[Relation]) -> Vec<Scraped> {
    relations
        .iter()
        .map(|relation| prometheus_scrape::read(relation, &GlobalConfig::default(), &Permissions::default(), accept))
        .collect()
}

/// What one relation gives: jobs, rules, and the texts of its problems.
type Given = (Vec<Job>, Option<RuleFile>, Vec<String>);

/// Everything that `relations` give, by the relation it came from.
fn parts(relations: &[Relation]) -> BTreeMap<u64, Given> {
    let scraped = read(relations);
    let mut parts: BTreeMap<u64, Given> = BTreeMap::new();
    for job in finish(&scraped, "/d", &["prometheus"]).jobs {
        parts.entry(job.origin.relation.1).or_default().0.push(job);
    }
    for one in scraped {
        let part = parts.entry(one.relation.1).or_default();
        part.1 = one.rules;
        part.2 = one.problems.iter().map(ToString::to_string).collect();
    }
    parts
}

proptest! {
    // A case that fails becomes a row of a test, not a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_does_not_matter(relations in relations(), turn in 0usize..4) {
        let mut turned = relations.clone();
        turned.rotate_left(turn);
        turned.reverse();
        let (straight, turned) = (read(&relations), read(&turned));
        prop_assert_eq!(finish(&straight, "/d", &[]), finish(&turned, "/d", &[]));
    }

    #[test]
    fn a_relation_takes_its_parts_with_it(mut relations in relations(), at in 0usize..4) {
        let mut expected = parts(&relations);
        let gone = relations.remove(at);
        expected.remove(&gone.id);
        prop_assert_eq!(parts(&relations), expected);
    }

    #[test]
    fn a_broken_relation_harms_only_itself(mut relations in relations(), at in 0usize..4, garbage in ".{0,40}") {
        let mut before = parts(&relations);
        let id = relations[at].id;
        relations[at].remote.app_bag.values_mut().for_each(|value| *value = garbage.clone());
        let mut after = parts(&relations);
        before.remove(&id);
        after.remove(&id);
        prop_assert_eq!(after, before);
    }

    #[test]
    fn any_text_is_taken_or_refused(texts in prop::collection::vec("\\PC{0,60}", 4), json in ".{0,20}") {
        let mut relation = Relation {
            id: 1,
            endpoint: "metrics-endpoint".to_owned(),
            interface: "prometheus_scrape".to_owned(),
            local: Side::new("prometheus"),
            remote: Side::new("app"),
        };
        let topology = json!({"model": texts[0], "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": json});
        let jobs = json!([{"job_name": texts[1], "static_configs": [{"targets": [texts[2], format!("*{}", texts[3])]}]}]);
        let rules = json!({"groups": [{"name": texts[0], "rules": [{"alert": texts[1], "expr": texts[2]}]}]});
        for (key, value) in [("scrape_metadata", topology), ("scrape_jobs", jobs), ("alert_rules", rules)] {
            relation.remote.app_bag.insert(key.to_owned(), value.to_string());
        }
        relation.remote.app_bag.insert("grafana_uid".to_owned(), texts[1].clone());
        relation.remote.app_bag.insert("datasource_uids".to_owned(), texts[2].clone());
        let unit = Databag::from([
            ("prometheus_scrape_unit_address".to_owned(), texts[3].clone()),
            ("prometheus_scrape_unit_name".to_owned(), texts[0].clone()),
            ("url".to_owned(), texts[2].clone()),
        ]);
        relation.remote.units.insert("app/0".parse().expect("a unit's name"), unit);
        let scraped = read(std::slice::from_ref(&relation));
        finish(&scraped, "/d", &[]);
        prometheus_scrape::event(&scraped[0]);
        alertmanager_dispatch::alertmanagers([&relation]);
        grafana_datasource::answer(&relation);
    }
}

/// A hostile value under `key`: no part of the relation that depends on it, and a problem that names it.
#[track_caller]
fn check_hostile(key: &str, value: String) {
    let mut relation = Relation {
        id: 1,
        endpoint: "metrics-endpoint".to_owned(),
        interface: "prometheus_scrape".to_owned(),
        local: Side::new("prometheus"),
        remote: Side::new("app"),
    };
    relation.remote.app_bag = Databag::from([
        ("scrape_metadata".to_owned(), METADATA[0].to_owned()),
        ("scrape_jobs".to_owned(), SCRAPE_JOBS[0].to_owned()),
    ]);
    let unit = Databag::from([("prometheus_scrape_unit_address".to_owned(), "10.0.0.1".to_owned())]);
    relation.remote.units.insert("app/0".parse().expect("a unit's name"), unit);
    let bag = match key.strip_prefix("prometheus_scrape_unit") {
        Some(_) => relation.remote.units.values_mut().next().expect("the unit just added"),
        None => &mut relation.remote.app_bag,
    };
    bag.insert(key.to_owned(), value);
    let scraped = prometheus_scrape::read(&relation, &GlobalConfig::default(), &Permissions::default(), accept);
    let named = scraped.problems.iter().any(|problem| {
        problem.key.as_deref() == Some(key) && problem.relation == Some(("metrics-endpoint".to_owned(), 1))
    });
    assert!(named, "{key}: {:?}", scraped.problems);
    let expected_jobs = usize::from(key == prometheus_scrape::ALERT_RULES);
    assert_eq!((scraped.jobs.len(), scraped.rules.is_some()), (expected_jobs, false), "{key}");
    assert!(prometheus_scrape::event(&scraped).is_some_and(|event| event.len() < 1 << 20));
}

#[test]
fn hostile_values() {
    for key in ["scrape_jobs", "scrape_metadata", "alert_rules"] {
        check_hostile(key, format!("[\"{}\"]", "x".repeat(10 << 20)));
        check_hostile(key, "[".repeat(10_000) + &"]".repeat(10_000));
        check_hostile(key, "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000));
        check_hostile(key, "\"text\"".to_owned());
        check_hostile(key, "nonsense".to_owned());
        check_hostile(key, "7".to_owned());
    }
    check_hostile("scrape_jobs", format!("[{{\"params\": {}1{}}}]", "[".repeat(100), "]".repeat(100)));
    check_hostile("scrape_jobs", format!("[{}{{}}]", "{},".repeat(200_000)));
    check_hostile(
        "alert_rules",
        format!(r#"{{"groups": [{{"name": "g", "rules": [{}{{}}]}}]}}"#, "{},".repeat(20_000)),
    );
    let deep = "(".repeat(100_000) + "up" + &")".repeat(100_000);
    check_hostile(
        "alert_rules",
        format!(r#"{{"groups": [{{"name": "g", "rules": [{{"alert": "A", "expr": "{deep}"}}]}}]}}"#),
    );
    let nested = "[".repeat(100) + &"]".repeat(100);
    check_hostile(
        "alert_rules",
        format!(r#"{{"groups": [{{"name": "g", "rules": [{{"alert": "A", "labels": {nested}}}]}}]}}"#),
    );
    // One job of a megabyte is fine by itself, but not five thousand of its targets.
    let stars = format!("[{{\"static_configs\": [{}{{}}]}}]", r#"{"targets": ["*:80"]},"#.repeat(200_000));
    check_hostile("scrape_jobs", stars);
    check_hostile("prometheus_scrape_unit_address", "1".repeat(10 << 20));
    check_hostile("prometheus_scrape_unit_address", "a/b".to_owned());
    check_hostile("prometheus_scrape_unit_path", "/".repeat(10 << 20));
    check_hostile(
        "scrape_jobs",
        r#"[{"job_name": "x", "basic_auth": {"username": "u", "password_file": "/etc/shadow"}}]"#.to_owned(),
    );
    check_hostile(
        "alert_rules",
        r#"{"groups": [7, {"name": "g", "rules": {}}, {"name": "h", "rules": [7]}]}"#.to_owned(),
    );
}

/// Jobs of one name from two relations: both have to change, and that is the one way in which relations touch.
#[test]
fn equal_names_get_suffixes() {
    let side = |id: u64, port: u16| {
        let mut remote = Side::new(format!("app{id}x"));
        let jobs = json!([{"job_name": "same", "static_configs": [{"targets": [format!("h:{port}")]}]}]);
        remote.app_bag.insert("scrape_jobs".to_owned(), jobs.to_string());
        remote.units.insert(format!("app{id}x/0").parse().expect("a unit's name"), Databag::new());
        let endpoint = "metrics-endpoint".to_owned();
        Relation { id, endpoint, interface: "prometheus_scrape".to_owned(), local: Side::new("prometheus"), remote }
    };
    let names = |relations: &[Relation]| {
        let jobs = finish(&read(relations), "/d", &["prometheus"]).jobs;
        jobs.iter().map(|job| job.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[side(1, 1)]), ["same"]);
    // Equal jobs become one, but keep the suffix.
    assert_eq!(names(&[side(1, 1), side(2, 1)]).len(), 1);
    let two = names(&[side(1, 1), side(2, 2)]);
    assert!(two.len() == 2 && two[0] != two[1] && two.iter().all(|name| name.starts_with("same_")), "{two:?}");
    // A peer that takes the name of a job of ours.
    let mut thief = side(1, 1);
    let jobs = r#"[{"job_name": "prometheus", "static_configs": [{"targets": ["h:1"]}]}]"#;
    thief.remote.app_bag.insert("scrape_jobs".to_owned(), jobs.to_owned());
    assert!(names(&[thief])[0].starts_with("prometheus_"));
}
