//! Writes to servers over HTTP and asks them, one after the other and both at once; `cargo xtask bench http` runs it and compares.
//!
//! `traffic TARGETS NAME=PID=URL…`; each line is `row name value`. What the server's processors did is read from `/proc`.

mod connection;
#[path = "../../../crates/tsdb/examples/workload/series.rs"]
mod series;

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use relatum_model::Sample;
use relatum_model::remote_write::Encoder;

use connection::Connection;

/// How many ticks are written, at a sample of every series every 15 seconds.
const TICKS: i64 = 60;
const STEP_S: i64 = 15;
/// As many samples as Prometheus sends in one request.
const SAMPLES_PER_REQUEST: usize = 2000;
/// How long each kind of request is repeated.
const ASKING: Duration = Duration::from_secs(2);
/// Connections that say nothing, and connections that ask all the time.
const IDLE: usize = 1000;
const BUSY: usize = 200;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((targets, servers)) if !servers.is_empty() => {
            targets.parse().map_err(Into::into).and_then(|targets| servers.iter().try_for_each(|s| all(targets, s)))
        }
        _ => Err(anyhow::anyhow!("usage: traffic TARGETS NAME=PID=URL…")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything about one server.
fn all(targets: usize, server: &str) -> anyhow::Result<()> {
    let [name, pid, url] = server.splitn(3, '=').collect::<Vec<_>>()[..] else {
        anyhow::bail!("{server} is not NAME=PID=URL")
    };
    let authority = url.trim_start_matches("http://");
    let pid: u32 = pid.parse()?;
    let put = |row: &str, value: f64| println!("{row} {name} {value}");
    let end_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64 - 1;
    let end_s = end_s - end_s % STEP_S;

    let bodies = bodies(0..targets, end_s);
    let n_samples: usize = bodies.iter().map(|(_, n)| n).sum();
    let cpu = cpu_seconds(pid)?;
    let mut took = Vec::with_capacity(bodies.len());
    let mut writing = Connection::open(authority)?;
    let begun = Instant::now();
    for (body, _) in &bodies {
        took.push(write(&mut writing, body)?);
    }
    put("write-samples-per-s", n_samples as f64 / begun.elapsed().as_secs_f64());
    put("write-cpu-s-per-million", (cpu_seconds(pid)? - cpu) / (n_samples as f64 / 1e6));
    put("write-ack-p50-ms", quantile(&mut took, 0.5));
    put("write-ack-p99-ms", quantile(&mut took, 0.99));

    let start_s = end_s - TICKS * STEP_S;
    let one = r#"node_cpu_seconds_total{cpu="0",mode="idle",instance="10.20.0.1:9100"}"#;
    let all_idle = r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#;
    let questions = [
        ("single-series", format!("/api/v1/query?query={}&time={end_s}", encoded(one))),
        ("single-range", format!("/api/v1/query_range?query={}&start={start_s}&end={end_s}&step=15", encoded(one))),
        ("label-values", "/api/v1/label/instance/values".to_owned()),
        ("label-values-matched", format!("/api/v1/label/job/values?match[]={}", encoded(all_idle))),
        ("series", format!("/api/v1/series?match[]={}", encoded(one))),
        ("labels", "/api/v1/labels".to_owned()),
    ];
    let mut asking = Connection::open(authority)?;
    for (row, target) in &questions {
        let mut took = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < ASKING || took.len() < 5 {
            took.push(get(&mut asking, target)?.0);
        }
        put(&format!("{row}-p50-ms"), quantile(&mut took, 0.5));
    }

    // All samples of a fifth of the series, as one large answer.
    let window = format!("node_cpu_seconds_total[{}s]", TICKS * STEP_S);
    let target = format!("/api/v1/query?query={}&time={end_s}", encoded(&window));
    let (mut best, mut all_mb) = (0f64, 0f64);
    let cpu = cpu_seconds(pid)?;
    for _ in 0..5 {
        let (ms, bytes) = get(&mut asking, &target)?;
        let mb = bytes as f64 / 1e6;
        (best, all_mb) = (best.max(mb / (ms / 1000.0)), all_mb + mb);
    }
    put("large-answer-mb-per-s", best);
    // Finding, decoding, encoding and sending together.
    put("large-answer-mb-per-cpu-s", all_mb / (cpu_seconds(pid)? - cpu));

    mixed(targets, authority, end_s, &questions[0].1, put)?;
    connections(authority, pid, put)
}

/// Queries while samples come in.
fn mixed(targets: usize, authority: &str, end_s: i64, target: &str, put: impl Fn(&str, f64)) -> anyhow::Result<()> {
    // Of targets that are new to the server.
    let bodies = bodies(targets..targets + 10, end_s);
    let (mut took, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> anyhow::Result<Vec<f64>> {
            let mut writing = Connection::open(authority)?;
            let begun = Instant::now();
            let mut took = Vec::new();
            for (body, _) in bodies.iter().take_while(|_| begun.elapsed() < ASKING) {
                took.push(write(&mut writing, body)?);
            }
            Ok(took)
        });
        let mut asking = Connection::open(authority)?;
        let mut took = Vec::new();
        while !writer.is_finished() || took.len() < 5 {
            took.push(get(&mut asking, target)?.0);
        }
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok::<_, anyhow::Error>((took, written))
    })?;
    let mut written = written;
    put("mixed-query-p50-ms", quantile(&mut took, 0.5));
    put("mixed-ack-p99-ms", quantile(&mut written, 0.99));
    Ok(())
}

