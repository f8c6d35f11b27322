//! Asks the queries that dashboards and rules ask of a store like a real one, and prints how long each takes;
//! `cargo xtask bench promql` runs it and compares.
//!
//! `queries local TARGETS` fills a store in this process; `queries http TARGETS NAME=URL…` fills servers by remote write and asks
//! them in turn. Each line is `name server p50-ms best-ms cpu-ms elements`; the best of all runs, and the time of processors that
//! this process takes for one, tell more than the median where other work shares the machine.

mod questions;
#[path = "../../../crates/tsdb/examples/workload/series.rs"]
mod series;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use relatum_model::remote_write::Encoder;
use relatum_model::storage::{Append, Scope, SeriesRef};
use relatum_model::{Labels, Sample};
use relatum_promql::{Engine, EngineOptions, QueryOptions, Value};
use relatum_tests::http;
use relatum_tsdb::{Options, Store};

use questions::{QUESTIONS, Question};

/// How long the main set is, at a sample every 15 seconds; a week of a sample a minute lies before it.
const MAIN_SECONDS: i64 = 7200;
const MAIN_STEP: i64 = 15;
const WEEK_SECONDS: i64 = 7 * 86_400;
const WEEK_STEP: i64 = 60;
/// How many targets have a week, of which only the processor's series are kept.
const WEEK_TARGETS: usize = 2;

/// A question is asked until both are reached; the time may be set by the variable `QUERIES_MS`, for a profiler.
const RUNS_MIN: usize = 5;
const TIME_MIN: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["local", targets, ref only @ ..] => targets.parse().map_err(Into::into).and_then(|n| local(n, only)),
        ["http", targets, ref servers @ ..] => targets.parse().map_err(Into::into).and_then(|n| remote(n, servers)),
        _ => {
            eprintln!("usage: queries local TARGETS [QUERY…] | queries http TARGETS NAME=URL…");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Hands out the samples of all series, tick by tick: the week, then the main set, which ends at `end_s`.
fn fill(
    targets: usize,
    end_s: i64,
    mut on: impl FnMut(&mut [(Labels, SeriesRef)], &[f64], i64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let main_start = end_s - MAIN_SECONDS;
    let week = (0..WEEK_TARGETS).map(|number| {
        let mut sources = series::target(number);
        sources.retain(|source| source.labels.metric_name() == Some("node_cpu_seconds_total"));
        for source in &mut sources {
            let job = format!("{}-long", source.labels.value("job"));
            source.labels = source.labels.to_builder().set("job", &job).build();
        }
        sources
    });
    let sets: [(Vec<Vec<series::Source>>, i64, i64, i64); 2] = [
        (week.collect(), main_start - WEEK_SECONDS, main_start, WEEK_STEP),
        ((0..targets).map(series::target).collect(), main_start, end_s, MAIN_STEP),
    ];
    for (mut set, from, to, step) in sets {
        let mut labels: Vec<Vec<(Labels, SeriesRef)>> = set
            .iter()
            .map(|target| target.iter().map(|source| (source.labels.clone(), SeriesRef::NONE)).collect())
            .collect();
        let mut values = Vec::new();
        let mut at = from + step;
        while at <= to {
            for (target, labels) in set.iter_mut().zip(&mut labels) {
                values.clear();
                values.extend(target.iter_mut().map(|source| source.step(step as f64)));
                on(labels, &values, at * 1000)?;
            }
            at += step;
        }
    }
    Ok(())
}

fn end_s() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64;
    Ok(now / MAIN_STEP * MAIN_STEP)
}

fn local(targets: usize, only: &[&str]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { retention: Duration::ZERO, maintenance_interval: None, ..Options::default() };
    let store = Store::open(dir.path(), options)?;
    let end_s = end_s()?;
    let mut ticks = 0;
    fill(targets, end_s, |labels, values, t_ms| {
        let mut appender = store.appender();
        for ((labels, reference), value) in labels.iter_mut().zip(values) {
            *reference = appender.append(*reference, labels, t_ms, *value)?;
        }
        appender.commit()?;
        ticks += 1;
        if ticks % 2000 == 0 {
            store.maintain()?;
        }
        Ok(())
    })?;
    store.maintain()?;
    let engine = Engine::new(EngineOptions { samples_max: usize::MAX, ..EngineOptions::default() });
    for question in QUESTIONS.iter().filter(|question| only.is_empty() || only.contains(&question.name)) {
        let mut elements = 0;
        let Times { median, best, cpu } = times(|| {
            elements = ask_engine(&engine, &store, question, end_s)?;
            Ok(())
        })?;
        println!("{} in-process {median:.3} {best:.3} {cpu:.3} {elements}", question.name);
    }
    Ok(())
}

fn ask_engine(engine: &Engine, store: &Store, question: &Question, end_s: i64) -> anyhow::Result<usize> {
    let (scope, options, end_ms) = (Scope::all(), QueryOptions::default(), end_s * 1000);
    let answer = if question.range_s == 0 {
        engine.instant(store, &scope, question.expr, end_ms, &options)?
    } else {
        let start_ms = end_ms - question.range_s * 1000;
        engine.range(store, &scope, question.expr, start_ms, end_ms, question.step_s * 1000, &options)?
    };
    Ok(match answer.value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
        _ => 1,
    })
}

