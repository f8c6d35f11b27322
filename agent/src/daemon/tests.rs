//! A whole agent over its real socket, with a workload that takes everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use tracing::subscriber;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::control::client::Client;
use crate::control::{
    ChangeConfiguration, Document, FailureClass, LogLevel, Relate, RemoveRelation, RunAction, Source,
};
use crate::workload::{Fault, Files, Ready};

struct TakesAll;

impl Workload for TakesAll {
    fn check(&self, _: &Files) -> Vec<Fault> {
        Vec::new()
    }

    fn prepare<'a>(&'a self, _: &Files) -> Result<Box<dyn Ready + 'a>, Vec<Fault>> {
        struct Done;
        impl Ready for Done {
            fn commit(self: Box<Self>) {}
        }
        Ok(Box::new(Done))
    }
}

struct Bench {
    dir: TempDir,
    running: Running,
    client: Client,
}

impl Bench {
    fn options(dir: &TempDir) -> Options {
        Options {
            data_dir: Some(dir.path().join("data")),
            listen: Some("127.0.0.1:0".into()),
            config: Some(dir.path().join("relatum.yaml")),
            model: Some("site".into()),
            ..Options::default()
        }
    }

    async fn start() -> Bench {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("relatum.yaml"), "options: {scrape_interval: 30s}\n").unwrap();
        Bench::start_in(dir).await
    }

    async fn start_in(dir: TempDir) -> Bench {
        let running = start_with(Bench::options(&dir), |_| Ok(Arc::new(TakesAll))).await.unwrap();
        let client = Client::new(running.data_dir());
        Bench { dir, running, client }
    }

    async fn stop(self) -> TempDir {
        self.running.stop().await;
        self.dir
    }

    async fn relate(&self, words: &str) -> Result<crate::control::Related, Failure> {
        let arguments = words.split_whitespace().map(str::to_owned).collect();
        self.client.relate(&Relate { arguments, ..Relate::default() }).await
    }
}

#[tokio::test]
async fn a_day_in_the_life() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let related = bench.relate("metrics-endpoint 10.0.0.5:9100").await.unwrap();
    assert_eq!(
        (related.relation.key.as_str(), related.added, related.changed),
        ("metrics-endpoint:1", vec!["targets/0".into()], true)
    );
    assert!(!bench.relate("metrics-endpoint 10.0.0.5:9100").await.unwrap().changed);
    bench.relate("alertmanager 127.0.0.1:9093").await.unwrap();

    let status = client.status().await.unwrap();
    assert_eq!((status.model.name.as_str(), status.warnings.len(), status.problems.len()), ("site", 0, 0));
    let rows: Vec<String> = status
        .relations
        .iter()
        .map(|row| format!("{} {} {} {}", row.provider, row.requirer, row.interface, row.status.current))
        .collect();
    assert_eq!(
        rows,
        [
            "alertmanager:alerting prometheus:alertmanager alertmanager_dispatch joined",
            "targets:metrics-endpoint prometheus:metrics-endpoint prometheus_scrape joined",
        ]
    );
    let units: Vec<&str> = status.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(units, ["alertmanager/0", "prometheus/0", "targets/0"]);
    assert_eq!(status.units[2].address, "10.0.0.5:9100");

    let detail = client.show_relation("targets:metrics-endpoint prometheus", false).await.unwrap();
    assert_eq!((detail.related_application.as_str(), detail.related_units[0].name.as_str()), ("targets", "targets/0"));
    assert_eq!(detail.local_application_data["event"], "{}");

    let rendered = client.render(false).await.unwrap();
    let paths: Vec<&str> = rendered.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "grafana-datasource.yml",
            "prometheus.args",
            "prometheus.yml",
            "rules/juju_site_UUID8_targets_metrics-endpoint_1.rules".replace("UUID8", &status.model.uuid[..8]).as_str(),
            "scrape/metrics-endpoint_1.yml",
        ]
    );
    assert!(client.datasource().await.unwrap().yaml.contains("timeInterval: 30s"));

    let arguments = vec!["metrics-endpoint:1".to_owned()];
    client.remove_relation(&RemoveRelation { arguments: arguments.clone() }).await.unwrap();
    assert_eq!(client.status().await.unwrap().relations.len(), 1);
    let gone = client.remove_relation(&RemoveRelation { arguments }).await.unwrap_err();
    assert_eq!(
        (gone.class, gone.exit_code(), gone.message.as_str()),
        (FailureClass::Failed, 1, "relation metrics-endpoint:1 not found")
    );
    let usage = bench.relate("metrics-endpoint word").await.unwrap_err();
    assert_eq!((usage.class, usage.exit_code()), (FailureClass::Usage, 2));

    let mode =
        |name: &str| fs::metadata(bench.dir.path().join("data").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("relatum.sock"), mode("state.db")), (0o660, 0o600));
    bench.running.stop().await;
}

