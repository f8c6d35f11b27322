//! Images of the head: a restart with one shows what a restart without it would, whatever happened to the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_model::storage::{Append, SeriesRef, Tail};
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{Content, NOW_MS, content, histogram, labels, options, write};

const DIR: &str = "/d";

fn options_on(fs: &FaultyFs) -> Options {
    Options {
        fs: Arc::new(fs.clone()),
        retention: Duration::from_secs(100_000),
        out_of_order_window: Duration::from_secs(1000),
        ..options()
    }
}

/// Batch `n` of a store with all that a series can have: floats, late ones, histograms, starts, values that are no decimals.
fn commit(store: &Store, n: i64) {
    let t_ms = NOW_MS - 600_000 + n * 1000;
    let mut appender = store.appender();
    let mut add = |name: &str, t_ms: i64, value: f64| {
        appender.append(SeriesRef::NONE, &labels(name), t_ms, value).expect("the sample is taken");
    };
    for i in 0..20 {
        add(&format!("counter,instance={i},job=a"), t_ms + i, (n * i) as f64);
    }
    add("odd,job=b", t_ms, f64::from_bits(0x7ff0_0000_0000_0000 + n as u64));
    add("odd,job=b", t_ms - 500, 1.0 / (n + 3) as f64);
    if n % 7 == 0 {
        add(&format!("churn,n={n}"), t_ms, 1.0);
    }
    appender
        .append_started(SeriesRef::NONE, &labels("started"), t_ms, NOW_MS - 900_000 + n / 50, n as f64)
        .expect("the sample is taken");
    appender
        .append_histogram(SeriesRef::NONE, &labels("native"), t_ms, 0, &histogram(n))
        .expect("the histogram is taken");
    appender.commit().expect("the batch can be committed");
}

/// A store with an image in the middle of its log; what it holds and its files.
fn with_image() -> (Content, BTreeMap<PathBuf, Vec<u8>>) {
    let fs = FaultyFs::default();
    let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap();
    (0..200).for_each(|n| commit(&store, n));
    store.checkpoint().unwrap();
    (200..300).for_each(|n| commit(&store, n));
    store.write_image().unwrap();
    (300..330).for_each(|n| commit(&store, n));
    let content = content(&store);
    drop(store);
    (content, fs.files())
}

fn image_of(files: &BTreeMap<PathBuf, Vec<u8>>) -> PathBuf {
    let mut images = files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "head"));
    let image = images.next().expect("there is an image").clone();
    assert_eq!(images.next(), None, "one is enough");
    image
}

/// Opens a store on `files`; checks that it shows `expected` and goes on. Returns whether the image was used.
#[track_caller]
fn check(files: BTreeMap<PathBuf, Vec<u8>>, expected: &Content, context: &str) -> bool {
    let fs = FaultyFs::of(files);
    let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap_or_else(|error| panic!("{error:?}, {context}"));
    assert!(content(&store) == *expected, "{context}");
    // Checkpoint and three segments without, the image and one segment with it.
    let used = store.opened().files == 2;
    assert_eq!(store.opened().samples, expected.values().map(|samples| samples.len() as u64).sum::<u64>(), "{context}");
    // Open chunks go on, and what is there twice is refused as before.
    assert!(write(&store, &[("counter,instance=3,job=a", NOW_MS + 7, 5.0), ("new,a=b", NOW_MS, 1.0)]).is_empty());
    assert_eq!(write(&store, &[("counter,instance=3,job=a", NOW_MS + 7, 6.0)]).len(), 1);
    let further = content(&store);
    assert_eq!(further.len(), expected.len() + 1, "{context}");
    drop(store);
    let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap();
    assert!(content(&store) == further, "after one more restart, {context}");
    used
}

#[test]
fn a_restart_with_an_image_is_as_one_without() {
    let (expected, files) = with_image();
    let image = image_of(&files);
    assert!(check(files.clone(), &expected, "with the image"));
    let without = files.iter().filter(|(path, _)| **path != image).map(|(path, bytes)| (path.clone(), bytes.clone()));
    assert!(!check(without.collect(), &expected, "without it"));
}

#[test]
fn a_damaged_image_costs_time_alone() {
    let (expected, files) = with_image();
    let image = image_of(&files);
    let length = files[&image].len();
    let mut damaged: Vec<(String, Vec<u8>)> =
        vec![("empty".to_owned(), Vec::new()), ("zeros".to_owned(), vec![0; length])];
    for at in (0..length).step_by(length / 150).chain([length - 1]) {
        damaged.push((format!("torn at {at}"), files[&image][..at].to_vec()));
        let mut bytes = files[&image].clone();
        bytes[at] ^= 1 << (at % 8);
        damaged.push((format!("bit of byte {at}"), bytes));
    }
    damaged.push(("something behind it".to_owned(), [&files[&image][..], b"x"].concat()));
    for (context, bytes) in damaged {
        let mut files = files.clone();
        files.insert(image.clone(), bytes);
        let fs = FaultyFs::of(files);
        let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap_or_else(|error| panic!("{error:?}, {context}"));
        assert!(content(&store) == expected, "{context}");
        let dropped = &store.opened().dropped;
        assert_eq!(dropped.len(), 1, "{context}");
        assert!(dropped[0].reason.ends_with("the log was read instead"), "{dropped:?}");
        assert_eq!((dropped[0].samples, store.opened().dropped_bytes), (0, 0));
        assert!(!fs.files().contains_key(&image), "it goes, {context}");
    }
}

