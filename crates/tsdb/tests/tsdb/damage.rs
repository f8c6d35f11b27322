//! Damaged, foreign and hostile files in the log's directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_tsdb::{Durability, OpenError, Options, Store, inspect};

use crate::faulty_fs::FaultyFs;
use crate::support::{Content, NOW_MS, content, options, write};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn open(files: &Files) -> Result<Store, OpenError> {
    open_on(&FaultyFs::of(files.clone()))
}

fn open_on(fs: &FaultyFs) -> Result<Store, OpenError> {
    let on = Options { fs: Arc::new(fs.clone()), segment_bytes: 1500, retention: Duration::ZERO, ..options() };
    Store::open(Path::new("/d"), on)
}

/// A log of a checkpoint and several segments; five commits define series, the others only add samples.
fn sound() -> (Files, Content) {
    let fs = FaultyFs::default();
    let store = open_on(&fs).unwrap();
    for n in 0..200i64 {
        let name = format!("metric{}", n / 40);
        write(&store, &[(name.as_str(), NOW_MS + n, n as f64), ("shared", NOW_MS + n, -1.5)]);
        if n == 60 {
            store.checkpoint().unwrap();
        }
    }
    let content = content(&store);
    drop(store);
    (fs.files(), content)
}

/// Numbers from a seed, so that a failure can be repeated.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn missing(expected: &Content, found: &Content) -> usize {
    let count = |content: &Content| content.values().map(Vec::len).sum::<usize>();
    for (name, samples) in found {
        for sample in samples {
            assert!(expected[name].contains(sample), "a sample of {name} that nobody wrote: {sample:?}");
        }
    }
    count(expected) - count(found)
}

#[test]
fn any_single_damage_is_bounded_and_named() {
    let (files, expected) = sound();
    assert!(files.len() >= 4, "{:?}", files.keys());
    // Nothing is read from the reserve.
    let paths: Vec<_> = files.keys().filter(|path| !path.ends_with("reserve")).cloned().collect();
    let mut seeded = Seeded(0x5eed_0001);
    let mut worst = 0;
    for round in 0..600 {
        let mut damaged = files.clone();
        let path = &paths[seeded.below(paths.len())];
        let bytes = damaged.get_mut(path).unwrap();
        if bytes.len() <= 32 {
            continue;
        }
        let at = 32 + seeded.below(bytes.len() - 32);
        match round % 4 {
            0 => bytes[at] ^= 1 << seeded.below(8),
            1 => bytes[at..].iter_mut().take(40).for_each(|b| *b = 0),
            2 => bytes[at..].iter_mut().take(9).for_each(|b| *b = 0xf7),
            _ => drop(bytes.splice(at..at, (0..17).map(|i| i as u8))),
        }
        let store = open(&damaged).unwrap_or_else(|error| panic!("{error} in round {round}"));
        let lost = missing(&expected, &content(&store));
        let opened = store.opened();
        // Zeros over zeros change nothing; all else is noticed.
        assert!(opened.damages > 0 || (lost == 0 && damaged == files), "round {round} at {at} of {path:?}: {opened:?}");
        assert!(opened.dropped.iter().all(|d| path.ends_with(&d.file)) || lost > 0, "{opened:?}");
        if lost > 0 {
            worst = worst.max(lost);
        }
        // Frames that define a series take its samples with them; the small checkpoint is one frame.
        let checkpoint = path.extension().is_some_and(|e| e == "checkpoint");
        assert!(checkpoint || lost <= 44, "round {round} at {at} of {path:?} lost {lost}: {opened:?}");
    }
    assert!(worst > 0, "no damage was done");
}

#[test]
fn a_damaged_header_costs_nothing_but_itself() {
    let (files, expected) = sound();
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("/d/wal")) {
        for at in 0..32 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let store = open(&BTreeMap::from_iter(files.clone().into_iter().chain([(path.clone(), damaged)])));
            // The segment that the last opening began has no commit from which anything could be worked out.
            if bytes.len() == 32 && at < 8 {
                assert!(matches!(store, Err(OpenError::Foreign { .. })));
                continue;
            }
            let store = store.unwrap_or_else(|error| panic!("{error}: byte {at} of {path:?}"));
            assert!(content(&store) == expected, "byte {at} of {path:?}");
            assert_eq!(store.opened().damages, 1);
            assert!(store.opened().dropped[0].reason.contains("damaged header"), "{:?}", store.opened());
        }
    }
}