#[tokio::test]
async fn it_comes_back_as_it_was() {
    let bench = Bench::start().await;
    bench.relate("metrics-endpoint 10.0.0.5:9100").await.unwrap();
    let before = bench.client.status().await.unwrap();
    let second = start_with(Bench::options(&bench.dir), |_| Ok(Arc::new(TakesAll)))
        .await
        .err()
        .expect("the directory is in use");
    assert!(second.to_string().ends_with("another agent is running in it"), "{second}");
    bench.running.stop().await;
    // A dead agent's socket is in the way of nobody.
    fs::write(bench.dir.path().join("data/relatum.sock"), "").unwrap();
    let bench = Bench::start_in(bench.dir).await;
    let after = bench.client.status().await.unwrap();
    assert_eq!(
        (after.relations, after.model.uuid, after.revision),
        (before.relations, before.model.uuid, before.revision)
    );
    bench.client.shutdown().await.unwrap();
    bench.running.stopping().await;
    bench.running.stop().await;
    let failure = bench.client.status().await.unwrap_err();
    assert!(failure.message.contains("none is running there"), "{failure}");
}

#[tokio::test]
async fn options_come_from_user_and_file() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let change = |set: &[(&str, &str)], reset: &[&str]| ChangeConfiguration {
        application: "prometheus".to_owned(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        reset: reset.iter().map(|key| key.to_string()).collect(),
    };
    let settings = client.change_configuration(&change(&[("log_level", "debug")], &[])).await.unwrap().settings;
    assert_eq!((settings["log_level"].value.as_str(), settings["log_level"].source), (Some("debug"), Source::User));
    assert_eq!(
        (settings["scrape_interval"].value.as_str(), settings["scrape_interval"].source),
        (Some("30s"), Source::File)
    );
    assert_eq!((settings["cpu"].source, settings["evaluation_interval"].source), (Source::Unset, Source::Default));
    let arguments = |rendered: crate::control::Rendered| rendered.files[1].text.clone();
    assert!(arguments(client.render(false).await.unwrap()).contains("--log.level=debug"));
    let reset = client.change_configuration(&change(&[], &["log_level"])).await.unwrap();
    assert_eq!(reset.settings["log_level"].source, Source::Default);
    // What was said by hand counts until it is reset, then what the file says.
    let by_hand = client.change_configuration(&change(&[("scrape_interval", "7s")], &[])).await.unwrap();
    assert_eq!(by_hand.settings["scrape_interval"].value, "7s");
    let reset = client.change_configuration(&change(&[], &["scrape_interval"])).await.unwrap();
    assert_eq!(reset.settings["scrape_interval"].value, "30s");
    for (request, part) in [
        (change(&[("log_level", "loud")], &[]), "Invalid loglevel: loud given"),
        (change(&[("colour", "red")], &[]), "unknown option \"colour\""),
        (change(&[], &["colour"]), "unknown option \"colour\""),
        (change(&[], &[]), "nothing to set"),
    ] {
        let failure = client.change_configuration(&request).await.unwrap_err();
        assert!(failure.message.contains(part), "{failure}");
    }

    // A reload takes the file anew; a bad one is named and changes nothing.
    let file = bench.dir.path().join("relatum.yaml");
    fs::write(&file, "model: other\noptions: {scrape_interval: 20s, log_level: loud}\n").unwrap();
    let status = client.reload().await.unwrap();
    assert!(status.warnings[0].starts_with("model was changed in relatum.yaml"), "{:?}", status.warnings);
    assert_eq!(status.problems[0].key.as_deref(), Some("log_level"));
    assert_eq!(status.applications[0].status.current, "blocked");
    fs::write(&file, "options: [").unwrap();
    let status = client.reload().await.unwrap();
    assert!(status.problems.iter().any(|problem| problem.key.as_deref() == file.to_str()), "{:?}", status.problems);
    assert!(client.render(false).await.unwrap().files[2].text.contains("scrape_interval: 20s"));
    bench.running.stop().await;
}

#[tokio::test]
async fn bad_databags_and_secrets() {
    let bench = Bench::start().await;
    let text = r#"
application: zinc
app:
  scrape_jobs: '[{"job_name": "a", "static_configs": [{"targets": ["*:1"]}], "basic_auth": {"username": "u", "password": "hunter2"}}]'
  scrape_metadata: '{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "zinc"}'
  alert_rules: '{"groups": 1}'
units:
  zinc/0: {prometheus_scrape_unit_address: 10.1.0.1}
"#;
    let databag = Some(Document { name: "bag.yaml".into(), text: text.into() });
    let request = Relate { arguments: vec!["metrics-endpoint".into()], databag, ..Relate::default() };
    let related = bench.client.relate(&request).await.unwrap();
    assert_eq!(related.relation.status.current, "error");
    let problem = &related.problems[0];
    assert_eq!(
        (problem.relation.as_deref(), problem.key.as_deref()),
        (Some("metrics-endpoint:1"), Some("alert_rules"))
    );
    let rendered = bench.client.render(false).await.unwrap();
    let all: String = rendered.files.iter().map(|file| file.text.as_str()).collect();
    assert!(all.contains("password: <secret>") && !all.contains("hunter2"), "{all}");
    let rendered = bench.client.render(true).await.unwrap();
    assert!(rendered.files.iter().any(|file| file.text.contains("hunter2")));
    bench.running.stop().await;
}

