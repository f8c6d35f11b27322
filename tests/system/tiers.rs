//! Tiers: agents that send samples and alerting rules on to other agents, and what happens while one is away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::{self, Peer};
use relatum_tests::program::Agent;
use relatum_tests::{PATIENCE, http, raw_http, wait_for};
use serde_json::{Value, json};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("tiers_hand_on_rules_and_samples", &[Peer::NodeExporter, Peer::Alertmanager], false, three_tiers),
        crate::with("tiers_lose_no_sample_while_one_is_away", &[Peer::NodeExporter], false, middle_away),
        crate::with("tiers_send_to_a_prometheus", &[Peer::NodeExporter, Peer::Prometheus], false, plain_prometheus),
        crate::plain("tiers_end_from_either_side", ends),
        crate::plain("tiers_name_what_is_wrong_with_an_upstream", troubles),
        crate::plain("tiers_speak_over_tls", over_tls),
        crate::plain("offers_take_odd_questions_calmly", odd_questions),
        crate::plain("tiers_refuse_loops_and_load_once_over_two_ways", loops_and_diamonds),
    ]
}

const UUID: &str = "12de4fae-06cc-4ceb-9089-567be09fec78";

/// The databags of a charm `node` whose one unit exports at `address`, with a rule that fires at once and one that records.
fn databags(address: &str, alert: &str) -> Value {
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    let labels = json!({"severity": "info", "juju_model": "shop", "juju_model_uuid": UUID, "juju_application": "node"});
    let rules = json!({"groups": [{"name": "shop_12de4fae_node_rules", "rules": [
        {"alert": alert, "expr": "up{%%juju_topology%%} == 1", "labels": labels},
        {"record": "node:up:sum", "expr": "sum by (juju_unit) (up{juju_application=\"node\"})"},
    ]}]});
    json!({
        "app": "node",
        "application-data": {
            "scrape_metadata": json!({
                "model": "shop", "model_uuid": UUID, "application": "node", "unit": "node/0", "charm_name": "node-k8s",
            }).to_string(),
            "scrape_jobs": json!([{"static_configs": [{"targets": [format!("*:{port}")]}]}]).to_string(),
            "alert_rules": rules.to_string(),
        },
        "units": {"node/0": {"prometheus_scrape_unit_address": host, "prometheus_scrape_unit_name": "node/0"}},
    })
}

/// Relates the charm `node` to `agent`.
fn relate_node(agent: &Agent, dir: &Path, address: &str, alert: &str) -> anyhow::Result<()> {
    let file = dir.join("node.json");
    fs::write(&file, databags(address, alert).to_string())?;
    agent.must(["relate", "metrics-endpoint", "--databag", &file.display().to_string()])?;
    Ok(())
}

/// An agent of the model `name` in a folder of its own below `dir`.
fn tier(dir: &Path, name: &str) -> anyhow::Result<Agent> {
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    Agent::start_named(&dir, "127.0.0.1:0", name)
}

/// The URL of a new offer of `agent`, and a file with its secret.
fn offer(agent: &Agent) -> anyhow::Result<(String, PathBuf)> {
    let made: Value =
        serde_json::from_str(&agent.must(["offer", "prometheus:receive-remote-write", "--format", "json"])?)?;
    let text = |key: &str| made[key].as_str().map(str::to_owned).context("an offer has a URL and a secret");
    let file = agent.data_dir.join(format!("../{}.secret", text("id")?));
    fs::write(&file, format!("{}\n", text("secret")?))?;
    Ok((text("url")?, file))
}

/// Makes `above` the next tier of `below`; gives the offer's URL.
fn send(below: &Agent, above: &Agent) -> anyhow::Result<String> {
    let (url, secret) = offer(above)?;
    below.must(["relate", "send-remote-write", &url, "--token-file", &secret.display().to_string()])?;
    Ok(url)
}

fn alertmanager_of(agent: &Agent) -> anyhow::Result<(relatum_tests::process::Running, String)> {
    let (process, address) = peers::alertmanager(agent.data_dir.parent().expect("it lies in a folder"))?;
    agent.must(["relate", "alertmanager", &address])?;
    Ok((process, address))
}

fn alert(alertmanager: &str, name: &str) -> Option<Value> {
    let answer = http::get(&format!("http://{alertmanager}/api/v2/alerts?active=true")).ok()?;
    let alerts: Vec<Value> = serde_json::from_str(&answer.body).ok()?;
    alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name)
}

