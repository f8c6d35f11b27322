//! Relations, scrape configurations and rules in files that a running agent watches.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::Agent;
use relatum_tests::{http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("watched_files_are_live_at_once", watched),
        crate::with("a_pass_that_was_not_possible_is_made_again", &[Peer::Python], false, locked),
    ]
}

const PATIENCE: Duration = Duration::from_secs(10);

fn watched() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let config = agent.config_file().parent().context("a file has a folder")?.to_owned();
    let targets = || http::get(&format!("{}/api/v1/targets?state=active", agent.url)).map(|answer| answer.body);
    let refused = |words: &[&str]| -> anyhow::Result<String> {
        let output = agent.run(words)?;
        ensure!(!output.status.success(), "{words:?} was not refused");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let wait_targets = |what: &str, there: &[&str], gone: &[&str]| {
        wait_for(what, PATIENCE, || {
            let body = targets().ok()?;
            (there.iter().all(|one| body.contains(one)) && !gone.iter().any(|one| body.contains(one))).then_some(())
        })
    };
    let status = || agent.must(["status", "--relations"]);
    let wait_status = |part: &str, is_there: bool| {
        wait_for(part, PATIENCE, || (status().ok()?.contains(part) == is_there).then_some(()))
            .with_context(|| status().unwrap_or_default())
    };
    let declared = |address: &str| {
        format!("relations:\n- endpoint: metrics-endpoint\n  application: nodes\n  addresses: ['{address}']\n")
    };

    // The folder does not exist when the agent starts.
    let folder = config.join("relations.d");
    fs::create_dir(&folder)?;
    fs::write(folder.join("a.yaml"), declared("127.0.0.1:11"))?;
    wait_targets("a declared target", &["127.0.0.1:11/"], &[])?;

    // A half-written file changes nothing and is named with its line; complete, it counts.
    fs::write(folder.join("a.yaml"), "relations:\n- endpoint: metr")?;
    wait_status("a.yaml:2:", true)?;
    ensure!(targets()?.contains("127.0.0.1:11/"), "a bad file took a target away");
    fs::write(folder.join("a.yaml"), declared("127.0.0.1:12"))?;
    wait_targets("the changed target", &["127.0.0.1:12/"], &["127.0.0.1:11/"])?;
    wait_status("a.yaml:2:", false)?;

    // Only the file can take it back.
    for words in [&["remove-relation", "1"][..], &["relate", "metrics-endpoint", "127.0.0.1:13", "--name", "nodes"]] {
        let text = refused(words)?;
        ensure!(text.contains("declared in relations.d/a.yaml"), "{text}");
    }

    // As kubelets do it: links into a folder that is swapped as a whole.
    for (version, address) in [("v1", "127.0.0.1:21"), ("v2", "127.0.0.1:22")] {
        let folder = folder.join(version);
        fs::create_dir(&folder)?;
        fs::write(folder.join("k.yaml"), declared(address).replace("nodes", "swapped"))?;
    }
    symlink("v1", folder.join("..data"))?;
    symlink("..data/k.yaml", folder.join("k.yaml"))?;
    wait_targets("a target behind a link", &["127.0.0.1:21/"], &[])?;
    symlink("v2", folder.join("..next"))?;
    fs::rename(folder.join("..next"), folder.join("..data"))?;
    wait_targets("the target behind the swapped link", &["127.0.0.1:22/"], &["127.0.0.1:21/"])?;

    // Files in Prometheus' own formats; a bad one is left out and named, the others count.
    for name in ["scrape.d", "rules.d"] {
        fs::create_dir(config.join(name))?;
    }
    fs::write(
        config.join("scrape.d/hand.yml"),
        "scrape_configs: [{job_name: hand, static_configs: [{targets: ['127.0.0.1:31']}]}]",
    )?;
    fs::write(config.join("rules.d/bad.yml"), "groups: [{name: g, rules: [{record: r, expr: 'up +'}]}]")?;
    fs::write(config.join("rules.d/good.yml"), "groups: [{name: byhand, rules: [{record: r, expr: up}]}]")?;
    wait_targets("a target by hand", &["127.0.0.1:31/"], &[])?;
    wait_status("bad.yml", true)?;
    let rules = http::get(&format!("{}/api/v1/rules", agent.url))?.body;
    ensure!(rules.contains("byhand"), "{rules}");

    // The folder is replaced as a whole.
    fs::rename(&folder, config.join("relations.old"))?;
    wait_targets("no declared target", &["127.0.0.1:31/"], &["127.0.0.1:12/", "127.0.0.1:22/"])?;
    fs::create_dir(&folder)?;
    fs::write(folder.join("b.yaml"), declared("127.0.0.1:41"))?;
    wait_targets("a target of the new folder", &["127.0.0.1:41/"], &[])?;

    // The agent's own file counts without a signal.
    fs::write(config.join("relatum.yaml"), "options: {scrape_interval: 7s}\n")?;
    wait_for("the changed option", PATIENCE, || {
        agent.must(["config", "prometheus", "scrape_interval"]).ok()?.contains("7s").then_some(())
    })
}

/// Somebody holds the agent's database for longer than it waits for it.
fn locked() -> anyhow::Result<()> {
    const HOLD: &str = "import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()";
    // Twice as long as the agent waits for the database and then until it tries again.
    const PATIENCE: Duration = Duration::from_secs(20);
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(dir.path())?;
    let mut holder = Peer::Python
        .command()?
        .args(["-c", HOLD])
        .arg(agent.data_dir.join("state.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut held = String::new();
    BufReader::new(holder.stdout.as_mut().context("it has a pipe")?).read_line(&mut held)?;
    ensure!(held.trim() == "held", "the database is not held: {held}");

    let folder = agent.config_file().parent().context("a file has a folder")?.join("relations.d");
    fs::create_dir(&folder)?;
    fs::write(
        folder.join("a.yaml"),
        "relations: [{endpoint: metrics-endpoint, application: nodes, addresses: ['127.0.0.1:11']}]",
    )?;
    let shows = |part: &str| {
        let shown = || agent.run(["status"]).ok().filter(|said| String::from_utf8_lossy(&said.stdout).contains(part));
        wait_for(part, PATIENCE, shown)
    };
    shows("database is locked")?;
    drop(holder.stdin.take());
    holder.wait()?;
    shows("127.0.0.1:11")?;
    Ok(())
}
