//! `relatum tsdb dump`

use std::process::ExitCode;

use relatum_model::storage::{Cancel, Hints, Scope, Select, SelectError};
use relatum_model::text::{format_value_short, quote};
use relatum_model::{Labels, NativeHistogram};

use super::{Selection, StoreDir, chain, damage, open_store};
use crate::failure::CommandFailure;
use crate::output::put;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreDir,
    #[command(flatten)]
    selection: Selection,
}

/// Prints samples, a line each, as `promtool tsdb dump` does; exits with 1 if something could not be read.
pub(crate) fn run(args: &Args) -> Result<ExitCode, CommandFailure> {
    let (matchers, range) = (args.selection.matchers()?, args.selection.range()?);
    let store = open_store(&args.store.dir)?;
    let failed = |error: SelectError| CommandFailure::failed(chain(&error));
    let reader = store.open(&Scope::all(), range).map_err(failed)?;
    let set = reader.series(&matchers, &Hints::default(), &Cancel::new()).map_err(failed)?;
    let mut is_empty = true;
    for series in set {
        is_empty = false;
        let series = series.map_err(failed)?;
        let labels = braces(&series.labels);
        let mut text = String::new();
        for sample in series.samples.iter() {
            text += &format!("{labels} {} {}\n", format_value_short(sample.value), sample.t_ms);
        }
        for sample in &series.samples.histograms {
            text += &format!("{labels} {} {}\n", histogram(&sample.histogram), sample.t_ms);
        }
        put(&text)?;
    }
    if is_empty {
        eprintln!("no sample is what was asked for");
    }
    Ok(damage::report(&damage::found(&store, &args.store.dir)?))
}

fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A histogram as Prometheus prints it: the counts and the sum, then the buckets that are not empty.
fn histogram(histogram: &NativeHistogram) -> String {
    let histogram = histogram.to_float();
    let mut parts = vec![
        format!("count:{}", format_value_short(histogram.count)),
        format!("sum:{}", format_value_short(histogram.sum)),
    ];
    for bucket in histogram.buckets() {
        let open = if bucket.lower_is_included { '[' } else { '(' };
        let close = if bucket.upper_is_included { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(format_value_short);
        parts.push(format!("{open}{lower},{upper}{close}:{count}"));
    }
    format!("{{{}}}", parts.join(", "))
}
