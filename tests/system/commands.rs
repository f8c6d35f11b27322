//! The commands one by one: what they print, and in which form.

use std::fs;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::program::Agent;
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("every_command_prints_every_format", formats),
        crate::plain("relate_makes_applications_and_units", relate),
        crate::plain("units_and_applications_are_removed", removal),
        crate::plain("the_log_tells_hooks_and_steps", log),
        crate::plain("trying_a_change_changes_nothing", dry_run),
        crate::plain("secrets_are_shown_only_when_asked_for", secrets),
        crate::plain("the_agent_measures_itself", metrics),
        crate::plain("config_is_set_and_reset", config),
        crate::plain("sighup_reads_the_agents_file_again", hangup),
        crate::plain("the_data_source_file_is_ready_to_paste", datasource),
    ]
}

fn formats() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    let commands: [&[&str]; 22] = [
        &["history"],
        &["history", "1"],
        &["diff", "1"],
        &["explain", "10.0.0.1:9100"],
        &["lint"],
        &["show-unit", "prometheus/0", "targets/0"],
        &["run", "prometheus/0", "validate-configuration"],
        &["rollback", "2", "--dry-run"],
        &["render", "--diff"],
        &["status"],
        &["status", "--relations"],
        &["show-relation", "targets", "prometheus:metrics-endpoint"],
        &["config", "prometheus"],
        &["render"],
        &["targets"],
        &["rules"],
        &["alerts"],
        &["datasource", "grafana"],
        &["query", "instant", "vector(1)"],
        &["query", "range", "vector(1)", "--since", "10m"],
        &["query", "range", "vector(1)", "--table"],
        &["query", "labels"],
    ];
    for command in commands {
        let tabular = agent.must(command)?;
        ensure!(!tabular.trim().is_empty(), "{command:?} prints nothing");
        ensure!(!tabular.contains('\x1b'), "{command:?} prints colours into a pipe");
        let json = agent.must(command.iter().copied().chain(["--format", "json"]))?;
        serde_json::from_str::<Value>(&json).map_err(|error| anyhow::anyhow!("{command:?}: {error}: {json}"))?;
        let yaml = agent.must(command.iter().copied().chain(["--format", "yaml"]))?;
        relatum_model::yaml::from_json_or_yaml(&yaml)
            .map_err(|error| anyhow::anyhow!("{command:?}: {error}: {yaml}"))?;
    }
    ensure!(agent.must(["version"])?.starts_with("relatum "), "no version");
    ensure!(agent.must(["completion", "bash"])?.contains("relate"), "no completions");
    ensure!(!agent.must(["debug-log", "--no-tail", "-n", "5"])?.is_empty(), "no log");
    Ok(())
}

fn relate() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let arguments =
        ["relate", "metrics-endpoint", "10.0.0.1:9100", "[::1]:9100", "--name", "nodes", "--label", "site=a"];
    agent.must(arguments)?;
    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    let applications = status["applications"].as_object().into_iter().flatten();
    let units: Vec<&String> = applications
        .flat_map(|(_, app)| app["units"].as_object().into_iter().flatten())
        .map(|(name, _)| name)
        .collect();
    ensure!(units == ["nodes/0", "nodes/1", "prometheus/0"], "units: {units:?}");
    let data = relatum_tests::http::api(&agent.url, "targets", &[("state", "active")])?;
    let mut urls: Vec<&str> = data["activeTargets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|t| t["labels"]["juju_application"] == "nodes" && t["labels"]["site"] == "a")
        .filter_map(|t| t["scrapeUrl"].as_str())
        .collect();
    urls.sort_unstable();
    ensure!(urls == ["http://10.0.0.1:9100/metrics", "http://[::1]:9100/metrics"], "targets: {urls:?}");
    Ok(())
}

fn removal() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let targets = || -> anyhow::Result<usize> {
        let data = relatum_tests::http::api(&agent.url, "targets", &[("state", "active")])?;
        let targets = data["activeTargets"].as_array().into_iter().flatten();
        Ok(targets.filter(|target| target["labels"]["juju_application"] == "nodes").count())
    };
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1", "127.0.0.1:2", "--name", "nodes"])?;
    ensure!(targets()? == 2, "not related: {}", targets()?);
    ensure!(agent.must(["remove-unit", "nodes/1"])? == "removed nodes/1\n", "another answer");
    ensure!(targets()? == 1, "the unit's target is still there");
    let removed = agent.must(["remove-application", "nodes"])?;
    let expected =
        "removed nodes\n  - nodes/0\n  - metrics-endpoint:1  nodes:metrics-endpoint  prometheus:metrics-endpoint\n";
    ensure!(removed == expected, "printed {removed}");
    ensure!(targets()? == 0, "the application's target is still there");
    agent.nothing_unexpected()
}

fn log() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1", "--name", "nodes"])?;
    agent.must(["remove-relation", "1"])?;
    let log = agent.must(["debug-log", "--no-tail", "--replay"])?;
    let mut lines = log.lines();
    // In this order, with others between them.
    for part in [
        "relation-created metrics-endpoint:1",
        "relation-joined metrics-endpoint:1 nodes/0",
        "scrape/metrics-endpoint_1.yml revision=",
        "relation-departed metrics-endpoint:1 nodes/0",
        "relation-broken metrics-endpoint:1",
        "scrape/metrics-endpoint_1.yml revision=",
    ] {
        let line = lines.find(|line| line.contains(part));
        let line = line.ok_or_else(|| anyhow::anyhow!("no {part:?} in its place in\n{log}"))?;
        let steps = ["observe ", "desire ", "render ", "check ", "apply ", "publish "];
        ensure!(!part.starts_with("scrape") || steps.iter().all(|step| line.contains(step)), "no steps in {line}");
    }
    agent.nothing_unexpected()
}

