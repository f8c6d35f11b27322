//! `cargo xtask bench relate`: how fast the whole program starts and follows a relation, measured from outside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::{cargo, target_dir};

const RUNS: usize = 5;
const RELATIONS: usize = 100;
const DECLARED: usize = 1000;
/// After so long without anything to do, what was needed for a while is given back.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(20);
/// How often it is asked whether very many relations are there.
const ASKED_EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// With very many relations.
const STARTED_WITHIN: Duration = Duration::from_secs(300);

/// How fast the agent starts with many relations, and how fast a relation becomes a scraped target: the median of five runs.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::run(&mut cargo(&["build", "--release", "--quiet", "--package", "relatum-cli", "--bin", "relatum"]))?;
    let program = target_dir().join("release").join("relatum");
    let (mut ready, mut visible, mut scraped, mut travelled) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut dropped, mut loaded, mut status, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Kept to the end: file systems are slow to make files for some seconds after many were removed.
    let mut folders = Vec::new();
    for number in 1..=RUNS {
        eprintln!("run {number} of {RUNS}");
        let once = measure(&program)?;
        folders.push(once.folder);
        ready.push(once.ready);
        visible.push(percentile(once.visible, 95));
        scraped.push(percentile(once.scraped, 95));
        travelled.push(percentile(super::tiers::measure(&program)?, 95));
        let once = measure_declared(&program)?;
        folders.push(once.folder);
        dropped.push(percentile(once.dropped, 95));
        loaded.push(once.loaded);
        status.push(once.status);
        memory.push(once.memory_kib);
    }
    println!("{:<58}{:>10}{:>10}", "", "median", "target");
    for (what, values, target) in [
        (format!("start to ready with {RELATIONS} relations"), ready, "300 ms"),
        ("relate returned to target in /api/v1/targets, p95".to_owned(), visible, "20 ms"),
        ("relate returned to first scrape sent, p95".to_owned(), scraped, "100 ms"),
        ("rule changed to its alert two tiers up, p95".to_owned(), travelled, "2000 ms"),
        ("file written into relations.d to target, p95".to_owned(), dropped, "100 ms"),
        (format!("{DECLARED} declared relations written to all targets"), loaded, "1000 ms"),
        (format!("status with {DECLARED} relations"), status, "30 ms"),
    ] {
        let median = percentile(values, 50).as_secs_f64() * 1000.0;
        println!("{what:<58}{:>10}{target:>10}", format!("{median:.1} ms"));
    }
    memory.sort_unstable();
    let median = memory[memory.len() / 2] as f64 / 1024.0;
    println!(
        "{:<58}{:>10}{:>10}",
        format!("memory of the idle agent with {DECLARED} relations"),
        format!("{median:.1} MB"),
        "80 MB"
    );
    Ok(())
}

struct MeasuredDeclared {
    dropped: Vec<Duration>,
    loaded: Duration,
    status: Duration,
    memory_kib: u64,
    folder: Folder,
}

/// Files dropped into `relations.d` one by one, then one with many relations. Their targets are never there, so that what is
/// measured is the agent and not the scrapes.
fn measure_declared(program: &Path) -> anyhow::Result<MeasuredDeclared> {
    let dir = Folder::new()?;
    let agent = Agent::start(program, &dir.0)?;
    let folder = dir.0.join("relations.d");
    std::fs::create_dir(&folder)?;
    let entry = |number: usize| {
        format!(
            "- {{endpoint: metrics-endpoint, application: a{number}, addresses: ['127.9.{}.{}:1'], interval: 1h}}\n",
            number / 250,
            number % 250
        )
    };
    let targets = || agent.get("/api/v1/targets?state=active");
    let mut dropped = Vec::new();
    for number in 0..20 {
        let begun = Instant::now();
        std::fs::write(folder.join(format!("{number}.yaml")), format!("relations:\n{}", entry(number)))?;
        let address = format!("127.9.0.{number}:1/");
        wait("the declared target", || targets().is_ok_and(|body| body.contains(&address)))?;
        dropped.push(begun.elapsed());
    }
    for number in 0..20 {
        std::fs::remove_file(folder.join(format!("{number}.yaml")))?;
    }
    wait("no declared target", || targets().is_ok_and(|body| !body.contains("127.9.")))?;
    let text: String = (0..DECLARED).map(entry).collect();
    let begun = Instant::now();
    std::fs::write(folder.join("many.yaml"), format!("relations:\n{text}"))?;
    let last = format!("127.9.{}.{}:1/", (DECLARED - 1) / 250, (DECLARED - 1) % 250);
    wait("all declared targets", || {
        // A list of so many targets asked for all the time would take one of the cores that are measured.
        std::thread::sleep(ASKED_EVERY);
        targets().is_ok_and(|body| body.contains(&last))
    })?;
    let loaded = begun.elapsed();
    // Each target is tried once; after that nothing happens for an hour.
    wait("every target to be tried", || targets().is_ok_and(|body| !body.contains("\"health\":\"unknown\"")))?;
    let status = agent.status()?;
    std::thread::sleep(IDLE_AFTER);
    let memory_kib = memory_kib(agent.child.id())?;
    drop(agent);
    Ok(MeasuredDeclared { dropped, loaded, status, memory_kib, folder: dir })
}

