//! A store that is opened while its disk is full: what was written is read, and samples are taken as soon as there is room.

use std::path::Path;
use std::sync::Arc;

use relatum_model::storage::{Append, AppendError, Position, SeriesRef, Tail};
use relatum_tsdb::{Durability, Options, Store};

use crate::faulty_fs::{After, FaultyFs};
use crate::support::{NOW_MS, content, labels, options};

fn open(fs: &FaultyFs, durability: Durability) -> Store {
    let on = Options { fs: Arc::new(fs.clone()), durability, segment_bytes: 200, ..options() };
    Store::open(Path::new("/d"), on).expect("the store opens")
}

fn commit(store: &Store, n: i64) -> Result<(), AppendError> {
    let mut appender = store.appender();
    for name in ["shared".to_owned(), format!("own,n={n}")] {
        appender.append(SeriesRef::NONE, &labels(&name), NOW_MS + n, n as f64).expect("the sample is in order");
    }
    appender.commit()
}

/// How many samples a follower gets from `from` on, and where it is then.
fn followed(store: &Store, from: &Position) -> (usize, Position) {
    let batch = store.read(from, usize::MAX).expect("a follower reads");
    (batch.samples.len(), batch.next)
}

#[test]
fn a_store_opens_on_a_full_disk_and_goes_on_when_there_is_room() {
    for (durability, after) in [(Durability::Process, After::Kill), (Durability::Fsync, After::PowerCut)] {
        let fs = FaultyFs::default();
        let store = open(&fs, durability);
        (0..9).for_each(|n| commit(&store, n).unwrap());
        store.cut().unwrap();
        (9..14).for_each(|n| commit(&store, n).unwrap());
        let expected = content(&store);
        let from = store.end();
        commit(&store, 14).unwrap();
        drop(store);
        let fs = fs.after(after);
        fs.leave_room(0);
        // More often than any reserve would last.
        for _ in 0..20 {
            let store = open(&fs, durability);
            assert!(store.stats().full && store.stats().poisoned.is_none());
            assert_eq!(content(&store).len(), expected.len() + 1);
            assert_eq!(followed(&store, &from).0, 2, "{durability:?}");
            assert_eq!(followed(&store, &Position::default()).0, 30, "{durability:?}");
            assert!(matches!(commit(&store, 15), Err(AppendError::Full { .. })));
            store.sync().expect("all that was taken is durable");
            let _ = store.maintain();
        }
        let store = open(&fs, durability);
        let (_, end) = followed(&store, &from);
        fs.leave_room(1 << 20);
        commit(&store, 15).expect("there is room");
        assert!(!store.stats().full);
        assert_eq!(followed(&store, &end).0, 2, "{durability:?}");
        let expected = content(&store);
        drop(store);
        let store = open(&fs.after(After::PowerCut), durability);
        assert_eq!(store.opened().dropped, []);
        assert_eq!(content(&store), expected);
    }
}
