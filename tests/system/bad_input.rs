//! What must not work says why, where and what to do; all else goes on.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::program::{Agent, binary};
use relatum_tests::{PATIENCE, http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("commands_that_make_no_sense", refused_commands),
        crate::plain("a_port_in_use_is_named", port_in_use),
        crate::plain("a_data_directory_in_use_is_named", directory_in_use),
        crate::plain("malformed_databags_are_quarantined", malformed_databags),
        crate::plain("a_name_that_leads_to_a_denied_network_is_not_reached", denied_network),
        crate::plain("a_template_override_that_fails_changes_nothing", bad_template),
        crate::plain("serve_refuses_unknown_flags_and_bad_files", serve),
    ]
}

/// Runs a command that must end with `code` and say each of `parts` on stderr, in one line and perhaps a hint.
fn refused(agent: &Agent, arguments: &[&str], code: i32, parts: &[&str]) -> anyhow::Result<()> {
    let output = agent.run(arguments)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{arguments:?} ended with {}: {stderr}", output.status);
    ensure!(output.stdout.is_empty(), "{arguments:?} printed {}", String::from_utf8_lossy(&output.stdout));
    for part in parts {
        ensure!(stderr.contains(part), "{arguments:?}: no {part:?} in {stderr}");
    }
    Ok(())
}

fn refused_commands() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    // An endpoint that is not there: the candidates.
    refused(&agent, &["relate", "metrics-endpiont", "10.0.0.1:9100"], 2, &["metrics-endpiont", "metrics-endpoint"])?;
    // A bare word is no address.
    refused(&agent, &["relate", "metrics-endpoint", "node"], 2, &["node", "host:port"])?;
    refused(&agent, &["relate", "ingress", "10.0.0.1:80"], 2, &["--databag"])?;
    refused(&agent, &["relate", "metrics-endpoint", "--databag", "/nonexistent.yaml"], 1, &["/nonexistent.yaml"])?;
    refused(&agent, &["remove-relation", "99"], 1, &["99"])?;
    refused(
        &agent,
        &["relate", "metrics-endpoint", "10.0.0.1:9", "--label", "a=1", "--label", "a=2"],
        2,
        &["--label a"],
    )?;
    refused(&agent, &["config", "nobody"], 1, &["nobody"])?;
    refused(&agent, &["config", "prometheus", "no_such_option=1"], 1, &["no_such_option"])?;
    refused(&agent, &["config", "prometheus", "scrape_interval=soon"], 1, &["scrape_interval"])?;
    refused(&agent, &["no-such-command"], 2, &["no-such-command"])?;
    refused(&agent, &["query", "instant", "sum("], 1, &["parse error"])?;
    // The same address twice is no mistake; another interval for the same application is.
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    refused(&agent, &["relate", "metrics-endpoint", "10.0.0.2:9100", "--interval", "5s"], 1, &["--name"])?;
    let nobody = tempfile::tempdir()?;
    let output = Command::new(binary()).env("RELATUM_DATA_DIR", nobody.path()).arg("status").output()?;
    ensure!(output.status.code() == Some(1), "without an agent: {}", output.status);
    ensure!(String::from_utf8_lossy(&output.stderr).contains("relatum.sock"), "it names no socket");
    Ok(())
}

/// Starts an agent that must end with code 1 after one line on stderr that has `part`.
fn ends_at_once(command: &mut Command, part: &str) -> anyhow::Result<()> {
    let output = command.env("NO_COLOR", "1").output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "it ended with {}: {stderr}", output.status);
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("ERROR")).collect();
    ensure!(errors.len() == 1 && errors[0].contains(part), "no single line with {part:?}: {stderr}");
    Ok(())
}

fn port_in_use() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let config = dir.path().join("relatum.yaml");
    fs::write(&config, "")?;
    let mut command = Command::new(binary());
    command.args(["agent", "--listen", &address]).arg("--data-dir").arg(dir.path()).arg("--config").arg(&config);
    ends_at_once(&mut command, &address)
}

fn directory_in_use() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let mut command = Command::new(binary());
    command.args(["agent", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&agent.data_dir);
    command.arg("--config").arg(agent.config_file());
    ends_at_once(&mut command, &agent.data_dir.display().to_string())
}

