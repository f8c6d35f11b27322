//! How fast a changed rule travels: three agents, each the next tier of the one before.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::relate::{Agent, Folder, wait};

/// How often the rule is changed.
const CHANGES: usize = 20;

/// From the beginning of the command that changes a rule at the bottom until its alert fires two tiers up.
pub(super) fn measure(program: &Path) -> anyhow::Result<Vec<Duration>> {
    let dir = Folder::new()?;
    let [bottom, middle, main] = ["bottom", "middle", "main"].map(|name| {
        let dir = dir.0.join(name);
        std::fs::create_dir_all(&dir)?;
        Agent::start(program, &dir)
    });
    let (bottom, middle, main) = (bottom?, middle?, main?);
    send(&middle, &main, &dir.0)?;
    send(&bottom, &middle, &dir.0)?;
    let file = dir.0.join("bags.json");
    let mut travelled = Vec::new();
    for number in 0..CHANGES {
        let alert = format!("Bench{number}");
        std::fs::write(&file, databags(&alert))?;
        let begun = Instant::now();
        bottom.command(&["relate", "metrics-endpoint", "--databag", &file.display().to_string()])?;
        let query = format!("/api/v1/query?query=ALERTS%7Balertname%3D%22{alert}%22%7D");
        wait("the alert two tiers up", || main.get(&query).is_ok_and(|body| body.contains(&alert)))?;
        travelled.push(begun.elapsed());
    }
    Ok(travelled)
}

/// Makes `above` the next tier of `below`.
fn send(below: &Agent, above: &Agent, dir: &Path) -> anyhow::Result<()> {
    let made = above.command(&["offer", "prometheus:receive-remote-write"])?;
    let word = |line: &str| made.lines().find_map(|text| text.strip_prefix(line)).map(|rest| rest.trim().to_owned());
    let (url, secret) = (word("URL").context("no URL")?, word("Secret").context("no secret")?);
    let file = dir.join("secret");
    std::fs::write(&file, secret)?;
    let said = below.command(&["relate", "send-remote-write", &url, "--token-file", &file.display().to_string()])?;
    ensure!(said.contains("send-remote-write"), "relate says {said}");
    Ok(())
}

/// The databags of an application with one rule that always fires.
fn databags(alert: &str) -> String {
    let labels = r#"\"juju_model\": \"shop\", \"juju_model_uuid\": \"12de4fae-06cc-4ceb-9089-567be09fec78\", \"juju_application\": \"node\""#;
    let rule = format!(r#"{{\"alert\": \"{alert}\", \"expr\": \"vector(1)\", \"labels\": {{{labels}}}}}"#);
    let rules = format!(r#"{{\"groups\": [{{\"name\": \"bench\", \"rules\": [{rule}]}}]}}"#);
    format!(r#"{{"application": "node", "app": {{"alert_rules": "{rules}"}}, "units": {{"node/0": {{}}}}}}"#)
}
