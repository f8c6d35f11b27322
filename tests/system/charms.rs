//! The real libraries of charms on the other side: a small charm, run by ops, writes with cosl what we read, and reads with cosl what we
//! publish. And promtool takes all that we render, for it and for every case of the fixtures.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::{Agent, binary};
use serde_json::{Map, Value, json};

/// What the charm is run with.
const PACKAGES: [&str; 6] = [
    "ops==3.9.0",
    "ops-scenario==8.9.0",
    "cosl==1.11.3",
    "charmlibs-interfaces-tls-certificates==1.12.0",
    "charmlibs-interfaces-certificate-transfer==1.1.0",
    "charmlibs-interfaces-tracing==1.0.0",
];

/// Endpoint of the charm, and ours.
const RELATIONS: [(&str, &str); 8] = [
    ("metrics", "metrics-endpoint"),
    ("write", "receive-remote-write"),
    ("alerting", "alertmanager"),
    ("source", "grafana-source"),
    ("datasources", "send-datasource"),
    ("scrape", "self-metrics-endpoint"),
    ("dashboard", "grafana-dashboard"),
    ("api", "prometheus-api"),
];

/// Likewise, those that change what we are, and those that answer what we ask.
const MORE_RELATIONS: [(&str, &str); 8] = [
    ("authorities", "receive-ca-cert"),
    ("spans", "charm-tracing"),
    ("queries", "workload-tracing"),
    ("logs", "logging"),
    ("receiver", "send-remote-write"),
    ("tiles", "catalogue"),
    ("gateway", "ingress"),
    ("authority", "certificates"),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("a_real_charm_and_we_understand_each_other", &[Peer::Python, Peer::Promtool3], false, charm),
        crate::with("a_real_charm_answers_what_we_ask", &[Peer::Python, Peer::Promtool3], false, answers),
        crate::with("promtool_takes_what_every_case_renders", &[Peer::Promtool3], true, cases),
    ]
}

fn charm() -> anyhow::Result<()> {
    let Some(python) = environment()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    // First it writes to those who have not said anything, then each side hears the other.
    let silent = RELATIONS.iter().filter(|(theirs, _)| !["scrape", "dashboard", "api"].contains(theirs));
    let wrote = run(&python, &silent.map(|(theirs, _)| ((*theirs).to_owned(), json!({}))).collect())?["wrote"].clone();
    let keys = RELATIONS.iter().map(|(theirs, ours)| Ok((*theirs, relate(&agent, dir.path(), ours, &wrote[theirs])?)));
    let keys: Vec<(&str, String)> = keys.collect::<anyhow::Result<_>>()?;
    let published = keys.iter().map(|(theirs, key)| Ok(((*theirs).to_owned(), published(&agent, key)?)));
    let understood = run(&python, &published.collect::<anyhow::Result<_>>()?)?["understood"].clone();

    what_we_read(&agent)?;
    what_it_read(&agent, &understood)?;

    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    let rendered = PathBuf::from(status["rendered"].as_str().context("status says where files are")?);
    let output = Peer::Promtool3.command()?.args(["check", "config"]).arg(rendered.join("prometheus.yml")).output()?;
    ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains("2 rule files found") && said.contains("metrics-endpoint"),
        "promtool saw too little: {said}"
    );
    Ok(())
}

