//! Annotations: what a query wants its author to know beside the result. The texts are Prometheus'.
//!
//! Equal texts are told once, with the place of the last one that arose, as Prometheus does.

use std::collections::HashMap;

use relatum_model::text::{format_value_rounded, format_value_short};

use crate::syntax::Span;

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Warning,
    Info,
}

impl Severity {
    fn prefix(self) -> &'static str {
        match self {
            Severity::Warning => "PromQL warning: ",
            Severity::Info => "PromQL info: ",
        }
    }
}

/// What was repaired in the buckets given to `histogram_quantile`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repair {
    /// The first and the last time it was needed.
    pub(crate) t_ms: (i64, i64),
    /// The smallest and the largest bound of a bucket that lost to its predecessor.
    pub(crate) bounds: (f64, f64),
    /// By how much, at most.
    pub(crate) diff_max: f64,
    /// How many times it was needed.
    pub(crate) count: usize,
}

impl Repair {
    fn merge(&mut self, other: &Repair) {
        self.t_ms = (self.t_ms.0.min(other.t_ms.0), self.t_ms.1.max(other.t_ms.1));
        self.bounds = (self.bounds.0.min(other.bounds.0), self.bounds.1.max(other.bounds.1));
        self.diff_max = self.diff_max.max(other.diff_max);
        self.count += other.count;
    }
}

#[derive(Debug, Clone)]
struct Annotation {
    severity: Severity,
    text: String,
    span: Span,
    repair: Option<Repair>,
    // How often it arose; `None` if that is not counted.
    times: Option<usize>,
}

/// So many different ones a query has at most: nobody reads more, and a parameter that varies from step to step may have one for each.
const ENTRIES_MAX: usize = 10_000;

/// The annotations of one query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations {
    entries: Vec<Annotation>,
    places: HashMap<String, usize>,
}

impl Annotations {
    /// Warns about the expression at `span`.
    pub(crate) fn warn(&mut self, span: Span, text: impl Into<String>) {
        self.add(Severity::Warning, span, text.into(), None);
    }

    /// Says something of the expression at `span`.
    pub(crate) fn tell(&mut self, severity: Severity, span: Span, text: String) {
        self.add(severity, span, text, None);
    }

    /// Warns about the expression at `span`, and counts how often.
    pub(crate) fn warn_again(&mut self, span: Span, text: String) {
        self.place(Annotation { severity: Severity::Warning, text, span, repair: None, times: Some(1) });
    }

    /// Informs about the expression at `span`.
    pub(crate) fn inform(&mut self, span: Span, text: impl Into<String>) {
        self.add(Severity::Info, span, text.into(), None);
    }

    /// Informs that the buckets of the expression at `span` were repaired.
    pub(crate) fn inform_of_repair(&mut self, span: Span, text: impl Into<String>, repair: Repair) {
        self.add(Severity::Info, span, text.into(), Some(repair));
    }

    fn add(&mut self, severity: Severity, span: Span, text: String, repair: Option<Repair>) {
        self.place(Annotation { severity, text, span, repair, times: None });
    }

    fn place(&mut self, newer: Annotation) {
        let Some(&at) = self.places.get(&newer.text) else {
            if self.entries.len() >= ENTRIES_MAX {
                return;
            }
            self.places.insert(newer.text.clone(), self.entries.len());
            self.entries.push(newer);
            return;
        };
        let older = &mut self.entries[at];
        // The place stays that of the first one where Prometheus merges into the older annotation.
        match (&mut older.times, newer.times, &mut older.repair, newer.repair) {
            (Some(times), Some(more), ..) => *times += more,
            (_, _, Some(repair), Some(more)) => repair.merge(&more),
            _ => older.span = newer.span,
        }
    }

    /// Adds all annotations of `others`, as if they arose anew, so many bytes further behind in the text.
    pub(crate) fn take_over(&mut self, others: &Annotations, by: isize) {
        for other in &others.entries {
            let mut other = other.clone();
            // The empty one is for what has no place.
            if other.span != Span::default() {
                let moved = |at: usize| at.saturating_add_signed(by);
                other.span = Span::new(moved(other.span.start), moved(other.span.end));
            }
            self.place(other);
        }
    }

