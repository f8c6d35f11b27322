//! Every interface under values that nobody should send: it ends, nothing panics, what is made stays small, names never become
//! paths, and nothing is said of the good relation beside it (what that gives is the other test's affair).

use relatum_config::prometheus::GlobalConfig;
use relatum_relations::ingress_per_unit::Urls;
use relatum_relations::prometheus_scrape::client_tls::accept;
use relatum_relations::prometheus_scrape::permissions::Permissions;
use relatum_relations::prometheus_scrape::{self, finish};
use relatum_relations::{
    Databag, Problem, Relation, Side, UnitName, alertmanager_dispatch, catalogue, certificate_transfer,
    grafana_dashboard, grafana_datasource, grafana_datasource_exchange, ingress_per_unit, loki_push_api,
    prometheus_remote_write, tls_certificates, tracing,
};
use serde_json::json;

/// Reads relations; what is made of them as text, and what was left out.
type Read = fn(&[Relation]) -> (String, Vec<Problem>);

/// One interface: its name, the keys of the application's and of a unit's databag, a good value for each, and how it is read.
struct Interface {
    name: &'static str,
    app: &'static [(&'static str, &'static str)],
    unit: &'static [(&'static str, &'static str)],
    read: Read,
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
const JOBS: &str = r#"[{"job_name": "j", "static_configs": [{"targets": ["*:80", "h:1"]}]}]"#;
const METADATA: &str = r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "good"}"#;
const RULES: &str = r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}]}]}"#;

