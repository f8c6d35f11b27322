//! What is said of metrics survives the store.

use std::path::Path;
use std::sync::Arc;

use relatum_model::exposition::MetricKind;
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::options;

fn open(fs: &FaultyFs, dir: &str) -> Store {
    Store::open(Path::new(dir), Options { fs: Arc::new(fs.clone()), ..options() }).expect("the store opens")
}

fn described(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    store.described(|metric, d| all.push(format!("{metric} {} {} {}", d.kind.as_str(), d.help, d.unit)));
    all
}

#[test]
fn descriptions_are_kept() {
    let fs = FaultyFs::default();
    let store = open(&fs, "/d");
    assert!(described(&store).is_empty());
    store.describe("b", MetricKind::Gauge, "how much", "bytes");
    store.describe("a", MetricKind::Counter, "how often", "");
    store.describe("b", MetricKind::Gauge, "how much there is", "bytes");
    store.describe("c", MetricKind::Gauge, &"x".repeat(20_000), "");
    let expected = ["a counter how often ", "b gauge how much there is bytes"];
    assert_eq!(described(&store), expected);
    store.maintain().unwrap();
    // With nothing new nothing is written.
    let operations = fs.operations();
    store.describe("a", MetricKind::Counter, "how often", "");
    store.maintain().unwrap();
    assert_eq!(fs.operations(), operations);
    store.snapshot(Path::new("/s")).unwrap();
    drop(store);
    assert_eq!(described(&open(&fs, "/d")), expected);
    assert_eq!(described(&open(&fs, "/s")), expected, "a snapshot has them");
    // A damaged file costs the descriptions, and nothing else.
    let mut files = fs.files();
    files.get_mut(Path::new("/d/metadata")).expect("it is there")[20] ^= 1;
    let store = open(&FaultyFs::of(files), "/d");
    assert!(described(&store).is_empty());
    assert_eq!(store.opened().dropped.len(), 1, "{:?}", store.opened().dropped);
}

#[test]
fn a_write_that_fails_leaves_what_was_there_and_stops_nothing() {
    let fs = FaultyFs::default();
    let store = open(&fs, "/d");
    store.describe("a", MetricKind::Gauge, "before", "");
    drop(store);
    let files = fs.files();
    for fault in [Fault::Stop, Fault::Torn, Fault::Full, Fault::Lost] {
        for operation in 0.. {
            let fs = FaultyFs::of(files.clone());
            let store = open(&fs, "/d");
            fs.break_at(fs.operations() + operation, fault);
            store.describe("a", MetricKind::Gauge, "after", "");
            let _ = store.maintain();
            let broke = fs.broke();
            let left = fs.after(After::Kill);
            let found = described(&open(&left, "/d"));
            let context = format!("{fault:?} at operation {operation}");
            assert!(found == ["a gauge before "] || found == ["a gauge after "], "{found:?}, {context}");
            if !broke {
                assert!(operation >= 4, "only {operation} operations");
                break;
            }
        }
    }
}
