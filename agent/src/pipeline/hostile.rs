//! Databags that nobody should send, through all pure steps: what cannot be used is left out as if it were not there and named, what
//! others made stays byte for byte, and all is as it should be once it is repaired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relatum_relations::bag::Databag;
use serde_json::{Value, json};

use super::worlds::{FIXTURES, Outcome, PIECES, Passes, Related, State};
use crate::control::Problem;
use crate::workload::Files;

/// The relation that is hostile; the good ones have lower ids.
const HOSTILE: u64 = 1000;

/// No pass may take longer, however slow the machine: what grows with the square of a databag takes minutes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose neighbours are looked at: they have files of their own, or tell the others something. All would take minutes.
const NEIGHBOURS: &[&str] =
    &["metrics-endpoint", "receive-remote-write", "send-remote-write", "alertmanager", "grafana-source"];

/// A good relation of each of [`NEIGHBOURS`], and a good one on `endpoint`, the same or not.
fn world_beside(endpoint: &str) -> (Vec<Related>, Related) {
    let good = |endpoint: &str, name: &str| {
        let piece = PIECES.iter().find(|piece| piece.endpoint == endpoint).expect("an endpoint with a piece");
        let bag = |keys: &[super::worlds::Key]| -> Databag {
            keys.iter().map(|(key, good, _)| ((*key).to_owned(), good[0].replace("APP", name))).collect()
        };
        Related {
            endpoint: endpoint.to_owned(),
            application: name.to_owned(),
            app: bag(piece.app),
            units: BTreeMap::from([(0, bag(piece.unit))]),
        }
    };
    (NEIGHBOURS.iter().map(|endpoint| good(endpoint, &format!("good-{endpoint}"))).collect(), good(endpoint, "victim"))
}

/// `related` with `value` under `key`, wherever that belongs; without the key if there is no value.
fn with(related: &Related, key: &str, value: Option<&str>) -> Related {
    let mut related = related.clone();
    let is_of_unit = related.units.values().any(|bag| bag.contains_key(key));
    let bag = match is_of_unit {
        true => related.units.get_mut(&0).expect("its unit"),
        false => &mut related.app,
    };
    match value {
        Some(value) => drop(bag.insert(key.to_owned(), value.to_owned())),
        None => drop(bag.remove(key)),
    }
    related
}

/// The problems of the hostile relation, and those of all others.
fn of_victim(outcome: &Outcome, endpoint: &str) -> (Vec<Problem>, Vec<Problem>) {
    let key = format!("{endpoint}:{HOSTILE}");
    outcome.problems.iter().cloned().partition(|problem| problem.relation.as_deref() == Some(&*key))
}

/// `unit key path line:column` of a problem, without what there is not.
fn place(problem: &Problem) -> String {
    let at = problem.line.map(|line| format!("{line}:{}", problem.column.unwrap_or_default()));
    [problem.unit.clone(), problem.key.clone(), problem.path.clone(), at]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A process in which the same relation says one thing after another, beside good ones.
struct Process {
    endpoint: &'static str,
    victim: Related,
    state: State,
    passes: Passes,
    /// What all give as long as all are good.
    good: Outcome,
}

impl Process {
    fn of(endpoint: &'static str) -> Self {
        let (others, victim) = world_beside(endpoint);
        let (mut state, mut passes) = (State::of(&others), Passes::default());
        state.add(HOSTILE, &victim);
        let good = passes.settle(&mut state);
        Process { endpoint, victim, state, passes, good }
    }

    fn after(&mut self, said: &Related) -> Outcome {
        for (owner, bag) in said.bags() {
            self.state.put(HOSTILE, &owner, &bag);
        }
        self.passes.settle(&mut self.state)
    }

    /// `value` under `key` gives one problem for each of `expected`, all with advice, and the files that `as_if` gives in place of
    /// it; repaired, nothing is left of it. What is not so, if anything.
    fn fault(&mut self, key: &str, value: &str, as_if: &[(&str, Option<&str>)], expected: &[&str]) -> Option<String> {
        let mut faults = Vec::new();
        let begun = Instant::now();
        let found = self.after(&with(&self.victim, key, Some(value)));
        if begun.elapsed() > PATIENCE {
            faults.push(format!("it takes {:?}", begun.elapsed()));
        }
        let (own, of_others) = of_victim(&found, self.endpoint);
        let places: Vec<String> = own.iter().map(place).collect();
        if places != expected {
            faults.push(format!("{places:?} and not {expected:?}: {:?}", messages(&own)));
        }
        if own.iter().any(|problem| problem.hint.is_none()) {
            faults.push(format!("no advice: {:?}", messages(&own)));
        }
        if of_others != of_victim(&self.good, self.endpoint).1 {
            faults.push(format!("others have problems: {of_others:?}"));
        }
        let replaced = as_if.iter().fold(self.victim.clone(), |related, (key, value)| with(&related, key, *value));
        let without = self.after(&replaced);
        faults.extend(different_files(&found.files, &without.files));
        faults.extend(different_files(&found.inlined, &without.inlined));
        if bags_of_others(&found) != bags_of_others(&without) {
            faults.push("others are told something else".to_owned());
        }
        if self.after(&self.victim.clone()) != self.good {
            faults.push("something stays when it is repaired".to_owned());
        }
        let value: String = value.chars().take(80).collect();
        (!faults.is_empty()).then(|| format!("{} {key} {value:?}: {}", self.endpoint, faults.join("; ")))
    }
}

fn messages(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.message.as_str()).collect()
}

