//! HTTPS: a server with a web configuration, agents with certificates from an authority, and offers between them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::authority::{Authority, serial_shown};
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::{Agent, binary};
use relatum_tests::{PATIENCE, http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with(
            "https_scraped_by_a_prometheus",
            &[Peer::Openssl, Peer::Prometheus, Peer::Promtool3],
            false,
            scraped,
        ),
        crate::with("https_offers_follow_the_certificate", &[Peer::Openssl], false, offers),
        crate::with("https_authorities_that_were_sent_are_trusted", &[Peer::Openssl], false, authorities),
    ]
}

/// Debian's Prometheus scrapes `relatum serve` over TLS with a certificate of its own; nobody without one gets in.
fn scraped() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(dir.path())?;
    authority.issue("server", "IP:127.0.0.1")?;
    authority.issue("scraper", "DNS:scraper.test")?;
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text);
    write("main.yml", "global: {}\n")?;
    let web = "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
               client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [scraper.test]}\n";
    write("web.yml", web)?;
    for mut command in [Peer::Promtool3.command()?, Command::new(binary())] {
        let output = command.args(["check", "web-config"]).arg(dir.path().join("web.yml")).output()?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
    }
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(binary());
    command.arg("serve").arg(format!("--web.listen-address={address}"));
    for (flag, name) in [("config.file", "main.yml"), ("web.config.file", "web.yml"), ("storage.tsdb.path", "ours")] {
        command.arg(format!("--{flag}={}", dir.path().join(name).display()));
    }
    let server = Running::start("relatum serve", &mut command)?;
    write(
        "prometheus.yml",
        &format!(
            "scrape_configs:\n- job_name: known\n  scrape_interval: 1s\n  scheme: https\n  \
             tls_config: {{ca_file: ca.pem, cert_file: scraper.pem, key_file: scraper.key}}\n  \
             static_configs: [{{targets: ['{address}']}}]\n- job_name: unknown\n  scrape_interval: 1s\n  scheme: https\n  \
             tls_config: {{ca_file: ca.pem}}\n  static_configs: [{{targets: ['{address}']}}]\n"
        ),
    )?;
    let prometheus_address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Peer::Prometheus.command()?;
    command.arg(format!("--web.listen-address={prometheus_address}"));
    for (flag, name) in [("config.file", "prometheus.yml"), ("storage.tsdb.path", "theirs")] {
        command.arg(format!("--{flag}={}", dir.path().join(name).display()));
    }
    let mut prometheus = Running::start("prometheus", &mut command)?;
    let url = format!("http://{prometheus_address}");
    prometheus.wait_ready(&format!("{url}/-/ready"))?;
    let scraped = |expr: &str| http::query(&url, expr).ok().filter(|result| !result.is_empty());
    wait_for("a scrape over TLS", PATIENCE, || scraped("up{job=\"known\"} == 1")).with_context(|| server.output())?;
    wait_for("a refusal", PATIENCE, || scraped("up{job=\"unknown\"} == 0")).with_context(|| server.output())?;

    // A new certificate of the same authority is shown at once, and the scrapes go on.
    let (_, key) = authority.issue("server", "IP:127.0.0.1")?;
    ensure!(key.exists());
    let now = "timestamp(up{job=\"known\"} == 1)";
    let newest = |result: Vec<Value>| result[0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    let before = scraped(now).and_then(newest).context("a time")?;
    wait_for("a scrape after the rotation", PATIENCE, || {
        scraped(now).and_then(newest).filter(|newest| *newest > before + 2.0)
    })?;
    let log = server.output();
    ensure!(!log.contains(" ERROR ") || log.contains("the last good one stays"), "{log}");
    Ok(())
}

/// An agent of the model `name` below `dir`.
fn agent(dir: &Path, name: &str) -> anyhow::Result<Agent> {
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    Agent::start_named(&dir, "127.0.0.1:0", name)
}

fn status(agent: &Agent) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&agent.must(["status", "--format", "json"])?)?)
}

/// The newest sample of `up` that `agent` has of the model `model`, in seconds.
fn newest(agent: &Agent, model: &str) -> Option<f64> {
    let expr = format!("max(timestamp(up{{juju_model=\"{model}\"}}))");
    let answer: Value =
        serde_json::from_str(&agent.must(["query", "instant", &expr, "--format", "json"]).ok()?).ok()?;
    let text = answer.pointer("/result/0/value/1").or_else(|| answer.pointer("/0/value/1"))?;
    text.as_str()?.parse().ok()
}

