//! Drives a store as scrapes would, and prints what that costs; `cargo xtask bench tsdb` runs it and compares.
//!
//! `workload ingest DIR TARGETS SECONDS INTERVAL DURABILITY` fills the store in DIR, cutting and merging blocks as they become
//! due, prints a line `name value` for each measurement, then `done`, and waits for the end of its input, so that it can be
//! killed. `workload together …` does so with four threads and without maintenance. `workload open DIR` opens the store.
//! `workload exporter DIR ADDRESS SECONDS INTERVAL` fills it with what an exporter shows, asked four times a second.

mod exporter;
mod series;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relatum_model::Matcher;
use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};
use relatum_tsdb::{Clock, Durability, Options, Store};

/// The beginning of a span of two hours.
const START_MS: i64 = 1_699_999_200_000 / 7_200_000 * 7_200_000;

/// How many threads commit at once, as many as the peers were given connections.
const WRITERS: usize = 4;

#[derive(Debug)]
struct FarClock;

impl Clock for FarClock {
    fn now_ms(&self) -> i64 {
        START_MS + 365 * 86_400_000
    }
}

fn options(durability: Durability) -> Options {
    Options {
        durability,
        retention: Duration::ZERO,
        maintenance_interval: None,
        clock: Arc::new(FarClock),
        ..Options::default()
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [what @ ("ingest" | "together"), dir, targets, seconds, interval, durability] => {
            let numbers = (targets.parse(), seconds.parse(), interval.parse());
            let (Ok(targets), Ok(seconds), Ok(interval)) = numbers else { return usage() };
            let durability = if durability == "fsync" { Durability::Fsync } else { Durability::Process };
            let run = if what == "ingest" { ingest } else { together };
            run(Path::new(dir), targets, seconds, interval, durability);
        }
        ["open", dir] => open(Path::new(dir)),
        ["exporter", dir, address, seconds, interval] => {
            let (Ok(seconds), Ok(interval)) = (seconds.parse(), interval.parse()) else { return usage() };
            exported(Path::new(dir), address, seconds, interval);
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: workload ingest|together DIR TARGETS SECONDS INTERVAL process|fsync | workload open DIR | \
         workload exporter DIR ADDRESS SECONDS INTERVAL"
    );
    ExitCode::from(2)
}

fn print(name: &str, value: f64) {
    println!("{name} {value}");
}

fn ingest(dir: &Path, targets: usize, seconds: i64, interval: i64, durability: Durability) {
    let mut targets: Vec<Vec<series::Source>> = (0..targets).map(series::target).collect();
    let n_series = targets.len() * series::SERIES_PER_TARGET;
    let memory_before = memory_bytes();
    let store = Store::open(dir, options(durability)).expect("the store opens");
    let mut references = vec![SeriesRef::NONE; n_series];
    let mut values = vec![0.0; series::SERIES_PER_TARGET];
    let mut waits = Vec::new();
    let (mut samples, mut generating, mut maintaining, mut memory) = (0u64, 0.0, 0.0, 0.0);
    let (mut wal_bytes, mut wal_written) = (0, 0);
    let cpu_before = process_cpu();
    for tick in 0..seconds / interval {
        for (number, target) in targets.iter_mut().enumerate() {
            let from = thread_cpu();
            for (value, source) in values.iter_mut().zip(target.iter_mut()) {
                *value = source.step(interval as f64);
            }
            generating += thread_cpu() - from;
            let references = &mut references[number * series::SERIES_PER_TARGET..];
            waits.push(scrape(&store, target, &values, references, moment(tick, number as i64, interval)));
            samples += series::SERIES_PER_TARGET as u64;
        }
        // Once a minute, as the background thread would.
        if tick * interval % 60 == 0 {
            wal_written += store.stats().wal_bytes.saturating_sub(wal_bytes);
            let from = process_cpu();
            store.maintain().expect("the store is maintained");
            maintaining += process_cpu() - from;
            wal_bytes = store.stats().wal_bytes;
            memory = f64::max(memory, memory_bytes() - memory_before);
        }
    }
    let append_cpu = process_cpu() - cpu_before - generating - maintaining;
    let millions = samples as f64 / 1e6;
    waits.sort_unstable();
    print("samples", samples as f64);
    print("append_cpu_per_million", append_cpu / millions);
    print("maintain_cpu_per_million", maintaining / millions);
    print("commit_p99_ms", waits[waits.len() * 99 / 100].as_secs_f64() * 1e3);
    wal_written += store.stats().wal_bytes.saturating_sub(wal_bytes);
    print("wal_bytes_per_sample", wal_written as f64 / samples as f64);
    print("memory_per_series", f64::max(memory, memory_bytes() - memory_before) / n_series as f64);
    print("queries_ms", query(&store));
    let stats = store.stats();
    print("block_bytes_per_sample", stats.block_bytes as f64 / stats.block_samples as f64);
    print("index_bytes_per_series", stats.block_index_bytes as f64 / stats.blocks.max(1) as f64 / n_series as f64);
    println!("done");
    let _ = std::io::stdin().read(&mut [0]);
}

/// When a target is scraped: each at its own moment, a few milliseconds off now and then.
fn moment(tick: i64, target: i64, interval: i64) -> i64 {
    let jitter = (tick * 7919 + target * 31) % 13 - 6;
    START_MS + tick * interval * 1000 + target * 37 % (interval * 1000 - 20) + 7 + jitter
}

/// Commits one sample of each series; returns how long that took.
fn scrape(
    store: &Store,
    target: &[series::Source],
    values: &[f64],
    references: &mut [SeriesRef],
    t_ms: i64,
) -> Duration {
    let started = Instant::now();
    let mut appender = store.appender();
    for ((source, value), reference) in target.iter().zip(values).zip(references) {
        *reference = appender.append(*reference, &source.labels, t_ms, *value).expect("samples are in order");
    }
    appender.commit().expect("the batch is written");
    started.elapsed()
}

/// The same by several threads at once, as scrapes and senders come, without maintenance.
fn together(dir: &Path, targets: usize, seconds: i64, interval: i64, durability: Durability) {
    let mut targets: Vec<(i64, Vec<series::Source>)> = (0..targets).map(|n| (n as i64, series::target(n))).collect();
    let store = Store::open(dir, options(durability)).expect("the store opens");
    let share = targets.len().div_ceil(WRITERS);
    let write = |targets: &mut [(i64, Vec<series::Source>)]| {
        let mut references = vec![SeriesRef::NONE; targets.len() * series::SERIES_PER_TARGET];
        let mut values = vec![0.0; series::SERIES_PER_TARGET];
        let (mut waits, mut cpu) = (Vec::new(), 0.0);
        for tick in 0..seconds / interval {
            for ((number, target), references) in
                targets.iter_mut().zip(references.chunks_mut(series::SERIES_PER_TARGET))
            {
                for (value, source) in values.iter_mut().zip(target.iter_mut()) {
                    *value = source.step(interval as f64);
                }
                let from = thread_cpu();
                waits.push(scrape(&store, target, &values, references, moment(tick, *number, interval)));
                cpu += thread_cpu() - from;
            }
        }
        (waits, cpu)
    };
    let (mut waits, mut cpu) = (Vec::new(), 0.0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = targets.chunks_mut(share).map(|targets| scope.spawn(|| write(targets))).collect();
        for writer in writers {
            let (of_writer, cpu_of_writer) = writer.join().expect("a writer ends");
            waits.extend(of_writer);
            cpu += cpu_of_writer;
        }
    });
    waits.sort_unstable();
    print("append_cpu_per_million", cpu / (waits.len() * series::SERIES_PER_TARGET) as f64 * 1e6);
    print("commit_p99_ms", waits[waits.len() * 99 / 100].as_secs_f64() * 1e3);
    print("commits_per_sync", waits.len() as f64 / store.stats().wal_syncs.max(1) as f64);
    println!("done");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Fills a store with what the exporter at `address` shows. It is asked more often than the samples' times say, so its counters grow
/// less in between; what they count goes on all the same.
fn exported(dir: &Path, address: &str, seconds: i64, interval: i64) {
    const ASKED_EVERY: Duration = Duration::from_millis(250);
    let store = Store::open(dir, options(Durability::Process)).expect("the store opens");
    for tick in 0..seconds / interval {
        let asked = Instant::now();
        let mut appender = store.appender();
        for (labels, value) in exporter::scrape(address) {
            let appended = appender.append(SeriesRef::NONE, &labels, moment(tick, 0, interval), value);
            appended.expect("samples are in order");
        }
        appender.commit().expect("the batch is written");
        store.maintain().expect("the store is maintained");
        std::thread::sleep(ASKED_EVERY.saturating_sub(asked.elapsed()));
    }
    let stats = store.stats();
    print("exporter_bytes_per_sample", stats.block_bytes as f64 / stats.block_samples as f64);
}

/// How long it takes to read all samples of one metric that every target has 192 times.
fn query(store: &Store) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let reader = store.open(&Scope::all(), TimeRange::ALL).expect("a view opens");
        let matcher = [Matcher::equal("__name__", "node_cpu_seconds_total")];
        let set = reader.series(&matcher, &Hints::default(), &Cancel::new()).expect("a selection starts");
        let samples: usize = set.map(|series| series.expect("a series is read").samples.len()).sum();
        assert!(samples > 0);
        best = f64::min(best, started.elapsed().as_secs_f64() * 1e3);
    }
    best
}