/// The resident memory of a process.
pub(super) fn memory_kib(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells no memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

struct Measured {
    ready: Duration,
    visible: Vec<Duration>,
    scraped: Vec<Duration>,
    folder: Folder,
}

fn measure(program: &Path) -> anyhow::Result<Measured> {
    let dir = Folder::new()?;
    let mut agent = Agent::start(program, &dir.0)?;
    let (mut visible, mut scraped) = (Vec::new(), Vec::new());
    for number in 0..RELATIONS {
        let (address, first_request) = exporter()?;
        agent.relate(&address, &format!("app{number}"))?;
        let returned = Instant::now();
        wait("the target", || agent.get("/api/v1/targets?state=active").is_ok_and(|body| body.contains(&address)))?;
        visible.push(returned.elapsed());
        let at = first_request.recv_timeout(PATIENCE).context("the exporter was never scraped")?;
        // A scrape may well be sent before the command has returned.
        scraped.push(at.saturating_duration_since(returned));
    }
    agent.stop()?;
    let start = Instant::now();
    let agent = Agent::start(program, &dir.0)?;
    let ready = start.elapsed();
    drop(agent);
    Ok(Measured { ready, visible, scraped, folder: dir })
}

pub(super) struct Agent {
    child: Child,
    program: PathBuf,
    data_dir: PathBuf,
    address: String,
}

impl Agent {
    /// Starts an agent and waits until it is ready.
    pub(super) fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (data_dir, config) = (dir.join("data"), dir.join("relatum.yaml"));
        std::fs::write(&config, "")?;
        let child = Command::new(program)
            .args(["agent", "--listen", &address, "--model", "bench", "--data-dir"])
            .arg(&data_dir)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let agent = Agent { child, program: program.to_owned(), data_dir, address };
        wait_for(STARTED_WITHIN, "the agent", || agent.get("/-/ready").is_ok())?;
        Ok(agent)
    }

    fn relate(&self, address: &str, name: &str) -> anyhow::Result<()> {
        self.command(&["relate", "metrics-endpoint", address, "--name", name]).map(drop)
    }

    /// Runs a command, which must succeed; what it prints.
    pub(super) fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        let output = command.args(arguments).env("RELATUM_DATA_DIR", &self.data_dir).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// How long `relatum status --relations` takes.
    fn status(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let status = Command::new(&self.program)
            .args(["status", "--relations"])
            .env("RELATUM_DATA_DIR", &self.data_dir)
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "status failed: {status}");
        Ok(begun.elapsed())
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
        Ok(answer)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        crate::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An exporter on a port of its own; the receiver gets the moment of the first request.
fn exporter() -> anyhow::Result<(String, mpsc::Receiver<Instant>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = sender.send(Instant::now());
            let _ = answer(stream);
        }
    });
    Ok((address, receiver))
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let body = "# TYPE bench_value gauge\nbench_value 1\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n{body}", body.len())
}

pub(super) fn wait(what: &str, condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    wait_for(PATIENCE, what, condition)
}

/// Waits at most for `patience`.
pub(super) fn wait_for(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !condition() {
        ensure!(start.elapsed() < patience, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// The smallest value that at least `percent` of all are not above.
pub(super) fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

/// A folder that goes when the run ends.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let path = std::env::temp_dir().join(format!("relatum-bench-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