/// The rules of `agent` with this name.
fn rules(agent: &Agent, name: &str) -> anyhow::Result<Vec<Value>> {
    let data = http::api(&agent.url, "rules", &[])?;
    let groups = data["groups"].as_array().cloned().unwrap_or_default();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    Ok(rules.filter(|rule| rule["name"] == name).collect())
}

fn relations(agent: &Agent) -> anyhow::Result<Vec<Value>> {
    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    Ok(status["relations"].as_array().cloned().unwrap_or_default())
}

fn problems(agent: &Agent) -> anyhow::Result<Vec<String>> {
    let status: Value = serde_json::from_str(&agent.must(["status", "--format", "json"])?)?;
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    Ok(problems
        .iter()
        .map(|problem| format!("{} {} {}", problem["relation"], problem["message"], problem["hint"]))
        .collect())
}

fn three_tiers() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let tiers = ["cos1", "cos1-2", "main"].map(|name| tier(dir.path(), name));
    let [bottom, middle, main] = tiers.map(|tier| tier.map(Arc::new));
    let (bottom, middle, main) = (bottom?, middle?, main?);
    let managers = [alertmanager_of(&bottom)?, alertmanager_of(&middle)?, alertmanager_of(&main)?];
    send(&middle, &main)?;
    send(&bottom, &middle)?;
    relate_node(&bottom, dir.path(), &exporter, "NodeIsThere")?;

    for (at, (_, address)) in managers.iter().enumerate() {
        let arrived = wait_for(&format!("the alert in Alertmanager {at}"), PATIENCE, || alert(address, "NodeIsThere"))?;
        let labels = &arrived["labels"];
        let origin =
            ["juju_model", "juju_model_uuid", "juju_application", "juju_unit"].map(|name| labels[name].clone());
        ensure!(origin == ["shop", UUID, "node", "node/0"], "labels of origin in Alertmanager {at}: {labels}");
    }
    // What a rule records travels as samples, the rule does not.
    wait_for("the recorded series on main", PATIENCE, || {
        http::query(&main.url, "node:up:sum").ok().filter(|result| result.len() == 1)
    })?;
    for above in [&middle, &main] {
        ensure!(rules(above, "node:up:sum")?.is_empty(), "a recording rule has travelled");
        ensure!(rules(above, "NodeIsThere")?.len() == 1, "the alerting rule is not there once");
    }
    let up = http::query(&main.url, "up{juju_application=\"node\"}")?;
    ensure!(up.len() == 1, "up on main: {up:?}");
    let alerts = http::query(&main.url, "ALERTS{alertname=\"NodeIsThere\"}")?;
    ensure!(alerts.len() == 1, "main has the alerts of its own evaluation only: {alerts:?}");
    // The secret is in a file of its own that only the agent reads, and nowhere to be seen.
    let rendered = bottom.must(["render"])?;
    ensure!(rendered.contains("credentials_file") && rendered.contains("retry_on_http_429: true"), "{rendered}");
    let secret = fs::read_dir(middle.data_dir.join(".."))?
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .find(|text| text.len() == 65)
        .context("the secret was written to a file")?;
    ensure!(!rendered.contains(secret.trim()), "the secret is printed");
    for entry in fs::read_dir(bottom.data_dir.join("rendered/tls"))? {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry?;
        ensure!(entry.metadata()?.permissions().mode() & 0o077 == 0, "{:?} can be read by others", entry.path());
    }
    let offers = middle.must(["offers"])?;
    ensure!(offers.contains("cos1") && offers.contains("joined"), "{offers}");

    // A changed rule is evaluated two tiers up.
    relate_node(&bottom, dir.path(), &exporter, "NodeIsStillThere")?;
    wait_for("the changed rule to fire on main", PATIENCE, || alert(&managers[2].1, "NodeIsStillThere"))?;
    ensure!(rules(&main, "NodeIsThere")?.is_empty(), "the rule as it was is still there");

    // What goes at the bottom is withdrawn everywhere.
    bottom.must(["remove-relation", "node", "prometheus:metrics-endpoint"])?;
    wait_for("the rules to be withdrawn", PATIENCE, || {
        [&middle, &main].iter().all(|tier| rules(tier, "NodeIsStillThere").is_ok_and(|r| r.is_empty())).then_some(())
    })?;
    for (_, address) in &managers {
        wait_for("the alert to be resolved", PATIENCE, || alert(address, "NodeIsStillThere").is_none().then_some(()))?;
    }
    [bottom, middle, main].iter().try_for_each(|tier| tier.nothing_unexpected())
}

