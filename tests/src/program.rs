//! The program under test: `RELATUM_BIN`, or built once where that is not set.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, ensure};

use crate::process::Running;
use crate::{PATIENCE, wait_for};

/// The path of the `relatum` binary.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("RELATUM_BIN") {
        Some(path) => path.into(),
        None => build().expect("the program builds"),
    })
}

fn build() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie inside the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--package", "relatum-cli", "--bin", "relatum"])
        .status()?;
    ensure!(status.success(), "cannot build the program: {status}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug").join("relatum"))
}

/// An agent in a folder of its own, and the commands one gives it.
#[derive(Debug)]
pub struct Agent {
    /// Where it keeps its state.
    pub data_dir: PathBuf,
    /// Where its HTTP API answers.
    pub url: String,
    /// The process.
    pub process: Running,
    config_file: PathBuf,
}

impl Agent {
    /// Starts an agent below `dir` on a free port and waits until it is ready.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Agent::start_with(dir, "127.0.0.1:0")
    }

    /// Starts an agent that listens on `listen`.
    pub fn start_with(dir: &Path, listen: &str) -> anyhow::Result<Self> {
        Agent::start_named(dir, listen, "test")
    }

    /// Starts an agent of the model `model`.
    pub fn start_named(dir: &Path, listen: &str, model: &str) -> anyhow::Result<Self> {
        Agent::start_program(Command::new(binary()), dir, listen, model)
    }

    /// Starts an agent as the user and group `id`, who owns `dir`. Only root can.
    pub fn start_as(id: u32, dir: &Path) -> anyhow::Result<Self> {
        // Where the program was built need not be open to others.
        let program = dir.join("relatum");
        std::fs::copy(binary(), &program)?;
        let mut command = Command::new(program);
        command.uid(id).gid(id);
        Agent::start_program(command, dir, "127.0.0.1:0", "test")
    }

    fn start_program(mut command: Command, dir: &Path, listen: &str, model: &str) -> anyhow::Result<Self> {
        let data_dir = dir.join("data");
        let config_file = dir.join("config").join("relatum.yaml");
        std::fs::create_dir_all(config_file.parent().expect("the file has a folder"))?;
        if !config_file.exists() {
            std::fs::write(&config_file, "options:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n")?;
        }
        command
            .arg("agent")
            .args([OsStr::new("--data-dir"), data_dir.as_os_str(), OsStr::new("--config"), config_file.as_os_str()])
            .args(["--listen", listen, "--model", model]);
        let process = Running::start("agent", &mut command)?;
        let mut agent = Agent { data_dir, url: String::new(), process, config_file };
        agent.url =
            wait_for("the agent to answer", PATIENCE, || agent.address()).with_context(|| agent.process.output())?;
        agent.process.wait_ready(&format!("{}/-/ready", agent.url))?;
        Ok(agent)
    }

    // The socket answers before anything else; it tells the port that was chosen.
    fn address(&self) -> Option<String> {
        let output = self.command(["status", "--format", "json"]).output().ok()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let url = status["api_url"].as_str()?;
        Some(url.to_owned())
    }

    /// The file with the agent's own configuration.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// A command for this agent, not run yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.env("RELATUM_DATA_DIR", &self.data_dir).env("NO_COLOR", "1").args(args);
        command
    }

    /// Runs a command; whatever it says.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> anyhow::Result<Output> {
        let mut command = self.command(args);
        command.output().with_context(|| format!("cannot run {command:?}"))
    }

    /// Runs a command that must succeed; returns what it printed on stdout.
    pub fn must<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> anyhow::Result<String> {
        let mut command = self.command(args);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {stderr}\nagent: {}", output.status, self.process.output());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Fails if the agent's log has a warning or an error.
    pub fn nothing_unexpected(&self) -> anyhow::Result<()> {
        let output = self.process.output();
        let unexpected: Vec<&str> =
            output.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
        ensure!(unexpected.is_empty(), "the log has:\n{}", unexpected.join("\n"));
        Ok(())
    }

    /// Kills the agent as `kill -9` does and starts it again on the same folder.
    pub fn kill_and_restart(mut self) -> anyhow::Result<Self> {
        self.process.kill()?;
        let dir = self.data_dir.parent().expect("the data directory lies in a folder").to_owned();
        Agent::start(&dir)
    }
}
