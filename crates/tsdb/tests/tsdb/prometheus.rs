//! Blocks of Prometheus, written and read. What Prometheus itself makes of them is in the whole-system tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, SeriesRef, TimeRange};
use relatum_tsdb::Store;
use relatum_tsdb::prometheus::{ExportOptions, ImportError, Imported, export, import, import_with};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::glimpses::check_newest;
use crate::support::{Content, NOW_MS, content, histogram, labels, options, write};

/// A store with floats, late ones and histograms over five hours, and what it holds.
fn filled(dir: &Path) -> (Store, Content) {
    let store = Store::open(dir, relatum_tsdb::Options { out_of_order_window: Duration::from_secs(3600), ..options() })
        .expect("the store opens");
    let start_ms = NOW_MS - 5 * 3_600_000;
    for n in 0..1200 {
        let t_ms = start_ms + n * 15_000;
        let batch: Vec<_> = (0..5).map(|i| (["a", "a,i=1", "a,i=2", "b", "é,x=y"][i], t_ms, n as f64 * 0.1)).collect();
        assert_eq!(write(&store, &batch), []);
        let mut appender = store.appender();
        if n % 3 == 0 {
            appender.append_histogram(SeriesRef::NONE, &labels("h"), t_ms, 0, &histogram(n)).expect("it is in order");
        }
        if n % 100 == 7 {
            appender.append(SeriesRef::NONE, &labels("b"), t_ms - 7, f64::NAN).expect("it is in the window");
            appender.append(SeriesRef::NONE, &labels("h"), t_ms + 1, 5.0).expect("it is in order");
        }
        appender.commit().expect("the batch is written");
    }
    let content = content(&store);
    (store, content)
}

fn everything(block_range: Duration) -> ExportOptions {
    ExportOptions { range: TimeRange::ALL, matchers: Vec::new(), block_range }
}

fn opened(dir: &Path) -> Content {
    let options = relatum_tsdb::Options { retention: Duration::ZERO, ..options() };
    content(&Store::open(dir, options).expect("the store opens"))
}

fn imported(from: &Path, to: &Path) -> Result<Imported, ImportError> {
    import(from, to, |_| ())
}

#[test]
fn what_is_exported_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let (store, expected) = filled(&dir.path().join("a"));
    for (hours, blocks) in [(2, 3), (24, 1)] {
        let (to, back) = (dir.path().join(format!("p{hours}")), dir.path().join(format!("b{hours}")));
        let mut names = Vec::new();
        export(&store, &to, &everything(Duration::from_secs(hours * 3600)), |block| names.push(block.name.clone()))
            .unwrap();
        assert!((blocks..=blocks + 1).contains(&names.len()), "{names:?}");
        let done = imported(&to, &back).unwrap();
        let samples: usize = expected.values().map(Vec::len).sum();
        assert_eq!((done.blocks as usize, done.block_samples as usize), (names.len(), samples));
        assert_eq!(done.problems, Vec::<String>::new());
        assert!(opened(&back) == expected);
        // Again: nothing is left to do.
        let again = imported(&to, &back).unwrap();
        assert_eq!((again.blocks, again.blocks_before as usize, again.block_samples), (0, names.len(), 0));
        assert!(opened(&back) == expected);
    }
}

#[test]
fn what_is_imported_may_be_newer_than_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(&dir.path().join("a"));
    export(&store, &dir.path().join("p"), &everything(Duration::from_secs(7200)), |_| ()).unwrap();
    let at_ms = NOW_MS - 4 * 3_600_000;
    let of_its_own = || {
        let options = relatum_tsdb::Options { retention: Duration::ZERO, ..options() };
        Store::open(&dir.path().join("b"), options).expect("the store opens")
    };
    assert_eq!(write(&of_its_own(), &[("a", at_ms, 42.0), ("b", at_ms + 15_000, 43.0)]), []);
    imported(&dir.path().join("p"), &dir.path().join("b")).unwrap();
    let store = of_its_own();
    for behind_ms in [0, 14_999, 15_000, 40_000, 200_000] {
        check_newest(&store, TimeRange { min_ms: at_ms - 100_000, max_ms: at_ms + behind_ms });
    }
}