fn open(dir: &Path) {
    let started = Instant::now();
    let store = Store::open(dir, options(Durability::Process)).expect("the store opens");
    print("open_s", started.elapsed().as_secs_f64());
    print("open_cpu_s", all_cpu());
    let stats = store.stats();
    print("samples", (stats.samples + stats.block_samples) as f64);
    print("memory_mib", memory_bytes() / f64::from(1 << 20));
}

/// Seconds of both cores that all threads took.
fn process_cpu() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("/proc is there");
    let cpu = |thread: std::fs::DirEntry| schedstat(&thread.path().join("schedstat"));
    threads.filter_map(Result::ok).filter_map(cpu).sum()
}

/// Seconds that this process took, threads that ended included, to a hundredth.
fn all_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("/proc is there");
    // Behind the name of the program, which may hold anything.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Seconds that this thread took.
fn thread_cpu() -> f64 {
    thread_local! {
        // To open it each time would take a twentieth of what is measured.
        static OWN: File = File::open("/proc/thread-self/schedstat").expect("/proc is there");
    }
    let mut text = [0; 64];
    let n = OWN.with(|own| own.read_at(&mut text, 0)).expect("/proc is there");
    std::str::from_utf8(&text[..n]).ok().and_then(seconds).expect("a number")
}

fn schedstat(path: &Path) -> Option<f64> {
    seconds(&std::fs::read_to_string(path).ok()?)
}

fn seconds(schedstat: &str) -> Option<f64> {
    Some(schedstat.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Bytes of memory that belong to this process alone, maps of files left out.
fn memory_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}
