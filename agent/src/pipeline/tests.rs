//! The laws of a pass, on a real directory and a real store.

mod certificates;
mod units;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use relatum_config::prometheus::{Config, ScrapeConfigFile};
use tempfile::TempDir;

use super::*;
use crate::control::{Document, Relate};
use crate::relate::{self, RelateError, Which};
use crate::store::{Model, Origin, Role};
use crate::workload::{Fault, Ready};

/// Reads as the server does, remembers what it was given last, and refuses what a test says.
#[derive(Default)]
struct Recorder {
    running: Mutex<Files>,
    commits: Mutex<usize>,
    refused: Mutex<Option<String>>,
}

impl Workload for Recorder {
    fn check(&self, files: &Files) -> Vec<Fault> {
        let fault = |path: &str, message: String| Fault { path: path.to_owned(), message };
        let config = match Config::parse(&files[render::MAIN_PATH].read()) {
            Ok(config) => config,
            Err(problems) => return problems.iter().map(|p| fault(render::MAIN_PATH, p.to_string())).collect(),
        };
        let scrapes = files.iter().filter(|(path, _)| path.starts_with("scrape/"));
        scrapes
            .flat_map(|(path, text)| match ScrapeConfigFile::parse(&text.read(), &config.global) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.iter().map(|problem| fault(path, problem.to_string())).collect(),
            })
            .collect()
    }

    fn prepare<'a>(&'a self, files: &Files) -> Result<Box<dyn Ready + 'a>, Vec<Fault>> {
        let refused = crate::lock(&self.refused).clone();
        if let Some(path) = refused.filter(|path| files.contains_key(path.as_str())) {
            return Err(vec![Fault { path, message: "the certificate is none".to_owned() }]);
        }
        Ok(Box::new(Prepared { recorder: self, files: files.clone() }))
    }
}

fn texts(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| (path.to_string(), text.read())).collect()
}

struct Prepared<'a> {
    recorder: &'a Recorder,
    files: Files,
}

impl Ready for Prepared<'_> {
    fn commit(self: Box<Self>) {
        *crate::lock(&self.recorder.running) = self.files;
        *crate::lock(&self.recorder.commits) += 1;
    }
}

struct Bench {
    dir: TempDir,
    store: Mutex<Store>,
    pipeline: Pipeline,
    workload: Recorder,
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new().unwrap();
        let mut store = Store::open(dir.path(), Arc::new(|| 0)).unwrap();
        let model = Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec78".into() };
        store
            .mutate::<_, StoreError>("begin", |change| {
                change.set_model(&model)?;
                change.put_application("prometheus", Origin::Builtin, "relatum", "{}")?;
                change.put_unit("prometheus", 0)
            })
            .unwrap();
        let place = Place {
            unit: "prometheus/0".parse().unwrap(),
            identity: dir.path().join("identity.json"),
            rendered: dir.path().join("rendered"),
            samples: dir.path().join("tsdb"),
            listen: "127.0.0.1:9090".into(),
            self_target: "127.0.0.1:9090".into(),
            agent_target: None,
            url: "http://127.0.0.1:9090".into(),
            file_system_bytes: 10 << 30,
            tries_certificates: true,
        };
        let sources = Sources { templates: dir.path().join("templates"), ..Sources::default() };
        let mut bench = Bench {
            pipeline: Pipeline::new(place, sources),
            store: Mutex::new(store),
            workload: Recorder::default(),
            dir,
        };
        bench.run();
        bench
    }

    fn run(&mut self) -> Report {
        let report = self.pipeline.run(&self.store, &self.workload, true).unwrap();
        if report.applied {
            // The law above all others: what runs is what can be read on disk.
            assert_eq!(self.disk(), texts(&crate::lock(&self.workload.running)));
        }
        report
    }

    fn disk(&self) -> BTreeMap<String, String> {
        texts(&RenderedDirectory::new(self.dir.path().join("rendered")).read().unwrap())
    }

    fn relate(&mut self, words: &str, databag: Option<&str>) -> u64 {
        let request = Relate {
            arguments: words.split_whitespace().map(str::to_owned).collect(),
            databag: databag.map(|text| Document { name: "file".into(), text: text.into() }),
            ..Relate::default()
        };
        let mut store = crate::lock(&self.store);
        store.mutate::<_, RelateError>("relate", |change| relate::relate(&request, change)).unwrap().1.relation
    }

    fn remove(&mut self, id: u64) {
        let mut store = crate::lock(&self.store);
        store.mutate("remove", |change| relate::remove(&Which::Id(id), change)).unwrap();
    }

    fn override_template(&self, folder: &str, text: Option<&str>) {
        let folder = self.dir.path().join("templates").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("template.hbs");
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }
}

