//! A server that is started by Prometheus' flags: ours, or a peer that takes the same ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Running, free_port};
use crate::program::binary;

/// One that runs until it is dropped.
pub struct Server {
    /// Its process.
    pub running: Running,
    /// `host:port` it listens on.
    pub authority: String,
    /// The URL of that, without a slash at the end.
    pub url: String,
}

impl Server {
    /// Ours.
    pub fn ours(dir: &Path, config: &str, more: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary());
        command.arg("serve");
        Server::start(command, dir, config, more)
    }

    /// What `command` is, ready, with its files in `dir`: `config` is the text of `prometheus.yml`, in which `SELF` stands for the
    /// server's own `host:port`; `more` are further flags.
    pub fn start(mut command: Command, dir: &Path, config: &str, more: &[&str]) -> anyhow::Result<Self> {
        let authority = format!("127.0.0.1:{}", free_port()?);
        fs::create_dir_all(dir)?;
        let file = dir.join("prometheus.yml");
        fs::write(&file, config.replace("SELF", &authority))?;
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={authority}"))
            .arg("--web.enable-remote-write-receiver")
            .args(more);
        let mut running = Running::start("server", &mut command)?;
        let url = format!("http://{authority}");
        running.wait_ready(&format!("{url}/-/ready"))?;
        Ok(Server { running, authority, url })
    }
}
