//! Where the real peers are: in the variables that `cargo xtask test` sets, or in the search path.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Running, free_port};

/// A peer that tests may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Prometheus of Debian's stable release.
    Prometheus,
    /// A Prometheus 3.x.
    Prometheus3,
    /// The `promtool` of a Prometheus 3.x.
    Promtool3,
    /// Alertmanager.
    Alertmanager,
    /// The node exporter.
    NodeExporter,
    /// Python 3, which fetches the real charm libraries.
    Python,
    /// VictoriaMetrics, one node.
    Victoria,
    /// VictoriaMetrics' agent.
    Vmagent,
    /// VictoriaMetrics' tool that carries samples there.
    Vmctl,
    /// nginx.
    Nginx,
    /// OpenSSL's program.
    Openssl,
}

impl Peer {
    /// The variable that names the program.
    pub fn variable(self) -> &'static str {
        match self {
            Peer::Prometheus => "RELATUM_PEER_PROMETHEUS",
            Peer::Prometheus3 => "RELATUM_PEER_PROMETHEUS3",
            Peer::Promtool3 => "RELATUM_PEER_PROMTOOL3",
            Peer::Alertmanager => "RELATUM_PEER_ALERTMANAGER",
            Peer::NodeExporter => "RELATUM_PEER_NODE_EXPORTER",
            Peer::Python => "RELATUM_PEER_PYTHON",
            Peer::Victoria => "RELATUM_PEER_VICTORIA",
            Peer::Vmagent => "RELATUM_PEER_VMAGENT",
            Peer::Vmctl => "RELATUM_PEER_VMCTL",
            Peer::Nginx => "RELATUM_PEER_NGINX",
            Peer::Openssl => "RELATUM_PEER_OPENSSL",
        }
    }

    /// The program, if it is on this machine.
    pub fn find(self) -> Option<PathBuf> {
        if let Some(path) = std::env::var_os(self.variable()) {
            return Some(path.into());
        }
        let program = match self {
            Peer::Prometheus => "prometheus",
            Peer::Alertmanager => "prometheus-alertmanager",
            Peer::NodeExporter => "prometheus-node-exporter",
            Peer::Python => "python3",
            Peer::Victoria => "victoria-metrics",
            Peer::Vmagent => "vmagent",
            Peer::Vmctl => "vmctl",
            Peer::Nginx => "nginx",
            Peer::Openssl => "openssl",
            // A newer one is never in the search path under a name of its own.
            Peer::Prometheus3 | Peer::Promtool3 => return None,
        };
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
    }

    /// A command that runs the peer; a test that needs it is not run where it is missing.
    pub fn command(self) -> anyhow::Result<Command> {
        let path = self.find().ok_or_else(|| anyhow::anyhow!("{self:?} is not on this machine"))?;
        Ok(Command::new(path))
    }
}

/// Starts a node exporter; returns its `host:port` with it.
pub fn node_exporter() -> anyhow::Result<(Running, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Peer::NodeExporter.command()?;
    command.arg(format!("--web.listen-address={address}"));
    let mut exporter = Running::start("node exporter", &mut command)?;
    exporter.wait_ready(&format!("http://{address}/metrics"))?;
    Ok((exporter, address))
}

/// Starts a Prometheus in `dir` that scrapes nothing and takes remote writes; returns its URL with it.
pub fn prometheus_receiver(dir: &std::path::Path) -> anyhow::Result<(Running, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n")?;
    let mut command = Peer::Prometheus.command()?;
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--web.enable-remote-write-receiver");
    let mut prometheus = Running::start("prometheus", &mut command)?;
    let url = format!("http://{address}");
    prometheus.wait_ready(&format!("{url}/-/ready"))?;
    Ok((prometheus, url))
}

/// Starts an Alertmanager in `dir`; returns its `host:port` with it.
pub fn alertmanager(dir: &std::path::Path) -> anyhow::Result<(Running, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let config = dir.join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: none, group_wait: 0s}\nreceivers: [{name: none}]\n")?;
    let mut command = Peer::Alertmanager.command()?;
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=");
    let mut alertmanager = Running::start("alertmanager", &mut command)?;
    alertmanager.wait_ready(&format!("http://{address}/-/ready"))?;
    Ok((alertmanager, address))
}
