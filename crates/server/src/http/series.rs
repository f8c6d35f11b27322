//! What is stored: `/series`, `/labels`, `/label/NAME/values`.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use relatum_model::storage::{Cancel, Reader, Scope, Select, SelectError, TimeRange};
use relatum_model::{Labels, Matcher};
use serde_json::{Map, Value};

use super::envelope::{ApiError, ApiResult, Success};
use super::json::LabelSetsWriter;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::reading::reading_quickly;
use super::stream::PIECE_BYTES;
use crate::Engine;
use crate::everywhere::Everywhere;
use crate::queries::Patience;
use crate::quick::NotQuick;

/// `/api/v1/labels`
pub(crate) async fn names(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    listed(engine, "names", params, |reader, matchers, limit, cancel| reader.label_names(matchers, limit, cancel)).await
}

/// `/api/v1/label/NAME/values`
pub(crate) async fn values(
    State(engine): State<Arc<Engine>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> ApiResult {
    let Ok(Path(name)) = name else {
        return Err(ApiError::bad_data("invalid label name: it is not UTF-8"));
    };
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let what = ("values", name.clone());
    listed(engine, what, params, move |reader, matchers, limit, cancel| {
        reader.label_values(&name, matchers, limit, cancel)
    })
    .await
}

/// `/api/v1/series`
pub(crate) async fn series(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let refuse = |cause| ApiError::parameter("match[]", cause);
    let read = |reader: &dyn Reader, matchers: &[Matcher], limit: usize, cancel: &Cancel| {
        reader.label_sets(matchers, limit, cancel)
    };
    collect(engine, "series", params, refuse, read, |found| {
        let mut writer = LabelSetsWriter::new(found);
        Success::in_pieces(move |out| writer.fill(out, PIECE_BYTES))
    })
    .await
}

/// A label set as a JSON object, in the set's order.
pub(crate) fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

async fn listed(
    engine: Arc<Engine>,
    what: impl Hash,
    params: Params,
    read: impl Fn(&dyn Reader, &[Matcher], usize, &Cancel) -> Result<Vec<String>, SelectError> + Send + 'static,
) -> ApiResult {
    collect(engine, what, params, ApiError::bad_data, read, |found| Success::of(&found)).await
}

/// Reads for every selector of the request and unites what was found, sorted, up to the request's limit; `read` may stop at its own, which
/// is one more. `show` makes the answer of it, which warns if it is not all. A selector that cannot be read is answered as `refuse` says.
/// `what` stands for what `read` looks for.
async fn collect<T: Ord + Send + 'static>(
    engine: Arc<Engine>,
    what: impl Hash,
    params: Params,
    refuse: impl Fn(String) -> ApiError + Send + 'static,
    read: impl Fn(&dyn Reader, &[Matcher], usize, &Cancel) -> Result<Vec<T>, SelectError> + Send + 'static,
    show: impl Fn(Vec<T>) -> Success + Send + 'static,
) -> ApiResult {
    let min_ms = params.time_ms_or("start", MIN_TIME_MS)?;
    let max_ms = params.time_ms_or("end", MAX_TIME_MS)?;
    let limit = params.limit()?;
    // One more tells that there are more.
    let enough = if limit > 0 { limit.saturating_add(1) } else { 0 };
    let question = engine.quick().question((what, params.lasting(), max_ms.saturating_sub(min_ms)));
    let patience = Patience::new(engine.live().flags.timeout, None);
    let asked = Arc::clone(&engine);
    let collected = reading_quickly(&asked, patience, question, move |begun| {
        let mut sets = match params.matcher_sets() {
            Ok(sets) => sets,
            Err(cause) => return Ok(Err(refuse(cause))),
        };
        if sets.is_empty() {
            sets.push(Vec::new());
        }
        let everywhere = begun.everywhere(&engine);
        let mut found = match united(&everywhere, TimeRange { min_ms, max_ms }, &sets, |reader, matchers| {
            read(reader, matchers, enough, &begun.cancel)
        }) {
            Ok(found) => found,
            Err(SelectError::Cancelled) if begun.is_try => return Err(NotQuick),
            Err(error) => return Ok(Err(error.into())),
        };
        let mut warnings = everywhere.take_warnings();
        if limit > 0 && found.len() > limit {
            found.truncate(limit);
            warnings.push("results truncated due to limit".to_owned());
        }
        Ok(Ok(show(found).with_notes(warnings, Vec::new())))
    });
    collected.await?
}

/// What `read` finds for each of `sets`, sorted, each once.
fn united<T: Ord>(
    everywhere: &Everywhere,
    range: TimeRange,
    sets: &[Vec<Matcher>],
    read: impl Fn(&dyn Reader, &[Matcher]) -> Result<Vec<T>, SelectError>,
) -> Result<Vec<T>, SelectError> {
    let reader = everywhere.open(&Scope::all(), range)?;
    if let [matchers] = sets {
        return read(reader.as_ref(), matchers);
    }
    let mut united = BTreeSet::new();
    for matchers in sets {
        united.extend(read(reader.as_ref(), matchers)?);
    }
    Ok(united.into_iter().collect())
}

/// Undoes Prometheus' escaping of names outside the legacy alphabet: `U__a_2e_b` is `a.b`. Anything else stays as it is.
fn unescape(name: &str) -> String {
    let Some(body) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = rest.split_once('_').and_then(|(hex, after)| {
            let code = if hex.len() <= 6 { u32::from_str_radix(hex, 16).ok()? } else { return None };
            Some((char::from_u32(code)?, after))
        });
        match code {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            // Not an escape after all, so the name was never escaped.
            None => return name.to_owned(),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        for (name, expected) in [
            ("job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U___e9_", "é"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_", "U__a_"),
        ] {
            assert_eq!(unescape(name), expected, "{name}");
        }
    }
}
