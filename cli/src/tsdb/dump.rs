//! `relatum tsdb dump`

use std::process::ExitCode;

use relatum_model::storage::{Cancel, Hints, Scope, Select, SelectError};
use relatum_model::text::{format_value, quote};
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
            text += &format!("{labels} {} {}\n", number(sample.value), sample.t_ms);
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
    let mut parts = vec![format!("count:{}", number(histogram.count)), format!("sum:{}", number(histogram.sum))];
    for bucket in histogram.buckets() {
        let open = if bucket.lower_is_included { '[' } else { '(' };
        let close = if bucket.upper_is_included { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(number);
        parts.push(format!("{open}{lower},{upper}{close}:{count}"));
    }
    format!("{{{}}}", parts.join(", "))
}

/// A number as promtool prints it: with an exponent below 0.0001 and from a million on.
fn number(value: f64) -> String {
    let text = format!("{value:e}");
    let exponent = text.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
    match exponent {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) && value != 0.0 => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format_value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (22_748_862_873.0, "2.2748862873e+10"),
            (0.0001, "0.0001"),
            (0.000_051_226, "5.1226e-05"),
            (-1.5e300, "-1.5e+300"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