#[test]
fn a_part_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut expected) = filled(&dir.path().join("a"));
    let range = TimeRange { min_ms: NOW_MS - 4 * 3_600_000 + 1, max_ms: NOW_MS - 3_600_000 };
    let matchers = vec![relatum_model::Matcher::equal("__name__", "a")];
    let options = ExportOptions { range, matchers, block_range: Duration::from_secs(7200) };
    export(&store, &dir.path().join("p"), &options, |_| ()).unwrap();
    imported(&dir.path().join("p"), &dir.path().join("b")).unwrap();
    expected.retain(|series, _| series.starts_with('a'));
    expected.values_mut().for_each(|samples| samples.retain(|(t_ms, _)| range.contains(*t_ms)));
    assert!(opened(&dir.path().join("b")) == expected);
}

#[test]
fn damage_costs_one_block_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, expected) = filled(&dir.path().join("a"));
    let whole = dir.path().join("p");
    export(&store, &whole, &everything(Duration::from_secs(7200)), |_| ()).unwrap();
    let blocks: Vec<PathBuf> = fs::read_dir(&whole).unwrap().map(|entry| entry.unwrap().path()).collect();
    let block = blocks.iter().find(|path| path.join("index").is_file()).unwrap();
    for file in ["index", "chunks/000001", "tombstones", "meta.json"] {
        let path = block.join(file);
        let bytes = fs::read(&path).unwrap();
        for at in [0, 4, bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            let to = tempfile::tempdir().unwrap();
            let done = imported(&whole, to.path()).unwrap();
            let left = opened(to.path());
            // Padding, and words of the JSON that nobody reads, may be anything.
            if done.problems.is_empty() {
                assert!(left == expected, "byte {at} of {file} is not checked");
            } else {
                assert!(done.problems[0].contains(&*block.to_string_lossy()), "{:?}", done.problems);
                assert!(left.values().map(Vec::len).sum::<usize>() > 0, "byte {at} of {file}");
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn what_is_no_prometheus_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let failure = imported(dir.path(), &dir.path().join("b")).unwrap_err();
    assert!(matches!(failure, ImportError::Nothing { .. }), "{failure}");
    assert!(!dir.path().join("b").exists(), "no store is made for nothing");
    let (store, _) = filled(&dir.path().join("a"));
    export(&store, &dir.path().join("p"), &everything(Duration::from_secs(7200)), |_| ()).unwrap();
    let lock = fs::File::create(dir.path().join("p/lock")).unwrap();
    lock.lock().unwrap();
    let failure = imported(&dir.path().join("p"), &dir.path().join("b")).unwrap_err();
    assert!(matches!(failure, ImportError::InUse { .. }), "{failure}");
}

#[test]
fn an_import_that_dies_anywhere_goes_on_and_has_each_sample_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("a"), options()).unwrap();
    let start_ms = NOW_MS - 5 * 3_600_000;
    for n in 0..300 {
        let batch = [("a", start_ms + n * 60_000, n as f64), ("a,i=1", start_ms + n * 60_000, 0.5)];
        assert_eq!(write(&store, &batch), []);
    }
    let expected = content(&store);
    let from = dir.path().join("p");
    export(&store, &from, &everything(Duration::from_secs(2 * 3600)), |_| ()).unwrap();
    let options_on = |fs: &FaultyFs| relatum_tsdb::Options {
        fs: Arc::new(fs.clone()),
        sync_interval: None,
        ..relatum_tsdb::Options::for_history()
    };
    let to = Path::new("/d");
    for (fault, after) in [
        (Fault::Stop, After::Kill),
        (Fault::Torn, After::Kill),
        (Fault::Stop, After::PowerCut),
        (Fault::Full, After::Kill),
    ] {
        for operation in 0.. {
            let fs = FaultyFs::default();
            fs.break_at(operation, fault);
            let first = import_with(&from, to, options_on(&fs), |_| ());
            let context = format!("{fault:?} at {operation}, then {after:?}: {first:?}");
            let left = fs.after(after);
            {
                let store = Store::open(to, options_on(&left)).unwrap_or_else(|error| panic!("{error:?}, {context}"));
                for (series, samples) in content(&store) {
                    assert!(samples.iter().all(|sample| expected[&series].contains(sample)), "{context}");
                }
            }
            let again =
                import_with(&from, to, options_on(&left), |_| ()).unwrap_or_else(|e| panic!("{e:?}, {context}"));
            assert_eq!(again.problems, Vec::<String>::new(), "{context}");
            let store = Store::open(to, options_on(&left)).unwrap();
            assert!(content(&store) == expected, "{context}");
            drop(store);
            if !fs.broke() {
                assert!(first.is_ok() && operation > 20, "{context}");
                break;
            }
        }
    }
}
