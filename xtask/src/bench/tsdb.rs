//! `cargo xtask bench tsdb`: what the store alone costs, without a network, beside its gates and goals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{cargo, peers, target_dir};

/// What is shown of a measurement, in which unit, and what it should be: (name, text, gate, goal).
const ROWS: [(&str, &str, &str, &str); 18] = [
    ("append_cpu_per_million", "append and commit, CPU-s per M samples", "0.40", "0.22"),
    ("maintain_cpu_per_million", "cut and merge blocks, CPU-s per M samples", "-", "-"),
    ("fsync_cpu_per_million", "with fsync before the ack, four writers, CPU-s per M samples", "0.40", "0.22"),
    ("fsync_p99_ms", "with fsync, four writers, commit of 1000 samples, p99 ms", "20", "8"),
    ("commits_per_sync", "with fsync, four writers, commits that share one", "-", "-"),
    ("wal_bytes_per_sample", "log, bytes per sample", "5", "3"),
    ("memory_per_series", "memory at its most, bytes per series", "800", "400"),
    ("block_bytes_per_sample", "block with index, bytes per sample", "0.90", "0.70"),
    ("index_bytes_per_series", "index, bytes per series", "90", "60"),
    ("queries_ms", "two hours of 19 % of the series, ms", "-", "-"),
    ("day_maintain_cpu_per_million", "cut and merge blocks of a day, CPU-s per M samples", "-", "-"),
    ("day_bytes_per_sample", "merged blocks of a day, bytes per sample", "0.70", "0.58"),
    ("exporter_bytes_per_sample", "block of a node exporter with index, bytes per sample", "0.60", "0.48"),
    ("restart_s", "clean restart, s", "0.3", "0.1"),
    ("restart_cpu_s", "clean restart, CPU-s", "-", "-"),
    ("kill_s", "restart after kill -9 just before a cut, s", "0.5", "0.15"),
    ("kill_cpu_s", "restart after kill -9 just before a cut, CPU-s", "-", "-"),
    ("kill_lost", "acknowledged samples lost by kill -9", "0", "0"),
];

/// How long after the end of a span its last part is cut.
const CUT_SECONDS: u32 = 540;

/// Runs the workload of `targets` scrape targets with 1000 series each over two hours, and of a fifth of them over a day.
pub(crate) fn run(targets: usize) -> anyhow::Result<()> {
    crate::run(&mut cargo(&["build", "--release", "--quiet", "--package", "relatum-tsdb", "--example", "workload"]))?;
    let workload = Workload { program: target_dir().join("release/examples/workload"), targets };
    let mut all = BTreeMap::new();

    let dir = Folder::new()?;
    all.extend(workload.fill(&dir.0, 7200 + CUT_SECONDS, 15, "process")?);
    // The process was killed; the first one that opens the store closes it.
    workload.open(&dir.0)?;
    let opened = workload.open(&dir.0)?;
    all.insert("restart_s".to_owned(), opened["open_s"]);
    all.insert("restart_cpu_s".to_owned(), opened["open_cpu_s"]);
    drop(dir);

    let dir = Folder::new()?;
    let killed = workload.fill(&dir.0, 7200 + CUT_SECONDS - 120, 15, "process")?;
    let opened = workload.open(&dir.0)?;
    all.insert("kill_s".to_owned(), opened["open_s"]);
    all.insert("kill_cpu_s".to_owned(), opened["open_cpu_s"]);
    all.insert("kill_lost".to_owned(), killed["samples"] - opened["samples"]);
    drop(dir);

    let dir = Folder::new()?;
    let durable = workload.run(&dir.0, "together", 1800, 15, "fsync")?;
    all.insert("fsync_cpu_per_million".to_owned(), durable["append_cpu_per_million"]);
    all.insert("fsync_p99_ms".to_owned(), durable["commit_p99_ms"]);
    all.insert("commits_per_sync".to_owned(), durable["commits_per_sync"]);
    drop(dir);

    let dir = Folder::new()?;
    let fewer = Workload { targets: targets.div_ceil(5), ..workload };
    let day = fewer.fill(&dir.0, 86_400 + CUT_SECONDS, 15, "process")?;
    all.insert("day_bytes_per_sample".to_owned(), day["block_bytes_per_sample"]);
    all.insert("day_maintain_cpu_per_million".to_owned(), day["maintain_cpu_per_million"]);

    drop(dir);
    match peers::node_exporter() {
        Some(program) => all.extend(fewer.ask(&Exporter::start(&program)?, &Folder::new()?.0)?),
        None => eprintln!("there is no node exporter on this machine"),
    }

    println!("{} series", targets * 1000);
    println!("{:<58}{:>12}{:>10}{:>10}", "", "measured", "gate", "goal");
    for (name, text, gate, goal) in ROWS {
        let value = all.get(name).map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        println!("{text:<58}{value:>12}{gate:>10}{goal:>10}");
    }
    Ok(())
}

struct Workload {
    program: PathBuf,
    targets: usize,
}

impl Workload {
    /// Fills a store; kills the process when it is done.
    fn fill(&self, dir: &Path, seconds: u32, interval: u32, durability: &str) -> anyhow::Result<Values> {
        self.run(dir, "ingest", seconds, interval, durability)
    }

    /// The same in the way that `what` names.
    fn run(&self, dir: &Path, what: &str, seconds: u32, interval: u32, durability: &str) -> anyhow::Result<Values> {
        eprintln!("{what}, {} targets, {seconds} s every {interval} s, {durability}", self.targets);
        let numbers = [self.targets.to_string(), seconds.to_string(), interval.to_string()];
        let mut child = Command::new(&self.program)
            .arg(what)
            .arg(dir)
            .args(numbers)
            .arg(durability)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let mut lines = Vec::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            if line == "done" {
                break;
            }
            lines.push(line);
        }
        child.kill()?;
        child.wait()?;
        values(&lines)
    }

    fn open(&self, dir: &Path) -> anyhow::Result<Values> {
        told(Command::new(&self.program).arg("open").arg(dir))
    }

    /// Fills a store with two hours of what an exporter shows; it takes two minutes.
    fn ask(&self, exporter: &Exporter, dir: &Path) -> anyhow::Result<Values> {
        eprintln!("a node exporter, asked for two minutes");
        let seconds = (7200 + CUT_SECONDS).to_string();
        told(Command::new(&self.program).arg("exporter").arg(dir).args([&exporter.address, &seconds, "15"]))
    }
}

/// What a workload that ends by itself tells.
fn told(command: &mut Command) -> anyhow::Result<Values> {
    let output = command.output()?;
    ensure!(output.status.success(), "the workload failed: {}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    values(&lines)
}

/// A running node exporter; it ends with this.
struct Exporter {
    address: String,
    process: Child,
}

impl Exporter {
    fn start(program: &Path) -> anyhow::Result<Self> {
        // Free a moment ago; whoever takes it in between makes the exporter fail, and that is said.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let process = Command::new(program)
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut exporter = Exporter { address, process };
        while TcpStream::connect(&exporter.address).is_err() {
            ensure!(exporter.process.try_wait()?.is_none(), "the node exporter ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(exporter)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Values = BTreeMap<String, f64>;

fn values(lines: &[String]) -> anyhow::Result<Values> {
    let value = |line: &String| {
        let (name, value) = line.split_once(' ').with_context(|| format!("what is {line:?}?"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    lines.iter().map(value).collect()
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = target_dir().join(format!("bench-tsdb-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
