//! What a view says of the times that changed since an earlier one.

use std::time::Duration;

use relatum_model::storage::{Append, Moment, Reader, Scope, Select, SeriesRef, TimeRange};
use relatum_tsdb::{Durability, Options, Store};

use crate::support::{NOW_MS, labels, options, write};

fn view(store: &Store) -> Box<dyn Reader + '_> {
    store.open(&Scope::all(), TimeRange::ALL).expect("a view opens")
}

fn moment(store: &Store) -> Moment {
    view(store).moment()
}

#[test]
fn a_view_tells_what_changed_since_an_earlier_one() {
    for durability in [Durability::Process, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options { durability, out_of_order_window: Duration::from_secs(3600), ..options() };
        let store = Store::open(dir.path(), options()).unwrap();
        let change = |what: &str, expected: i64, step: &dyn Fn()| {
            let before = moment(&store);
            step();
            let found = view(&store).changed_since(before);
            assert_eq!(found, expected, "{what}, {durability:?}");
            assert_eq!(view(&store).changed_since(moment(&store)), i64::MAX, "{what}: seen");
        };
        let put = |name: &str, t_ms: i64, value: f64| drop(write(&store, &[(name, NOW_MS + t_ms, value)]));
        change("nothing", i64::MAX, &|| ());
        change("a sample", NOW_MS, &|| put("a", 0, 1.0));
        change("several commits", NOW_MS + 10_000, &|| {
            put("a", 10_000, 1.0);
            put("a", 20_000, 1.0);
        });
        change("one that is there", i64::MAX, &|| put("a", 20_000, 1.0));
        change("one that is refused", i64::MAX, &|| put("a", 20_000, 2.0));
        change("a late one", NOW_MS - 60_000, &|| {
            put("a", 30_000, 1.0);
            put("a", -60_000, 1.0);
            put("a", 40_000, 1.0);
        });
        change("a batch that is not committed", i64::MAX, &|| {
            let mut batch = store.appender();
            batch.append(SeriesRef::NONE, &labels("a"), NOW_MS + 50_000, 1.0).unwrap();
            batch.rollback();
        });
        change("cut, merged and written anew", i64::MAX, &|| {
            store.cut().unwrap();
            store.compact().unwrap();
            store.checkpoint().unwrap();
        });
        let range = TimeRange { min_ms: NOW_MS + 5000, max_ms: NOW_MS + 15_000 };
        let matcher = |name| [relatum_model::Matcher::equal("__name__", name)];
        change("deleted", NOW_MS + 5000, &|| store.delete(&matcher("a"), range).unwrap());
        change("deleted of nothing", i64::MAX, &|| store.delete(&matcher("b"), range).unwrap());
        change("cleaned", i64::MAX, &|| store.clean_deleted().unwrap());
        let before = moment(&store);
        drop(store);
        let store = Store::open(dir.path(), options()).unwrap();
        assert_eq!(view(&store).changed_since(before), i64::MIN, "a store that was opened anew tells nothing");
    }
}

#[test]
fn a_commit_that_a_view_does_not_show_is_a_change_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    write(&store, &[("a", NOW_MS, 1.0)]);
    let before = view(&store);
    write(&store, &[("a", NOW_MS + 1500, 1.0)]);
    assert_eq!(view(&store).changed_since(before.moment()), NOW_MS + 1000, "to the second");
    assert!(before.moment() < moment(&store));
}
