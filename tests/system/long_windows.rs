//! Functions over long windows, of which a store shows few samples: the answers are, to the bit, those of an engine that sees all.

use std::time::Duration;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_model::Labels;
use relatum_model::storage::{Append, Scope, Select, SeriesRef};
use relatum_promql::memory::Memory;
use relatum_promql::{Engine, EngineOptions, Probe, QueryOptions, Value};
use relatum_tsdb::{Options, Store};

const START_MS: i64 = 1_700_000_000_000;
const SAMPLES: usize = 4000;
const LENGTH_MS: i64 = SAMPLES as i64 * 60_000;
const QUERIES: usize = 250;

const OF_RANGES: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "resets",
    "max_over_time",
    "min_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    // These look at all.
    "count_over_time",
    "sum_over_time",
    "changes",
    "irate",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("long_windows_on_a_store", &[], false, || (1..=2).try_for_each(long_windows))]
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % n.max(1)
    }
}

/// The next value of a series of some kind after `value`.
fn next(kind: usize, value: f64, dice: &mut Dice) -> f64 {
    match kind {
        // Counters of little and of much, which begin anew seldom, often or never.
        0 => value + dice.below(500) as f64 / 100.0,
        1 if dice.below(900) == 0 => 0.0,
        1 => value + dice.below(3) as f64,
        2 if dice.below(20) == 0 => dice.below(10) as f64,
        2 => value + dice.below(1 << 40) as f64,
        3 => value + 1.0 / (1 + dice.below(1000)) as f64,
        // Gauges.
        4 if dice.below(400) == 0 => f64::NAN,
        4 => dice.below(2000) as f64 / 10.0 - 100.0,
        5 => 7.25,
        6 => [0.0, -0.0, -1.0, 0.0][dice.below(4) as usize],
        // What is not always a number, or not always there.
        7 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][(dice.below(500) as usize).min(2)].max(value + 1.0),
        8 if dice.below(300) == 0 => relatum_model::stale_nan(),
        8 if value.is_nan() => 5.0,
        8 => value + 1.0,
        _ => -value,
    }
}

/// The same samples in a store, most of them in blocks, and in memory.
fn fill(dice: &mut Dice, dir: &std::path::Path) -> anyhow::Result<(Store, Memory)> {
    let options = Options {
        retention: Duration::ZERO,
        block_range: Duration::from_secs(86_400),
        sync_interval: None,
        maintenance_interval: None,
        ..Options::default()
    };
    let store = Store::open(dir, options)?;
    let mut memory = Memory::new();
    let mut series: Vec<(Labels, usize, f64)> = (0..20)
        .map(|n| (Labels::from_pairs([("__name__", "m_total"), ("n", &format!("{n:02}"))]), n % 10, 0.0))
        .collect();
    let mut t_ms = START_MS;
    for n in 0..SAMPLES {
        t_ms += 60_000;
        let mut appender = store.appender();
        for (at, (labels, kind, value)) in series.iter_mut().enumerate() {
            *value = next(*kind, *value, dice);
            // Some are scraped at times of their own, and miss some.
            let own_ms = if at % 3 == 0 { dice.below(2000) as i64 } else { 0 };
            if dice.below(if at % 4 == 0 { 10 } else { 5000 }) == 0 {
                continue;
            }
            appender.append(SeriesRef::NONE, labels, t_ms + own_ms, *value)?;
            memory.add(labels, t_ms + own_ms, *value);
        }
        appender.commit()?;
        if n % 900 == 899 && n < SAMPLES - 300 {
            store.cut()?;
        }
        if n % 2000 == 1999 {
            store.compact()?;
        }
    }
    Ok((store, memory))
}

fn query(dice: &mut Dice) -> String {
    let modifier = match dice.below(6) {
        0 => format!(" offset {}m", dice.below(300)),
        1 => format!(" @ {}", (START_MS + dice.below(LENGTH_MS as u64) as i64) / 1000),
        _ => String::new(),
    };
    let inner = match dice.below(8) {
        0 => format!("m_total{modifier}"),
        _ => {
            let function = OF_RANGES[dice.below(OF_RANGES.len() as u64) as usize];
            format!("{function}(m_total[{}m]{modifier})", 1 + dice.below(900))
        }
    };
    match dice.below(3) {
        0 => format!("max by (n) ({inner})"),
        _ => inner,
    }
}

/// What can be compared to the bit.
fn bits(value: Value) -> Vec<(String, Vec<(i64, u64)>)> {
    let Value::Matrix(series) = value else { return Vec::new() };
    let of = |samples: &relatum_model::Samples| {
        samples.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect::<Vec<_>>()
    };
    series.iter().map(|series| (series.labels.to_string(), of(&series.samples))).collect()
}

fn long_windows(seed: u64) -> anyhow::Result<()> {
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir()?;
    let (store, memory) = fill(&mut dice, dir.path())?;
    let engine = Engine::new(EngineOptions::default());
    let (mut read, mut in_all) = (0, 0);
    for _ in 0..QUERIES {
        let expr = query(&mut dice);
        let start_ms = START_MS + dice.below(LENGTH_MS as u64) as i64;
        let end_ms = start_ms + dice.below((START_MS + LENGTH_MS - start_ms) as u64) as i64;
        let step_max = if dice.below(2) == 0 { 600_000 } else { 20_000_000 };
        let step_ms = 1 + dice.below(step_max) as i64 + (end_ms - start_ms) / 9000;
        let ask = |source: &dyn Select| {
            let probe = Probe::new();
            let options = QueryOptions { probe: Some(probe.clone()), ..QueryOptions::default() };
            let answer = engine.range(source, &Scope::all(), &expr, start_ms, end_ms, step_ms, &options)?;
            anyhow::Ok((bits(answer.value), answer.warnings, answer.infos, probe.stats()))
        };
        let (of_store, of_memory) = (ask(&store)?, ask(&memory)?);
        let context = || format!("seed {seed}: {expr} from {start_ms} to {end_ms} by {step_ms}");
        ensure!(of_store.0 == of_memory.0, "{}: {:?} is not {:?}", context(), of_store.0, of_memory.0);
        ensure!((of_store.1, of_store.2) == (of_memory.1, of_memory.2), "{}", context());
        let looked_at = (of_store.3.samples_looked_at, of_memory.3.samples_looked_at);
        ensure!(looked_at.0 == looked_at.1, "{}: {looked_at:?} samples are looked at", context());
        (read, in_all) = (read + of_store.3.samples_read, in_all + of_memory.3.samples_read);
    }
    ensure!(read < in_all / 5 * 4, "of {in_all} samples {read} are read");
    Ok(())
}