/// Times and values of the one series of `expr` within the last minutes.
fn samples(agent: &str, expr: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let result = http::query(agent, &format!("{expr}[10m]"))?;
    ensure!(result.len() == 1, "{expr} has {} series", result.len());
    let values = result[0]["values"].as_array().context("a range has values")?;
    Ok(values.iter().map(|pair| (pair[0].to_string(), pair[1].to_string())).collect())
}

fn middle_away() -> anyhow::Result<()> {
    // Long enough to need repeating; the long run takes the minute that operators ask about.
    let away =
        if std::env::var_os("RELATUM_LONG").is_some() { Duration::from_secs(60) } else { Duration::from_secs(5) };
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let (bottom, mut middle, main) =
        (tier(dir.path(), "cos1")?, tier(dir.path(), "cos1-2")?, tier(dir.path(), "main")?);
    send(&middle, &main)?;
    send(&bottom, &middle)?;
    relate_node(&bottom, dir.path(), &exporter, "NodeIsThere")?;
    let up = r#"up{juju_application="node"}"#;
    let first = wait_for("samples on main", PATIENCE, || samples(&main.url, up).ok())?;
    let first = first.keys().next().cloned().context("there is a first sample")?;

    // Samples and rules travel beside each other, and either may be first.
    wait_for("the rule on main", PATIENCE, || rules(&main, "NodeIsThere").ok().filter(|rules| rules.len() == 1))?;
    let listen = middle.url.trim_start_matches("http://").to_owned();
    ensure!(middle.process.stop()? == Some(0), "the middle agent did not stop well");
    let begun = Instant::now();
    let before = samples(&bottom.url, up)?.len();
    let enough = usize::try_from(away.as_secs())? - 1;
    wait_for("samples while the middle is away", away + PATIENCE, || {
        let made = samples(&bottom.url, up).map_or(0, |samples| samples.len());
        (begun.elapsed() >= away && made >= before + enough).then_some(())
    })?;
    let named = problems(&bottom)?.join("\n");
    ensure!(named.contains("cannot be reached") && named.contains("not delivered"), "status says: {named}");
    ensure!(rules(&main, "NodeIsThere")?.len() == 1, "a tier that is away keeps its last databag");

    let _middle = Agent::start_named(&dir.path().join("cos1-2"), &listen, "cos1-2")?;
    let last = samples(&bottom.url, up)?.keys().next_back().cloned().context("there is a last sample")?;
    wait_for("main to have the newest", PATIENCE, || samples(&main.url, up).ok()?.contains_key(&last).then_some(()))?;
    let within = |samples: BTreeMap<String, String>| -> BTreeMap<String, String> {
        samples.into_iter().filter(|(at, _)| (&first..=&last).contains(&at)).collect()
    };
    let (sent, arrived) = (within(samples(&bottom.url, up)?), within(samples(&main.url, up)?));
    ensure!(sent == arrived, "of {} samples {} arrived, or others: {sent:?} {arrived:?}", sent.len(), arrived.len());
    wait_for("the trouble to be over", PATIENCE, || problems(&bottom).ok()?.is_empty().then_some(()))
        .with_context(|| format!("it says {:?}", problems(&bottom)))
}