const INTERFACES: &[Interface] = &[
    Interface {
        name: "prometheus_scrape",
        app: &[("scrape_jobs", JOBS), ("scrape_metadata", METADATA), ("alert_rules", RULES)],
        unit: &[
            ("prometheus_scrape_unit_address", "10.0.0.1"),
            ("prometheus_scrape_unit_name", "good/0"),
            ("prometheus_scrape_unit_path", "/p"),
            ("prometheus_scrape_unit_fqdn", "good-0.example"),
        ],
        read: |relations| {
            let global = GlobalConfig::default();
            let scraped: Vec<_> = relations
                .iter()
                .map(|relation| prometheus_scrape::read(relation, &global, &Permissions::default(), accept))
                .collect();
            let finished = finish(&scraped, "/d", &["prometheus"]);
            for path in finished.files.keys() {
                assert_is_name(path.strip_prefix("/d/").expect("a path in our directory"));
            }
            scraped
                .iter()
                .filter_map(|scraped| scraped.rules.as_ref())
                .for_each(|file| assert_is_name(&file.file_name));
            for scraped in &scraped {
                assert!(prometheus_scrape::event(scraped).is_none_or(|event| event.len() < 1 << 18));
            }
            let rules: Vec<_> = scraped.iter().filter_map(|one| Some((one.relation.1, one.rules.clone()?))).collect();
            let jobs: Vec<_> = finished.jobs.iter().map(|job| (job.origin.relation.1, &job.config)).collect();
            (format!("{jobs:?} {rules:?}"), scraped.iter().flat_map(|scraped| scraped.problems.clone()).collect())
        },
    },
    Interface {
        name: "prometheus_remote_write",
        app: &[("alert_rules", RULES)],
        unit: &[("remote_write", r#"{"url": "http://h/api/v1/write"}"#)],
        read: |relations| {
            let received: Vec<_> = relations.iter().map(prometheus_remote_write::read).collect();
            let files = prometheus_remote_write::rule_files(&received, ["juju_x.rules"]);
            files.iter().for_each(|file| assert_is_name(&file.file_name));
            let (endpoints, mut problems) = prometheus_remote_write::endpoints(relations);
            problems.extend(received.into_iter().flat_map(|received| received.problems));
            (format!("{files:?} {endpoints:?}"), problems)
        },
    },
    Interface {
        name: "alertmanager_dispatch",
        app: &[],
        unit: &[("url", "http://h:9093/p"), ("public_address", "h:9093")],
        read: |relations| read_as_text(alertmanager_dispatch::alertmanagers(relations)),
    },
    Interface {
        name: "ingress_per_unit",
        app: &[("ingress", "prometheus/0:\n  url: http://h/p\n")],
        unit: &[],
        read: |relations| {
            let read = relations.iter().map(|relation| ingress_per_unit::url(relation, &unit("prometheus/0")));
            let (urls, problems): (Vec<_>, Vec<_>) = read.unzip();
            for url in urls.iter().flatten() {
                catalogue::requirer_app_bag(&Urls { internal: String::new(), external: Some(url.clone()) });
            }
            read_as_text((urls, problems.into_iter().flatten().collect()))
        },
    },
    Interface {
        name: "grafana_datasource",
        app: &[("grafana_uid", "u"), ("datasource_uids", r#"{"prometheus/0": "d"}"#)],
        unit: &[],
        read: |relations| each(relations, grafana_datasource::answer),
    },
    Interface {
        name: "grafana_datasource_exchange",
        app: &[("datasources", r#"[{"type": "loki", "uid": "u", "grafana_uid": "g"}]"#)],
        unit: &[],
        read: |relations| each(relations, grafana_datasource_exchange::datasources),
    },
    Interface {
        name: "grafana_dashboard",
        app: &[("dashboards", r#"{"templates": {}}"#)],
        unit: &[],
        read: |relations| each(relations, grafana_dashboard::dashboards),
    },
    Interface {
        name: "tls-certificates",
        app: &[("certificates", "[]")],
        unit: &[],
        read: |relations| each(relations, |relation| tls_certificates::signed(relation, "CSR")),
    },
    Interface {
        name: "certificate_transfer",
        app: &[("certificates", r#"["-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"]"#)],
        unit: &[("ca", PEM), ("chain", "[]")],
        read: |relations| read_as_text(certificate_transfer::certificates(relations, |_| Ok(()))),
    },
    Interface {
        name: "tracing",
        app: &[("receivers", r#"[{"protocol": {"name": "otlp_grpc", "type": "grpc"}, "url": "h:4317"}]"#)],
        unit: &[],
        read: |relations| each(relations, |relation| tracing::endpoint(relation, tracing::OTLP_GRPC)),
    },
    Interface {
        name: "loki_push_api",
        app: &[],
        unit: &[("endpoint", r#"{"url": "http://h:3100/loki/api/v1/push"}"#)],
        read: |relations| read_as_text(loki_push_api::endpoints(relations)),
    },
];

fn read_as_text<T: std::fmt::Debug>((made, problems): (T, Vec<Problem>)) -> (String, Vec<Problem>) {
    (format!("{made:?}"), problems)
}

fn each<T: std::fmt::Debug>(
    relations: &[Relation],
    read: impl Fn(&Relation) -> (T, Vec<Problem>),
) -> (String, Vec<Problem>) {
    let (made, problems): (Vec<T>, Vec<Vec<Problem>>) = relations.iter().map(read).unzip();
    read_as_text((made, problems.concat()))
}

/// A file's name: one step of a path, short enough for every file system, and without what steers a terminal.
#[track_caller]
fn assert_is_name(name: &str) {
    let is_fit = name.len() < 250 && !name.starts_with('.') && !name.contains(|c: char| c == '/' || c.is_control());
    assert!(is_fit && !name.is_empty(), "{name:?}");
}

fn unit(name: &str) -> UnitName {
    name.parse().expect("a unit's name")
}

fn relation(interface: &Interface, id: u64) -> Relation {
    let owned = |entries: &[(&str, &str)]| -> Databag {
        entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let mut remote = Side::new("app");
    remote.app_bag = owned(interface.app);
    remote.units.insert(unit("app/0"), owned(interface.unit));
    let (endpoint, name) = ("endpoint".to_owned(), interface.name.to_owned());
    Relation { id, endpoint, interface: name, local: Side::new("prometheus"), remote }
}

/// Values that are hostile wherever they stand.
fn hostile_values() -> Vec<String> {
    let nul = "\u{0}".to_owned();
    let mut values = vec![
        "{\"a\": [1, ".to_owned(),
        "\"12\"".to_owned(),
        "12".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        "[[], {}, null, 7, \"x\"]".to_owned(),
        r#"{"a": 1, "a": {"a": 2, "a": 3}}"#.to_owned(),
        "a: &a [x]\nb: *a\n".to_owned(),
        "- job_name: x\n  file_sd_configs: [{files: [/etc/shadow]}]\n".to_owned(),
        "../../../etc/passwd".to_owned(),
        "a/../..//b".to_owned(),
        format!("a{nul}b\nc\u{1b}[2Jd"),
        "x".repeat(4096),
        "\u{202e}\u{feff}é😀".to_owned(),
        "{{#each x}}{{lookup . 'y'}}{{/each}} {{{raw}}} {{> partial}}".to_owned(),
        "x".repeat(10 << 20),
        "[".repeat(100_000),
        format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        format!("[{}0]", "0,".repeat(600_000)),
        format!("[{}{{}}]", "{\"url\":\"http://h\"},".repeat(100_000)),
        "http://user:secret@h/".to_owned(),
        "http://h:99999/".to_owned(),
        "javascript:alert(1)".to_owned(),
        format!("http://{}/", "h".repeat(1 << 20)),
    ];
    // The same texts where a name, an address or an expression is expected.
    for text in ["../../x", "a\u{0}b", "a\nb", "{{x}}", "%s", "", "*", "[::1", "'\"`$(id)"] {
        values.push(json!({"url": text, text: {"url": text, "name": text}, "groups": [{"name": text, "rules": [{"record": text, "expr": text}]}], "templates": {text: {"content": text}}, "model": text, "model_uuid": text, "application": text}).to_string());
        values.push(json!([{"job_name": text, "static_configs": [{"targets": [text, format!("*{text}")], "labels": {text: text}}], "tls_config": {"ca_file": text}, "url": text, "uid": text, "protocol": {"name": text}, "certificate": text, "ca": text, "chain": [text]}, text]).to_string());
    }
    let targets: Vec<String> = (0..100_000).map(|number| format!("h{number}:80")).collect();
    values.push(json!([{"static_configs": [{"targets": targets}]}]).to_string());
    let long = format!("up{}", " + up".repeat(200_000));
    values.push(json!({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": long}]}]}).to_string());
    values
}

#[test]
fn no_value_harms() {
    let values = hostile_values();
    for interface in INTERFACES {
        let good = relation(interface, 1);
        let (_, problems) = (interface.read)(std::slice::from_ref(&good));
        assert_eq!(problems, [], "{}", interface.name);
        let keys = interface
            .app
            .iter()
            .map(|entry| (true, entry.0))
            .chain(interface.unit.iter().map(|entry| (false, entry.0)));
        for (of_app, key) in keys {
            for value in &values {
                let mut bad = relation(interface, 2);
                let bag = match of_app {
                    true => &mut bad.remote.app_bag,
                    false => bad.remote.units.get_mut(&unit("app/0")).expect("its unit"),
                };
                bag.insert(key.to_owned(), value.clone());
                let what = || format!("{} {key} {:?}", interface.name, value.chars().take(80).collect::<String>());
                let (made, problems) = (interface.read)(std::slice::from_ref(&bad));
                // Targets are the peer's to choose, and 100,000 of them are some megabytes.
                assert!(made.len() < 64 << 20, "{} made {} bytes", what(), made.len());
                for problem in &problems {
                    // What only counts others has nothing to say of its own.
                    let counts = problem.key.is_none() && problem.message.ends_with("more problems");
                    assert!(problem.relation.is_some() && (problem.hint.is_some() || counts), "{}: {problem}", what());
                    assert!(problem.to_string().len() < 8192, "{}: {problem}", what());
                    assert!(!problem.message.contains("secret"), "{}: {problem}", what());
                }
                // Of the good one beside it, nothing is said.
                if value.len() < 1 << 16 {
                    let (_, both) = (interface.read)(&[good.clone(), bad]);
                    let is_of_bad = |problem: &Problem| problem.relation.as_ref().is_some_and(|of| of.1 == 2);
                    assert!(both.iter().all(is_of_bad), "{}: {both:?}", what());
                }
            }
        }
    }
}

/// Sets have no order: the relations in any give one result.
#[test]
fn order_of_relations_does_not_matter() {
    for name in ["prometheus_remote_write", "alertmanager_dispatch", "certificate_transfer", "loki_push_api"] {
        let interface = INTERFACES.iter().find(|interface| interface.name == name).expect("an interface");
        let relations: Vec<Relation> = [3, 1, 11, 2].map(|id| relation(interface, id)).into();
        let mut turned = relations.clone();
        let made = |relations: &[Relation]| {
            let (made, mut problems) = (interface.read)(relations);
            problems.sort();
            (made, problems)
        };
        let expected = made(&relations);
        for _ in 0..3 {
            turned.rotate_left(1);
            assert_eq!(made(&turned), expected, "{name}");
        }
    }
}

/// A relation may not make us read files: each of these jobs would send one to the peer.
#[test]
fn no_key_names_a_file() {
    let jobs = [
        json!({"basic_auth": {"username": "u", "password_file": "/etc/shadow"}}),
        json!({"authorization": {"credentials_file": "/etc/shadow"}}),
        json!({"bearer_token_file": "/etc/shadow"}),
        json!({"oauth2": {"client_id": "i", "token_url": "http://h", "client_secret_file": "/etc/shadow"}}),
        json!({"oauth2": {"client_id": "i", "token_url": "http://h", "client_secret": "s", "tls_config": {"ca_file": "/x"}}}),
        json!({"file_sd_configs": [{"files": ["/etc/*.json"]}]}),
        json!({"kubernetes_sd_configs": [{"role": "node", "kubeconfig_file": "/etc/kubeconfig"}]}),
        json!({"http_sd_configs": [{"url": "http://h", "basic_auth": {"username_file": "/etc/shadow"}}]}),
        // Names that are free elsewhere do not hide what is below them here.
        json!({"http_headers": {"labels": {"files": ["/etc/shadow"]}}}),
        json!({"http_headers": {"params": {"files": ["/etc/shadow"]}}}),
        json!({"http_headers": {"static_configs": {"files": ["/etc/shadow"]}}}),
    ];
    let scrape = &INTERFACES[0];
    for mut job in jobs {
        job["job_name"] = "thief".into();
        job["static_configs"] = json!([{"targets": ["h:80"]}]);
        let mut relation = relation(scrape, 1);
        relation.remote.app_bag.remove("scrape_metadata");
        relation.remote.app_bag.insert("scrape_jobs".to_owned(), json!([job, {"job_name": "good"}]).to_string());
        let scraped = prometheus_scrape::read(&relation, &GlobalConfig::default(), &Permissions::default(), accept);
        let names: Vec<&str> = scraped.jobs.iter().map(prometheus_scrape::Job::name).collect();
        assert_eq!(names, ["good"], "{job}");
        assert!(scraped.problems[0].message.contains("names a file on our disk"), "{:?}", scraped.problems);
        assert!(scraped.problems[0].inside.as_ref().is_some_and(|inside| inside.path.starts_with("[0].")));
    }
    // What only looks like one: labels and parameters are the peer's own names.
    let job = json!([{"job_name": "good", "params": {"x_file": ["/x"]}, "static_configs": [{"targets": ["h:80"], "labels": {"log_file": "/x"}}]}]);
    let mut relation = relation(scrape, 1);
    relation.remote.app_bag.insert("scrape_jobs".to_owned(), job.to_string());
    assert_eq!(
        prometheus_scrape::read(&relation, &GlobalConfig::default(), &Permissions::default(), accept).problems,
        []
    );
}

/// The same for every interface: `value` under the key, and what people are told of the place.
#[test]
fn every_interface_names_the_place() {
    #[track_caller]
    fn check(interface: &str, key: &str, value: &str, expected: &str) {
        let interface = INTERFACES.iter().find(|known| known.name == interface).expect("an interface");
        let mut relation = relation(interface, 1);
        let is_of_app = interface.app.iter().any(|entry| entry.0 == key);
        let bag = match is_of_app {
            true => &mut relation.remote.app_bag,
            false => relation.remote.units.values_mut().next().expect("its unit"),
        };
        let good = bag.insert(key.to_owned(), value.to_owned()).expect("a key of this interface");
        let (_, problems) = (interface.read)(std::slice::from_ref(&relation));
        let places: Vec<String> = problems
            .iter()
            .map(|problem| problem.to_string().split(": ").next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(places, [expected], "{} {value}: {problems:?}", interface.name);
        // Nothing is left of it when the peer has repaired it.
        let bag = match is_of_app {
            true => &mut relation.remote.app_bag,
            false => relation.remote.units.values_mut().next().expect("its unit"),
        };
        bag.insert(key.to_owned(), good);
        assert_eq!((interface.read)(std::slice::from_ref(&relation)).1, []);
    }
    let scrape = "prometheus_scrape";
    let uuid = METADATA.replace("12de4fae", "12DE4FAE");
    check(scrape, "scrape_metadata", &uuid, "endpoint:1 scrape_metadata.model_uuid 1:30");
    check(scrape, "scrape_metadata", "{\n \"model\": 7}", "endpoint:1 scrape_metadata.model 2:11");
    check(
        scrape,
        "scrape_jobs",
        r#"[{"static_configs": [{"targets": ["a:1", 7]}]}]"#,
        "endpoint:1 scrape_jobs[0].static_configs[0].targets[1] 1:42",
    );
    check(
        scrape,
        "scrape_jobs",
        r#"[{"static_configs": [{"targets": "a:1"}]}]"#,
        "endpoint:1 scrape_jobs[0].static_configs[0].targets 1:34",
    );
    check(scrape, "scrape_jobs", r#"[{"metrics_path": 7}]"#, "endpoint:1 scrape_jobs[0].metrics_path 1:19");
    check("prometheus_remote_write", "remote_write", r#"{"url": 7}"#, "endpoint:1 app/0 remote_write.url 1:9");
    check("prometheus_remote_write", "remote_write", "[", "endpoint:1 app/0 remote_write 1:1");
    check("ingress_per_unit", "ingress", "a/0: 1\nprometheus/0: 7\n", "endpoint:1 ingress.prometheus/0 2:15");
    check("grafana_datasource", "datasource_uids", r#"{"a/0": "u", "a/1": 7}"#, "endpoint:1 datasource_uids.a/1 1:21");
    check("grafana_datasource_exchange", "datasources", "[\n {\"uid\": 1}]", "endpoint:1 datasources[0] 2:2");
    check(
        "grafana_dashboard",
        "dashboards",
        r#"{"templates": {"file:a.b": {"content": "!"}}}"#,
        "endpoint:1 dashboards.templates[\"file:a.b\"].content 1:40",
    );
    check("certificate_transfer", "certificates", r#"["A", 7]"#, "endpoint:1 certificates[1] 1:7");
    check(
        "tracing",
        "receivers",
        r#"[{"protocol": {"name": "otlp_grpc"}, "url": "a b"}]"#,
        "endpoint:1 receivers[0].url 1:45",
    );
    check("loki_push_api", "endpoint", r#"{"url": "h"}"#, "endpoint:1 app/0 endpoint.url 1:9");
}

/// Where the fault is, down to line and column of the text that a person may have written by hand.
#[test]
fn problems_have_a_place() {
    #[track_caller]
    fn check(key: &str, value: &str, expected: &str) {
        let mut relation = relation(&INTERFACES[0], 1);
        relation.remote.app_bag.insert(key.to_owned(), value.to_owned());
        let problems =
            prometheus_scrape::read(&relation, &GlobalConfig::default(), &Permissions::default(), accept).problems;
        let place =
            problems.first().map(|problem| problem.to_string().split(": ").next().unwrap_or_default().to_owned());
        assert_eq!(place.as_deref(), Some(expected), "{problems:?}");
    }
    let scrape_jobs = "[\n  {\"job_name\": \"a\"},\n  {\"job_name\": \"b\", \"scheme\": \"ftp\"}\n]";
    check("scrape_jobs", scrape_jobs, "endpoint:1 scrape_jobs[1].scheme 3:31");
    check("scrape_jobs", "[{},\n 7]", "endpoint:1 scrape_jobs[1] 2:2");
    check("scrape_jobs", "[{},\n 7", "endpoint:1 scrape_jobs 2:2");
    let rules = "{\"groups\": [\n {\"name\": \"a\", \"rules\": [{\"alert\": \"A\", \"expr\": \"1x\"},\n  {\"alert\": \"B\", \"expr\": \"up\"},\n  {\"alert\": \"C\", \"expr\": \"up{\"}]}]}";
    check("alert_rules", rules, "endpoint:1 alert_rules.groups[0].rules[0].expr 2:49");
    let second = rules.replace("1x", "up");
    check("alert_rules", &second, "endpoint:1 alert_rules.groups[0].rules[2].expr 4:30");
    check("alert_rules", "{\"groups\": [],\n \"more\": 1}", "endpoint:1 alert_rules.more 2:10");
}
