//! How fast queries are read: those of Prometheus' evaluation tests, repeated until there are ten thousand.
//!
//! The queries come from `RELATUM_CORPORA`; without it there is nothing to measure.

use std::hint::black_box;
use std::path::Path;

use relatum_promql::syntax::{ParseOptions, parse};

#[path = "../../model/benches/cpu_time/mod.rs"]
mod cpu_time;

const N_QUERIES: usize = 10_000;
const N_ROUNDS: u32 = 20;

fn main() {
    let Some(corpora) = std::env::var_os("RELATUM_CORPORA") else {
        println!("queries are not measured: RELATUM_CORPORA names no folder");
        return;
    };
    let distinct = queries(&Path::new(&corpora).join("conformance/promql"));
    let queries: Vec<&str> = distinct.iter().map(String::as_str).cycle().take(N_QUERIES).collect();
    let bytes: usize = queries.iter().map(|query| query.len()).sum();
    let options = ParseOptions::all();
    let spent = cpu_time::mean(N_ROUNDS, || {
        for query in &queries {
            let _ = black_box(parse(black_box(query), &options).expect("the corpus test reads them all"));
        }
    });
    let measured = format!("{:.1} ms", spent.as_secs_f64() * 1000.0);
    println!("{:<58}{measured:>14}{:>14}", format!("{N_QUERIES} queries ({bytes} bytes) parsed"), "< 50 ms");
}

fn queries(folder: &Path) -> Vec<String> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let text = std::fs::read_to_string(entry.expect("it can be listed").path()).expect("it can be read");
        queries.extend(text.lines().filter_map(query).map(str::to_owned));
    }
    queries.sort_unstable();
    queries.dedup();
    assert!(queries.len() > 500, "the corpus is not what it was");
    queries
}

/// The query of a line of a test file, if it has one.
fn query(line: &str) -> Option<&str> {
    let line = line.trim();
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    match words[..] {
        ["eval" | "eval_fail", "instant", "at", _, query] => Some(query),
        ["eval", "range", "from", ..] => line.splitn(9, ' ').nth(8),
        _ => None,
    }
}