/// The charm is an authority, a gateway, and whatever takes spans, lines and samples: it is asked, and its answers count.
fn answers() -> anyhow::Result<()> {
    let Some(python) = environment()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let silent = json!({});
    let related =
        MORE_RELATIONS.iter().map(|(theirs, ours)| Ok((*theirs, *ours, relate(&agent, dir.path(), ours, &silent)?)));
    let related: Vec<(&str, &str, String)> = related.collect::<anyhow::Result<_>>()?;
    let asked = related.iter().map(|(theirs, _, key)| Ok(((*theirs).to_owned(), published(&agent, key)?)));
    let said = run(&python, &asked.collect::<anyhow::Result<_>>()?)?;
    for (theirs, ours, _) in &related {
        relate(&agent, dir.path(), ours, &said["wrote"][*theirs])?;
    }

    let check = |path: &str, expected: Value| {
        let seen = said["understood"].pointer(path).unwrap_or(&Value::Null);
        ensure!(*seen == expected, "{path} is {seen}, not {expected}, in {}", said["understood"]);
        Ok(())
    };
    check("/authority", json!([{"name": "prometheus", "ips": ["127.0.0.1"], "dns": [], "is_ca": false}]))?;
    check("/spans", json!(["otlp_http"]))?;
    check("/queries", json!(["otlp_grpc"]))?;
    check("/logs", json!({"unit": "prometheus/0", "rules": {}}))?;
    check("/receiver/errors", json!(""))?;
    check("/tiles/name", json!("Prometheus"))?;
    check("/tiles/api_endpoints/Targets", json!(format!("{}/api/v1/targets", agent.url)))?;
    check("/gateway/0/name", json!("prometheus/0"))?;
    check("/gateway/0/port", json!(agent.url.rsplit(':').next()))?;
    let alerts = said["understood"]["receiver"]["alerts"].as_array().context("alerts are a list")?;
    ensure!(
        ["HostMetricsMissing", "AggregatorMetricsMissing"].iter().all(|name| alerts.contains(&json!(name))),
        "{alerts:?}"
    );

    let mut notes = Vec::new();
    for (_, _, key) in &related {
        let detail: Value = serde_json::from_str(&agent.must(["show-relation", key, "--format", "json"])?)?;
        notes.push(detail["relation"]["status"]["message"].as_str().unwrap_or_default().to_owned());
        // Nobody listens where the charm says that samples go.
        let is_wrong =
            |problem: &Value| !problem["message"].as_str().is_some_and(|text| text.contains("not delivered"));
        let problems = detail["problems"].as_array().context("problems are a list")?;
        ensure!(!problems.iter().any(is_wrong), "{key}: {problems:?}");
    }
    let notes = notes.join("\n");
    for part in [
        "1 trusted",
        "http://127.0.0.1:4318",
        "127.0.0.1:4317",
        "http://gateway/test-prometheus-0",
        "served over HTTPS until",
    ] {
        ensure!(notes.contains(part), "{part} is not in\n{notes}");
    }
    let rendered = agent.must(["render"])?;
    for part in ["http://127.0.0.1:5/api/v1/write", "scheme: https", "tls/ca.crt"] {
        ensure!(rendered.contains(part), "{part} is not in\n{rendered}");
    }
    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    let folder = PathBuf::from(status["rendered"].as_str().context("status says where files are")?);
    let output = Peer::Promtool3.command()?.args(["check", "config"]).arg(folder.join("prometheus.yml")).output()?;
    ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What we understood of the charm: its targets, its rules bound to it, where alerts go; and nothing was wrong.
fn what_we_read(agent: &Agent) -> anyhow::Result<()> {
    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    ensure!(status["problems"] == json!([]), "problems: {}", status["problems"]);
    let rendered = agent.must(["render"])?;
    let matchers =
        r#"juju_application="peer",juju_model="shop",juju_model_uuid="12de4fae-06cc-4ceb-9089-567be09fec78""#;
    for part in [
        "job_name: juju_shop_12de4fae_peer_prometheus_scrape_peer-0",
        // It names a unit by its address, so that it is that unit's.
        "job_name: juju_shop_12de4fae_peer_prometheus_scrape-0",
        "127.0.0.1:1",
        "site: oslo",
        "juju_unit: peer/0",
        "juju_charm: peer-k8s",
        "path_prefix: /peer",
        "shop_12de4fae_peer_slow_rules",
        "shop_12de4fae_peer_HostHealth_rules",
        "shop_12de4fae_peer_AggregatorHostHealth_rules",
        &format!("rate(peer_seconds_sum{{{matchers}}}[5m]) > 1"),
        &format!(r#"increase(peer_errors_total{{{matchers},kind="bad"}}[10m]) > 0"#),
        &format!("sum by (juju_unit) (rate(peer_requests_total{{{matchers}}}[5m]))"),
    ] {
        ensure!(rendered.contains(part), "{part} is not in\n{rendered}");
    }
    Ok(())
}

/// What the charm understood of us.
fn what_it_read(agent: &Agent, understood: &Value) -> anyhow::Result<()> {
    let check = |path: &str, expected: Value| {
        let seen = understood.pointer(path).unwrap_or(&Value::Null);
        ensure!(*seen == expected, "{path} is {seen}, not {expected}, in {understood}");
        Ok(())
    };
    // Our word on its rules is that they are good.
    check("/metrics", json!({}))?;
    check("/write", json!([format!("{}/api/v1/write", agent.url)]))?;
    check("/api", json!({"direct_url": format!("{}/", agent.url)}))?;
    check("/source/hosts", json!({"prometheus/0": agent.url}))?;
    check("/source/data/type", json!("prometheus"))?;
    check("/source/data/application", json!("prometheus"))?;
    // It gave us a uid as Grafana does, and finds it among what we share.
    check("/datasources", json!([{"type": "prometheus", "uid": "uid-of-prometheus/0", "grafana_uid": "grafana-1"}]))?;
    check("/scrape/unit", json!("prometheus/0"))?;
    check("/scrape/addresses", json!(["127.0.0.1"]))?;
    let port = agent.url.rsplit(':').next().unwrap_or_default();
    check("/scrape/jobs/0/static_configs", json!([{"targets": [format!("*:{port}")]}]))?;
    let identifier = understood["scrape"]["identifier"].as_str().unwrap_or_default();
    let groups = understood["scrape"]["groups"].as_array().context("groups are a list")?;
    let is_ours = |group: &Value| group.as_str().is_some_and(|name| name.starts_with(&identifier.replace('-', "_")));
    ensure!(!groups.is_empty() && groups.iter().all(is_ours), "{groups:?} are not of {identifier}");
    let topologies = understood["dashboard"]["topologies"].as_array().context("topologies are a list")?;
    ensure!(topologies.iter().any(|topology| topology["unit"] == "prometheus/0"), "{topologies:?}");
    ensure!(understood["dashboard"]["titles"][0].is_string(), "{}", understood["dashboard"]);
    Ok(())
}

/// A Python that has the libraries, in a folder that is kept from one run to the next; none where they cannot be had.
fn environment() -> anyhow::Result<Option<PathBuf>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("charm-libraries");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed"));
    let packages = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == packages) {
        return Ok(Some(python));
    }
    let made = Peer::Python.command()?.args(["-m", "venv", "--clear"]).arg(&folder).output()?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let steps = [("venv", made), ("pip", Command::new(&python).args(install).args(PACKAGES).output()?)];
    for (name, output) in steps {
        if !output.status.success() {
            eprintln!("skipped, as {name} says: {}", String::from_utf8_lossy(&output.stderr).trim());
            return Ok(None);
        }
    }
    fs::write(stamp, packages)?;
    Ok(Some(python))
}