#[test]
fn zeros_are_room_at_the_end_of_the_last_segment_only() {
    let dir = tempfile::tempdir().unwrap();
    let on = || Options { durability: Durability::Fsync, segment_bytes: 1500, images: false, ..options() };
    let store = Store::open(dir.path(), on()).unwrap();
    (0..60).for_each(|n| drop(write(&store, &[("a", NOW_MS + n, n as f64)])));
    store.checkpoint().unwrap();
    (60..200).for_each(|n| drop(write(&store, &[("a", NOW_MS + n, n as f64)])));
    let expected = content(&store);
    store.close().unwrap();
    drop(store);
    let wal = dir.path().join("wal");
    let names: Vec<_> = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut names: Vec<_> = names.into_iter().map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    let files: Vec<_> = names.iter().map(|name| (name.clone(), std::fs::read(wal.join(name)).unwrap())).collect();
    let checkpoint = names.iter().find(|name| name.ends_with("checkpoint")).unwrap();
    let last = names.last().unwrap();
    let middle = names.iter().rfind(|name| *name != last && name.ends_with("wal")).unwrap();
    assert!(names.len() >= 4 && middle[..10] > checkpoint[..10], "{names:?}");
    // Where a frame ends: behind its header and what that says of its payload.
    let second_frame = |bytes: &[u8]| 32 + 24 + u32::from_le_bytes(bytes[40..44].try_into().unwrap()) as usize;
    for (name, zeros_behind, damaged_header, is_damage) in [
        (middle, None, false, true),
        (middle, Some(500), false, true),
        (last, Some(500), false, false),
        // Whether a file may have room went with its header.
        (middle, Some(500), true, true),
        (checkpoint, Some(500), true, true),
        (checkpoint, Some(500), false, true),
    ] {
        for (name, bytes) in &files {
            std::fs::write(wal.join(name), bytes).unwrap();
        }
        let mut bytes = std::fs::read(wal.join(name)).unwrap();
        match zeros_behind {
            Some(n) => bytes.resize(bytes.len() + n, 0),
            None => {
                let from = second_frame(&bytes);
                bytes[from..].fill(0);
            }
        }
        if damaged_header {
            bytes[13] ^= 1;
        }
        std::fs::write(wal.join(name), bytes).unwrap();
        let context = format!("{name}, {zeros_behind:?} zeros, damaged header: {damaged_header}");
        let damages = usize::from(is_damage) + usize::from(damaged_header);
        let problems = inspect::verify(dir.path()).unwrap().problems;
        assert_eq!(problems.len(), damages, "{problems:?} in {context}");
        let store = Store::open(dir.path(), on()).unwrap();
        assert_eq!(store.opened().damages, damages as u64, "{:?} in {context}", store.opened());
        assert!(store.opened().dropped.iter().all(|dropped| dropped.file == *name), "{:?}", store.opened());
        assert_eq!(missing(&expected, &content(&store)) > 0, zeros_behind.is_none(), "{context}");
        drop(store);
        for entry in std::fs::read_dir(&wal).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_torn_end_costs_what_is_torn() {
    let (files, expected) = sound();
    let last = files.keys().rfind(|path| path.extension().is_some_and(|e| e == "wal")).unwrap().clone();
    for cut in 0..files[&last].len() {
        let mut damaged = files.clone();
        damaged.get_mut(&last).unwrap().truncate(cut);
        let fs = FaultyFs::of(damaged.clone());
        let store = open_on(&fs).unwrap();
        let lost = missing(&expected, &content(&store));
        assert_eq!(lost % 2, 0, "a batch of two samples was torn");
        let again = content(&store);
        drop(store);
        // The end was cut off, so there is nothing to report a second time.
        let store = open_on(&fs).unwrap();
        assert_eq!(store.opened().dropped, [], "cut at {cut}");
        assert!(content(&store) == again, "cut at {cut}");
    }
}

#[test]
fn files_that_are_not_ours() {
    let (files, expected) = sound();
    let wal = Path::new("/d/wal");
    let with = |name: &str, bytes: &[u8]| {
        let mut files = files.clone();
        files.insert(wal.join(name), bytes.to_vec());
        open(&files)
    };
    // Other names are left alone and mentioned: here Prometheus' own segment and a note.
    for name in ["00000000", "note.txt", "7.wal"] {
        let store = with(name, b"something").unwrap();
        assert_eq!(store.opened().foreign, [name]);
        assert!(content(&store) == expected, "{name}");
    }
    // Our names with other content are for a person to look at; nothing is touched.
    let error = with("0000000099.wal", &[b'x'; 64]).unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { path } if path.ends_with("0000000099.wal")), "{error}");
    // A segment under another number's name.
    let misplaced = files.iter().find(|(path, _)| path.extension().is_some_and(|e| e == "wal")).unwrap().1;
    assert!(matches!(with("0000000099.wal", misplaced), Err(OpenError::Foreign { .. })));
    // A newer format, with a checksum that fits.
    let mut newer = misplaced[..32].to_vec();
    newer[8] = 2;
    let checksum = crc32c::crc32c(&newer[..28]);
    newer[28..].copy_from_slice(&checksum.to_le_bytes());
    let error = with("0000000099.wal", &newer).unwrap_err();
    assert!(matches!(error, OpenError::Version { version: 2, known: 1, .. }), "{error}");
    // A checkpoint that was being written when the process died.
    assert!(content(&with("0000000099.checkpoint.tmp", b"RELAT").unwrap()) == expected);
}

#[test]
fn hostile_frames_with_fitting_checksums() {
    let mut seeded = Seeded(0x5eed_0002);
    let (files, _) = sound();
    let (path, sound) = files.iter().rfind(|(path, _)| path.extension().is_some_and(|e| e == "wal")).unwrap();
    let salt = u32::from_le_bytes(sound[12..16].try_into().unwrap());
    for round in 0..400 {
        let mut bytes = sound[..32].to_vec();
        for commit in 0..5u64 {
            // Sections of small numbers get far into the decoder, and into the columns of rows.
            let mut payload: Vec<u8> = Vec::new();
            for _ in 0..seeded.below(200) {
                payload.push(match seeded.below(4) {
                    0 => 1,
                    1 => 2,
                    2 => seeded.below(12) as u8,
                    _ => seeded.below(256) as u8,
                });
            }
            let mut rest = (payload.len() as u32).to_le_bytes().to_vec();
            rest.extend(((seeded.below(3) as u32) | (seeded.below(2) as u32) << 31).to_le_bytes());
            rest.extend((1000 + commit).to_le_bytes());
            rest.extend(payload);
            bytes.extend([0xf7, b'R', b'L', b'T']);
            bytes.extend(crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &rest).to_le_bytes());
            bytes.extend(rest);
        }
        let mut hostile = files.clone();
        hostile.insert(path.clone(), bytes);
        let store = open(&hostile).unwrap_or_else(|error| panic!("{error} in round {round}"));
        content(&store);
        // Still a store.
        assert_eq!(write(&store, &[("after", NOW_MS + 1, 1.0)]), []);
    }
}
