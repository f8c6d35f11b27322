//! nginx in front of an agent, as an ingress has it: below a path that it takes off again.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::Agent;
use relatum_tests::{PATIENCE, http, wait_for};
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("ingress_gives_and_takes_the_url", &[Peer::Nginx], false, nginx)]
}

/// nginx on `port`, in one process so that none outlives the test, with what lies below `path` at `behind`.
fn start_nginx(dir: &Path, port: u16, path: &str, behind: &str) -> anyhow::Result<Running> {
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n  fastcgi_temp_path {dir}/fastcgi;\n  \
         uwsgi_temp_path {dir}/uwsgi;\n  scgi_temp_path {dir}/scgi;\n  server {{\n    listen 127.0.0.1:{port};\n    \
         location {path}/ {{ proxy_pass http://{behind}/; proxy_http_version 1.1; }}\n  }}\n}}\n",
        dir = dir.display()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = Peer::Nginx.command()?;
    command.arg("-e").arg("stderr").arg("-c").arg(&file);
    let mut nginx = Running::start("nginx", &mut command)?;
    nginx.wait_ready(&format!("http://127.0.0.1:{port}{path}/-/ready"))?;
    Ok(nginx)
}

/// Relates an application that says `says` to `endpoint`; gives the relation's key.
fn relate(agent: &Agent, dir: &Path, endpoint: &str, says: &Value) -> anyhow::Result<String> {
    let name = format!("other-{endpoint}");
    let file = dir.join("databags.json");
    let bags = json!({"application": name, "application-data": says, "units": {format!("{name}/0"): {}}});
    fs::write(&file, bags.to_string())?;
    let related = agent.must(["relate", endpoint, "--databag", &file.display().to_string(), "--format", "json"])?;
    let related: Value = serde_json::from_str(&related)?;
    related["relation"]["key"].as_str().map(str::to_owned).context("a relation has a key")
}

/// All that we publish in a relation.
fn published(agent: &Agent, key: &str) -> anyhow::Result<String> {
    let detail: Value = serde_json::from_str(&agent.must(["show-relation", key, "--format", "json"])?)?;
    Ok(format!("{} {}", detail["local_application_data"], detail["local_unit"]["data"]))
}

fn nginx() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start_named(&dir.path().join("above"), "127.0.0.1:0", "above")?;
    let behind = agent.url.trim_start_matches("http://").to_owned();
    let followers = ["catalogue", "prometheus-api", "receive-remote-write", "self-metrics-endpoint", "grafana-source"];
    let mut keys = Vec::new();
    for endpoint in followers {
        keys.push(relate(&agent, dir.path(), endpoint, &json!({}))?);
    }
    let before: Vec<String> = keys.iter().map(|key| published(&agent, key)).collect::<Result<_, _>>()?;

    // What the ingress needs to know is in our databag; what it gives is a path below its own address.
    let ingress = relate(&agent, dir.path(), "ingress", &json!({}))?;
    let asked = published(&agent, &ingress)?;
    let (host, port) = behind.rsplit_once(':').context("an address has a port")?;
    for part in [format!(r#""host":"{host}""#), format!(r#""port":"{port}""#), r#""strip-prefix":"true""#.to_owned()] {
        ensure!(asked.contains(&part), "{part} is not in {asked}");
    }
    let (front, path) = (free_port()?, "/above-prometheus-0");
    let nginx = start_nginx(dir.path(), front, path, &behind)?;
    let url = format!("http://127.0.0.1:{front}{path}");
    let given = json!({"ingress": json!({"prometheus/0": {"url": url}}).to_string()});
    relate(&agent, dir.path(), "ingress", &given)?;

    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    ensure!(status["public_url"] == url, "{status}");
    let flags = http::api(&url, "status/flags", &[])?;
    ensure!(flags["web.external-url"] == url && flags["web.route-prefix"] == "/", "{flags}");
    for (endpoint, (key, before)) in followers.iter().zip(keys.iter().zip(&before)) {
        let now = published(&agent, key)?;
        // Grafana is near and asks the server itself, as with the charm.
        let follows = *endpoint != "grafana-source";
        ensure!((now != *before) == follows, "{endpoint}: {now}");
        ensure!(now.contains(path) == follows, "{endpoint}: {now}");
    }

    // Whatever is published works through nginx: queries, pages, samples of a tier below, and its databags.
    wait_for("its own samples", PATIENCE, || {
        http::query(&url, "up{job=\"prometheus\"} == 1").ok().filter(|result| result.len() == 1)
    })?;
    ensure!(http::get(&format!("{url}/"))?.status == 200);
    let below = Agent::start_named(&dir.path().join("below"), "127.0.0.1:0", "below")?;
    let offer: Value =
        serde_json::from_str(&agent.must(["offer", "prometheus:receive-remote-write", "--format", "json"])?)?;
    let offer_url = offer["url"].as_str().context("an offer has a URL")?;
    ensure!(offer_url.starts_with(&format!("{url}/offers/")), "{offer_url}");
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{}\n", offer["secret"].as_str().context("and a secret")?))?;
    below.must(["relate", "send-remote-write", offer_url, "--token-file", &secret.display().to_string()])?;
    wait_for("samples from below", PATIENCE, || {
        http::query(&url, "up{juju_model=\"below\"} == 1").ok().filter(|result| result.len() == 1)
    })
    .with_context(|| format!("{}\n{}", below.process.output(), nginx.output()))?;

    // Without the ingress everything is as it was.
    agent.must(["remove-relation", &ingress])?;
    for (key, before) in keys.iter().zip(&before) {
        let now = published(&agent, key)?;
        // The tier below brought nothing into these.
        ensure!(now == *before, "{key}: {now}, before {before}");
    }
    let flags = http::api(&agent.url, "status/flags", &[])?;
    ensure!(flags["web.external-url"] == agent.url, "{flags}");
    agent.nothing_unexpected()?;
    Ok(())
}