fn plain_prometheus() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_exporter, exporter) = peers::node_exporter()?;
    let (_prometheus, prometheus) = peers::prometheus_receiver(dir.path())?;
    let agent = tier(dir.path(), "cos1")?;
    let bags = dir.path().join("upstream.json");
    let url = json!({"url": format!("{prometheus}/api/v1/write")}).to_string();
    fs::write(&bags, json!({"application": "upstream", "units": {"upstream/0": {"remote_write": url}}}).to_string())?;
    agent.must(["relate", "send-remote-write", "--databag", &bags.display().to_string()])?;
    relate_node(&agent, dir.path(), &exporter, "NodeIsThere")?;
    let up = r#"up{juju_application="node"}"#;
    wait_for("samples in Prometheus", PATIENCE, || {
        http::query(&prometheus, up).ok()?.first().filter(|up| up["value"][1] == "1").map(drop)
    })?;
    wait_for("the alert to fire", PATIENCE, || http::query(&agent.url, "ALERTS").ok().filter(|r| !r.is_empty()))?;
    // What came after the alert began has arrived, so its own series would have, too.
    let newest = samples(&agent.url, up)?.keys().next_back().cloned().context("there are samples")?;
    wait_for("a later sample", PATIENCE, || samples(&prometheus, up).ok()?.contains_key(&newest).then_some(()))?;
    ensure!(http::query(&prometheus, r#"{__name__=~"ALERTS.*"}"#)?.is_empty(), "alerts have travelled as samples");
    let handed: Value = serde_json::from_str(&agent.must(["show-relation", "1", "--format", "json"])?)?;
    let handed = handed["local_application_data"]["alert_rules"].as_str().unwrap_or_default().to_owned();
    ensure!(handed.contains("NodeIsThere") && !handed.contains("node:up:sum"), "alert_rules is {handed}");
    agent.nothing_unexpected()
}

fn ends() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (below, mut above) = (tier(dir.path(), "below")?, tier(dir.path(), "above")?);
    let gone = |agent: &Agent| {
        wait_for("the relation to be gone", PATIENCE, || relations(agent).ok()?.is_empty().then_some(()))
    };
    // Removed above: gone below, too.
    let url = send(&below, &above)?;
    wait_for("both to be joined", PATIENCE, || above.must(["offers"]).ok()?.contains("joined").then_some(()))?;
    above.must(["remove-offer", &url])?;
    gone(&below)?;
    for agent in [&below, &above] {
        for event in ["relation-departed", "relation-broken"] {
            let log = agent.process.output();
            ensure!(log.contains(event), "no {event} in:\n{log}");
        }
    }
    // Removed below while the tier above is away: it hears of it when it is back.
    send(&below, &above)?;
    wait_for("both to be joined", PATIENCE, || above.must(["offers"]).ok()?.contains("joined").then_some(()))?;
    let listen = above.url.trim_start_matches("http://").to_owned();
    above.process.stop()?;
    let [relation] = &relations(&below)?[..] else { anyhow::bail!("there is not one relation") };
    below.must(["remove-relation", relation["key"].as_str().unwrap_or_default()])?;
    ensure!(relations(&below)?.is_empty(), "it goes at once");
    let above = Agent::start_named(&dir.path().join("above"), &listen, "above")?;
    gone(&above)
}

/// A server that answers every request with one status, which can be changed.
fn answering() -> anyhow::Result<(String, Arc<AtomicU16>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let status = Arc::new(AtomicU16::new(200));
    let shared = Arc::clone(&status);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let mut request = [0; 65536];
            while stream.read(&mut request).is_ok_and(|n| n > 0) {}
            let status = shared.load(Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 3\r\n\r\nso\n");
        }
    });
    Ok((url, status))
}

fn troubles() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (agent, above) = (tier(dir.path(), "below")?, tier(dir.path(), "above")?);
    let secret = dir.path().join("secret");
    fs::write(&secret, "no such secret\n")?;
    let (url, _) = offer(&above)?;
    let (strange, status) = answering()?;
    let nobody = format!("http://127.0.0.1:{}", relatum_tests::process::free_port()?);
    let relate = |name: &str, url: &str| {
        agent.must(["relate", "send-remote-write", url, "--token-file", &secret.display().to_string(), "--name", name])
    };
    relate("wrong-secret", &url)?;
    relate("no-relatum", &format!("{strange}/offers/abc"))?;
    relate("nobody", &format!("{nobody}/offers/abc"))?;
    let bags = dir.path().join("upstream.json");
    let written = json!({"url": format!("{strange}/write")}).to_string();
    fs::write(&bags, json!({"application": "mimir", "units": {"mimir/0": {"remote_write": written}}}).to_string())?;
    agent.must(["relate", "send-remote-write", "--databag", &bags.display().to_string()])?;

    let named = |what: &[&str]| {
        wait_for(&format!("status to say {what:?}"), PATIENCE, || {
            let problems = problems(&agent).ok()?;
            what.iter().all(|part| problems.iter().any(|problem| problem.contains(part))).then_some(())
        })
        .with_context(|| format!("it says {:?}", problems(&agent)))
    };
    named(&["does not know this URL with this secret", "not a relatum agent", "connection refused"])?;
    for (code, part) in [(400, "refuses these samples for good"), (429, "asks for a pause"), (500, "are sent again")] {
        status.store(code, Ordering::Relaxed);
        named(&[&format!("HTTP status {code}"), part])?;
    }
    status.store(200, Ordering::Relaxed);
    wait_for("the samples to be taken", PATIENCE, || {
        problems(&agent).ok()?.iter().all(|problem| !problem.contains("not delivered")).then_some(())
    })?;
    // Nothing else is disturbed.
    let up = http::query(&agent.url, "up{job=\"prometheus\"}")?;
    ensure!(up.len() == 1 && up[0]["value"][1] == "1", "it does not scrape itself any more: {up:?}");
    let warned = above.must(["status"])?;
    ensure!(warned.contains("with a wrong secret"), "the tier above says nothing of it:\n{warned}");
    // The write URL of an offer says what is wrong, too.
    let answer = http::post(&format!("{url}/api/v1/write"), &[("Authorization", "Bearer x")], Vec::new())?;
    ensure!(answer.status == 401 && answer.body.contains("no offer here has this URL and this secret"), "{answer:?}");
    Ok(())
}

