//! What one types into a search box: `/search/metric_names`, `/search/label_names`, `/search/label_values`, behind the feature
//! `search-api`. Names and values that are like what is searched for, best or first ones first, as lines of JSON.

mod likeness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use relatum_model::Matcher;
use relatum_model::exposition::MetricDescription;
use relatum_model::labels::METRIC_NAME;
use relatum_model::remote_write::description_of;
use relatum_model::storage::{Cancel, Reader, Scope, Select, SelectError, Tail, TimeRange};
use relatum_model::text::{format_json_number, quote, to_lower};
use serde_json::Value;

use super::envelope::{ApiError, ErrorKind};
use super::params::Params;
use super::reading::reading;
use crate::Engine;

const CONTENT_TYPE: &str = "application/x-ndjson; charset=utf-8";
/// As many results, and as many in a line, as long as nobody says how many.
const RESULTS: usize = 100;
/// Each takes a look at every name.
const TERMS_MAX: usize = 32;
/// The work of a term grows with its length, and nobody types as much.
const TERM_BYTES_MAX: usize = 256;
/// After so many names one looks whether there is still time, and somebody who waits.
const NAMES_AT_ONCE: usize = 64;
/// The range where none is given.
const RANGE_MS: i64 = 3_600_000;
const ALGORITHMS: [&str; 2] = ["subsequence", "jarowinkler"];

/// `/api/v1/search/metric_names`
pub(crate) async fn metric_names(State(engine): State<Arc<Engine>>, params: Params) -> Result<Response, ApiError> {
    let search = Arc::new(Search::of(&engine, &params, "metric_names")?);
    let is_described = boolean(&params, "include_metadata", false)?;
    let found = Arc::clone(&search)
        .run(&engine, |reader, matchers, cancel| reader.label_values(METRIC_NAME, matchers, 0, cancel))
        .await?;
    if is_described {
        engine.remember_descriptions();
    }
    let describe = |name: &str| {
        let find = |family: &str| engine.store().description(family);
        if is_described { description_of(name, find) } else { None }
    };
    Ok(answer(search.lines(&found, "name", describe)))
}

/// `/api/v1/search/label_names`
pub(crate) async fn label_names(State(engine): State<Arc<Engine>>, params: Params) -> Result<Response, ApiError> {
    let search = Arc::new(Search::of(&engine, &params, "label_names")?);
    let found =
        Arc::clone(&search).run(&engine, |reader, matchers, cancel| reader.label_names(matchers, 0, cancel)).await?;
    Ok(answer(search.lines(&found, "name", |_| None)))
}

/// `/api/v1/search/label_values`
pub(crate) async fn label_values(State(engine): State<Arc<Engine>>, params: Params) -> Result<Response, ApiError> {
    let search = Arc::new(Search::of(&engine, &params, "label_values")?);
    let name = match params.first("label") {
        "" => return Err(ApiError::bad_data("missing required parameter \"label\"")),
        name => name.to_owned(),
    };
    let found = Arc::clone(&search)
        .run(&engine, move |reader, matchers, cancel| reader.label_values(&name, matchers, 0, cancel))
        .await?;
    Ok(answer(search.lines(&found, "value", |_| None)))
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// Names or values with their scores, in order; one more than are told, if there are as many.
    results: Vec<(String, f64)>,
    /// What could not be searched.
    warnings: Vec<String>,
}

/// In which order results come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Up,
    Down,
    /// The best ones first; of equally good ones the first by name.
    Best,
}

/// What is searched for, and how it is to be told.
#[derive(Debug)]
struct Search {
    matcher_sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    terms: Vec<Term>,
    ignores_case: bool,
    order: Order,
    shows_score: bool,
    limit: usize,
    per_line: usize,
}

/// One of the texts that are searched for.
#[derive(Debug)]
struct Term {
    text: String,
    chars: Vec<char>,
    is_subsequence: bool,
    // What a score must reach.
    threshold: f64,
}

impl Term {
    /// How well `text` fits; `None` if it does not.
    fn score(&self, text: &str) -> Option<f64> {
        if self.is_subsequence {
            if text.starts_with(&self.text) {
                return Some(1.0);
            }
            return likeness::subsequence(&self.chars, text).filter(|score| *score >= self.threshold);
        }
        likeness::substring(&self.text, text).or_else(|| {
            // Without a threshold everything would fit.
            let is_wanted = self.threshold > 0.0;
            is_wanted.then(|| likeness::jaro_winkler(&self.chars, text)).filter(|score| *score >= self.threshold)
        })
    }
}

