//! The store against a model of a few lines, over any sequence of operations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use relatum_model::Sample;
use relatum_model::storage::{
    Append, Cancel, KnownSample, Position, Refused, Scope, Select, SeriesRef, Tail, TimeRange,
};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, FaultyFs};
use crate::support::{Content, NOW_MS, content, content_in, labels, options};

const WINDOW_MS: i64 = 50;

#[derive(Debug, Clone)]
enum Operation {
    Batch { samples: Vec<(u8, i64, u8)>, commit: bool },
    Checkpoint,
    Maintain,
    Cut,
    Compact,
    Reopen,
    Kill,
    Range(i64, i64),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let sample = (0..6u8, prop_oneof![4 => 0..300i64, 1 => 600_000..600_010i64], 0..4u8);
    let batch = (proptest::collection::vec(sample, 0..40), prop::bool::weighted(0.9));
    let operation = prop_oneof![
        12 => batch.prop_map(|(samples, commit)| Operation::Batch { samples, commit }),
        1 => Just(Operation::Checkpoint),
        1 => Just(Operation::Maintain),
        1 => Just(Operation::Cut),
        1 => Just(Operation::Compact),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Kill),
        2 => (0..300i64, 0..300i64).prop_map(|(a, b)| Operation::Range(a, b)),
    ];
    proptest::collection::vec(operation, 0..40)
}

/// All samples, and the rules for one more.
#[derive(Default)]
struct Model(BTreeMap<String, BTreeMap<i64, u64>>);

impl Model {
    fn judge(series: Option<&BTreeMap<i64, u64>>, t_ms: i64, bits: u64) -> Result<(), Refused> {
        let Some(series) = series else { return Ok(()) };
        let Some((&newest_ms, _)) = series.last_key_value() else { return Ok(()) };
        match series.get(&t_ms) {
            _ if t_ms < newest_ms - WINDOW_MS => Err(Refused::TooOld),
            Some(stored) if *stored == bits => Ok(()),
            Some(_) => Err(Refused::DuplicateTimestamp),
            None => Ok(()),
        }
    }

    fn content(&self, range: TimeRange) -> Content {
        let within = |samples: &BTreeMap<i64, u64>| -> Vec<(i64, u64)> {
            samples.iter().filter(|(t, _)| range.contains(**t)).map(|(t, bits)| (*t, *bits)).collect()
        };
        let all = self.0.iter().map(|(name, samples)| (name.clone(), within(samples)));
        all.filter(|(_, samples)| !samples.is_empty()).collect()
    }
}

/// Values that are told apart only by their bits.
const VALUES: [u64; 4] = [0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0001, 0, 1 << 63];

fn run(operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut fs = FaultyFs::default();
    let on = |fs: &FaultyFs| Options {
        fs: Arc::new(fs.clone()),
        segment_bytes: 300,
        // Several blocks a cut, and spans that are over at once.
        block_range: Duration::from_millis(50),
        retention: Duration::ZERO,
        out_of_order_window: Duration::from_millis(WINDOW_MS as u64),
        ..options()
    };
    let mut store = Store::open(Path::new("/d"), on(&fs)).unwrap();
    let mut model = Model::default();
    let (mut refs, mut names) = (BTreeMap::new(), BTreeMap::new());
    for operation in operations {
        match operation {
            Operation::Batch { samples, commit } => {
                let mut appender = store.appender();
                let mut after = model.0.clone();
                for (n, t, v) in samples {
                    let (labels, t_ms, bits) = (labels(&format!("s{n}")), NOW_MS + t, VALUES[v as usize]);
                    let name = labels.to_string();
                    let expected = match t {
                        600_001.. => Err(Refused::TooFarInFuture),
                        _ => Model::judge(after.get(&name), t_ms, bits),
                    };
                    // References from before, also those that do not fit any more.
                    let cached = refs.get(&(n / 2)).copied().unwrap_or(SeriesRef::NONE);
                    let value = f64::from_bits(bits);
                    // By name alone, as long as the series is there.
                    let known = names.get(&n).copied().unwrap_or(SeriesRef::NONE);
                    let sample = KnownSample { series: known, start_ms: 0, sample: Sample { t_ms, value } };
                    let taken = match appender.append_known(&[sample]) {
                        0 => appender.append(cached, &labels, t_ms, value),
                        _ => Ok(known),
                    };
                    prop_assert_eq!(taken.clone().map(|_| ()), expected.clone());
                    if let Ok(reference) = taken {
                        refs.insert(n / 2, reference);
                        names.insert(n, reference);
                        after.entry(name).or_default().entry(t_ms).or_insert(bits);
                    }
                }
                if commit {
                    appender.commit().unwrap();
                    model.0 = after;
                } else {
                    appender.rollback();
                }
            }
            Operation::Checkpoint => store.checkpoint().unwrap(),
            Operation::Maintain => store.maintain().unwrap(),
            Operation::Cut => store.cut().unwrap(),
            Operation::Compact => store.compact().unwrap(),
            Operation::Reopen => {
                drop(store);
                names.clear();
                store = Store::open(Path::new("/d"), on(&fs)).unwrap();
                prop_assert_eq!(&store.opened().dropped, &vec![]);
            }
            Operation::Kill => {
                fs = fs.after(After::Kill);
                names.clear();
                store = Store::open(Path::new("/d"), on(&fs)).unwrap();
                prop_assert_eq!(&store.opened().dropped, &vec![]);
            }
            Operation::Range(a, b) => {
                let range = TimeRange { min_ms: NOW_MS + a, max_ms: NOW_MS + b };
                let expected = model.content(range);
                let reader = store.open(&Scope::all(), range).unwrap();
                let names = reader.label_values("__name__", &[], 0, &Cancel::new()).unwrap();
                prop_assert_eq!(names, expected.keys().cloned().collect::<Vec<_>>());
                prop_assert_eq!(content_in(&store, range), expected);
            }
        }
    }
    prop_assert_eq!(content(&store), model.content(TimeRange::ALL));
    let samples: usize = model.0.values().map(BTreeMap::len).sum();
    // The log, from its beginning, says the same as the head.
    let (mut followed, mut from) = (Content::new(), Position::default());
    loop {
        let batch = store.read(&from, 7).unwrap();
        if batch.samples.is_empty() {
            break;
        }
        for (labels, sample) in batch.samples {
            followed.entry(labels.to_string()).or_default().push((sample.t_ms, sample.value.to_bits()));
        }
        from = batch.next;
    }
    followed.values_mut().for_each(|samples| samples.sort_unstable());
    prop_assert_eq!(followed.values().map(Vec::len).sum::<usize>(), samples);
    prop_assert_eq!(followed, model.content(TimeRange::ALL));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("RELATUM_LONG").is_some() { 2000 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(operations in operations()) {
        run(operations)?;
    }
}