/// The tier above has a certificate. Its offer is https, samples flow, and go on while the certificate is another one.
fn offers() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(&dir.path().join("authority"))?;
    let ca = authority.certificate().display().to_string();
    let (above, below) = (agent(dir.path(), "above")?, agent(dir.path(), "below")?);
    authority.relate(&above, "certificates", &serde_json::json!({}))?;
    authority.answer(&above, "certificates:1")?;
    let address = above.url.trim_start_matches("http://").to_owned();
    let shown = status(&above)?;
    ensure!(shown["api_url"] == format!("https://{address}"), "{shown}");
    let first = serial_shown(&address, &authority.certificate())?;

    let made: Value =
        serde_json::from_str(&above.must(["offer", "prometheus:receive-remote-write", "--format", "json"])?)?;
    let url = made["url"].as_str().context("an offer has a URL")?;
    ensure!(url.starts_with(&format!("https://{address}/offers/")), "{url}");
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{}\n", made["secret"].as_str().context("and a secret")?))?;
    let secret = secret.display().to_string();
    below.must(["relate", "send-remote-write", url, "--token-file", &secret, "--ca-file", &ca])?;
    let before = wait_for("samples from below", PATIENCE, || newest(&above, "below"))
        .with_context(|| format!("{:?}\n{}", status(&below), above.process.output()))?;

    // Signed anew: the next connection sees it, those that are there go on.
    authority.answer(&above, "certificates:1")?;
    let second = serial_shown(&address, &authority.certificate())?;
    ensure!(first != second, "{first} is still shown");
    wait_for("samples after the rotation", PATIENCE, || {
        newest(&above, "below").filter(|newest| *newest > before + 2.0)
    })
    .with_context(|| format!("{:?}", status(&below)))?;
    for agent in [&above, &below] {
        let status = status(agent)?;
        ensure!(status["problems"] == serde_json::json!([]), "{status}");
        ensure!(!status.to_string().contains("plain HTTP"), "{status}");
        agent.nothing_unexpected()?;
    }
    // A third that trusts nobody is told why.
    let stranger = agent(dir.path(), "stranger")?;
    stranger.must(["relate", "send-remote-write", url, "--token-file", &secret])?;
    wait_for("the certificate to be named", PATIENCE, || {
        status(&stranger).ok()?["problems"].to_string().contains("unknown authority").then_some(())
    })?;
    // Without the relation the agent answers over plain HTTP again.
    above.must(["remove-relation", "certificates:1"])?;
    ensure!(http::get(&format!("{}/-/ready", above.url))?.status == 200);
    Ok(())
}

/// An authority that came over `receive-ca-cert` counts for scrapes and for offers, until the relation is gone.
fn authorities() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(&dir.path().join("authority"))?;
    let (above, below) = (agent(dir.path(), "above")?, agent(dir.path(), "below")?);
    authority.relate(&above, "certificates", &serde_json::json!({}))?;
    authority.answer(&above, "certificates:1")?;
    let address = above.url.trim_start_matches("http://").to_owned();
    below.must(["relate", "metrics-endpoint", &format!("https://{address}"), "--name", "above"])?;
    let health = |wanted: &str| {
        let targets = http::api(&below.url, "targets", &[("state", "active")]).ok()?;
        let target = targets["activeTargets"]
            .as_array()?
            .iter()
            .find(|t| t["scrapeUrl"] == format!("https://{address}/metrics"))?
            .clone();
        (target["health"] == wanted).then_some(target)
    };
    let refused = wait_for("a refusal", PATIENCE, || health("down"))?;
    ensure!(refused["lastError"].to_string().contains("unknown authority"), "{refused}");

    let certificate = fs::read_to_string(authority.certificate())?;
    let says = serde_json::json!({"certificates": serde_json::json!([certificate]).to_string()});
    authority.relate(&below, "receive-ca-cert", &says)?;
    wait_for("a scrape over TLS", PATIENCE, || health("up")).with_context(|| below.process.output())?;
    let made: Value =
        serde_json::from_str(&above.must(["offer", "prometheus:receive-remote-write", "--format", "json"])?)?;
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{}\n", made["secret"].as_str().context("a secret")?))?;
    let url = made["url"].as_str().context("a URL")?;
    below.must(["relate", "send-remote-write", url, "--token-file", &secret.display().to_string()])?;
    wait_for("samples from below", PATIENCE, || newest(&above, "below")).with_context(|| below.process.output())?;
    let shown = below.must(["status", "--relations"])?;
    ensure!(shown.contains("joined - 1 trusted"), "{shown}");

    let key = status(&below)?["relations"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|relation| {
            relation["key"].as_str().filter(|key| key.starts_with("receive-ca-cert")).map(str::to_owned)
        })
        .context("the relation is there")?;
    below.must(["remove-relation", &key])?;
    let shown = below.must(["status", "--relations"])?;
    ensure!(!shown.contains("receive-ca-cert"), "{shown}");
    Ok(())
}