fn over_tls() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (below, above) = (tier(dir.path(), "below")?, tier(dir.path(), "above")?);
    let (port, ca) = relatum_tests::tls_front::start(above.url.trim_start_matches("http://"))?;
    let (url, secret) = offer(&above)?;
    let (_, path) = url.rsplit_once("/offers/").context("an offer's URL")?;
    let url = format!("https://127.0.0.1:{port}/offers/{path}");
    let token = secret.display().to_string();
    // Nobody trusts the certificate without being told to.
    below.must(["relate", "send-remote-write", &url, "--token-file", &token])?;
    wait_for("the certificate to be named", PATIENCE, || {
        problems(&below).ok()?.iter().any(|p| p.contains("certificate signed by unknown authority")).then_some(())
    })
    .with_context(|| format!("it says {:?}", problems(&below)))?;
    below.must(["relate", "send-remote-write", &url, "--token-file", &token, "--ca", &ca.display().to_string()])?;
    wait_for("samples from below", PATIENCE, || {
        http::query(&above.url, r#"up{juju_model="below"} == 1"#).ok().filter(|result| result.len() == 1)
    })
    .with_context(|| format!("it says {:?}", problems(&below)))?;
    ensure!(problems(&below)?.is_empty(), "it says {:?}", problems(&below)?);
    let status = below.must(["status"])?;
    ensure!(!status.contains("plain HTTP"), "a warning about plain HTTP:\n{status}");
    Ok(())
}