#[test]
fn a_second_pass_over_an_unchanged_world_plans_nothing() {
    let mut bench = Bench::new();
    bench.relate("metrics-endpoint 10.0.0.5:9100 [::1]:9100", None);
    bench.relate("alertmanager 127.0.0.1:9093", None);
    bench.relate("grafana-source", Some("units: {grafana/0: {}}"));
    let first = bench.run();
    assert_eq!(first.problems, []);
    assert_eq!(
        first.changed,
        [
            "prometheus.yml",
            "rules/juju_site_12de4fae_targets_metrics-endpoint_1.rules",
            "scrape/metrics-endpoint_1.yml"
        ]
    );
    let (revision, commits) = (first.world.revision, *crate::lock(&bench.workload.commits));
    let second = bench.run();
    assert_eq!((second.changed.len(), second.applied, second.world.revision), (0, true, revision));
    assert_eq!(*crate::lock(&bench.workload.commits), commits);
    // Not even a process that knows nothing of the first has to write a file.
    let mut pipeline = Pipeline::new(bench.pipeline.place.clone(), bench.pipeline.sources.clone());
    let third = pipeline.run(&bench.store, &bench.workload, true).unwrap();
    assert_eq!((third.changed.len(), third.applied, third.world.revision), (0, true, revision));
}

#[test]
fn what_is_related_is_rendered_and_what_is_removed_is_gone() {
    let mut bench = Bench::new();
    let empty = bench.disk();
    let id = bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    let alertmanager = bench.relate("alertmanager 127.0.0.1:9093", None);
    bench.run();
    let files = bench.disk();
    let scrape = &files["scrape/metrics-endpoint_1.yml"];
    for part in [
        "job_name: juju_site_12de4fae_targets_prometheus_scrape-0",
        "- 10.0.0.5:9100",
        "juju_unit: targets/0",
        "honor_labels: true",
    ] {
        assert!(scrape.contains(part), "{part} in\n{scrape}");
    }
    let rules = &files["rules/juju_site_12de4fae_targets_metrics-endpoint_1.rules"];
    assert!(rules.contains("up{juju_application=\"targets\""), "{rules}");
    assert!(files["prometheus.yml"].contains("127.0.0.1:9093"));
    let mode =
        |path: &str| fs::metadata(bench.dir.path().join("rendered").join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("scrape/metrics-endpoint_1.yml"), mode("prometheus.yml")), (0o600, 0o640));
    bench.remove(id);
    bench.remove(alertmanager);
    bench.run();
    assert_eq!(bench.disk(), empty);
}

#[test]
fn one_bad_relation_harms_only_itself() {
    let mut bench = Bench::new();
    bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    let good = bench.run();
    let files = bench.disk();
    let deep = format!("{{\"app\": {{\"scrape_jobs\": \"{}\"}}, \"units\": {{\"zinc/0\": {{}}}}}}", "[".repeat(10_000));
    let long =
        format!("{{\"app\": {{\"scrape_jobs\": \"[{}]\"}}, \"units\": {{\"zinc/0\": {{}}}}}}", "1,".repeat(5 << 20));
    for databag in [
        "app: {scrape_jobs: '[1'}\nunits: {zinc/0: {}}",
        "app: {scrape_jobs: '{}}', alert_rules: '7'}\nunits: {zinc/0: {prometheus_scrape_unit_address: a}}",
        &deep,
        &long,
    ] {
        let id = bench.relate("metrics-endpoint", Some(databag));
        let report = bench.run();
        assert!(report.applied);
        let own: Vec<&Problem> = report.problems.iter().filter(|problem| !good.problems.contains(problem)).collect();
        assert!(!own.is_empty());
        for problem in own {
            assert_eq!(problem.relation, Some(format!("metrics-endpoint:{id}")), "{problem}");
            assert!(problem.key.is_some(), "{problem}");
        }
        assert_eq!(bench.disk(), files);
    }
    // The peer is told on its side, and the problem goes with its cause.
    let told = |report: &Report| {
        report.world.relations.nth(1).unwrap().bags[&(Role::Requirer, "prometheus".to_owned())]
            .content
            .read()
            .get("event")
            .cloned()
    };
    assert!(told(&bench.run()).is_some_and(|event| event.contains("scrape_job_errors")));
    bench.relate("metrics-endpoint", Some("units: {zinc/0: {}}"));
    let report = bench.run();
    assert_eq!((report.problems, told(&bench.run())), (vec![], None));
}