fn different_files(found: &Files, expected: &Files) -> Option<String> {
    let paths = found.keys().chain(expected.keys());
    let different: Vec<&Arc<str>> = paths.filter(|path| found.get(*path) != expected.get(*path)).collect();
    (!different.is_empty()).then(|| format!("{different:?} differ"))
}

fn bags_of_others(outcome: &Outcome) -> Vec<(&super::desire::BagKey, &Arc<Databag>)> {
    outcome.bags.iter().filter(|((id, ..), _)| *id != HOSTILE).collect()
}

/// Endpoints and keys that hold JSON, with all keys that are as good as missing where it cannot be read.
const JSON_KEYS: &[(&str, &str, &[&str])] = &[
    ("metrics-endpoint", "scrape_jobs", &["scrape_jobs"]),
    ("metrics-endpoint", "scrape_metadata", &["scrape_jobs", "scrape_metadata"]),
    ("metrics-endpoint", "alert_rules", &["alert_rules"]),
    ("receive-remote-write", "alert_rules", &["alert_rules"]),
    ("send-remote-write", "remote_write", &["remote_write"]),
    ("grafana-source", "datasource_uids", &["datasource_uids"]),
    ("send-datasource", "datasources", &["datasources"]),
    ("receive-ca-cert", "certificates", &["certificates"]),
    ("workload-tracing", "receivers", &["receivers"]),
    ("logging", "endpoint", &["endpoint"]),
    ("self-metrics-endpoint", "event", &["event"]),
];