impl Search {
    /// Checks in Prometheus' order, so that of several faults the same one is named.
    fn of(engine: &Engine, params: &Params, endpoint: &str) -> Result<Self, ApiError> {
        let live = engine.live();
        if !live.flags.has_feature("search-api") {
            return Err(ApiError::new(ErrorKind::Unavailable, "search API disabled"));
        }
        let bad = |text: String| Err(ApiError::bad_data(text));
        let now_ms = crate::clock::now_ms();
        let min_ms = params.moment_or("start", now_ms - RANGE_MS).map_err(ApiError::bad_data)?;
        let max_ms = params.moment_or("end", now_ms).map_err(ApiError::bad_data)?;
        if max_ms < min_ms {
            return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
        }
        let matcher_sets = params.matcher_sets().map_err(ApiError::bad_data)?;
        let n_terms = count(params.all("search[]"))?;
        let threshold: u8 = match params.first("fuzz_threshold") {
            "" => 0,
            text => match text.parse() {
                Ok(percent @ 0..=100) => percent,
                _ => return bad(format!("invalid fuzz_threshold {}: must be 0-100", quote(text))),
            },
        };
        let is_subsequence = match params.first("fuzz_alg") {
            "" => true,
            text if ALGORITHMS.contains(&text) => text == ALGORITHMS[0],
            text => {
                let known = ALGORITHMS.join(" ");
                return bad(format!("unsupported fuzz_alg {}: must be one of [{known}]", quote(text)));
            }
        };
        let ignores_case = !boolean(params, "case_sensitive", true)?;
        let shows_score = boolean(params, "include_score", false)?;
        let order = order(params, endpoint, n_terms)?;
        // 0 is no bound but what there is.
        let limit_max = Some(live.flags.search_results_max).filter(|max| *max > 0).unwrap_or(usize::MAX);
        let limit = match params.first("limit") {
            "" => RESULTS.min(limit_max),
            text => match text.parse::<usize>() {
                Ok(limit) if limit > limit_max => {
                    return bad(format!(
                        "limit {limit} exceeds the configured maximum ({limit_max}, see --web.search.max-limit)"
                    ));
                }
                Ok(limit @ 1..) => limit,
                _ => return bad(format!("invalid limit {}: must be a positive integer", quote(text))),
            },
        };
        let per_line = match params.first("batch_size") {
            "" => RESULTS,
            text => match text.parse::<usize>() {
                Ok(n @ 1..) => n,
                _ => return bad(format!("invalid batch_size {}: must be a positive integer", quote(text))),
            },
        };
        let terms = params.all("search[]").filter(|text| !text.is_empty()).map(|text| {
            let text = if ignores_case { to_lower(text) } else { text.to_owned() };
            Term { chars: text.chars().collect(), text, is_subsequence, threshold: f64::from(threshold) / 100.0 }
        });
        let terms = terms.collect();
        let range = TimeRange { min_ms, max_ms };
        Ok(Search { matcher_sets, range, terms, ignores_case, order, shows_score, limit, per_line })
    }

    /// The names or values that `read` finds and that fit, within the time a query may take.
    async fn run(
        self: Arc<Self>,
        engine: &Arc<Engine>,
        read: impl Fn(&dyn Reader, &[Matcher], &Cancel) -> Result<Vec<String>, SelectError> + Send + 'static,
    ) -> Result<Found, ApiError> {
        let asked = Arc::clone(engine);
        let searched = reading(engine, move |cancel| {
            let timeout = asked.live().flags.timeout;
            let deadline = Instant::now().checked_add(timeout).filter(|_| !timeout.is_zero());
            let everywhere = asked.everywhere();
            let reader = everywhere.open(&Scope::all(), self.range)?;
            let mut united = BTreeSet::new();
            let names = match &self.matcher_sets[..] {
                [] => read(reader.as_ref(), &[], cancel)?,
                [matchers] => read(reader.as_ref(), matchers, cancel)?,
                sets => {
                    for matchers in sets {
                        united.extend(read(reader.as_ref(), matchers, cancel)?);
                    }
                    united.into_iter().collect()
                }
            };
            drop(reader);
            let results = self.chosen(names, cancel, deadline)?;
            Ok(Found { results, warnings: everywhere.take_warnings() })
        });
        searched.await?
    }