/// Runs the charm's hook for each endpoint in `published`.
fn run(python: &Path, published: &Map<String, Value>) -> anyhow::Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/charms/peer.py");
    let mut child =
        Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("the charm reads")?;
    stdin.write_all(Value::Object(published.clone()).to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the charm fails: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the charm prints JSON")
}

/// Relates the charm to our `endpoint`; gives the relation's key.
fn relate(agent: &Agent, dir: &Path, endpoint: &str, wrote: &Value) -> anyhow::Result<String> {
    let part = |name: &str| wrote.get(name).cloned().unwrap_or_else(|| json!({}));
    let bags = json!({"application": "peer", "app": part("app"), "units": {"peer/0": part("unit")}});
    let file = dir.join("databags.json");
    fs::write(&file, bags.to_string())?;
    let related = agent.must(["relate", endpoint, "--databag", &file.display().to_string(), "--format", "json"])?;
    let related: Value = serde_json::from_str(&related)?;
    related["relation"]["key"].as_str().map(str::to_owned).context("a relation has a key")
}

/// All that we publish in a relation, by whom.
fn published(agent: &Agent, key: &str) -> anyhow::Result<Value> {
    let detail = agent.must(["show-relation", key, "--format", "json", "--show-secrets"])?;
    let detail: Value = serde_json::from_str(&detail)?;
    Ok(json!({"app": detail["local_application_data"], "units": {"0": detail["local_unit"]["data"]}}))
}

fn cases() -> anyhow::Result<()> {
    let folder = crate::corpora().context("the corpora are there")?.join("fixtures/relations");
    let mut n_cases = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_case = path.extension().is_some_and(|extension| extension == "json");
        // The others are those of other charms.
        if !is_case || fs::read_to_string(&path)?.contains("\"side\"") {
            continue;
        }
        let dir = tempfile::tempdir()?;
        let replayed = Command::new(binary()).arg("replay").arg(&path).arg("--write").arg(dir.path()).output()?;
        ensure!(replayed.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&replayed.stderr));
        let root = dir.path().join("etc/prometheus");
        // Certificates are named where the charm has them, which is not here.
        let mut checks =
            vec![vec!["check".into(), "config".into(), "--syntax-only".into(), root.join("prometheus.yml")]];
        if let Ok(rules) = fs::read_dir(root.join("rules")) {
            let files = rules.map(|file| file.map(|file| file.path())).collect::<Result<Vec<_>, _>>()?;
            checks.push(["check", "rules", "--lint=none"].map(PathBuf::from).into_iter().chain(files).collect());
        }
        for arguments in checks {
            let output = Peer::Promtool3.command()?.args(&arguments).output()?;
            ensure!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        }
        n_cases += 1;
    }
    ensure!(n_cases == 75, "{n_cases} cases");
    Ok(())
}
