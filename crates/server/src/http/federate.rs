//! `/federate`: the newest sample of each chosen series, for a Prometheus above.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_model::regex::CompileBudget;
use relatum_model::storage::{Hints, Scope, Select, SelectError, TimeRange};
use relatum_model::text::{format_value_short, is_legacy_label_name, is_legacy_metric_name};
use relatum_model::{Labels, is_stale};
use relatum_promql::syntax::{ParseError, parse_selector_within};

use super::front;
use super::params::Params;
use super::reading::{Unread, reading};
use crate::Engine;
use crate::clock::now_ms;

/// The label every federated series gets when it has none, so that the one who scrapes does not put its own there.
const INSTANCE: &str = "instance";
const NAME: &str = "__name__";

/// How a reader says that it takes names with any letters.
const UTF8: &str = "escaping=allow-utf-8";

/// Why nothing is federated.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Selector(#[from] ParseError),
    #[error(transparent)]
    Store(#[from] SelectError),
}

/// `/federate`
pub(crate) async fn federate(State(engine): State<Arc<Engine>>, headers: HeaderMap, params: Params) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let utf8 = accepted.contains(UTF8);
    let live = engine.live();
    let end_ms = now_ms();
    let range = TimeRange { min_ms: end_ms - live.flags.lookback.as_millis() as i64, max_ms: end_ms };
    let asked = Arc::clone(&engine);
    let read = reading(&asked, move |cancel| {
        let mut regexes = CompileBudget::new();
        let sets = params.all("match[]").map(|text| parse_selector_within(text, &mut regexes));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        let reader = engine.store().open(&Scope::all(), range)?;
        let mut newest: Vec<(Labels, i64, f64)> = Vec::new();
        for set in &sets {
            for series in reader.series(&set.all_matchers(), &Hints::default(), cancel)? {
                let series = series?;
                // The formats know no staleness markers: a series that ended is simply not there.
                if let Some(last) = series.samples.iter().last().filter(|last| !is_stale(last.value)) {
                    newest.push((series.labels, last.t_ms, last.value));
                }
            }
        }
        Ok::<_, Refused>(newest)
    });
    match read.await {
        Ok(Ok(newest)) => {
            let escaping = if utf8 { "allow-utf-8" } else { "underscores" };
            let content_type = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
            let text = text_of(newest, &live.config.global.external_labels, utf8);
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Ok(Err(Refused::Selector(error))) => front::plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
        Ok(Err(Refused::Store(error))) => {
            tracing::error!(error = %crate::chain(&error), "the store could not be read for federation");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
        Err(error) => {
            let status = match error {
                Unread::Late(_) => StatusCode::SERVICE_UNAVAILABLE,
                Unread::Ended => StatusCode::INTERNAL_SERVER_ERROR,
            };
            front::plain(status, format!("{error}\n"))
        }
    }
}

/// The text format with a moment on every sample, by name; what has no name is left out. External labels are added where a series
/// has no such label.
fn text_of(mut newest: Vec<(Labels, i64, f64)>, external: &Labels, utf8: bool) -> String {
    let name_of = |labels: &Labels| labels.get(NAME).unwrap_or_default().to_owned();
    newest.sort_by_cached_key(|(labels, ..)| (name_of(labels), labels.clone()));
    // Several selectors may have found the same series.
    newest.dedup_by(|a, b| a.0 == b.0);
    let mut added: Vec<(&str, &str)> = external.iter().collect();
    if external.get(INSTANCE).is_none() {
        added.push((INSTANCE, ""));
    }
    added.sort_unstable();
    let mut out = String::new();
    let mut before = String::new();
    for (labels, t_ms, value) in &newest {
        let name = name_of(labels);
        if name.is_empty() {
            continue;
        }
        let metric = Name::metric(&name, utf8);
        if name != before {
            let _ = writeln!(out, "# TYPE {} untyped", metric.text);
            before = name;
        }
        let mut separator = "{";
        if metric.is_quoted {
            let _ = write!(out, "{{{}", metric.text);
            separator = ",";
        } else {
            out.push_str(&metric.text);
        }
        let own = labels.iter().filter(|(label, _)| *label != NAME);
        for (label, value) in own.chain(added.iter().copied().filter(|(label, _)| labels.get(label).is_none())) {
            let _ = write!(out, "{separator}{}=\"{}\"", Name::label(label, utf8).text, escaped(value));
            separator = ",";
        }
        // There is always at least one label: the instance.
        let _ = writeln!(out, "}} {} {t_ms}", format_value_short(*value));
    }
    out
}

/// A name as the reader can take it.
struct Name {
    text: String,
    is_quoted: bool,
}

impl Name {
    fn metric(name: &str, utf8: bool) -> Self {
        Name::new(name, is_legacy_metric_name(name), utf8)
    }

    fn label(name: &str, utf8: bool) -> Self {
        Name::new(name, is_legacy_label_name(name), utf8)
    }

    /// A name outside the old alphabet is quoted for a reader that knows such names; others get an underscore for each odd letter.
    fn new(name: &str, is_legacy: bool, utf8: bool) -> Self {
        if is_legacy {
            return Name { text: name.to_owned(), is_quoted: false };
        }
        if utf8 {
            return Name { text: format!("\"{}\"", escaped(name)), is_quoted: true };
        }
        let legal = |(at, c): (usize, char)| {
            if c.is_ascii_alphabetic() || c == '_' || c == ':' || (at > 0 && c.is_ascii_digit()) { c } else { '_' }
        };
        Name { text: name.char_indices().map(legal).collect(), is_quoted: false }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let series = |labels: &[(&str, &str)]| (Labels::from_pairs(labels.iter().copied()), 1_500, 1e6);
        let newest = vec![
            series(&[("__name__", "z"), ("site", "own")]),
            series(&[("__name__", "a.b"), ("l\u{e4}", "x\"y")]),
            series(&[("__name__", "z"), ("site", "own")]),
            series(&[("job", "nameless")]),
        ];
        let external = Labels::from_pairs([("site", "here")]);
        assert_eq!(
            text_of(newest.clone(), &external, false),
            "# TYPE a_b untyped\na_b{l_=\"x\\\"y\",instance=\"\",site=\"here\"} 1e+06 1500\n\
             # TYPE z untyped\nz{site=\"own\",instance=\"\"} 1e+06 1500\n"
        );
        assert!(
            text_of(newest, &external, true)
                .starts_with("# TYPE \"a.b\" untyped\n{\"a.b\",\"l\u{e4}\"=\"x\\\"y\",instance=\"\"")
        );
    }
}