    fn chosen(
        &self,
        names: Vec<String>,
        cancel: &Cancel,
        deadline: Option<Instant>,
    ) -> Result<Vec<(String, f64)>, ApiError> {
        let mut found: Vec<(String, f64)> = Vec::new();
        for (n_seen, name) in names.into_iter().enumerate() {
            if n_seen % NAMES_AT_ONCE == 0 {
                if cancel.is_cancelled() {
                    return Err(ApiError::new(ErrorKind::Canceled, "search was canceled"));
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(ApiError::new(ErrorKind::Timeout, "search timed out"));
                }
            }
            if let Some(score) = self.score(&name) {
                found.push((name, score));
            }
        }
        found.sort_by(|(a, a_score), (b, b_score)| match self.order {
            Order::Up => a.cmp(b),
            Order::Down => b.cmp(a),
            Order::Best => b_score.total_cmp(a_score).then(a.cmp(b)),
        });
        found.truncate(self.limit.saturating_add(1));
        Ok(found)
    }

    /// The best of all terms; 1 where nothing is searched for.
    fn score(&self, name: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let lower = self.ignores_case.then(|| to_lower(name));
        let text = lower.as_deref().unwrap_or(name);
        self.terms.iter().filter_map(|term| term.score(text)).max_by(f64::total_cmp)
    }

    /// Lines of results, at least one, and a last one that says that this is all.
    fn lines(&self, found: &Found, key: &str, describe: impl Fn(&str) -> Option<MetricDescription>) -> String {
        let has_more = found.results.len() > self.limit;
        let told = &found.results[..found.results.len().min(self.limit)];
        let mut lines = String::new();
        for results in told.chunks(self.per_line).chain(told.is_empty().then_some(told)) {
            let results: Vec<String> =
                results.iter().map(|(name, score)| self.result(key, name, *score, describe(name))).collect();
            let warnings = match &found.warnings[..] {
                warnings @ [_, ..] if lines.is_empty() => format!(",\"warnings\":{}", Value::from(warnings)),
                _ => String::new(),
            };
            lines += &format!("{{\"results\":[{}]{warnings}}}\n", results.join(","));
        }
        lines + &format!("{{\"status\":\"success\",\"has_more\":{has_more}}}\n")
    }

    fn result(&self, key: &str, name: &str, score: f64, described: Option<MetricDescription>) -> String {
        let mut out = format!("{{\"{key}\":{}", Value::from(name));
        if self.shows_score {
            out += &format!(",\"score\":{}", format_json_number(score).unwrap_or_default());
        }
        if let Some(MetricDescription { kind, help, unit }) = described {
            for (key, text) in [("type", kind.as_str().to_owned()), ("help", help), ("unit", unit)] {
                if !text.is_empty() {
                    out += &format!(",\"{key}\":{}", Value::from(text));
                }
            }
        }
        out + "}"
    }
}

/// How many texts are searched for; fails if they are more work than they may be.
fn count<'a>(terms: impl Iterator<Item = &'a str>) -> Result<usize, ApiError> {
    let lengths: Vec<usize> = terms.map(str::len).collect();
    if lengths.len() > TERMS_MAX {
        let n_terms = lengths.len();
        return Err(ApiError::bad_data(format!("too many search[] terms: got {n_terms}, maximum is {TERMS_MAX}")));
    }
    match lengths.iter().find(|n_bytes| **n_bytes > TERM_BYTES_MAX) {
        None => Ok(lengths.len()),
        Some(long) => {
            let cause = format!("search[] term too long: got {long} bytes, maximum is {TERM_BYTES_MAX}");
            Err(ApiError::bad_data(cause))
        }
    }
}

fn answer(lines: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], lines).into_response()
}

fn order(params: &Params, endpoint: &str, n_terms: usize) -> Result<Order, ApiError> {
    let bad = |text: &str| Err(ApiError::bad_data(text));
    let (by, direction) = (params.first("sort_by"), params.first("sort_dir"));
    match (by, direction) {
        ("", "") => Ok(Order::Up),
        ("", _) => bad("sort_dir is only valid when sort_by is set"),
        ("score", "") if n_terms == 0 => bad("sort_by=score requires search[] to be set"),
        ("score", "") => Ok(Order::Best),
        ("score", _) => bad("sort_dir is not supported for sort_by=score"),
        (_, other) if !["", "asc", "dsc"].contains(&other) => {
            bad(&format!("invalid sort_dir {}: must be \"asc\" or \"dsc\"", quote(other)))
        }
        ("alpha", direction) => Ok(if direction == "dsc" { Order::Down } else { Order::Up }),
        (other, _) => bad(&format!("invalid sort_by {} for {endpoint}: must be \"alpha\" or \"score\"", quote(other))),
    }
}

