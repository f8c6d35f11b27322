//! Where the agent keeps its things, and how it is told to run.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use crate::log::LogRing;

/// The listener when nobody names one: Prometheus' port on all addresses, as in the charm.
pub const LISTEN_DEFAULT: &str = "0.0.0.0:9090";

/// How to run an agent. What is `None` comes from the config file, then from the default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--data-dir`; default [`data_dir`].
    pub data_dir: Option<PathBuf>,
    /// `--listen`, `host:port`; port 0 takes a free one. Default [`LISTEN_DEFAULT`].
    pub listen: Option<String>,
    /// `--config`. Named, it must exist; the default `relatum.yaml` in [`config_dir`] need not.
    pub config: Option<PathBuf>,
    /// `--model`; default: the name the data directory already has, else the host's.
    pub model: Option<String>,
    /// `--unit`, `prometheus/N`; default: the one the data directory already has, else `prometheus/0`.
    pub unit: Option<String>,
    /// `--leader`: whether this unit leads its application. Named here, what the config file says does not count. Default: it does.
    pub leader: Option<bool>,
    /// `--durability`, `process` or `fsync`: when samples are acknowledged. Default `process`.
    pub durability: Option<String>,
    /// Defaults of config options that differ from the charm's, for instance a shorter `scrape_interval`.
    pub option_defaults: BTreeMap<String, String>,
    /// Where the Prometheus beside us is reached, if there is one; else the server of this process is, where it listens.
    pub workload_url: Option<String>,
    /// `--host-metrics`: whether `/metrics` also tells how this host does.
    pub host_metrics: bool,
    /// Where log lines are remembered for `debug-log`; the caller puts [`LogRing::layer`] into its subscriber.
    pub log: LogRing,
}

impl Options {
    /// The agent's own file, absolute, and whether it must be there.
    pub fn config_file(&self) -> (PathBuf, bool) {
        let path = self.config.clone().unwrap_or_else(|| config_dir().join("relatum.yaml"));
        (std::path::absolute(&path).unwrap_or(path), self.config.is_some())
    }
}

/// The data directory of this user when none is named: `/var/lib/relatum` for root, else below the XDG state folder.
pub fn data_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        PathBuf::from("/var/lib/relatum")
    } else {
        xdg("XDG_STATE_HOME", ".local/state")
    }
}

/// The config directory of this user: `/etc/relatum` for root, else below the XDG config folder.
pub fn config_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() { PathBuf::from("/etc/relatum") } else { xdg("XDG_CONFIG_HOME", ".config") }
}

/// The control socket of the agent whose data directory is `data_dir`.
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("relatum.sock")
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    // The XDG specification says that a relative path is to be ignored.
    let folder = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(below_home));
    folder.join("relatum")
}