/// What one question takes, in milliseconds.
struct Times {
    median: f64,
    best: f64,
    // Of all threads of this process, on average.
    cpu: f64,
}

/// How long this process had processors so far, in milliseconds: user and system, in ticks of ten milliseconds.
fn cpu_ms() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().context("a name between parentheses")?.split_whitespace();
    let ticks: Result<Vec<f64>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() * 10.0)
}

fn times(mut ask: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Times> {
    // The first one warms what can be warmed.
    ask()?;
    let wanted = std::env::var("QUERIES_MS").ok().and_then(|millis| millis.parse().ok());
    let wanted = wanted.map_or(TIME_MIN, Duration::from_millis);
    let begun = Instant::now();
    let cpu_before = cpu_ms()?;
    let mut times = Vec::new();
    while times.len() < RUNS_MIN || begun.elapsed() < wanted {
        let start = Instant::now();
        ask()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu = (cpu_ms()? - cpu_before) / times.len() as f64;
    times.sort_unstable_by(f64::total_cmp);
    Ok(Times { median: times[times.len() / 2], best: times[0], cpu })
}

fn remote(targets: usize, servers: &[&str]) -> anyhow::Result<()> {
    let named = |server: &&str| server.split_once('=').map(|(name, url)| (name.to_owned(), url.to_owned()));
    let servers: Vec<(String, String)> =
        servers.iter().map(|server| named(server).context("NAME=URL")).collect::<anyhow::Result<_>>()?;
    let end_s = end_s()?;
    fill(targets, end_s, |labels, values, t_ms| {
        let mut encoder = Encoder::new();
        for ((labels, _), value) in labels.iter().zip(values) {
            encoder.push(labels, &[Sample { t_ms, value: *value }]);
        }
        let body = snap::raw::Encoder::new().compress_vec(&encoder.finish())?;
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        for (name, url) in &servers {
            let answer = http::post(&format!("{url}/api/v1/write"), &headers, body.clone())?;
            ensure!(answer.status / 100 == 2, "{name} refuses a write: {} {}", answer.status, answer.body);
        }
        Ok(())
    })?;
    for (_, url) in &servers {
        // Makes what was written visible at once where that is not so anyway.
        let _ = http::get(&format!("{url}/internal/force_flush"));
    }
    for question in QUESTIONS {
        for (name, url) in &servers {
            let mut elements = 0;
            let Times { median, best, cpu } = times(|| {
                let (path, time) = if question.range_s == 0 {
                    ("query", vec![("time", end_s.to_string())])
                } else {
                    let start = end_s - question.range_s;
                    let step = question.step_s.to_string();
                    let range = vec![("start", start.to_string()), ("end", end_s.to_string()), ("step", step)];
                    ("query_range", range)
                };
                let mut parameters = vec![("query", question.expr), ("nocache", "1")];
                parameters.extend(time.iter().map(|(name, value)| (*name, value.as_str())));
                let data = http::api(url, path, &parameters)?;
                elements = data["result"].as_array().map_or(0, Vec::len);
                Ok(())
            })?;
            println!("{} {name} {median:.3} {best:.3} {cpu:.3} {elements}", question.name);
        }
    }
    Ok(())
}