#[test]
fn an_image_of_another_log_or_another_version_is_passed_over() {
    let (expected, files) = with_image();
    let image = image_of(&files);
    let (_, others) = with_image();
    let mut foreign = files.clone();
    foreign.insert(image.clone(), others[&image].clone());
    assert!(!check(foreign, &expected, "an image of another store"));

    let mut newer = files.clone();
    let bytes = newer.get_mut(&image).unwrap();
    bytes[8] = 2;
    let sum = crc32c::crc32c(&bytes[..28]).to_le_bytes();
    bytes[28..32].copy_from_slice(&sum);
    assert!(!check(newer, &expected, "a newer version"));

    // One from before the last cut holds what is in blocks.
    let fs = FaultyFs::of(files.clone());
    let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap();
    store.cut().unwrap();
    drop(store);
    let mut cut = fs.files();
    assert!(!cut.contains_key(&image), "a cut takes it away");
    cut.insert(image.clone(), files[&image].clone());
    let store = Store::open(Path::new(DIR), options_on(&FaultyFs::of(cut))).unwrap();
    assert!(content(&store) == expected);
    assert_eq!((store.opened().samples, store.opened().dropped.len()), (0, 0));
}

#[test]
fn an_image_shows_no_part_of_what_came_after_it() {
    // A follower and a reader are there while the image is written, a series goes, and its name stays known.
    let fs = FaultyFs::default();
    let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap();
    (0..130).for_each(|n| commit(&store, n));
    let position = store.read(&Default::default(), 10).unwrap().next;
    let expected = content(&store);
    store.write_image().unwrap();
    (130..140).for_each(|n| commit(&store, n));
    // The power fails, and nothing of the last segment was on disk.
    let left = fs.after(After::PowerCut);
    drop(store);
    let store = Store::open(Path::new(DIR), options_on(&left)).unwrap();
    assert!(content(&store) == expected);
    let mut position = position;
    let mut followed = 10.max(store.read(&Default::default(), 10).unwrap().samples.len());
    loop {
        let batch = store.read(&position, 1000).unwrap();
        if batch.samples.is_empty() {
            break;
        }
        followed += batch.samples.len();
        position = batch.next;
    }
    let floats = expected.iter().filter(|(name, _)| *name != "native").map(|(_, samples)| samples.len()).sum::<usize>();
    assert_eq!(followed, floats, "a follower reads what an image saved the restart from reading");
}

#[test]
fn death_at_every_operation_of_an_image() {
    for (fault, after) in [
        (Fault::Stop, After::Kill),
        (Fault::Torn, After::Kill),
        (Fault::Torn, After::PowerCut),
        (Fault::Full, After::Kill),
        (Fault::Lost, After::PowerCut),
    ] {
        for operation in 0.. {
            let fs = FaultyFs::default();
            let store = Store::open(Path::new(DIR), options_on(&fs)).unwrap();
            (0..150).for_each(|n| commit(&store, n));
            store.sync().unwrap();
            store.write_image().unwrap();
            (150..160).for_each(|n| commit(&store, n));
            store.sync().unwrap();
            let expected = content(&store);
            fs.break_at(fs.operations() + operation, fault);
            let written = store.write_image();
            assert!(content(&store) == expected, "it goes on reading");
            let broke = fs.broke();
            let left = fs.after(after);
            drop(store);
            let context = format!("{fault:?} at {operation}, then {after:?}: {written:?}");
            let store = Store::open(Path::new(DIR), options_on(&left)).unwrap_or_else(|e| panic!("{e:?}, {context}"));
            assert!(content(&store) == expected, "{context}");
            drop(store);
            if !broke {
                assert!(operation > 8, "only {operation} operations");
                break;
            }
        }
    }
}

#[test]
fn the_store_writes_images_when_they_pay() {
    let fs = FaultyFs::default();
    let options = || Options { out_of_order_window: Duration::ZERO, ..options_on(&fs) };
    let store = Store::open(Path::new(DIR), options()).unwrap();
    let fill = |store: &Store, from: i64, n: i64| {
        for t in from..from + n {
            let mut appender = store.appender();
            for i in 0..100 {
                let labels = labels(&format!("a,i={i}"));
                appender.append(SeriesRef::NONE, &labels, NOW_MS - 1_000_000 + t, t as f64).unwrap();
            }
            appender.commit().unwrap();
        }
    };
    fill(&store, 0, 150);
    store.maintain().unwrap();
    drop(store);
    let store = Store::open(Path::new(DIR), options()).unwrap();
    assert_eq!(store.opened().files, 1, "so few samples are read from the log");
    fill(&store, 150, 100);
    let expected = content(&store);
    drop(store);
    let store = Store::open(Path::new(DIR), options()).unwrap();
    assert_eq!(store.opened().files, 2, "the image of the end, and an empty segment");
    assert!(content(&store) == expected);
}
