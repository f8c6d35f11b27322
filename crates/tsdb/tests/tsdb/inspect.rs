//! Looking at files from outside.

use relatum_tsdb::Store;
use relatum_tsdb::inspect::{self, Prospect};

use crate::support::{NOW_MS, options, write};

#[test]
fn files_are_listed_verified_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(inspect::cardinality(dir.path(), 3).unwrap(), None);
    for n in 0..100 {
        write(&store, &[("a,i=1", NOW_MS + n, 0.5), ("a,i=2", NOW_MS + n, n as f64), ("b,i=1", NOW_MS + n, 1.0)]);
        if n == 60 {
            store.cut().unwrap();
        }
    }
    // All of it works while the store is open.
    let blocks = inspect::blocks(dir.path()).unwrap();
    let found: Vec<_> = blocks.iter().map(|block| (block.file.as_str(), block.series, block.samples)).collect();
    assert_eq!(found, [("0000000001.block", 3, 183)]);
    assert_eq!((blocks[0].min_ms, blocks[0].max_ms, blocks[0].level), (NOW_MS, NOW_MS + 60, 1));
    let sound = inspect::verify(dir.path()).unwrap();
    assert_eq!((sound.block_samples, sound.log_samples, sound.problems.as_slice()), (183, 117, &[][..]));
    let cardinality = inspect::cardinality(dir.path(), 2).unwrap().unwrap();
    let pair = |name: &str, n| (name.to_owned(), n);
    assert_eq!(cardinality.series, 3);
    assert_eq!(cardinality.names, [pair("__name__", 2), pair("i", 2)]);
    assert_eq!(cardinality.metrics, [pair("a", 2), pair("b", 1)]);
    assert_eq!(cardinality.pairs, [pair("__name__=a", 2), pair("i=1", 2)]);
    drop(store);
    for (file, at) in [("blocks/0000000001.block", 40), ("blocks/0000000001.block", 3), ("wal/0000000002.wal", 90)] {
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&path, damaged).unwrap();
        let found = inspect::verify(dir.path()).unwrap();
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert!(file.ends_with(&found.problems[0].file), "{found:?}");
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(inspect::verify(dir.path()).unwrap().set_aside, [""; 0]);
    // What cannot be opened is set aside, and named ever after.
    let path = dir.path().join("blocks/0000000001.block");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    drop(Store::open(dir.path(), options()).unwrap());
    let found = inspect::verify(dir.path()).unwrap();
    assert_eq!((found.problems.as_slice(), found.set_aside), (&[][..], vec!["0000000001.block.damaged".to_owned()]));
    // It says of each what a repair would do, and does nothing.
    let set_aside = dir.path().join("blocks/0000000001.block.damaged");
    let prospect = || inspect::prospect(dir.path(), "0000000001.block.damaged").unwrap();
    bytes[..32].fill(0);
    std::fs::write(&set_aside, &bytes).unwrap();
    assert_eq!(prospect(), Prospect::ComesBack, "only its first bytes are damaged");
    std::fs::write(&set_aside, vec![7; 4096]).unwrap();
    assert_eq!(prospect(), Prospect::Stays, "nothing of it can be read");
    let store = Store::open(dir.path(), options()).unwrap();
    let repairs = store.repair().unwrap();
    assert!(repairs.iter().all(|repair| repair.replaced_by.is_none()), "nor does a repair find anything: {repairs:?}");
}

#[test]
fn chunks_of_two_hours_become_longer_ones_when_their_blocks_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let span_ms = 18 * 3_600_000;
    let start_ms = NOW_MS / span_ms * span_ms - span_ms;
    // A sample every 15 seconds, as far into the next span as it takes to cut the first one.
    let mut of_two_hours = 0;
    for n in 0..240 * 18 + 300 {
        // A little early or late.
        let t_ms = start_ms + n * 15_000 + n * 7919 % 13 - 6;
        write(&store, &[("a", t_ms, (n * n % 97) as f64)]);
        if n % 40 == 0 {
            store.maintain().unwrap();
            let blocks = inspect::blocks(dir.path()).unwrap();
            let two_hours = blocks.iter().filter(|block| (470..490).contains(&block.samples));
            of_two_hours += two_hours.inspect(|block| assert_eq!(block.chunks, 1, "{block:?}")).count();
        }
    }
    assert!(of_two_hours > 0);
    let blocks = inspect::blocks(dir.path()).unwrap();
    let merged = blocks.iter().max_by_key(|block| block.samples).unwrap();
    assert!(merged.samples > 4000, "{blocks:?}");
    assert!(merged.samples / merged.chunks > 650, "{merged:?}");
}
