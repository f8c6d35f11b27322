//! The real peers that system tests run against: found on this machine, or brought by its package manager when permitted.
//!
//! The stable release's packages are installed; the newer Prometheus of Debian's unstable release is only unpacked beside the
//! system, so that nothing on it changes. Without root or `apt-get` nothing is brought, and the tests that need a missing peer
//! are skipped with that reason.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The peers that were found. A field is `None` if the peer is not on this machine.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    found: Vec<(&'static str, PathBuf)>,
}

impl Peers {
    /// The environment variables by which tests find the peers.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.found.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.environment().try_for_each(|(name, path)| writeln!(f, "{name}={}", path.display()))
    }
}

// Variable, program, package. A variable that is set already wins.
const STABLE: &[(&str, &str, &str)] = &[
    ("RELATUM_PEER_PROMETHEUS", "prometheus", "prometheus"),
    ("RELATUM_PEER_ALERTMANAGER", "prometheus-alertmanager", "prometheus-alertmanager"),
    ("RELATUM_PEER_NODE_EXPORTER", "prometheus-node-exporter", "prometheus-node-exporter"),
    ("RELATUM_PEER_NGINX", "nginx", "nginx"),
    ("RELATUM_PEER_OPENSSL", "openssl", "openssl"),
];
// Variable, program inside the package, package.
const NEWER: &[(&str, &str, &str)] = &[
    ("RELATUM_PEER_PROMETHEUS3", "usr/bin/prometheus", "prometheus"),
    ("RELATUM_PEER_PROMTOOL3", "usr/bin/promtool", "promtool"),
];

/// Finds the peers, bringing what is missing if that is permitted here. Not being able to is no error.
pub(crate) fn bring() -> anyhow::Result<Peers> {
    let missing: Vec<&str> =
        STABLE.iter().filter(|(variable, program, _)| find(variable, program).is_none()).map(|(.., p)| *p).collect();
    if !missing.is_empty()
        && let Err(error) = install(&missing)
    {
        eprintln!("peers: cannot install {}: {error:#}", missing.join(", "));
    }
    let newer = newer_dir();
    if NEWER.iter().any(|(variable, program, package)| find_newer(&newer, variable, program, package).is_none())
        && let Err(error) = unpack_newer(&newer)
    {
        eprintln!("peers: cannot unpack the newer prometheus: {error:#}");
    }
    let mut peers = Peers::default();
    peers.found.extend(STABLE.iter().filter_map(|(variable, program, _)| Some((*variable, find(variable, program)?))));
    peers.found.extend(
        NEWER.iter().filter_map(|(variable, program, p)| Some((*variable, find_newer(&newer, variable, program, p)?))),
    );
    Ok(peers)
}

/// The node exporter, if it is on this machine.
pub(crate) fn node_exporter() -> Option<PathBuf> {
    let (variable, program, _) = STABLE.iter().find(|(.., package)| *package == "prometheus-node-exporter")?;
    find(variable, program)
}

fn find(variable: &str, program: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn find_newer(dir: &Path, variable: &str, program: &str, package: &str) -> Option<PathBuf> {
    let unpacked = dir.join(package).join(program);
    std::env::var_os(variable).map(PathBuf::from).or_else(|| unpacked.is_file().then_some(unpacked))
}

fn newer_dir() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    cache.join("relatum-peers")
}

fn permitted() -> anyhow::Result<()> {
    let id = Command::new("id").arg("-u").output().context("cannot run id")?;
    ensure!(String::from_utf8_lossy(&id.stdout).trim() == "0", "only root may install packages");
    ensure!(find("", "apt-get").is_some(), "there is no apt-get");
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    permitted()?;
    eprintln!("peers: installing {}", packages.join(", "));
    quietly(Command::new("apt-get").args(["update", "-qq"]))?;
    // The services that the packages bring would take the ports that people use; a policy of "no" keeps them stopped.
    quietly(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1"),
    )
}

fn unpack_newer(dir: &Path) -> anyhow::Result<()> {
    permitted()?;
    eprintln!("peers: unpacking the newer prometheus into {}", dir.display());
    let (lists, archives) = (dir.join("lists"), dir.join("archives"));
    for folder in [lists.join("partial"), archives.join("partial")] {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let sources = dir.join("sources.list");
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    std::fs::write(&sources, format!("deb [signed-by={key}] {} sid main\n", mirror()?))?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .arg(format!("-oDir::Etc::SourceList={}", sources.display()))
            .arg("-oDir::Etc::SourceParts=/dev/null")
            .arg(format!("-oDir::State::Lists={}", lists.display()))
            .arg(format!("-oDir::Cache::Archives={}", archives.display()))
            .arg("-oAPT::Sandbox::User=root")
            .current_dir(&archives);
        command
    };
    quietly(apt().args(["update", "-qq"]))?;
    for (.., package) in NEWER {
        quietly(apt().args(["download", "-qq", package]))?;
        let prefix = format!("{package}_");
        let archive = std::fs::read_dir(&archives)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("apt-get downloaded no {package}"))?;
        quietly(Command::new("dpkg").arg("-x").arg(archive).arg(dir.join(package)))?;
    }
    Ok(())
}

// The mirror this machine is set up with: the first address of its own package sources.
fn mirror() -> anyhow::Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for line in text.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb ")) {
            let address = line.split_whitespace().find(|word| word.contains("://") && word.contains("debian"));
            if let Some(address) = address.filter(|a| !a.contains("security")) {
                return Ok(address.trim_end_matches('/').to_owned());
            }
        }
    }
    anyhow::bail!("no Debian mirror is set up")
}

fn quietly(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
