//! Writers, readers, followers and maintenance at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relatum_model::storage::{Append, Cancel, Hints, Refused, Scope, Select, SeriesRef, Tail, TimeRange};
use relatum_tsdb::{Durability, Options, Store};

use crate::support::{NOW_MS, labels, options};

const SERIES: usize = 8;
const BATCHES: i64 = 400;

#[test]
fn every_view_is_of_whole_commits() {
    for durability in [Durability::Process, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let on = Options {
            durability,
            segment_bytes: 4000,
            retention: Duration::from_millis(100),
            out_of_order_window: Duration::from_secs(10),
            ..options()
        };
        let store = Store::open(dir.path(), on).unwrap();
        let done = AtomicBool::new(false);
        let start = store.end();
        let committed = std::thread::scope(|scope| {
            let writers = ["a", "b"].map(|group| {
                let store = &store;
                scope.spawn(move || {
                    let mut samples = 0;
                    for n in 0..BATCHES {
                        let mut appender = store.appender();
                        // Every third one comes late: three behind the one before.
                        let t_ms = NOW_MS + if n % 3 == 2 { n * 2 - 5 } else { n * 2 };
                        let append =
                            |i| appender.append(SeriesRef::NONE, &labels(&format!("{group},i={i}")), t_ms, n as f64);
                        match (0..SERIES).map(append).collect::<Result<Vec<_>, _>>() {
                            Ok(_) => {
                                appender.commit().unwrap();
                                samples += SERIES as u64;
                            }
                            // The other writer is so far ahead that retention has passed this moment.
                            Err(refused) => {
                                assert_eq!(refused, Refused::TooOld);
                                appender.rollback();
                            }
                        }
                    }
                    samples
                })
            });
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let reader = store.open(&Scope::all(), TimeRange::ALL).unwrap();
                    let set = reader.series(&[], &Hints::default(), &Cancel::new()).unwrap();
                    let all: Vec<_> = set.map(|series| series.unwrap()).collect();
                    for group in ["a", "b"] {
                        let mut of_group = all.iter().filter(|series| series.labels.metric_name() == Some(group));
                        let Some(first) = of_group.next() else { continue };
                        let mut n = 1;
                        for other in of_group {
                            assert_eq!(first.samples, other.samples, "{} and {}", first.labels, other.labels);
                            n += 1;
                        }
                        assert_eq!(n, SERIES);
                    }
                }
            });
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    store.maintain().unwrap();
                    store.checkpoint().unwrap();
                    store.cut().unwrap();
                }
            });
            scope.spawn(move || {
                let mut from = start;
                while !done.load(Ordering::Relaxed) {
                    let batch = store.read(&from, 50).unwrap();
                    assert_eq!(batch.samples.len() % SERIES, 0, "a commit in part");
                    from = batch.next;
                }
            });
            // The others must stop even if a writer failed.
            let ended = writers.map(|writer| writer.join());
            done.store(true, Ordering::Relaxed);
            ended.into_iter().map(|samples| samples.expect("a writer ends well")).sum::<u64>()
        });
        let stats = store.stats();
        assert_eq!(stats.samples_appended, committed);
        assert_eq!((stats.refused_out_of_order, stats.refused_duplicate), (0, 0));
    }
}