/// What the server takes for many connections, and whether it takes more the longer they are there.
fn connections(authority: &str, pid: u32, put: impl Fn(&str, f64)) -> anyhow::Result<()> {
    let before = resident_bytes(pid)?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        match Connection::open(authority) {
            // A server may have a bound of its own, which Prometheus has at 512.
            Ok(connection) => idle.push(connection),
            Err(_) => break,
        }
    }
    let ask_all = || -> anyhow::Result<usize> {
        let asked = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| -> anyhow::Result<usize> {
                        let open = (0..BUSY / 8).map(|_| Connection::open(authority));
                        let mut busy = open.collect::<anyhow::Result<Vec<_>>>()?;
                        let (begun, mut n) = (Instant::now(), 0);
                        while begun.elapsed() < ASKING {
                            for connection in &mut busy {
                                get(connection, "/api/v1/query?query=1")?;
                                n += 1;
                            }
                        }
                        Ok(n)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        let mut n = 0;
        for outcome in asked {
            n += outcome.map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(n)
    };
    ask_all()?;
    let early = resident_bytes(pid)?;
    let n = ask_all()?;
    let late = resident_bytes(pid)?;
    put("connections-open", idle.len() as f64);
    put("busy-requests-per-s", n as f64 / ASKING.as_secs_f64());
    put("connections-mib", early.saturating_sub(before) as f64 / (1 << 20) as f64);
    put("connections-growth-mib", late.saturating_sub(early) as f64 / (1 << 20) as f64);
    Ok(())
}

/// Compressed requests of `targets`, each with how many samples it has, that end at `end_s`.
fn bodies(targets: Range<usize>, end_s: i64) -> Vec<(Vec<u8>, usize)> {
    let mut sources: Vec<Vec<series::Source>> = targets.map(series::target).collect();
    let mut bodies = Vec::new();
    for tick in 0..TICKS {
        let t_ms = (end_s - (TICKS - 1 - tick) * STEP_S) * 1000;
        let (mut encoder, mut n) = (Encoder::new(), 0);
        for source in sources.iter_mut().flatten() {
            let value = source.step(STEP_S as f64);
            encoder.push(&source.labels, &[Sample { t_ms, value }]);
            n += 1;
            if n == SAMPLES_PER_REQUEST {
                bodies.push((compressed(std::mem::take(&mut encoder)), n));
                n = 0;
            }
        }
        if n > 0 {
            bodies.push((compressed(encoder), n));
        }
    }
    bodies
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn compressed(encoder: Encoder) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&encoder.finish()).expect("some kilobytes can be compressed")
}

fn write(connection: &mut Connection, body: &[u8]) -> anyhow::Result<f64> {
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    let begun = Instant::now();
    let (status, answer) = connection.ask("POST", "/api/v1/write", headers, body)?;
    ensure!((200..300).contains(&status), "{status} {}", String::from_utf8_lossy(&answer));
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

/// How long it took, and how many bytes came.
fn get(connection: &mut Connection, target: &str) -> anyhow::Result<(f64, usize)> {
    let begun = Instant::now();
    let (status, answer) = connection.ask("GET", target, "", &[])?;
    ensure!(status == 200, "{target}: {status} {}", String::from_utf8_lossy(&answer));
    Ok((begun.elapsed().as_secs_f64() * 1000.0, answer.len()))
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

/// User and system time of a process, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').context("no name")?.1;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split_whitespace().nth(1).context("no resident size")?.parse()?;
    Ok(pages * 4096)
}
