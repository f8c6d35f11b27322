//! Questions and what is answered, in a small world.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::control::{Document, Relate};
use crate::dialect::Dialect;
use crate::pipeline::desire::trace::trace;
use crate::pipeline::observe::{Place, Sources, look};
use crate::pipeline::render::Renderer;
use crate::relate::{self, RelateError};
use crate::store::{Model, Origin, Store, StoreError};

const METADATA: &str = r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "zinc"}"#;

const LABELS: &str =
    r#"{"juju_model": "m", "juju_model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "juju_application": "zinc"}"#;

fn zinc(port: u16) -> String {
    let jobs = format!(
        r#"[{{"job_name": "a", "honor_timestamps": true, "basic_auth": {{"password": "hunter2"}},
             "static_configs": [{{"targets": ["10.9.9.9:1", "*:{port}"], "labels": {{"tier": "gold"}}}}],
             "relabel_configs": [{{"target_label": "site", "replacement": "oslo"}}]}},
            {{"job_name": "bad", "scrape_interval": "soon"}}]"#
    );
    let rules = format!(
        r#"{{"groups": [{{"name": "g", "rules": [{{"alert": "Broken", "expr": "("}},
            {{"alert": "Down", "expr": "up{{%%juju_topology%%}} == 0", "labels": {LABELS}}}]}}]}}"#
    );
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    format!(
        "application: zinc\napp:\n  scrape_metadata: {}\n  scrape_jobs: {}\n  alert_rules: {}\nunits:\n  \
         zinc/0: {{prometheus_scrape_unit_address: 10.0.0.1}}\n  zinc/1: {{prometheus_scrape_unit_address: 10.0.0.2}}\n",
        quoted(METADATA),
        quoted(&jobs),
        quoted(&rules)
    )
}

struct Bench {
    _dir: TempDir,
    store: Mutex<Store>,
    observed: Observed,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(&[
            ("metrics-endpoint", zinc(80)),
            ("metrics-endpoint", zinc(81)),
            ("alertmanager", "{application: am, units: {am/0: {url: 'http://h:9093'}}}".to_owned()),
        ])
    }

    /// With relations of these endpoints and databags.
    fn of(relations: &[(&str, String)]) -> Bench {
        let dir = TempDir::new().unwrap();
        let mut store = Store::open(dir.path(), Arc::new(|| 0)).unwrap();
        store
            .mutate::<_, StoreError>("begin", |change| {
                change
                    .set_model(&Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec79".into() })?;
                change.put_application("prometheus", Origin::Builtin, "relatum", "{}")?;
                change.put_unit("prometheus", 0)
            })
            .unwrap();
        for (words, text) in relations {
            let databag = Some(Document { name: "file".into(), text: text.clone() });
            let request = Relate { arguments: vec![(*words).to_owned()], databag, ..Relate::default() };
            store.mutate::<_, RelateError>(words, |change| relate::relate(&request, change)).unwrap();
        }
        let place = Place {
            unit: "prometheus/0".parse().unwrap(),
            identity: dir.path().join("identity.json"),
            rendered: "/rendered".into(),
            samples: "/samples".into(),
            listen: "127.0.0.1:9090".into(),
            self_target: "127.0.0.1:9090".into(),
            agent_target: None,
            url: "http://127.0.0.1:9090".into(),
            file_system_bytes: 10 << 30,
            tries_certificates: true,
        };
        let sources = Sources { templates: dir.path().join("templates"), ..Sources::default() };
        let mut observed = look(store.world().unwrap(), &sources, &place, Layout::Split).unwrap();
        let desired = trace(&observed).desired;
        let rendered = Renderer::default().render(&desired, &observed.overrides, Dialect::default());
        observed.current = rendered.files;
        Bench { _dir: dir, store: Mutex::new(store), observed }
    }

    fn ask(&self, question: &str) -> Result<Explanations, Failure> {
        let question = Question::parse(question, Path::new("/rendered")).unwrap();
        let (trace, history) = (trace(&self.observed), Stored::new(&self.store));
        Scene::new(&trace, &self.observed, Layout::Split, &history).explain(&question)
    }

    /// What is answered, a line for each thing and a line for each part of it.
    fn answer(&self, question: &str) -> Vec<String> {
        let answer = match self.ask(question) {
            Ok(answer) => answer,
            Err(failure) => return vec![failure.message, format!("hint: {}", failure.hint.unwrap_or_default())],
        };
        let mut lines = Vec::new();
        for one in answer.found {
            let rendered = one.rendered.map(|place| {
                let template = place.template.split('/').nth(1).unwrap_or_default().to_owned();
                format!(" {}:{} {template}:{}", place.file, place.line.unwrap_or(0), place.template_line.unwrap_or(0))
            });
            let state = if one.runs { "runs" } else { "left out" };
            lines.push(format!("{} {} {state}{}", one.kind, one.name, rendered.unwrap_or_default()));
            for source in one.sources {
                let since = source.since.map_or(0, |since| since.revision);
                let value = source.value.map(|value| format!(" {value:?}")).unwrap_or_default();
                let dot = if source.path.starts_with('g') { "." } else { "" };
                lines.push(format!("  {} {}{dot}{} since {since}{value}", source.owner, source.key, source.path));
            }
            for step in one.steps {
                let text = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
                lines.push(format!("  {} {}: {} → {}", step.what, step.field, text(step.before), text(step.after)));
            }
            for name in ["tier", "site", "juju_unit"] {
                lines.extend(one.labels.get(name).map(|label| format!("  {name}={} {}", label.value, label.from)));
            }
        }
        lines
    }

    #[track_caller]
    fn check(&self, question: &str, expected: &[&str]) {
        assert_eq!(self.answer(question), expected, "{question}");
    }
}