#[tokio::test]
async fn the_log_is_shown_and_followed() {
    let bench = Bench::start().await;
    let ring = bench.running.agent.log.clone();
    let logger = tracing_subscriber::registry().with(ring.layer());
    subscriber::with_default(logger, || {
        info!("one");
        info!("two");
    });
    let mut shown = Vec::new();
    let each = |line: crate::control::LogLine| {
        shown.push(line.message);
        true
    };
    bench.client.log(1, false, LogLevel::Trace, each).await.unwrap();
    assert_eq!(shown, ["two"]);
    let (mut seen, ring) = (0, bench.running.agent.log.clone());
    let each = |line: crate::control::LogLine| {
        seen += 1;
        if seen == 2 {
            let logger = tracing_subscriber::registry().with(ring.layer());
            subscriber::with_default(logger, || info!("three"));
        }
        line.message != "three"
    };
    bench.client.log(2, true, LogLevel::Trace, each).await.unwrap();
    assert_eq!(seen, 3);
    bench.running.stop().await;
}

#[tokio::test]
async fn many_at_once_are_few_passes() {
    let bench = Bench::start().await;
    let clients = (0..20).map(|number| {
        let client = bench.client.clone();
        let arguments = vec!["metrics-endpoint".to_owned(), format!("10.0.0.{number}:9100")];
        tokio::spawn(async move { client.relate(&Relate { arguments, ..Relate::default() }).await })
    });
    for done in clients.collect::<Vec<_>>() {
        assert!(done.await.unwrap().unwrap().problems.is_empty());
    }
    let status = bench.client.status().await.unwrap();
    assert_eq!((status.relations.len(), status.units.len()), (1, 21));
    bench.running.stop().await;
}

#[test]
fn models_are_named_after_hosts() {
    for (host, model) in
        [("Node-1.Example.ORG", "node-1-example-org"), ("", "localhost"), ("-x_y", "x-y"), ("ü", "localhost")]
    {
        assert_eq!(model_name(host), model, "{host}");
    }
}

/// Which unit an agent is stays in its data directory; whether it leads is taken from the file whenever that says something else.
#[tokio::test]
async fn one_of_several_units() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("relatum.yaml");
    fs::write(&file, "unit: prometheus/1\nleader: false\n").unwrap();
    let bench = Bench::start_in(dir).await;
    for (endpoint, text) in
        [("catalogue", "application: c\nunits: {c/0: {}}"), ("grafana-source", "application: g\nunits: {g/0: {}}")]
    {
        let databag = Some(Document { name: "bag.yaml".into(), text: text.into() });
        let request = Relate { arguments: vec![endpoint.into()], databag, ..Relate::default() };
        bench.client.relate(&request).await.unwrap();
    }
    let seen = async |bench: &Bench| {
        let units = bench.client.status().await.unwrap().units;
        let ours = units.into_iter().filter(|unit| unit.application == "prometheus");
        let (catalogue, source) = (
            bench.client.show_relation("catalogue:1", false).await.unwrap(),
            bench.client.show_relation("grafana-source:2", false).await.unwrap(),
        );
        assert!(source.local_unit.data.contains_key("grafana_source_host"), "{source:?}");
        let units: Vec<(String, bool)> = ours.map(|unit| (unit.name, unit.leader)).collect();
        (units, source.local_unit.name, !catalogue.local_application_data.is_empty())
    };
    let one = "prometheus/1".to_owned();
    assert_eq!(seen(&bench).await, (vec![(one.clone(), false)], one.clone(), false));
    let refused = bench
        .client
        .run_action(&RunAction { unit: "prometheus/leader".into(), action: "validate-configuration".into() })
        .await;
    assert!(refused.is_err(), "{refused:?}");

    fs::write(&file, "leader: true\n").unwrap();
    bench.client.reload().await.unwrap();
    assert_eq!(seen(&bench).await, (vec![(one.clone(), true)], one.clone(), true));

    // Begun anew it is the same unit, as nobody says otherwise; told so, it is another one and leaves nothing of the former behind.
    let bench = Bench::start_in(bench.stop().await).await;
    assert_eq!(seen(&bench).await.0, [(one, true)]);
    fs::write(&file, "unit: prometheus/0\n").unwrap();
    let bench = Bench::start_in(bench.stop().await).await;
    let zero = "prometheus/0".to_owned();
    assert_eq!(seen(&bench).await, (vec![(zero.clone(), true)], zero, true));
    let world = crate::lock(&bench.running.agent.store).world().unwrap();
    let owners: Vec<_> = world.relations.iter().flat_map(|relation| relation.bags.keys()).collect();
    assert!(!owners.iter().any(|(_, owner)| owner == "prometheus/1"), "{owners:?}");
    bench.running.stop().await;

    let mut options = Bench::options(&TempDir::new().unwrap());
    options.unit = Some("grafana/0".into());
    options.config = None;
    let refused = start_with(options, |_| Ok(Arc::new(TakesAll))).await;
    assert!(matches!(refused, Err(StartError::Unit(unit)) if unit == "grafana/0"));
}