    /// The texts of the warnings, then of the infos, with places in `query`; without places if its text is not known.
    pub(crate) fn render(&self, query: Option<&str>) -> (Vec<String>, Vec<String>) {
        let of = |severity| {
            self.entries.iter().filter(|entry| entry.severity == severity).map(|entry| entry.render(query)).collect()
        };
        (of(Severity::Warning), of(Severity::Info))
    }
}

impl Annotation {
    fn render(&self, query: Option<&str>) -> String {
        let mut out = format!("{}{}", self.severity.prefix(), self.text);
        if let Some(repair) = &self.repair {
            out.push_str(&format!(
                ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                format_value_short(repair.bounds.0),
                format_value_short(repair.bounds.1),
                format_value_rounded(repair.diff_max, 2),
                repair.count,
                rfc3339(repair.t_ms.0),
                rfc3339(repair.t_ms.1),
            ));
        }
        if let Some(times) = self.times.filter(|times| *times > 1 && query.is_some()) {
            out.push_str(&format!(" ({times} occurrences)"));
        }
        if let Some(query) = query {
            let before = &query.as_bytes()[..self.span.start.min(query.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            out.push_str(&format!(" ({line}:{column})"));
        }
        out
    }
}

/// The texts of annotations that arise in several places.
pub(crate) mod texts {
    use relatum_model::text::quote;

    use crate::syntax::AggregateOp;

    pub(crate) fn mixed_types(metric: &str) -> String {
        format!("encountered a mix of histograms and floats for metric name {}", quote(metric))
    }

    pub(crate) fn mixed_aggregation() -> String {
        "encountered a mix of histograms and floats for aggregation".to_owned()
    }

    pub(crate) fn mixed_schemas(metric: &str) -> String {
        format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
            quote(metric)
        )
    }

    pub(crate) fn mixed_classic_and_native() -> &'static str {
        "vector contains a mix of classic and native histograms"
    }

    pub(crate) fn not_counter(metric: &str) -> String {
        format!("this native histogram metric is not a counter: {}", quote(metric))
    }

    pub(crate) fn not_gauge(metric: &str) -> String {
        format!("this native histogram metric is not a gauge: {}", quote(metric))
    }

    pub(crate) fn ignored_in_aggregation(op: AggregateOp) -> String {
        format!("ignored histogram in {op} aggregation")
    }

    pub(crate) fn ignored_in_range(metric: &str) -> String {
        format!("ignored histograms in a range containing both floats and histograms for metric name {}", quote(metric))
    }

    pub(crate) fn collision(operation: &str) -> String {
        format!("conflicting counter resets during histogram {operation}")
    }

    pub(crate) fn reconciled(operation: &str) -> String {
        format!("mismatched custom buckets were reconciled during {operation}")
    }

    pub(crate) fn start_overlap(metric: &str) -> String {
        format!("sample has start time that overlaps with previous sample timestamp for metric {}", quote(metric))
    }
}

fn rfc3339(t_ms: i64) -> String {
    let seconds = t_ms.div_euclid(1000);
    match jiff::Timestamp::from_second(seconds) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_wins_and_lines_count() {
        let mut annotations = Annotations::default();
        annotations.warn(Span::new(0, 1), "a");
        annotations.warn(Span::new(4, 5), "a");
        annotations.inform(Span::new(0, 1), "b");
        let (warnings, infos) = annotations.render(Some("xy\nz+a"));
        assert_eq!(warnings, ["PromQL warning: a (2:2)"]);
        assert_eq!(infos, ["PromQL info: b (1:1)"]);
    }

    #[test]
    fn there_are_so_many_at_most() {
        let mut annotations = Annotations::default();
        for n in 0..2 * ENTRIES_MAX {
            annotations.warn(Span::default(), format!("value {n}"));
        }
        // Those that are there are still told again.
        annotations.warn(Span::new(1, 2), "value 7");
        let (warnings, _) = annotations.render(Some("xyz"));
        assert_eq!(warnings.len(), ENTRIES_MAX);
        assert_eq!(warnings[7], "PromQL warning: value 7 (1:2)");
    }
}
