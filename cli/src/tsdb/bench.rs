//! `relatum tsdb bench`: what a store costs on this machine and this disk.
//!
//! It writes samples as scrapes do, cuts them into blocks, opens the store again and asks for some of them. The values are alike
//! in every run, so that two disks, or two versions, can be compared.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};
use relatum_model::time::parse_duration;
use relatum_model::{Labels, Matcher};
use relatum_tsdb::{Clock, Durability, Options, Store, SystemClock};
use serde_json::{Map, Value, json};

use super::chain;
use crate::Global;
use crate::failure::CommandFailure;
use crate::table::Table;

/// How many series a target shows.
const SERIES_PER_TARGET: usize = 1000;
/// How often each query is asked.
const QUERIES: usize = 3;
/// How many series share a metric's name.
const SERIES_PER_METRIC: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to write, on the disk in question; it must not be there, or be empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How many series
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: u32,
    /// How many samples of each
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    scrapes: u32,
    /// The time between two samples of a series
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = interval)]
    interval: Duration,
    /// When a scrape is acknowledged: `process` or `fsync`
    #[arg(long, default_value = "process")]
    durability: Durability,
    /// Leave the store there
    #[arg(long)]
    keep: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it is nothing".to_owned()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}

/// What was measured: how it is called in JSON, what it is, and how much.
struct Measured(&'static str, &'static str, f64);

/// Writes and reads; prints what that took.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let dir = &args.dir;
    let was_there = dir.exists();
    if was_there && fs::read_dir(dir).map_err(|error| super::unreadable(dir, &error))?.next().is_some() {
        return Err(CommandFailure::failed(format!("cannot write into {}: it is not empty", dir.display()))
            .hint("name a folder that is not there yet"));
    }
    let measured = measure(args);
    let cleared = if args.keep { Ok(()) } else { clear(dir, was_there) };
    // First what was measured, or why nothing was: that the folder cannot be cleared is the lesser news.
    let measured = measured?;
    let data: Map<String, Value> =
        measured.iter().map(|Measured(name, _, value)| ((*name).to_owned(), json!(value))).collect();
    global.format.print(&data, |_| {
        let mut table = Table::new(&["What", ">Measured"]);
        for Measured(_, text, value) in &measured {
            table.row([(*text).to_owned(), readable(*value)]);
        }
        table.render()
    })?;
    cleared.map_err(|error| CommandFailure::failed(format!("cannot remove what is in {}: {error}", dir.display())))
}

/// Removes what is in `dir`, and `dir` itself unless it `was_there` before: then it may be a link or a mount point, and belongs to
/// somebody. That there is none is no error: it may be what could not be made.
fn clear(dir: &Path, was_there: bool) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
    }
    if was_there { Ok(()) } else { fs::remove_dir(dir) }
}

