//! `relatum tsdb dump`

use relatum_model::storage::{Cancel, Hints, Scope, Select, TimeRange};
use relatum_model::text::{format_value, quote};
use relatum_model::{Labels, Matcher, NativeHistogram};
use relatum_tsdb::{Options, Store};

use super::StoreDir;
use crate::failure::CommandFailure;
use crate::output::put;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreDir,
    /// The first time to print, in milliseconds since 1970
    #[arg(long, default_value_t = i64::MIN, value_name = "MS", allow_negative_numbers = true)]
    min_time: i64,
    /// The last time to print, in milliseconds since 1970
    #[arg(long, default_value_t = i64::MAX, value_name = "MS", allow_negative_numbers = true)]
    max_time: i64,
    /// Which series to print
    #[arg(long = "match", default_value = r#"{__name__=~"(?s:.*)"}"#, value_name = "SELECTOR")]
    selector: String,
}

/// Prints samples, a line each, as `promtool tsdb dump` does.
pub(crate) fn run(args: &Args) -> Result<(), CommandFailure> {
    let dir = &args.store.dir;
    let selector = relatum_promql::syntax::parse_selector(&args.selector)
        .map_err(|error| CommandFailure::usage(format!("cannot read the selector: {error}")))?;
    let matchers: Vec<Matcher> = selector.all_matchers();
    if !dir.join("wal").is_dir() {
        return Err(CommandFailure::failed(format!("there is no store in {}", dir.display())));
    }
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    // Nothing goes: what is printed must still be there afterwards.
    let options = Options {
        retention: std::time::Duration::ZERO,
        sync_interval: None,
        maintenance_interval: None,
        ..Options::default()
    };
    let store = Store::open(dir, options).map_err(|error| failed(&error))?;
    let range = TimeRange { min_ms: args.min_time, max_ms: args.max_time };
    let reader = store.open(&Scope::all(), range).map_err(|error| failed(&error))?;
    let set = reader.series(&matchers, &Hints::default(), &Cancel::new()).map_err(|error| failed(&error))?;
    for series in set {
        let series = series.map_err(|error| failed(&error))?;
        let labels = braces(&series.labels);
        let mut text = String::new();
        for sample in series.samples.iter() {
            text += &format!("{labels} {} {}\n", format_value(sample.value), sample.t_ms);
        }
        for sample in &series.samples.histograms {
            text += &format!("{labels} {} {}\n", histogram(&sample.histogram), sample.t_ms);
        }
        put(&text)?;
    }
    Ok(())
}

fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A histogram as Prometheus prints it: the counts and the sum, then the buckets that are not empty.
fn histogram(histogram: &NativeHistogram) -> String {
    let histogram = histogram.to_float();
    let mut parts =
        vec![format!("count:{}", format_value(histogram.count)), format!("sum:{}", format_value(histogram.sum))];
    for bucket in histogram.buckets() {
        let open = if bucket.lower_is_included { '[' } else { '(' };
        let close = if bucket.upper_is_included { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(format_value);
        parts.push(format!("{open}{lower},{upper}{close}:{count}"));
    }
    format!("{{{}}}", parts.join(", "))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