fn odd_questions() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let above = tier(dir.path(), "above")?;
    let (url, secret) = offer(&above)?;
    let secret = fs::read_to_string(secret)?;
    let authority = above.url.trim_start_matches("http://").to_owned();
    let offer = url.split_once(&authority).context("the URL has the authority")?.1.to_owned();
    let relation = format!("{offer}/v1/relations/44909066-2a75-4b0b-8367-63a3c83539e7");
    let bearer = &*format!("bearer {}", secret.trim());
    let question = |change: &dyn Fn(&mut Value)| {
        let mut question = json!({
            "relatum": 1, "tier": "t", "model": "m", "interface": "prometheus_remote_write",
            "endpoint": "send-remote-write", "revision": "1-a", "seen": "", "wait_ms": 0,
            "bags": {"application": {}, "units": {"prometheus/0": {}}},
        });
        change(&mut question);
        question.to_string()
    };
    let good = question(&|_| {});
    let (strange, unnamed) = (format!("{offer}/v1/relations/../../x"), format!("{offer}/v1/relations/x"));
    let newer = format!("{offer}/v2/relations/x");
    let cases: Vec<(&str, &str, &str, String, u16, &str)> = vec![
        ("PUT", &relation, "", good.clone(), 401, "wrong-secret"),
        ("PUT", &relation, "Basic eDp5", good.clone(), 401, "wrong-secret"),
        ("PUT", "/offers/000000000000/v1/relations/x", bearer, good.clone(), 401, "wrong-secret"),
        ("DELETE", &relation, "", String::new(), 401, "wrong-secret"),
        ("PUT", &relation, bearer, "{".into(), 400, "bad-request"),
        ("PUT", &relation, bearer, "[".repeat(100_000), 400, "bad-request"),
        ("PUT", &relation, bearer, "x".repeat((16 << 20) + 1), 400, "bad-request"),
        ("PUT", &relation, bearer, question(&|q| q["model"] = "a\nb".into()), 400, "control characters"),
        ("PUT", &relation, bearer, question(&|q| q["endpoint"] = "../x".into()), 400, "not the name"),
        ("PUT", &relation, bearer, question(&|q| q["bags"] = json!([])), 400, "bad-request"),
        ("PUT", &relation, bearer, question(&|q| q["interface"] = "grafana_dashboard".into()), 409, "wrong-interface"),
        ("PUT", &strange, bearer, good.clone(), 404, "unknown-version"),
        ("PUT", &unnamed, bearer, good.clone(), 400, "uuid"),
        ("PUT", &newer, bearer, good.clone(), 404, "unknown-version"),
        ("GET", &offer, "", String::new(), 404, "relatum relate"),
        // Nothing was left by all these, and a good one is still taken; so is its end, as often as it is said.
        ("PUT", &relation, bearer, good, 200, "\"held\":\"1-a\""),
        ("DELETE", &relation, bearer, String::new(), 204, ""),
        ("DELETE", &relation, bearer, String::new(), 204, ""),
        ("DELETE", &unnamed, bearer, String::new(), 204, ""),
    ];
    for (method, target, authorization, body, status, part) in cases {
        let headers = [("Authorization".to_owned(), authorization.to_owned())];
        let shown: String = body.chars().take(80).collect();
        let answer = raw_http::ask(&authority, method, target, &headers, body.as_bytes())
            .with_context(|| format!("{method} {target} {shown}"))?;
        ensure!(
            answer.status == status && answer.body.contains(part),
            "{method} {target} {shown}: {} {}, expected {status} with {part:?}",
            answer.status,
            answer.body
        );
    }
    ensure!(relations(&above)?.is_empty(), "something was left: {:?}", relations(&above)?);
    above.nothing_unexpected()
}

fn loops_and_diamonds() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let [bottom, left, right, main] = ["bottom", "left", "right", "main"].map(|name| tier(dir.path(), name));
    let (bottom, left, right, main) = (bottom?, left?, right?, main?);
    for (below, above, name) in
        [(&left, &main, "main"), (&right, &main, "main"), (&bottom, &left, "left"), (&bottom, &right, "right")]
    {
        let (url, secret) = offer(above)?;
        let secret = secret.display().to_string();
        below.must(["relate", "send-remote-write", &url, "--token-file", &secret, "--name", name])?;
    }
    relate_node(&bottom, dir.path(), "127.0.0.1:1", "NodeIsThere")?;
    wait_for("the rule over both ways", PATIENCE, || {
        [&left, &right].iter().all(|tier| rules(tier, "NodeIsThere").is_ok_and(|r| r.len() == 1)).then_some(())
    })?;
    wait_for("the rule on main", PATIENCE, || rules(&main, "NodeIsThere").ok().filter(|rules| rules.len() == 1))?;
    // One way less, and it is still there.
    left.must(["remove-relation", "main", "prometheus:send-remote-write"])?;
    wait_for("the way to be gone", PATIENCE, || {
        let related = relations(&main).ok()?;
        (related.iter().filter(|relation| relation["interface"] == "prometheus_remote_write").count() == 1)
            .then_some(())
    })?;
    ensure!(rules(&main, "NodeIsThere")?.len() == 1, "the rule went with one of its two ways");

    // The bottom would get its own samples back.
    let (url, secret) = offer(&bottom)?;
    main.must(["relate", "send-remote-write", &url, "--token-file", &secret.display().to_string()])?;
    wait_for("the loop to be named", PATIENCE, || {
        let named = problems(&bottom).ok()?;
        let path = ["would receive from itself", "bottom (", "→ right (", "→ main ("];
        named.iter().any(|problem| path.iter().all(|part| problem.contains(part))).then_some(())
    })
    .with_context(|| format!("it says {:?}", problems(&bottom)))?;
    wait_for("main to be told", PATIENCE, || {
        problems(&main).ok()?.iter().any(|problem| problem.contains("would receive from itself")).then_some(())
    })?;
    ensure!(!main.must(["render"])?.contains("remote_write:"), "main sends to the bottom");
    Ok(())
}