fn malformed_databags() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "127.0.0.1:1", "--name", "good"])?;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let large = format!("[{{\"job_name\": \"{}\"}}]", "x".repeat(10_000_000));
    let cases = [
        ("bad-json", "[{\"static".to_owned()),
        ("wrong-type", "{\"static_configs\": 7}".to_owned()),
        ("deep", deep),
        ("large", large),
    ];
    for (application, jobs) in cases {
        let bags = serde_json::json!({
            "app": application,
            "application-data": {"scrape_jobs": jobs},
            "units": {format!("{application}/0"): {"prometheus_scrape_unit_address": "10.0.0.1"}},
        });
        let file = dir.path().join(format!("{application}.json"));
        fs::write(&file, bags.to_string())?;
        // It may be taken or refused, but with a reason.
        let output = agent.run(["relate", "metrics-endpoint", "--databag", &file.display().to_string()])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{application}: {} {stderr}", output.status);
        ensure!(stderr.contains("scrape_jobs"), "{application}: the key is not named: {stderr}");
        if output.status.success() {
            let status: serde_json::Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
            let problem = status["problems"].as_array().into_iter().flatten().any(|p| p["key"] == "scrape_jobs");
            ensure!(problem, "{application}: not in status: {}", status["problems"]);
        }
    }
    wait_for("the good target", PATIENCE, || {
        let data = http::api(&agent.url, "targets", &[("state", "active")]).ok()?;
        data["activeTargets"].as_array()?.iter().any(|t| t["labels"]["juju_application"] == "good").then_some(())
    })?;
    Ok(())
}

/// What a name leads to shows when somebody connects; nothing is asked of who must not be reached.
fn denied_network() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let target = format!("localhost:{}", listener.local_addr()?.port());
    agent.must(["config", "prometheus", "denied_targets=127.0.0.0/8,::1,10.0.0.0/8"])?;
    agent.must(["relate", "metrics-endpoint", &target, "--name", "rebound", "--interval", "1s"])?;
    let problem = wait_for("status to name the network", PATIENCE, || {
        let status: serde_json::Value = serde_json::from_str(&agent.must(["status", "--format", "json"]).ok()?).ok()?;
        status["problems"].as_array()?.iter().find(|problem| problem["key"] == "scrape_jobs").cloned()
    })?;
    let text = problem.to_string();
    ensure!(
        text.contains(&target) && text.contains("is in the denied network") && text.contains("denied_targets"),
        "{text}"
    );
    ensure!(problem["relation"].as_str().is_some_and(|key| key.starts_with("metrics-endpoint:")), "{text}");
    ensure!(listener.accept().is_err(), "somebody connected");
    agent.must(["config", "prometheus", "denied_targets=10.0.0.0/8"])?;
    wait_for("a connection", PATIENCE, || listener.accept().ok())?;
    wait_for("status to forget", PATIENCE, || {
        let status: serde_json::Value = serde_json::from_str(&agent.must(["status", "--format", "json"]).ok()?).ok()?;
        (!status["problems"].to_string().contains("denied")).then_some(())
    })?;
    Ok(())
}

fn bad_template() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    let main = agent.data_dir.join("rendered").join("prometheus.yml");
    let before = fs::read_to_string(&main)?;
    let folder = agent.config_file().parent().expect("the file has a folder").join("templates/prometheus.yml");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("template.hbs"), "global: {{ no_such_field }}\n")?;
    let hangup = Command::new("kill").args(["-HUP", &agent.process.pid().to_string()]).status()?;
    ensure!(hangup.success(), "cannot signal the agent");
    wait_for("status to name the template", PATIENCE, || {
        let status: serde_json::Value =
            serde_json::from_slice(&agent.run(["status", "--format", "json"]).ok()?.stdout).ok()?;
        status["problems"].to_string().contains("prometheus.yml").then_some(())
    })?;
    ensure!(fs::read_to_string(&main)? == before, "the last good file did not stay");
    ensure!(http::get(&format!("{}/-/ready", agent.url))?.status == 200, "the server does not answer");
    fs::remove_dir_all(&folder)?;
    ensure!(Command::new("kill").args(["-HUP", &agent.process.pid().to_string()]).status()?.success(), "cannot signal");
    wait_for("the problem to go", PATIENCE, || {
        let status: serde_json::Value =
            serde_json::from_slice(&agent.run(["status", "--format", "json"]).ok()?.stdout).ok()?;
        (!status["problems"].to_string().contains("prometheus.yml")).then_some(())
    })?;
    Ok(())
}

fn serve() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |arguments: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
        let output = Command::new(binary()).current_dir(dir.path()).arg("serve").args(arguments).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, stderr) = run(&["--no.such.flag=1"])?;
    ensure!(code == Some(2) && stderr.contains("--no.such.flag"), "{code:?}: {stderr}");
    let (code, stderr) = run(&["--config.file=missing.yml", "--web.listen-address=127.0.0.1:0"])?;
    ensure!(code == Some(1) && stderr.contains("missing.yml"), "{code:?}: {stderr}");
    fs::write(dir.path().join("bad.yml"), "global:\n  scrape_interval: soon\n")?;
    let (code, stderr) = run(&["--config.file=bad.yml", "--web.listen-address=127.0.0.1:0"])?;
    ensure!(code == Some(1) && stderr.contains("bad.yml:2:"), "{code:?}: {stderr}");
    Ok(())
}