fn dry_run() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1", "127.0.0.1:2", "--name", "nodes"])?;
    let (before, history) = (agent.must(["render"])?, agent.must(["history", "--format", "json"])?);
    let cases: [(&[&str], &[&str]); 7] = [
        (&["relate", "metrics-endpoint", "127.0.0.1:3", "--name", "more"], &["  + metrics-endpoint:2 ", "127.0.0.1:3"]),
        (&["remove-relation", "1"], &["  - metrics-endpoint:1 ", "127.0.0.1:1", "  - scrape/"]),
        (&["remove-unit", "nodes/1"], &["  - metrics-endpoint:1 ", "127.0.0.1:2"]),
        (&["remove-application", "nodes"], &["  - metrics-endpoint:1 ", "127.0.0.1:1"]),
        (&["config", "prometheus", "scrape_interval=7s"], &["  ~ prometheus.yml"]),
        (&["relate", "metrics-endpoint", "127.0.0.1:1", "--name", "nodes"], &["nothing would change"]),
        // What we would publish at one end is read at the other.
        (
            &["relate", "prometheus:self-metrics-endpoint", "prometheus:metrics-endpoint"],
            &["Targets\n  + metrics-endpoint:2 juju_test_", "Rules\n  + metrics-endpoint:2 "],
        ),
    ];
    for (command, expected) in cases {
        let printed = agent.must(command.iter().chain(&["--dry-run"]))?;
        for part in expected {
            ensure!(printed.contains(part), "{command:?} lacks {part:?}: {printed}");
        }
    }
    let lines = agent.must(["config", "prometheus", "scrape_interval=7s", "--dry-run", "--diff"])?;
    ensure!(lines.contains("+  scrape_interval: 7s"), "no lines: {lines}");
    ensure!(agent.must(["render"])? == before, "trying changed the files");
    ensure!(agent.must(["history", "--format", "json"])? == history, "trying made a revision");
    ensure!(agent.must(["history"])?.contains("relate metrics-endpoint 127.0.0.1:1"), "no history");
    ensure!(agent.must(["render", "--diff"])? == "nothing differs\n", "what is rendered is not what would be");
    agent.nothing_unexpected()
}

fn secrets() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let file = dir.path().join("basic");
    fs::write(&file, "user:open-sesame\n")?;
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1", "--basic-auth-file", &file.display().to_string()])?;
    for command in [&["show-relation", "1"][..], &["show-relation", "1", "--format", "json"], &["render"]] {
        let hidden = agent.must(command)?;
        ensure!(!hidden.contains("open-sesame") && hidden.contains("<secret>"), "{command:?}: {hidden}");
        let shown = agent.must(command.iter().chain(&["--show-secrets"]))?;
        ensure!(shown.contains("open-sesame"), "{command:?}: {shown}");
    }
    Ok(())
}

fn metrics() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1"])?;
    let body = relatum_tests::http::get(&format!("{}/metrics", agent.url))?.body;
    for line in ["relatum_agent_relations 1", "relatum_agent_problems 0", "relatum_agent_applied 1"] {
        ensure!(body.lines().any(|found| found == line), "no {line:?} in {body}");
    }
    ensure!(body.contains("relatum_agent_passes_total "), "no passes in {body}");
    Ok(())
}

fn config() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let rendered = || fs::read_to_string(agent.data_dir.join("rendered/prometheus.yml"));
    agent.must(["config", "prometheus", "evaluation_interval=7s"])?;
    ensure!(rendered()?.contains("evaluation_interval: 7s"), "not rendered:\n{}", rendered()?);
    agent.must(["config", "prometheus", "--reset", "evaluation_interval"])?;
    // The agent's file sets it to a second.
    ensure!(rendered()?.contains("evaluation_interval: 1s"), "not reset:\n{}", rendered()?);
    agent.nothing_unexpected()
}

fn hangup() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    fs::write(agent.config_file(), "options:\n  scrape_interval: 33s\n")?;
    let signalled = std::process::Command::new("kill").args(["-HUP", &agent.process.pid().to_string()]).status()?;
    ensure!(signalled.success(), "cannot signal the agent");
    relatum_tests::wait_for("the new interval", relatum_tests::PATIENCE, || {
        let text = fs::read_to_string(agent.data_dir.join("rendered/prometheus.yml")).ok()?;
        text.contains("scrape_interval: 33s").then_some(())
    })
}

fn datasource() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let printed = agent.must(["datasource", "grafana"])?;
    let rendered = fs::read_to_string(agent.data_dir.join("rendered/grafana-datasource.yml"))?;
    ensure!(printed == rendered, "printed:\n{printed}\nrendered:\n{rendered}");
    let value = relatum_model::yaml::from_json_or_yaml(&printed).map_err(|error| anyhow::anyhow!("{error}"))?;
    let source = &value["datasources"][0];
    ensure!(source["type"] == "prometheus" && source["access"] == "proxy", "source: {source}");
    ensure!(source["url"].as_str().is_some_and(|url| url.starts_with("http://")), "url: {}", source["url"]);
    agent.nothing_unexpected()
}
