//! An agent is copied while it runs, and what the copy is restored to goes on from there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::program::Agent;
use relatum_tests::remote_write::send;
use relatum_tests::{PATIENCE, http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![crate::plain("a_running_agent_is_backed_up_and_restored", running)];
    // Only root can start an agent of another user, and only root has anything to fear from it.
    if fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0) {
        trials.push(crate::plain("a_backup_of_another_users_agent_belongs_to_root", of_another_user));
    }
    trials
}

fn sample(name: &str, value: f64) -> anyhow::Result<Vec<(Labels, Vec<Sample>)>> {
    let t_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    Ok(vec![(Labels::from_pairs([("__name__", name)]), vec![Sample { t_ms, value }])])
}

fn running() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start(&dir.path().join("old"))?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    send(&agent.url, &sample("before", 7.0)?)?;
    let backup = dir.path().join("backup");
    let backup = backup.to_str().expect("temporary folders have plain names");
    agent.must(["backup", backup])?;
    // It goes on, and that is not in the copy.
    agent.must(["relate", "metrics-endpoint", "10.0.0.2:9100"])?;
    send(&agent.url, &sample("after", 8.0)?)?;
    let again = agent.run(["backup", backup])?;
    ensure!(!again.status.success(), "a backup was overwritten");
    agent.nothing_unexpected()?;

    let data = dir.path().join("new").join("data");
    agent.must(["--data-dir", data.to_str().expect("temporary folders have plain names"), "restore", backup])?;
    drop(agent);
    let restored = Agent::start(&dir.path().join("new"))?;
    let targets = restored.must(["targets"])?;
    ensure!(targets.contains("10.0.0.1:9100") && !targets.contains("10.0.0.2:9100"), "{targets}");
    let found = |name: &str| http::query(&restored.url, &format!("last_over_time({name}[1h])"));
    let value = wait_for("the sample of before", PATIENCE, || found("before").ok()?.first().cloned())?;
    ensure!(value["value"][1] == "7", "{value}");
    ensure!(found("after")?.is_empty(), "a sample came from nowhere");
    restored.nothing_unexpected()
}

/// The user `nobody`.
const NOBODY: u32 = 65534;

fn of_another_user() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    for name in ["old", "theirs"] {
        fs::create_dir(at(name))?;
        chown(at(name), Some(NOBODY), Some(NOBODY))?;
    }
    let agent = Agent::start_as(NOBODY, &at("old"))?;
    agent.must(["relate", "metrics-endpoint", "10.0.0.1:9100"])?;
    send(&agent.url, &sample("before", 7.0)?)?;
    // One below a folder that is not there yet, and one that is there and belongs to the agent.
    for name in ["above/backup", "theirs"] {
        let backup = at(name);
        agent.must([Path::new("backup"), &backup])?;
        ensure!(fs::metadata(&backup)?.mode() & 0o777 == 0o750, "others may look into {name}");
        ensure!(backup.join("backup.json").is_file() && backup.join("tsdb/blocks").is_dir(), "{name} is not whole");
        let foreign = not_of_root(&backup)?;
        ensure!(foreign.is_empty(), "the agent can change {foreign:?}");
    }
    agent.nothing_unexpected()?;

    fs::create_dir(at("new"))?;
    chown(at("new"), Some(NOBODY), None)?;
    agent.must([Path::new("--data-dir"), &at("new"), Path::new("restore"), &at("theirs")])?;
    ensure!(fs::metadata(at("new"))?.uid() == NOBODY, "the data directory changed its owner");
    Ok(())
}

/// What at or below `path` belongs to somebody else.
fn not_of_root(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let found = fs::symlink_metadata(path)?;
    let mut foreign = if found.uid() == 0 { Vec::new() } else { vec![path.to_owned()] };
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            foreign.extend(not_of_root(&entry?.path())?);
        }
    }
    Ok(foreign)
}
