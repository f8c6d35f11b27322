//! `relatum tsdb create-blocks-from`

mod rules;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use relatum_model::Labels;
use relatum_model::exposition::{Entry, Format, ParsedSample, labels_of, parse};
use relatum_model::storage::SeriesRef;
use relatum_tsdb::{History, Options, Store};

use super::chain;
use crate::failure::CommandFailure;
use crate::output::{counted, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// Samples as text, each with its time
    Openmetrics {
        /// The text, in the format of OpenMetrics
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The store's directory; it is made if it is not there. No process may have it open
        #[arg(default_value = "data", value_name = "DIR")]
        dir: PathBuf,
    },
    /// What rules would have recorded over a span of time
    Rules(rules::Args),
}

/// Adds samples of any age to a store.
pub(crate) fn run(args: &Args) -> Result<(), CommandFailure> {
    let (file, dir) = match &args.source {
        Source::Openmetrics { file, dir } => (file, dir),
        Source::Rules(args) => return rules::run(args),
    };
    let text =
        fs::read(file).map_err(|error| CommandFailure::failed(format!("cannot read {}: {error}", file.display())))?;
    // Read to its end first, so that a bad text adds nothing.
    let samples = read(&text, file)?;
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    let store = Store::open(dir, Options::for_history()).map_err(|error| failed(&error))?;
    let mut history = History::new(&store);
    let mut references: HashMap<&Labels, SeriesRef> = HashMap::new();
    let mut refused = 0;
    for (labels, t_ms, value) in &samples {
        let reference = references.entry(labels).or_insert(SeriesRef::NONE);
        match history.append(*reference, labels, *t_ms, *value).map_err(|error| failed(&error))? {
            Ok(new) => *reference = new,
            Err(_) => refused += 1,
        }
    }
    history.finish().map_err(|error| failed(&error))?;
    store.close().map_err(|error| failed(&error))?;
    let added = counted((samples.len() - refused) as u64, "sample", "samples");
    put(&format!("{added} of {} series\n", references.len()))?;
    if refused > 0 {
        put(&format!("{refused} left out: the store has another value for their series and time\n"))?;
    }
    Ok(())
}

fn read(text: &[u8], file: &Path) -> Result<Vec<(Labels, i64, f64)>, CommandFailure> {
    let bad = |reason: String| CommandFailure::failed(format!("cannot read {}: {reason}", file.display()));
    let entries = parse(text, Format::OpenMetrics).map_err(|error| bad(error.to_string()))?;
    // Lines of one series tend to follow each other, and share the set then.
    let mut known: HashMap<&str, Labels> = HashMap::new();
    let options = Options::default();
    let ahead_ms = i64::try_from(options.future_limit.as_millis()).unwrap_or(i64::MAX);
    let newest_allowed_ms = options.clock.now_ms().saturating_add(ahead_ms);
    let mut samples = Vec::new();
    for entry in entries {
        let Entry::Sample(sample) = entry.map_err(|error| bad(error.to_string()))? else { continue };
        let ParsedSample { series, kind, t_ms, value, .. } = sample;
        let t_ms = t_ms.ok_or_else(|| bad(format!("{series} has a sample without a time")))?;
        if t_ms > newest_allowed_ms {
            let seconds = t_ms / 1000;
            return Err(bad(format!("{series} has a sample in the future, at {seconds}"))
                .hint("times are in seconds since 1970"));
        }
        let labels = match known.get(series) {
            Some(labels) => labels.clone(),
            None => {
                let labels = labels_of(series, kind).map_err(|error| bad(format!("{series}: {error}")))?;
                known.insert(series, labels.clone());
                labels
            }
        };
        samples.push((labels, t_ms, value));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<usize, &str>) {
        let read = read(text.as_bytes(), Path::new("f"));
        match (read, expected) {
            (Ok(samples), Ok(n)) => assert_eq!(samples.len(), n),
            (Err(failure), Err(part)) => assert!(format!("{failure:?}").contains(part), "{failure:?}"),
            (read, expected) => panic!("{read:?} is not {expected:?}"),
        }
    }

    #[test]
    fn texts() {
        check("# TYPE a gauge\na{b=\"c\"} 1 1.5\na{b=\"c\"} 2 2.5\n# EOF\n", Ok(2));
        check("a 1\n# EOF\n", Err("a has a sample without a time"));
        check("a 1 1\n", Err("EOF"));
        // Milliseconds.
        check("a 1 1700000000000\n# EOF\n", Err("a has a sample in the future"));
        check("a 1 1e300\n# EOF\n", Err("a has a sample in the future"));
        check("a 1 1\na b\n# EOF\n", Err("cannot read f"));
    }
}