#[test]
fn a_failing_override_leaves_the_last_good_files() {
    let mut bench = Bench::new();
    let id = bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    bench.run();
    let files = bench.disk();
    // One that does not render, one that does not parse, and one that renders what the server cannot read.
    for text in [
        "scrape_configs:{{yaml scrape_config 0}}\n",
        "{{#if x}}",
        "scrape_configs:{{yaml scrape_configs 0}}\nnonsense: 1\n",
    ] {
        bench.override_template("scrape.yml", Some(text));
        let report = bench.run();
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert!(
            report.problems[0].key.as_ref().is_some_and(|key| key.contains("scrape.yml") || key.contains("scrape/"))
        );
        assert_eq!(bench.disk(), files);
    }
    // Meanwhile another relation is taken, as far as it can be, and this one can be removed.
    bench.relate("alertmanager 127.0.0.1:9093", None);
    assert!(bench.run().applied);
    assert!(bench.disk()["prometheus.yml"].contains("9093"));
    bench.remove(id);
    bench.run();
    assert!(!bench.disk().contains_key("scrape/metrics-endpoint_1.yml"));
    bench.override_template("scrape.yml", None);
    // The main file has nothing that could stand in for it: all waits.
    bench.override_template("prometheus.yml", Some("global: 1\n"));
    let files = bench.disk();
    bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    let report = bench.run();
    assert!(
        report.problems.iter().any(|problem| problem.key.as_deref() == Some("prometheus.yml")),
        "{:?}",
        report.problems
    );
    assert_eq!(bench.disk()["prometheus.yml"], files["prometheus.yml"]);
    bench.override_template("prometheus.yml", None);
    assert_eq!(bench.run().problems, []);
}

#[test]
fn what_the_workload_refuses_is_left_out() {
    let mut bench = Bench::new();
    bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    *crate::lock(&bench.workload.refused) = Some("scrape/metrics-endpoint_1.yml".to_owned());
    let report = bench.run();
    assert!(report.applied);
    assert_eq!(report.problems[0].relation.as_deref(), Some("metrics-endpoint:1"));
    assert!(!bench.disk().contains_key("scrape/metrics-endpoint_1.yml"));
    *crate::lock(&bench.workload.refused) = None;
    assert_eq!(bench.run().changed, ["scrape/metrics-endpoint_1.yml"]);
}

#[test]
fn a_write_that_fails_is_undone() {
    let mut bench = Bench::new();
    bench.relate("alertmanager 127.0.0.1:9093", None);
    bench.relate("metrics-endpoint 10.0.0.5:9100", None);
    let (files, running) = (bench.disk(), crate::lock(&bench.workload.running).clone());
    // A directory where a file has to go: permissions would not stop root.
    let blocker = bench.dir.path().join("rendered/scrape/metrics-endpoint_2.yml");
    fs::create_dir_all(&blocker).unwrap();
    let report = bench.run();
    assert!(!report.applied);
    assert!(report.problems[0].message.contains("cannot write"), "{:?}", report.problems);
    assert_eq!((bench.disk(), crate::lock(&bench.workload.running).clone()), (files, running));
    fs::remove_dir(blocker).unwrap();
    assert_eq!((bench.run().problems, bench.disk().contains_key("scrape/metrics-endpoint_2.yml")), (vec![], true));
}

#[test]
fn publishing_writes_only_what_changed() {
    let mut bench = Bench::new();
    bench.relate("grafana-source", Some("units: {grafana/0: {}}"));
    let report = bench.run();
    let bag =
        |owner: &str| report.world.relations.nth(0).unwrap().bags[&(Role::Provider, owner.to_owned())].content.read();
    assert_eq!(bag("prometheus/0")["grafana_source_host"], "http://127.0.0.1:9090");
    assert!(bag("prometheus")["grafana_source_data"].contains("\"timeInterval\": \"1m\""));
    assert_eq!(bench.run().world.revision, report.world.revision);
    crate::lock(&bench.store)
        .mutate::<_, StoreError>("config", |change| change.set_config("prometheus", "scrape_interval", "15s"))
        .unwrap();
    let changed = bench.run();
    assert_eq!(changed.changed, ["grafana-datasource.yml", "prometheus.yml"]);
    assert!(
        changed.world.relations.nth(0).unwrap().bags[&(Role::Provider, "prometheus".to_owned())].content.read()["grafana_source_data"]
            .contains("15s")
    );
}

