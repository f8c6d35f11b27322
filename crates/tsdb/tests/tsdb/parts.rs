//! Selections in parts, over head and blocks: every series once, in order, with all its samples.

use std::collections::BTreeSet;
use std::time::Duration;

use relatum_model::storage::{Cancel, Scope, Select, TimeRange};
use relatum_model::{Labels, MatchOp, Matcher};
use relatum_tsdb::{Options, Store};

use crate::support::{NOW_MS, bits, content_in, in_parts, options, write};

#[test]
fn parts_make_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { block_range: Duration::from_millis(50), retention: Duration::ZERO, ..options() };
    let store = Store::open(dir.path(), options).unwrap();
    // A series has samples in every span, in some, or in the last one only; so each place lacks some of them.
    for (span, every) in [(0, 2), (1, 1), (2, 3), (3, 7)] {
        for n in (0..1000).filter(|n| n % every == 0) {
            let at_ms = NOW_MS + span * 50;
            let samples = [(at_ms, 1.0), (at_ms + 7, f64::from(n)), (at_ms + 49, 3.0)];
            let name = format!("m{n},n={}", n * 7 % 13);
            let samples: Vec<_> = samples.iter().map(|(t_ms, value)| (name.as_str(), *t_ms, *value)).collect();
            assert_eq!(write(&store, &samples), []);
        }
        store.cut().unwrap();
    }
    for (from, to, expected) in
        [(0, 500, 1000), (0, 10, 500), (50, 99, 1000), (160, 170, 0), (199, 199, 143), (100, 300, 429)]
    {
        let range = TimeRange { min_ms: NOW_MS + from, max_ms: NOW_MS + to };
        let content = content_in(&store, range);
        assert_eq!(content.len(), expected, "{from}..={to}");
        let reader = store.open(&Scope::all(), range).unwrap();
        let all = in_parts(&*reader);
        assert!(all.is_sorted_by(|a, b| a.labels < b.labels), "{:?}", bits(&all));
        let cancel = Cancel::new();
        let values: BTreeSet<&str> = all.iter().map(|series| series.labels.value("n")).collect();
        let values: Vec<&str> = values.into_iter().collect();
        let names: &[&str] = if all.is_empty() { &[] } else { &["__name__", "n"] };
        let sets: Vec<Labels> = all.iter().map(|series| series.labels.clone()).collect();
        // All of them, or the first of them alone.
        for limit in [0, 1, 7, expected, expected + 1] {
            let first = |n: usize| if limit == 0 { n } else { limit.min(n) };
            for matchers in [&[][..], &[Matcher::new(MatchOp::NotEqual, "n", "none").unwrap()]] {
                let values_found = reader.label_values("n", matchers, limit, &cancel).expect("the store can be read");
                let names_found = reader.label_names(matchers, limit, &cancel).expect("the store can be read");
                let sets_found = reader.label_sets(matchers, limit, &cancel).expect("the store can be read");
                assert_eq!(values_found, values[..first(values.len())], "{limit}");
                assert_eq!(names_found, names[..first(names.len())], "{limit}");
                assert_eq!(sets_found, sets[..first(sets.len())], "{limit}");
            }
        }
    }
}