fn boolean(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.first(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => Err(ApiError::bad_data(format!("invalid {name} {}: must be boolean", quote(text)))),
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::exposition::MetricKind;

    use super::*;

    fn search(terms: &[&str], percent: u8, is_subsequence: bool) -> Search {
        let term = |text: &&str| Term {
            text: (*text).to_owned(),
            chars: text.chars().collect(),
            is_subsequence,
            threshold: f64::from(percent) / 100.0,
        };
        Search {
            matcher_sets: Vec::new(),
            range: TimeRange::ALL,
            terms: terms.iter().map(term).collect(),
            ignores_case: false,
            order: Order::Best,
            shows_score: false,
            limit: 100,
            per_line: 100,
        }
    }

    const NAMES: [&str; 5] = ["up", "http_requests_total", "http_errors_total", "process_start", "Up"];

    fn chosen(search: &Search, cancel: &Cancel, deadline: Option<Instant>) -> Result<Vec<(String, f64)>, ApiError> {
        search.chosen(NAMES.map(str::to_owned).to_vec(), cancel, deadline)
    }

    #[test]
    fn how_much_is_searched_for() {
        let check = |terms: &[String], expected: Result<usize, &str>| {
            let counted = count(terms.iter().map(String::as_str)).map_err(|error| error.message);
            assert_eq!(counted, expected.map_err(str::to_owned));
        };
        check(&[], Ok(0));
        check(&["é".repeat(128), String::new()], Ok(2));
        check(&["é".repeat(129)], Err("search[] term too long: got 258 bytes, maximum is 256"));
        check(&vec!["a".to_owned(); 32], Ok(32));
        check(&vec!["a".to_owned(); 33], Err("too many search[] terms: got 33, maximum is 32"));
    }

    #[test]
    fn searches_end() {
        let search = search(&["up"], 0, true);
        let cancel = Cancel::new();
        assert!(chosen(&search, &cancel, Some(Instant::now())).is_err(), "there is no time left");
        cancel.cancel();
        assert!(chosen(&search, &cancel, None).is_err(), "nobody waits");
    }

    fn found(search: &Search) -> Vec<String> {
        chosen(search, &Cancel::new(), None).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_fits() {
        let all = ["Up", "http_errors_total", "http_requests_total", "process_start", "up"];
        for (terms, percent, is_subsequence, expected) in [
            (&[][..], 0, true, &all[..]),
            (&["up"], 0, true, &["up"]),
            (&["rt"], 0, true, &["process_start", "http_requests_total", "http_errors_total"]),
            (&["hrt"], 0, true, &["http_requests_total", "http_errors_total"]),
            (&["hrt"], 50, true, &[]),
            // Any of them will do.
            (&["up", "start"], 0, false, &["up", "process_start"]),
            (&["http_request_total"], 0, false, &[]),
            (&["http_request_total"], 95, false, &["http_requests_total"]),
        ] {
            assert_eq!(
                found(&search(terms, percent, is_subsequence)),
                expected,
                "{terms:?} {percent} {is_subsequence}"
            );
        }
        let either_case = Search { ignores_case: true, ..search(&["up"], 0, true) };
        assert_eq!(found(&either_case), ["Up", "up"]);
        let down = Search { order: Order::Down, limit: 1, ..search(&[], 0, true) };
        assert_eq!(found(&down), ["up", "process_start"], "one more than are told");
    }

    #[test]
    fn lines() {
        let results = [("a", 1.0), ("b\"", 0.25), ("c", 0.1)].map(|(name, score)| (name.to_owned(), score)).to_vec();
        let describe = |name: &str| {
            let described = MetricDescription { kind: MetricKind::Gauge, help: "H".to_owned(), unit: String::new() };
            (name == "a").then_some(described)
        };
        let of = |search: Search, results: &[(String, f64)], warnings: &[&str]| {
            let warnings = warnings.iter().map(|text| (*text).to_owned()).collect();
            search.lines(&Found { results: results.to_vec(), warnings }, "name", describe)
        };
        assert_eq!(
            of(Search { limit: 2, per_line: 1, shows_score: true, ..search(&[], 0, true) }, &results, &["w"]),
            "{\"results\":[{\"name\":\"a\",\"score\":1,\"type\":\"gauge\",\"help\":\"H\"}],\"warnings\":[\"w\"]}\n\
             {\"results\":[{\"name\":\"b\\\"\",\"score\":0.25}]}\n\
             {\"status\":\"success\",\"has_more\":true}\n"
        );
        assert_eq!(
            of(search(&[], 0, true), &[], &[]),
            "{\"results\":[]}\n{\"status\":\"success\",\"has_more\":false}\n"
        );
    }
}