#[test]
fn what_is_no_json() {
    let long = format!("[\"{}\"]", "x".repeat(10 << 20));
    let deep = "[".repeat(100_000);
    let wide = format!("[{}0]", "0,".repeat(600_000));
    let values = [
        ("{\"a\": [1,", " 1:9"),
        ("[{\"a\": 1}\n {\"b\"", " 2:2"),
        ("- a: [b]\n  c: d\n", " 1:2"),
        ("job_name: x\n", " 1:1"),
        ("{{#each x}}{{.}}{{/each}}", " 1:2"),
        ("../../../etc/passwd", " 1:1"),
        ("a\u{0}b\n", " 1:1"),
        ("NaN", " 1:1"),
        (deep.as_str(), " 1:128"),
        (wide.as_str(), " 1:999999"),
        (long.as_str(), ""),
    ];
    let mut faults = Vec::new();
    for (endpoint, key, missing) in JSON_KEYS {
        let mut process = Process::of(endpoint);
        let as_if: Vec<(&str, Option<&str>)> = missing.iter().map(|key| (*key, None)).collect();
        for (value, at) in &values {
            let is_of_unit = ["remote_write", "endpoint"].contains(key);
            let place = format!("{}{key}{at}", if is_of_unit { "victim/0 " } else { "" });
            // One reader of JSON for all: what takes seconds is tried once.
            if value.len() < 1 << 20 || value.len() > 8 << 20 || *key == "scrape_jobs" {
                faults.extend(process.fault(key, value, &as_if, &[&place]));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Values that can be read and yet not be used, or only in part: endpoint, key, value, what it counts as under which keys, problems.
type Row = (&'static str, &'static str, String, Vec<(&'static str, Option<String>)>, Vec<&'static str>);

const UUID: &str = "12de4fae-06cc-4ceb-9089-567be09fec78";

fn rows() -> Vec<Row> {
    let long = "x".repeat(4096);
    let huge = "x".repeat(10 << 20);
    let mut rows: Vec<Row> = Vec::new();
    let mut jobs = |value: Value, as_if: Value, places: &[&'static str]| {
        let as_if = vec![("scrape_jobs", (!as_if.is_null()).then(|| as_if.to_string()))];
        rows.push(("metrics-endpoint", "scrape_jobs", value.to_string(), as_if, places.to_vec()));
    };
    let good = || json!({"job_name": "good"});
    jobs(json!(7), Value::Null, &["scrape_jobs"]);
    jobs(json!("12"), Value::Null, &["scrape_jobs"]);
    jobs(json!({"job_name": "x"}), Value::Null, &["scrape_jobs"]);
    jobs(json!([good(), 7, null]), json!([good()]), &["scrape_jobs [1] 1:22", "scrape_jobs [2] 1:24"]);
    jobs(json!([{"job_name": "a", "nonsense": {"x": 1}}]), json!([{"job_name": "a"}]), &[]);
    jobs(json!([{"sample_limit": "10"}, good()]), json!([good()]), &["scrape_jobs [0].sample_limit 1:18"]);
    jobs(json!([{"job_name": 7}, good()]), json!([good()]), &["scrape_jobs [0].job_name 1:14"]);
    jobs(json!([{"scrape_interval": "soon"}, good()]), json!([good()]), &["scrape_jobs [0].scrape_interval 1:21"]);
    for (tls, place) in [
        (json!({"ca_file": "/etc/ssl/ca.pem"}), "scrape_jobs [0].tls_config.ca_file 1:27"),
        (json!({"ca_file": "../../x"}), "scrape_jobs [0].tls_config.ca_file 1:27"),
        (json!({"cert_file": "-----BEGIN CERTIFICATE-----"}), "scrape_jobs [0].tls_config 1:16"),
    ] {
        jobs(json!([{"tls_config": tls}, good()]), json!([good()]), &[place]);
    }
    jobs(
        json!([{"basic_auth": {"password_file": "/etc/shadow", "username": "u"}}, good()]),
        json!([good()]),
        &["scrape_jobs [0].basic_auth.password_file 1:33"],
    );
    jobs(json!([{"proxy_url": "http://p"}, good()]), json!([good()]), &["scrape_jobs [0].proxy_url 1:15"]);
    jobs(
        json!([{"job_name": "good", "static_configs": [{"targets": ["a:1", 7, null]}]}]),
        json!([{"job_name": "good", "static_configs": [{"targets": ["a:1"]}]}]),
        &["scrape_jobs [0].static_configs[0].targets[1] 1:57", "scrape_jobs [0].static_configs[0].targets[2] 1:59"],
    );
    // As Python writes a float that is no number.
    let not_a_number = r#"[{"job_name":"good"},{"sample_limit":NaN}]"#.to_owned();
    let as_if = vec![("scrape_jobs", Some(json!([good()]).to_string()))];
    rows.push(("metrics-endpoint", "scrape_jobs", not_a_number, as_if, vec!["scrape_jobs [1].sample_limit 1:38"]));
    let mut metadata = |value: Value, places: &[&'static str]| {
        let as_if = vec![("scrape_jobs", None), ("scrape_metadata", None)];
        rows.push(("metrics-endpoint", "scrape_metadata", value.to_string(), as_if, places.to_vec()));
    };
    metadata(json!([7]), &["scrape_metadata"]);
    metadata(json!({"model": "m"}), &["scrape_metadata"]);
    for uuid in [UUID.to_uppercase(), "12345678-1234-1234-1234-123456789012".to_owned(), "../../x".to_owned()] {
        metadata(json!({"model_uuid": uuid, "model": "m", "application": "a"}), &["scrape_metadata model_uuid 1:15"]);
    }
    metadata(json!({"model": long, "model_uuid": UUID, "application": "a"}), &["scrape_metadata model 1:10"]);
    metadata(json!({"model": 7, "model_uuid": UUID, "application": "a"}), &["scrape_metadata model 1:10"]);
    for endpoint in ["metrics-endpoint", "receive-remote-write"] {
        let mut rules = |value: Value, as_if: Value, places: &[&'static str]| {
            let as_if = vec![("alert_rules", (!as_if.is_null()).then(|| as_if.to_string()))];
            rows.push((endpoint, "alert_rules", value.to_string(), as_if, places.to_vec()));
        };
        let of = |rules: Value| json!({"groups": [{"name": "g", "rules": rules}]});
        let good = || json!({"alert": "A", "expr": "up"});
        rules(json!(7), Value::Null, &["alert_rules"]);
        rules(json!({"groups": 7}), Value::Null, &["alert_rules groups 1:11"]);
        rules(json!({"rules": []}), Value::Null, &["alert_rules", "alert_rules rules 1:10"]);
        rules(of(json!([good(), 7])), of(json!([good()])), &["alert_rules groups[0].rules[1] 1:59"]);
        rules(
            of(json!([{"alert": "B", "expr": "up{"}, good()])),
            of(json!([good()])),
            &["alert_rules groups[0].rules[0].expr 1:57"],
        );
        rules(of(json!([{"alert": "B"}, good()])), of(json!([good()])), &["alert_rules groups[0].rules[0] 1:33"]);
        rules(
            of(json!([{"record": "a", "alert": "B", "expr": "up"}, good()])),
            of(json!([good()])),
            &["alert_rules groups[0].rules[0] 1:33"],
        );
        rules(
            of(json!([{"alert": "B", "expr": "up", "labels": {"a": "{{ nonsense"}}, good()])),
            of(json!([good()])),
            &["alert_rules groups[0].rules[0].labels.a 1:72"],
        );
        let nested = format!("{}up{}", "(".repeat(500_000), ")".repeat(500_000));
        rules(
            of(json!([{"alert": "B", "expr": nested}, good()])),
            of(json!([good()])),
            &["alert_rules groups[0].rules[0].expr 1:53"],
        );
        let wrong = json!({"juju_model": "m", "juju_model_uuid": "1", "juju_application": "a"});
        rules(
            of(json!([{"alert": "B", "expr": "up", "labels": wrong}, good()])),
            of(json!([good()])),
            &["alert_rules groups[0].rules[0].labels.juju_model_uuid 1:103"],
        );
    }
    let mut unit = |endpoint, key, value: &str, places: &[&'static str]| {
        rows.push((endpoint, key, value.to_owned(), vec![(key, None)], places.to_vec()));
    };
    for value in ["a b", "a/b", "../..", "a\nb", "\u{0}", &huge] {
        unit("metrics-endpoint", "prometheus_scrape_unit_address", value, &["victim/0 prometheus_scrape_unit_address"]);
    }
    for value in ["a b", "ftp://h", "http://", "http://u:p@h", "http://h:99999", "\u{0}", "{{x}}", "<h>", &huge] {
        unit("alertmanager", "url", value, &["victim/0 url"]);
    }
    for value in ["7", "\"x\"", "[7]", "{\"url\": 7}", "{\"url\": \"h\"}", "{\"url\": \"http://u:p@h/\"}"] {
        let place = if value.starts_with("{\"url") { "victim/0 remote_write url 1:9" } else { "victim/0 remote_write" };
        unit("send-remote-write", "remote_write", value, &[place]);
        let place = if value.starts_with("{\"url") { "victim/0 endpoint url 1:9" } else { "victim/0 endpoint" };
        unit("logging", "endpoint", value, &[place]);
    }
    for (value, place) in [
        ("7", "ingress 1:1"),
        ("[", "ingress 1:1"),
        ("a: &a [x]\nb: *a\nc: [", "ingress 3:4"),
        ("prometheus/0: 7\n", "ingress prometheus/0 1:15"),
        ("prometheus/0: {url: 7}\n", "ingress prometheus/0.url 1:15"),
        ("prometheus/0:\n  url: javascript:alert(1)\n", "ingress prometheus/0.url 2:3"),
        ("prometheus/0:\n  url: http://h:99999/\n", "ingress prometheus/0.url 2:3"),
        ("prometheus/0: {url: '{{x}}'}\n", "ingress prometheus/0.url 1:15"),
        (&huge, "ingress"),
    ] {
        unit("ingress", "ingress", value, &[place]);
    }
    for (endpoint, key, value, place) in [
        ("grafana-source", "datasource_uids", "7", "datasource_uids"),
        ("grafana-source", "datasource_uids", r#"{"prometheus/0": 7}"#, "datasource_uids prometheus/0 1:18"),
        ("send-datasource", "datasources", "7", "datasources"),
        ("send-datasource", "datasources", "[7]", "datasources [0] 1:2"),
        ("send-datasource", "datasources", r#"[{"uid": 1}]"#, "datasources [0] 1:2"),
        ("receive-ca-cert", "certificates", "7", "certificates"),
        ("receive-ca-cert", "certificates", "[7]", "certificates [0] 1:2"),
        ("workload-tracing", "receivers", "7", "receivers"),
        ("workload-tracing", "receivers", "[7]", "receivers [0].protocol.name 1:2"),
        ("workload-tracing", "receivers", r#"[{"protocol": 7, "url": "h"}]"#, "receivers [0].protocol.name 1:15"),
        (
            "workload-tracing",
            "receivers",
            r#"[{"protocol": {"name": "otlp_grpc"}, "url": "a b"}]"#,
            "receivers [0].url 1:45",
        ),
        ("self-metrics-endpoint", "event", "7", "event"),
    ] {
        unit(endpoint, key, value, &[place]);
    }
    rows
}

#[test]
fn what_cannot_be_used() {
    let mut processes: BTreeMap<&str, Process> = BTreeMap::new();
    let faults = rows().into_iter().filter_map(|(endpoint, key, value, as_if, places)| {
        let as_if: Vec<(&str, Option<&str>)> = as_if.iter().map(|(key, value)| (*key, value.as_deref())).collect();
        processes.entry(endpoint).or_insert_with(|| Process::of(endpoint)).fault(key, &value, &as_if, &places)
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One world after another beside the same good relations, in a process that remembers them.
struct Neighbours {
    state: State,
    passes: Passes,
    alone: Outcome,
    /// The id of the next victim: in a store, none comes a second time.
    next: u64,
}

impl Neighbours {
    fn of(endpoint: &str) -> Self {
        let (mut state, mut passes) = (State::of(&world_beside(endpoint).0), Passes::default());
        let alone = passes.settle(&mut state);
        Neighbours { state, passes, alone, next: HOSTILE }
    }

    /// Whatever `victim` says: nothing of the others changes but what is one for all, nothing is said of them, every file can be
    /// read, and no text of a peer becomes a path.
    #[track_caller]
    fn stay_unharmed(&mut self, victim: &Related, what: &dyn Fn() -> String) {
        const OF_ALL: &[&str] =
            &["prometheus.yml", "prometheus.args", "web.yml", "grafana-datasource.yml", "tls/authorities.crt"];
        let id = self.next;
        self.next += 1;
        self.state.add(id, victim);
        let begun = Instant::now();
        let mut found = self.passes.settle(&mut self.state);
        assert!(begun.elapsed() < PATIENCE, "{} takes {:?}", what(), begun.elapsed());
        self.state.relations.remove(&id);
        for (path, text) in self.alone.files.iter().filter(|(path, _)| !OF_ALL.contains(&&***path)) {
            assert_eq!(found.files.get(path), Some(text), "{}: {path}", what());
        }
        let key = format!("{}:{id}", victim.endpoint);
        found.problems.retain(|problem| problem.relation.as_deref() != Some(&*key));
        assert_eq!(found.problems, self.alone.problems, "{}", what());
        for (path, text) in found.files.iter().filter(|(path, text)| self.alone.files.get(*path) != Some(text)) {
            let steps: Vec<&str> = path.split('/').collect();
            let is_fit = |step: &&str| {
                !step.is_empty() && step.len() < 256 && !step.starts_with('.') && !step.contains(char::is_control)
            };
            assert!(steps.len() <= 2 && steps.iter().all(is_fit), "{}: {path:?}", what());
            if path.ends_with(".yml") || path.ends_with(".rules") {
                let read = relatum_model::yaml::from_str::<Value>(&text.read());
                assert!(read.is_ok(), "{}: {path}: {:?}", what(), read.err());
            }
        }
    }
}

#[test]
fn names_and_texts_harm_nobody() {
    let texts = [
        "../../x".to_owned(),
        "a\u{0}b".to_owned(),
        "a\nb".to_owned(),
        "x".repeat(4096),
        "{{x}} {{#each y}}".to_owned(),
        "%s".to_owned(),
        "*".to_owned(),
        "[::1".to_owned(),
        "'\"`$(id)".to_owned(),
        "\u{202e}\u{feff}é😀".to_owned(),
        "- a: [\n# b".to_owned(),
        "!!python/object".to_owned(),
    ];
    let pem = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----";
    for piece in PIECES {
        let good = world_beside(piece.endpoint).1;
        let mut neighbours = Neighbours::of(piece.endpoint);
        for (key, ..) in piece.app.iter().chain(piece.unit) {
            for text in &texts {
                let labels = json!({text: text, "juju_model": text, "juju_model_uuid": UUID, "juju_application": text});
                let shaped = match *key {
                    "scrape_jobs" => json!([{"job_name": text, "metrics_path": text, "params": {text: [text]},
                        "static_configs": [{"targets": [text, format!("*{text}")], "labels": {text: text}}],
                        "tls_config": {"ca_file": pem}}]),
                    "scrape_metadata" => {
                        json!({"model": text, "model_uuid": UUID, "application": text, "unit": text, "charm_name": text})
                    }
                    "alert_rules" => json!({"groups": [{"name": text, "rules": [
                        {"record": text, "expr": "up", "labels": labels},
                        {"alert": text, "expr": text, "annotations": {"a": text}}]}]}),
                    "datasources" | "receivers" | "certificates" => json!([{"type": text, "uid": text,
                        "grafana_uid": text, "url": text, "protocol": {"name": "otlp_grpc", "type": text}}, text]),
                    _ => json!({"url": text, "prometheus/0": {"url": format!("http://{text}/")}, text: {"url": text}}),
                };
                let values = [text.clone(), shaped.to_string()];
                for value in values {
                    let what = || format!("{} {key} {value:?}", piece.endpoint);
                    neighbours.stay_unharmed(&with(&good, key, Some(&value)), &what);
                }
            }
        }
    }
}

/// Draws the same numbers for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    /// `text` with a few of the things that go wrong with texts.
    fn spoil(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(3) {
            let (from, n) = (self.below(text.len()), self.below(20));
            let to = (from + n).min(text.len());
            match self.below(6) {
                0 => text.truncate(from),
                1 => drop(text.drain(from..to)),
                2 => {
                    let again = text[from..to].to_vec();
                    text.splice(to..to, again);
                }
                3 => {
                    let tokens = [
                        "\u{0}",
                        "\"",
                        "}",
                        "]",
                        "{",
                        "[",
                        ",",
                        ":",
                        "\\u0000",
                        "{{",
                        "../",
                        "\n",
                        "1e999",
                        "null",
                        "-1",
                        "\\ud800",
                        "%%juju_topology%%",
                        "*",
                    ];
                    let token = self.of(&tokens);
                    text.splice(from..from, token.chars());
                }
                4 => {
                    let digits = |c: &char| c.is_ascii_digit();
                    if let Some(at) = text.iter().position(digits) {
                        text.splice(at..=at, "\"7\"".chars());
                    }
                }
                _ => {
                    let tokens =
                        ["job_name", "static_configs", "groups", "rules", "expr", "url", "model_uuid", "labels"];
                    let token = self.of(&tokens);
                    text.splice(from..to, token.chars());
                }
            }
        }
        text.into_iter().collect()
    }
}

/// Every value of every relation that we know, spoilt in ways that are the same in each run.
#[test]
fn spoilt_databags_harm_nobody() {
    const ROUNDS: u64 = 3;
    let own = PIECES.iter().map(|piece| world_beside(piece.endpoint).1);
    for related in own.chain(FIXTURES.iter().cloned()) {
        let mut neighbours = Neighbours::of(&related.endpoint);
        for seed in 0..ROUNDS {
            let mut draw = Draw(seed);
            let mut victim = related.clone();
            for bag in std::iter::once(&mut victim.app).chain(victim.units.values_mut()) {
                for value in bag.values_mut().filter(|value| value.len() < 1 << 20) {
                    *value = draw.spoil(value);
                }
            }
            let what = || format!("{} {:?} {:?} (seed {seed})", victim.endpoint, victim.app, victim.units);
            neighbours.stay_unharmed(&victim, &what);
        }
    }
}