/// Looking through all of them again for each of them would take minutes.
#[test]
fn very_many_targets() {
    const TARGETS: usize = 2_000;
    let targets: Vec<String> = (0..TARGETS).map(|at| format!("10.0.{}.{}:80", at / 250, at % 250)).collect();
    let jobs = json!([{"job_name": "many", "static_configs": [{"targets": targets}]}]).to_string();
    let bag = json!({"application": "zinc", "app": {"scrape_metadata": METADATA, "scrape_jobs": jobs}, "units": {"zinc/0": {}}});
    let bench = Bench::of(&[("metrics-endpoint", bag.to_string())]);
    for (question, n_expected) in [
        ("job/many", TARGETS),
        ("zinc", TARGETS),
        (targets[TARGETS - 1].as_str(), 1),
        ("scrape/metrics-endpoint_1.yml:777", 1),
    ] {
        let answer = bench.ask(question).unwrap();
        assert_eq!(answer.found.len() + answer.left_out, n_expected, "{question}");
        assert!(!answer.found.is_empty() && answer.found.len() <= FOUND_MAX, "{question}");
    }
    let last = &bench.ask(&targets[TARGETS - 1]).unwrap().found[0];
    assert_eq!(last.sources[0].path, format!("[0].static_configs[0].targets[{}]", TARGETS - 1));
    assert!(bench.ask("nobody").is_err());
}

#[test]
fn questions_about_nothing() {
    let bench = Bench::new();
    let n_lines = bench.observed.current["scrape/metrics-endpoint_1.yml"].read().lines().count();
    for (question, message, hint) in [
        ("nobody", "nothing is called \"nobody\", neither what runs nor what was left out", "ENDPOINT:ID, a rule"),
        ("zink/0", "nothing is called \"zink/0\"", "did you mean zinc/0?"),
        ("http://10.0.0.1:8", "nothing is called", ""),
        ("https://10.0.0.1:81", "nothing is called", ""),
        ("site=x", "nothing has the label site=\"x\"", ""),
        ("scrape/metrics-endpoint_9.yml:1", "there is no rendered file scrape/metrics-endpoint_9.yml", "render"),
        ("scrape/metrics-endpoint_1.yml:0", "scrape/metrics-endpoint_1.yml has no line 0", ""),
        (
            "scrape/metrics-endpoint_1.yml:999999",
            &format!("scrape/metrics-endpoint_1.yml has no line 999999: its lines are 1 to {n_lines}"),
            "",
        ),
        ("prometheus.yml:1", "nothing at line 1 of prometheus.yml or above came from a relation", "options"),
    ] {
        let answer = bench.answer(question);
        assert!(answer[0].starts_with(message) && answer[1].contains(hint), "{question}: {answer:?}");
    }
}