/// Three digits, and no fraction of what is large.
fn readable(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn measure(args: &Args) -> Result<Vec<Measured>, CommandFailure> {
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    let mut targets: Vec<Vec<Source>> = sources(args.series as usize);
    let memory_before = memory_bytes();
    let store = open(&args.dir, args.durability)?;
    let interval_ms = i64::try_from(args.interval.as_millis()).unwrap_or(i64::MAX);
    let first_ms = SystemClock.now_ms().saturating_sub(interval_ms.saturating_mul(i64::from(args.scrapes)));
    let (mut waits, mut appending, mut cutting) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    let (mut log_bytes, mut log_written, mut memory) = (0, 0, 0);
    for scrape in 0..i64::from(args.scrapes) {
        for (number, target) in targets.iter_mut().enumerate() {
            target.iter_mut().for_each(Source::step);
            let spread_ms = number as i64 * 37 % interval_ms;
            let t_ms = first_ms.saturating_add(scrape.saturating_mul(interval_ms)).saturating_add(spread_ms);
            let begun = Instant::now();
            let mut appender = store.appender();
            for source in target.iter_mut() {
                source.reference = appender
                    .append(source.reference, &source.labels, t_ms, source.value())
                    .map_err(|refused| CommandFailure::failed(format!("{refused}: {}", source.labels)))?;
            }
            appender.commit().map_err(|error| failed(&error))?;
            waits.push(begun.elapsed());
            appending += begun.elapsed();
        }
        // As often as a server would.
        if scrape.saturating_mul(interval_ms) % 60_000 < interval_ms {
            log_written += store.stats().wal_bytes.saturating_sub(log_bytes);
            let begun = Instant::now();
            store.maintain().map_err(|error| failed(&error))?;
            cutting += begun.elapsed();
            log_bytes = store.stats().wal_bytes;
            memory = memory.max(memory_bytes().saturating_sub(memory_before));
        }
    }
    memory = memory.max(memory_bytes().saturating_sub(memory_before));
    log_written += store.stats().wal_bytes.saturating_sub(log_bytes);
    let series = f64::from(args.series);
    let samples = series * f64::from(args.scrapes);
    waits.sort_unstable();
    let wait_ms = |part: usize| waits.get(waits.len() * part / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    store.close().map_err(|error| failed(&error))?;
    drop(store);
    let begun = Instant::now();
    let store = open(&args.dir, args.durability)?;
    let opening = begun.elapsed();
    let (one, name, all) = (["bench_metric_1", "1"], ["bench_metric_1", ""], ["", ""]);
    let queries = [one, name, all].map(|[name, number]| ask(&store, name, number));
    let begun = Instant::now();
    store.cut().and_then(|()| store.compact()).map_err(|error| failed(&error))?;
    cutting += begun.elapsed();
    let stats = store.stats();
    store.close().map_err(|error| failed(&error))?;
    let [of_one, of_name, of_all] = queries;
    Ok(vec![
        Measured("series", "series", series),
        Measured("samples", "samples", samples),
        Measured("samplesPerSecond", "appended, samples a second", samples / appending.as_secs_f64().max(1e-9)),
        Measured("commitP50Ms", "a scrape until it is acknowledged, p50 ms", wait_ms(50)),
        Measured("commitP99Ms", "a scrape until it is acknowledged, p99 ms", wait_ms(99)),
        Measured("logBytesPerSample", "log, bytes a sample", log_written as f64 / samples),
        Measured("memoryBytesPerSeries", "memory at its most, bytes a series", memory as f64 / series),
        Measured("blocksSeconds", "writing and merging blocks, s", cutting.as_secs_f64()),
        Measured("blockBytesPerSample", "blocks with index, bytes a sample", stats.block_bytes as f64 / samples),
        Measured("openSeconds", "opening it again, s", opening.as_secs_f64()),
        Measured("oneSeriesMs", "reading one series, ms", of_one?),
        Measured("oneMetricMs", "reading all series of one metric, ms", of_name?),
        Measured("allMs", "reading everything, ms", of_all?),
    ])
}

fn open(dir: &Path, durability: Durability) -> Result<Store, CommandFailure> {
    let options = Options { durability, retention: Duration::ZERO, maintenance_interval: None, ..Options::default() };
    Store::open(dir, options).map_err(|error| CommandFailure::failed(chain(&error)))
}

/// How long it takes at best to read all samples of the metric `name` and the series `number`; an empty text stands for all.
fn ask(store: &Store, name: &str, number: &str) -> Result<f64, CommandFailure> {
    let wanted = [("__name__", name), ("series", number)].into_iter().filter(|(_, value)| !value.is_empty());
    let matchers: Vec<Matcher> = wanted.map(|(name, value)| Matcher::equal(name, value)).collect();
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    let mut best_ms = f64::INFINITY;
    for _ in 0..QUERIES {
        let begun = Instant::now();
        let reader = Select::open(store, &Scope::all(), TimeRange::ALL).map_err(|error| failed(&error))?;
        let found = reader.series(&matchers, &Hints::default(), &Cancel::new()).map_err(|error| failed(&error))?;
        for series in found {
            series.map_err(|error| failed(&error))?;
        }
        best_ms = best_ms.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best_ms)
}

/// One series.
struct Source {
    labels: Labels,
    reference: SeriesRef,
    /// Which way it moves.
    number: usize,
    random: u64,
    at: f64,
}

impl Source {
    /// Goes on to the next sample.
    fn step(&mut self) {
        // A generator that is good enough for values and the same everywhere.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        self.at += match self.number % 5 {
            // Two of five stand still, as most do in the field.
            0 | 1 => 0.0,
            2 => (share * 2000.0).floor(),
            3 => share - 0.5,
            _ => share * 15.0,
        };
    }

    /// Whole numbers, hundredths and all digits.
    fn value(&self) -> f64 {
        if self.number % 5 == 3 { (self.at * 100.0).round() / 100.0 } else { self.at }
    }
}

/// All series, by target.
fn sources(series: usize) -> Vec<Vec<Source>> {
    let source = |number: usize| {
        let (target, of_target) = (number / SERIES_PER_TARGET, number % SERIES_PER_TARGET);
        let labels = Labels::from_pairs([
            ("__name__", format!("bench_metric_{}", of_target / SERIES_PER_METRIC)),
            ("instance", format!("10.{}.{}.{}:9100", target / 62_500, target / 250 % 250, target % 250 + 1)),
            ("job", "bench".to_owned()),
            ("series", (of_target % SERIES_PER_METRIC).to_string()),
        ]);
        Source { labels, reference: SeriesRef::NONE, number: of_target, random: number as u64, at: of_target as f64 }
    };
    let targets = (0..series).step_by(SERIES_PER_TARGET);
    targets.map(|from| (from..series.min(from + SERIES_PER_TARGET)).map(source).collect()).collect()
}

/// Memory that belongs to this process alone; 0 where the system does not tell.
fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use clap::Parser;

    use super::*;
    use crate::output::Format;

    #[derive(clap::Parser)]
    struct Bench {
        #[command(flatten)]
        global: Global,
        #[command(flatten)]
        args: Args,
    }

    fn bench(dir: &Path) -> Result<(), CommandFailure> {
        let dir = dir.to_str().unwrap();
        let Bench { global, args } = Bench::parse_from(["bench", dir, "--series", "1", "--scrapes", "2"]);
        run(&Global { format: Format::Json, ..global }, &args)
    }

    #[test]
    fn the_folder_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        bench(&at("new")).unwrap();
        assert!(!at("new").exists());

        fs::create_dir(at("old")).unwrap();
        fs::set_permissions(at("old"), fs::Permissions::from_mode(0o711)).unwrap();
        symlink(at("old"), at("link")).unwrap();
        let before = fs::metadata(at("old")).unwrap();
        for name in ["old", "link"] {
            bench(&at(name)).unwrap();
            let after = fs::metadata(at("old")).unwrap();
            assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "{name}");
            assert_eq!(fs::read_dir(at("old")).unwrap().count(), 0, "{name}");
        }
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    }

    #[test]
    fn why_nothing_was_measured_is_what_is_told() {
        let folder = tempfile::tempdir().unwrap();
        // A folder that nobody can make, not even root.
        fs::write(folder.path().join("file"), "").unwrap();
        let failure = bench(&folder.path().join("file/store")).unwrap_err();
        assert!(!format!("{failure:?}").contains("cannot remove"), "{failure:?}");
        assert!(clear(&folder.path().join("nowhere"), false).is_ok(), "there is nothing to remove");
    }
}
