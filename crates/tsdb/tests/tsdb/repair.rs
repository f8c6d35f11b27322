//! Repairing: what can be read of damaged files is kept, and the rest is named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_model::Matcher;
use relatum_model::storage::TimeRange;
use relatum_tsdb::{Options, Store};

use crate::faulty_fs::{After, Fault, FaultyFs};
use crate::support::{Content, NOW_MS, content, labels, options, write};

const BLOCK: &str = "/d/blocks/0000000001.block";

fn open(fs: &FaultyFs) -> Store {
    let on = Options { fs: Arc::new(fs.clone()), retention: Duration::ZERO, ..options() };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

/// A block of 40 series with 50 samples each, and some samples in the log.
fn files() -> (Content, BTreeMap<PathBuf, Vec<u8>>) {
    let fs = FaultyFs::default();
    let store = open(&fs);
    let names: Vec<String> = (0..40).map(|i| format!("a,i={i}")).collect();
    for n in 0..60 {
        let samples: Vec<_> = names.iter().map(|name| (name.as_str(), NOW_MS + n, (n * n) as f64)).collect();
        write(&store, &samples);
        if n == 49 {
            store.cut().unwrap();
        }
    }
    let content = content(&store);
    drop(store);
    (content, fs.files())
}

fn count(content: &Content) -> usize {
    content.values().map(Vec::len).sum()
}

/// Damages a byte, repairs, and checks that nothing that is left was not there; returns how many samples went, of how many
/// chunks, and whether that is certain.
#[track_caller]
fn check(file: &str, at: usize) -> (usize, u64, bool) {
    let (before, mut files) = files();
    files.get_mut(Path::new(file)).expect("there is such a file")[at] ^= 0x5a;
    let fs = FaultyFs::of(files.clone());
    let store = open(&fs);
    let repairs = store.repair().unwrap();
    let after = content(&store);
    for (series, samples) in &after {
        assert!(samples.iter().all(|sample| before[series].contains(sample)), "{series} has what nobody wrote");
    }
    if file == BLOCK {
        assert_eq!(repairs.len(), 1, "byte {at}");
        assert_eq!(repairs[0].kept_as.ends_with(".salvaged"), repairs[0].replaced_by.is_some());
        let kept = fs.files().get(&Path::new("/d/blocks").join(&repairs[0].kept_as)).cloned();
        assert_eq!(kept.as_ref(), files.get(Path::new(BLOCK)), "the damaged file stays");
    }
    drop(store);
    let store = open(&fs);
    assert!(content(&store) == after, "it is the same after a restart");
    assert_eq!(store.repair().unwrap(), [], "nothing is left to repair");
    assert_eq!((store.opened().dropped.len(), store.stats().damaged_blocks), (0, 0));
    let lost = repairs.iter().map(|repair| repair.chunks_lost).sum();
    (count(&before) - count(&after), lost, repairs.iter().all(|repair| !repair.is_uncertain))
}

#[test]
fn what_can_be_read_is_kept() {
    let (_, files) = files();
    let bytes = &files[Path::new(BLOCK)];
    assert_eq!(check(BLOCK, postings(bytes)), (0, 0, true), "the postings are made anew");
    // All series share one column of times and have one of values each, which come behind it.
    assert_eq!(check(BLOCK, 32 + 60), (50, 1, true), "a column of values");
    assert_eq!(check(BLOCK, 32 + 6), (40 * 50, 40, true), "the times of all");
    let (gone, _, certain) = check(BLOCK, symbols(bytes));
    assert_eq!((gone, certain), (40 * 50, false), "without labels nothing can be named");
}

/// Where the postings stand in a block: in front of the footer.
fn postings(block: &[u8]) -> usize {
    let footer = u32::from_le_bytes(block[block.len() - 16..block.len() - 12].try_into().unwrap()) as usize;
    block.len() - 16 - footer - 10
}

/// Where the texts of the labels stand in a block.
fn symbols(block: &[u8]) -> usize {
    block.windows(8).position(|window| window == b"__name__").expect("there are symbols")
}

#[test]
fn a_block_that_was_set_aside_is_brought_back() {
    for (torn, reason) in [(0, "its header is empty"), (7, "its header is not that of a block")] {
        let (before, mut files) = files();
        let block = files.get_mut(Path::new(BLOCK)).expect("there is a block");
        block[..32].fill(torn);
        let damaged = block.clone();
        let fs = FaultyFs::of(files);
        let store = open(&fs);
        assert!(count(&content(&store)) < count(&before), "nothing of it is in any answer");
        let repairs = store.repair().unwrap();
        let told: Vec<_> = repairs.iter().map(|told| (&*told.reason, told.samples_kept, told.chunks_lost)).collect();
        assert_eq!(told, [(reason, 2000, 0)]);
        assert!(content(&store) == before, "all of it can be read");
        drop(store);
        let store = open(&fs);
        assert!(content(&store) == before, "after a restart as well");
        assert_eq!(store.repair().unwrap(), []);
        assert_eq!(fs.files().get(Path::new(&format!("{BLOCK}.salvaged"))), Some(&damaged), "the damaged file stays");
        assert_eq!((store.opened().dropped.len(), &*store.opened().foreign), (0, &[][..]));
    }
}

#[test]
fn what_is_brought_back_may_be_the_newest() {
    let fs = FaultyFs::default();
    let store = open(&fs);
    write(&store, &[("a", NOW_MS, 1.0)]);
    store.cut().unwrap();
    drop(store);
    let mut files = fs.files();
    files.get_mut(Path::new(BLOCK)).expect("there is a block")[..32].fill(0);
    let store = open(&FaultyFs::of(files));
    assert_eq!(store.stats().max_time_ms, None);
    assert_eq!(store.repair().unwrap().len(), 1);
    assert_eq!(store.stats().max_time_ms, Some(NOW_MS));
}

#[test]
fn what_does_not_come_back_is_told_each_time() {
    let (_, mut files) = files();
    let block = files.get_mut(Path::new(BLOCK)).expect("there is a block");
    let at = symbols(block);
    block[at] ^= 0x5a;
    block[..32].fill(0);
    let store = open(&FaultyFs::of(files));
    let least = content(&store);
    for _ in 0..2 {
        let repairs = store.repair().unwrap();
        let told: Vec<_> = repairs.iter().map(|told| (&*told.file, &*told.kept_as, &told.replaced_by)).collect();
        assert_eq!(told, [("0000000001.block.damaged", "0000000001.block.damaged", &None)]);
        assert!(repairs[0].is_uncertain && content(&store) == least);
    }
}

/// Deletes a series while a block is damaged and repairs then: all but that series is there.
#[track_caller]
fn check_deletion(damage: impl Fn(&mut [u8])) {
    let (mut expected, mut files) = files();
    damage(files.get_mut(Path::new(BLOCK)).expect("there is a block"));
    let fs = FaultyFs::of(files);
    let store = open(&fs);
    store.delete(&[Matcher::equal("i", "3")], TimeRange::ALL).unwrap();
    assert!(expected.remove(&labels("a,i=3").to_string()).is_some());
    drop(store);
    let store = open(&fs);
    assert_eq!(store.repair().unwrap().len(), 1);
    assert!(content(&store) == expected, "what was deleted stays away, and nothing else");
}

#[test]
fn what_was_deleted_does_not_come_back_with_a_damaged_block() {
    check_deletion(|block| block[..32].fill(0));
    check_deletion(|block| block[postings(block)] ^= 0x5a);
    check_deletion(|block| {
        block[postings(block)] ^= 0x5a;
        block[..32].fill(7);
    });
}

#[test]
fn a_block_whose_deletions_are_unknown_does_not_come_back() {
    let (before, files) = files();
    let fs = FaultyFs::of(files);
    let store = open(&fs);
    store.delete(&[Matcher::equal("i", "3")], TimeRange::ALL).unwrap();
    drop(store);
    let list = Path::new("/d/blocks/0000000001.deleted");
    let mut files = fs.files();
    files.get_mut(list).expect("there is a list")[20] ^= 0x5a;
    let store = open(&FaultyFs::of(files.clone()));
    let repairs = store.repair().unwrap();
    let told: Vec<_> = repairs.iter().map(|told| (&*told.reason, &told.replaced_by)).collect();
    assert_eq!(told, [("the list of what was deleted from it is damaged", &None)]);
    assert!(count(&content(&store)) < count(&before) / 2);
    drop(store);
    // Who removes the list wants all that is in the block.
    files.remove(list);
    let block = files.remove(Path::new(BLOCK)).expect("there is a block");
    files.insert(format!("{BLOCK}.damaged").into(), block);
    let store = open(&FaultyFs::of(files));
    assert_eq!(store.repair().unwrap()[0].reason, "it was set aside and is whole");
    assert_eq!(count(&content(&store)), count(&before) - 10, "what came after the block is not in it");
}

/// Repairs once kept all damaged files under this name.
#[test]
fn what_an_earlier_repair_kept_is_not_taken_again() {
    let (_, mut files) = files();
    files.get_mut(Path::new(BLOCK)).expect("there is a block")[32 + 60] ^= 0x5a;
    let fs = FaultyFs::of(files);
    let store = open(&fs);
    assert_eq!(store.repair().unwrap().len(), 1);
    store.delete(&[Matcher::equal("i", "3")], TimeRange::ALL).unwrap();
    let expected = content(&store);
    drop(store);
    let mut files = fs.files();
    let kept = files.remove(Path::new(&format!("{BLOCK}.salvaged"))).expect("the damaged file stays");
    files.insert(format!("{BLOCK}.damaged").into(), kept);
    let store = open(&FaultyFs::of(files));
    assert_eq!(store.repair().unwrap(), []);
    assert!(content(&store) == expected);
}

/// Whether `all` has every sample of `part`.
fn has(all: &Content, part: &Content) -> bool {
    let has_series = |(name, samples): (&String, &Vec<_>)| {
        all.get(name).is_some_and(|known| samples.iter().all(|sample| known.contains(sample)))
    };
    part.iter().all(has_series)
}

/// Dies at every operation of a repair: nothing that could be read goes, and the next repair ends it.
#[track_caller]
fn check_death(damage: impl Fn(&mut [u8])) {
    let (_, mut files) = files();
    damage(files.get_mut(Path::new(BLOCK)).expect("there is a block"));
    let store = open(&FaultyFs::of(files.clone()));
    let least = content(&store);
    store.repair().unwrap();
    let most = content(&store);
    drop(store);
    let faults = [
        (Fault::Stop, After::Kill),
        (Fault::Torn, After::Kill),
        (Fault::Torn, After::PowerCut),
        (Fault::Full, After::Kill),
        (Fault::Lost, After::PowerCutWithZeros),
    ];
    for (fault, after) in faults {
        for operation in 0.. {
            let fs = FaultyFs::of(files.clone());
            let store = open(&fs);
            fs.break_at(fs.operations() + operation, fault);
            let done = store.repair();
            let context = format!("{fault:?} at operation {operation}, then {after:?}: {done:?}");
            let running = content(&store);
            assert!(has(&running, &least) && has(&most, &running), "while running, {context}");
            let broke = fs.broke();
            drop(store);
            let store = open(&fs.after(after));
            let found = content(&store);
            assert!(has(&found, &least) && has(&most, &found), "{context}");
            store.repair().unwrap_or_else(|error| panic!("{error}, {context}"));
            assert!(content(&store) == most, "repaired once more, {context}");
            if !broke {
                assert!(operation > 3, "only {operation} operations");
                break;
            }
        }
    }
}

#[test]
fn death_at_every_operation_of_a_repair() {
    check_death(|block| block[32 + 60] ^= 0x5a);
    check_death(|block| block[..32].fill(0));
}

#[test]
fn the_log_is_written_anew() {
    let (before, files) = files();
    let log = files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let log = log.max_by_key(|path| files[*path].len()).expect("there is a log").to_str().unwrap().to_owned();
    let (gone, _, _) = check(&log, files[Path::new(&log)].len() / 2);
    assert!((1..=40).contains(&gone), "one commit of {} is damaged, and {gone} samples are gone", count(&before));
}
