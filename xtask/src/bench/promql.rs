//! `cargo xtask bench promql`: how long queries take, on a store in the same process and over HTTP, beside the peers.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use super::relate::{Folder, wait};
use crate::{cargo, target_dir};

/// What a query must not take longer than with 100,000 series, in milliseconds.
const GATES: &[(&str, f64)] = &[
    ("instant_1", 0.20),
    ("single_2h", 0.20),
    ("sumrate_cpu", 20.0),
    ("sumrate_cpu_1h", 60.0),
    ("sum_node", 40.0),
    ("count_all", 50.0),
    ("hist_p99", 20.0),
    ("hist_p99_30m", 40.0),
    ("long_7d_rate", 6.0),
    ("long_7d_max", 2.0),
    ("subquery", 8.0),
    ("join", 5.0),
];

/// Runs the queries on `targets` scrape targets with 1000 series each.
pub(crate) fn run(targets: usize) -> anyhow::Result<()> {
    for arguments in
        [["--package", "relatum-tests", "--example", "queries"], ["--package", "relatum-cli", "--bin", "relatum"]]
    {
        crate::run(cargo(&["build", "--release", "--quiet"]).args(arguments))?;
    }
    let program = target_dir().join("release/examples/queries");
    let targets_text = targets.to_string();
    eprintln!("in process");
    let mut rows = measure(Command::new(&program).args(["local", &targets_text]))?;
    let dir = Folder::new()?;
    let servers = start_servers(&dir.0, &[])?;
    let names: Vec<String> = servers.iter().map(|server| server.name.clone()).collect();
    eprintln!("over HTTP: {}", names.join(", "));
    let arguments = servers.iter().map(|server| format!("{}={}", server.name, server.url));
    let over_http = measure(Command::new(&program).args(["http", &targets_text]).args(arguments))?;
    for (query, measured) in over_http {
        rows.entry(query).or_default().extend(measured);
    }
    print(targets, &names, &rows);
    Ok(())
}

/// The columns of the store in the same process: what a query took, and what it took of all processors.
const IN_PROCESS: &str = "in-process";
const PROCESSORS: &str = "processors";

/// What each server took, in milliseconds, by query.
type Rows = BTreeMap<String, BTreeMap<String, f64>>;

fn measure(command: &mut Command) -> anyhow::Result<Rows> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    let mut rows = Rows::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let [query, server, median, _best, cpu, _elements] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("what is {line:?}?")
        };
        let row = rows.entry(query.to_owned()).or_default();
        row.insert(server.to_owned(), median.parse()?);
        if server == IN_PROCESS {
            row.insert(PROCESSORS.to_owned(), cpu.parse()?);
        }
    }
    Ok(rows)
}

fn print(targets: usize, names: &[String], rows: &Rows) {
    println!("{} series, p50 in ms", targets * 1000);
    print!("{:<18}{:>12}{:>12}{:>10}", "", "in process", "processors", "gate");
    names.iter().for_each(|name| print!("{name:>14}"));
    println!("   peer / ours");
    for (query, measured) in rows {
        let shown = |name: &str| measured.get(name).map_or_else(|| "-".to_owned(), |millis| format!("{millis:.3}"));
        // The gates are for 100,000 series.
        let gate = GATES.iter().find(|(name, _)| name == query).filter(|_| targets >= 100);
        let gate = gate.map_or_else(|| "-".to_owned(), |(_, millis)| format!("{millis:.1}"));
        print!("{query:<18}{:>12}{:>12}{gate:>10}", shown(IN_PROCESS), shown(PROCESSORS));
        names.iter().for_each(|name| print!("{:>14}", shown(name)));
        if let Some(ours) = measured.get("relatum") {
            let ratios = names.iter().filter(|name| *name != "relatum").filter_map(|name| measured.get(name));
            ratios.for_each(|theirs| print!("{:>9.2}x", theirs / ours));
        }
        println!();
    }
}

pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts our server, and the peers that are here; those that take Prometheus' flags get `more`.
pub(super) fn start_servers(dir: &Path, more: &[&str]) -> anyhow::Result<Vec<Server>> {
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n")?;
    let prometheus = |program: PathBuf, data: &Path, address: &str| {
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--log.level=error", "--query.max-samples=500000000", "--storage.tsdb.retention.time=60d"])
            .args(more);
        command
    };
    let mut servers = Vec::new();
    for name in ["relatum", "prometheus", "prometheus3", "victoria"] {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = dir.join(name);
        let mut command = match name {
            "relatum" => {
                let mut command = Command::new(target_dir().join("release/relatum"));
                let rest = prometheus(PathBuf::new(), &data, &address);
                command.arg("serve").args(rest.get_args());
                command
            }
            "victoria" => {
                let Some(program) = find("RELATUM_PEER_VICTORIA", "victoria-metrics") else { continue };
                let mut command = Command::new(program);
                command.arg(format!("-storageDataPath={}", data.display())).args([
                    format!("-httpListenAddr={address}").as_str(),
                    "-retentionPeriod=3",
                    "-loggerLevel=ERROR",
                    "-search.maxUniqueTimeseries=5000000",
                    "-search.latencyOffset=0s",
                ]);
                command
            }
            _ => {
                let (variable, program) = match name {
                    "prometheus" => ("RELATUM_PEER_PROMETHEUS", "prometheus"),
                    _ => ("RELATUM_PEER_PROMETHEUS3", "prometheus3"),
                };
                let Some(program) = find(variable, program) else { continue };
                let mut command = prometheus(program, &data, &address);
                command.arg("--web.enable-remote-write-receiver");
                command
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        servers.push(Server { name: name.to_owned(), url: format!("http://{address}"), child });
        let ready = || std::net::TcpStream::connect(&address).is_ok();
        wait(name, ready)?;
    }
    Ok(servers)
}

/// A program, by a variable or in the search path.
fn find(variable: &str, program: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