/// What the other side of each interface publishes, and what we answer: endpoint, databags, whose bag of ours, key, part of its value.
const INTERFACES: [(&str, &str, &str, &str, &str); 12] = [
    (
        "ingress",
        r#"{"app": {"ingress": "prometheus/0: {url: 'http://gw/p'}"}, "units": {"traefik/0": {}}}"#,
        "prometheus/0",
        "strip-prefix",
        "true",
    ),
    ("catalogue", r#"{"units": {"catalogue/0": {}}}"#, "prometheus", "url", "http://gw/p"),
    ("prometheus-api", r#"{"units": {"reader/0": {}}}"#, "prometheus", "ingress_url", "http://gw/p"),
    (
        "receive-remote-write",
        r#"{"units": {"agent/0": {}}}"#,
        "prometheus/0",
        "remote_write",
        "http://gw/p/api/v1/write",
    ),
    (
        "send-remote-write",
        r#"{"units": {"mimir/0": {"remote_write": "{\"url\": \"http://127.0.0.1:9/push\"}"}}}"#,
        "prometheus",
        "alert_rules",
        "NextTierBehind",
    ),
    (
        "grafana-source",
        r#"{"units": {"grafana/0": {}}}"#,
        "prometheus/0",
        "grafana_source_host",
        "http://127.0.0.1:9090",
    ),
    ("grafana-dashboard", r#"{"units": {"grafana/0": {}}}"#, "prometheus", "dashboards", "file:relatum"),
    ("send-datasource", r#"{"units": {"tempo/0": {}}}"#, "prometheus", "datasources", "[]"),
    ("self-metrics-endpoint", r#"{"units": {"other/0": {}}}"#, "prometheus", "alert_rules", "SelfHealth"),
    ("receive-ca-cert", r#"{"units": {"ca/0": {}}}"#, "prometheus", "version", "1"),
    ("workload-tracing", r#"{"units": {"tempo/0": {}}}"#, "prometheus", "receivers", "otlp_grpc"),
    ("charm-tracing", r#"{"units": {"tempo/0": {}}}"#, "prometheus", "receivers", "otlp_http"),
];

#[test]
fn every_interface_gets_its_answer() {
    let mut bench = Bench::new();
    let empty = bench.disk();
    for (endpoint, databags, ..) in INTERFACES {
        let name = databags.split("\"units\": {\"").nth(1).unwrap().split('/').next().unwrap();
        let with_name = databags.replacen('{', &format!("{{\"application\": \"{name}-{endpoint}\", "), 1);
        bench.relate(endpoint, Some(&with_name.replace(&format!("{name}/0"), &format!("{name}-{endpoint}/0"))));
    }
    let report = bench.run();
    assert_eq!(report.problems, []);
    for (endpoint, _, owner, key, part) in INTERFACES {
        let relation = |stored: &&Arc<crate::store::StoredRelation>| {
            [&stored.provider, &stored.requirer]
                .iter()
                .any(|end| end.application == "prometheus" && end.name == endpoint)
        };
        let stored = report.world.relations.iter().find(relation).unwrap();
        let ours = stored.bags.iter().find(|((_, known), _)| known == owner).map(|(_, bag)| bag.content.read());
        let value =
            ours.as_ref().and_then(|bag| bag.get(key)).unwrap_or_else(|| panic!("{endpoint}: no {key} in {ours:?}"));
        assert!(value.contains(part), "{endpoint}: {key} is {value}");
    }
    let files = bench.disk();
    assert!(files["prometheus.args"].contains("--web.external-url=http://gw/p\n"), "{}", files["prometheus.args"]);
    for part in ["url: http://127.0.0.1:9/push", "name: send-remote-write_5", "regex: ALERTS|ALERTS_FOR_STATE"] {
        assert!(files["prometheus.yml"].contains(part), "{part} in\n{}", files["prometheus.yml"]);
    }
    // Nothing is left to do, and all is gone when it is removed.
    assert_eq!(bench.run().changed, Vec::<String>::new());
    for id in 1..=INTERFACES.len() as u64 {
        bench.remove(id);
    }
    bench.run();
    assert_eq!(bench.disk(), empty);
}
