//! Who may talk to an agent of root: members of the group `relatum`, and no other user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::process::Running;
use relatum_tests::program::binary;
use relatum_tests::{PATIENCE, wait_for};

/// A group and a user that nobody has.
const GROUP: &str = "54321";
const STRANGER: &str = "54322";
/// A user that every system has, under one name or another.
const MEMBER: &str = "1";

pub(crate) fn trials() -> Vec<Trial> {
    let trial = crate::plain("members_of_the_group_may_command", members);
    // Only root has another list of groups than everybody else, and becomes another user.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if is_root && has("unshare") && has("setpriv") {
        vec![trial]
    } else {
        vec![trial.with_kind("needs root, unshare and setpriv").with_ignored_flag(true)]
    }
}

fn members() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    // Where it was built, others may not look.
    let program = dir.path().join("relatum");
    fs::copy(binary(), &program)?;
    let groups = dir.path().join("group");
    let users = fs::read_to_string("/etc/passwd")?;
    let is_member = |line: &&str| line.split(':').nth(2) == Some(MEMBER);
    let name = users.lines().find(is_member).and_then(|line| line.split(':').next()).context("there is no user 1")?;
    fs::write(&groups, format!("{}relatum:x:{GROUP}:{name}\n", fs::read_to_string("/etc/group")?))?;
    let config = dir.path().join("relatum.yaml");
    fs::write(&config, "")?;
    let data_dir = dir.path().join("data");
    let mut agent = Command::new("unshare");
    agent
        .args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/group && exec "$@""#])
        .args([groups.as_path(), &program, Path::new("agent"), Path::new("--data-dir"), &data_dir])
        .args([Path::new("--config"), &config])
        .args(["--listen", "127.0.0.1:0"]);
    let agent = Running::start("agent", &mut agent)?;
    let status = |rights: &[&str]| -> anyhow::Result<Output> {
        let mut command = Command::new("setpriv");
        command.args(rights).arg(&program).arg("status").env("RELATUM_DATA_DIR", &data_dir);
        command.output().context("cannot run setpriv")
    };
    wait_for("the agent", PATIENCE, || status(&["--reuid", "0"]).ok()?.status.success().then_some(()))
        .with_context(|| agent.output())?;
    let member = status(&["--reuid", MEMBER, "--regid", MEMBER, "--groups", GROUP])?;
    ensure!(member.status.success(), "a member is refused: {}", String::from_utf8_lossy(&member.stderr));
    let other = status(&["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"])?;
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    ensure!(!other.status.success() && text.to_lowercase().contains("permission denied"), "a stranger got in: {text}");
    Ok(())
}