#[test]
fn answers() {
    let bench = Bench::new();
    bench.check(
        "10.0.0.2:81",
        &[
            "target 10.0.0.2:81 runs scrape/metrics-endpoint_1.yml:32 scrape.yml:2",
            "  zinc scrape_jobs[0].static_configs[0].targets[1] since 3 \"*:81\"",
            "  zinc/1 prometheus_scrape_unit_address since 2 \"10.0.0.2\"",
            "  zinc scrape_metadata since 2",
            "  left out honor_timestamps: - → -",
            "  named job_name: a → juju_m_12de4fae_zinc_prometheus_scrape_a-1",
            "  expanded static_configs[0].targets[0]: *:81 → 10.0.0.2:81",
            "  added metrics_path: - → /metrics",
            "  labelled static_configs[0].labels: - → juju_model=m, juju_model_uuid=12de4fae-06cc-4ceb-9089-567be09fec78, \
             juju_application=zinc, juju_unit=zinc/1",
            "  added fallback_scrape_protocol: - → PrometheusText0.0.4",
            "  added honor_labels: - → true",
            "  relabelled labels.site: - → oslo",
            "  relabelled labels.instance: - → m_12de4fae-06cc-4ceb-9089-567be09fec78_zinc_zinc/1",
            "  tier=gold scrape_jobs[0].static_configs[0].labels.tier",
            "  site=oslo scrape_jobs[0].relabel_configs[0]",
            "  juju_unit=zinc/1 the name of the unit",
        ],
    );
    bench.check(
        "g/Down",
        &[
            "rule g/Down runs rules/juju_m_12de4fae_zinc_metrics-endpoint_1.rules:5 rules.rules:2",
            "  zinc alert_rules.groups[0].rules[1] since 2",
            "  zinc alert_rules.groups[0].rules[1].expr since 2 \"up{%%juju_topology%%} == 0\"",
            "  token stripped expr: up{%%juju_topology%%} == 0 → up{} == 0",
            "  injected expr: up == 0 → up{juju_application=\"zinc\",juju_model=\"m\",\
             juju_model_uuid=\"12de4fae-06cc-4ceb-9089-567be09fec78\"} == 0",
        ],
    );
    bench.check(
        "Broken",
        &[
            "rule g/Broken left out",
            "  zinc alert_rules.groups[0].rules[0] since 2",
            "  zinc alert_rules.groups[0].rules[0].expr since 2 \"(\"",
        ],
    );
    bench.check("job/bad", &["job bad left out", "  zinc scrape_jobs[1].scrape_interval since 2 \"soon\""]);
    bench.check(
        "am/0",
        &["alertmanager h:9093 runs prometheus.yml:17 prometheus.yml:17", "  am/0 url since 4 \"http://h:9093\""],
    );
    let file = bench.observed.current["scrape/metrics-endpoint_1.yml"].read();
    assert_eq!(file.lines().nth(31).map(str::trim), Some("- 10.0.0.2:81"));
    let heads = |question: &str| -> Vec<String> {
        bench.answer(question).into_iter().filter(|line| !line.starts_with(' ')).collect()
    };
    let first_words = |question: &str| -> Vec<String> {
        heads(question).iter().map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(first_words("juju_unit=zinc/0"), ["10.0.0.1:81"]);
    assert_eq!(first_words("site=\"oslo\""), ["10.0.0.1:81", "10.0.0.2:81", "10.9.9.9:1"]);
    assert_eq!(first_words("metrics-endpoint:1").len(), 6);
    assert_eq!(first_words("/rendered/scrape/metrics-endpoint_1.yml:32"), ["10.0.0.2:81"]);
    assert_eq!(first_words("job/prometheus"), ["127.0.0.1:9090"]);
    assert_eq!(first_words("http://10.0.0.1:81/metrics"), ["10.0.0.1:81"]);
    assert_eq!(first_words("http://10.0.0.1:81"), ["10.0.0.1:81"]);
    assert_eq!(first_words("http://127.0.0.1:9090/metrics"), ["127.0.0.1:9090"]);
    assert!(bench.answer("zinc").iter().all(|line| !line.contains("hunter2")));
}
