//! The times at which counting began, which OpenMetrics has as series `…_created` behind those they belong to.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::cursor::Cursor;
use super::series::{Part, parts};
use super::{Entry, Format, MetricKind, ParsedSample, open_metrics};

/// Looks ahead for the series `…_created` of a sample. Each line is looked at twice at most, because the samples of one label set
/// stand together and the search stops where they end.
#[derive(Debug, Clone, Default)]
pub(super) struct CreatedTimes {
    /// The label set looked for last, and what was found.
    last: Option<(u64, Option<i64>)>,
}

impl CreatedTimes {
    /// Gives `sample`, behind which `cursor` is, its time; `false` if the sample is itself nothing but such a time.
    pub(super) fn fill(&mut self, sample: &mut ParsedSample<'_>, cursor: &Cursor<'_>) -> bool {
        if !matches!(sample.kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary) {
            return true;
        }
        let Some((group, is_created)) = group_of(sample.series) else { return true };
        if is_created {
            self.last = Some((group, Some(time_ms(sample.value))));
            return false;
        }
        if self.last.is_none_or(|(last, _)| last != group) {
            self.last = Some((group, find(group, sample.kind, cursor.clone())));
        }
        sample.created_ms = self.last.and_then(|(_, created_ms)| created_ms);
        true
    }
}

fn find(group: u64, kind: MetricKind, mut cursor: Cursor<'_>) -> Option<i64> {
    while let Ok(Some(Entry::Sample(sample))) = open_metrics::next(&mut cursor, kind, Format::OpenMetrics) {
        match group_of(sample.series)? {
            (found, true) if found == group => return Some(time_ms(sample.value)),
            (found, false) if found == group => {}
            _ => break,
        }
    }
    None
}

/// What is the same for all samples of one label set of a family, and whether this one is the time of its creation.
fn group_of(series: &str) -> Option<(u64, bool)> {
    let mut group = 0u64;
    let mut is_created = false;
    let mut add = |name: &str, value: &str| {
        let mut hasher = DefaultHasher::new();
        (name, value).hash(&mut hasher);
        // A sum, because labels come in any order.
        group = group.wrapping_add(hasher.finish());
    };
    let walked = parts(&mut Cursor::new(series), Format::OpenMetrics, |part| match part {
        Part::Name(name) => {
            let suffixes = ["_total", "_bucket", "_count", "_sum", "_created"];
            let (base, suffix) =
                suffixes.iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, *suffix))).unwrap_or((name, ""));
            is_created = suffix == "_created";
            add("", base);
        }
        Part::Label("le" | "quantile", _) => {}
        Part::Label(name, value) => add(name, value),
    });
    walked.ok().map(|_| (group, is_created))
}

/// The value of such a series is in seconds.
fn time_ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}
