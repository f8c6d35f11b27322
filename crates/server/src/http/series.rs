//! What is stored: `/series`, `/labels`, `/label/NAME/values`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use relatum_model::storage::{Cancel, Reader, Scope, Select, SelectError, TimeRange};
use relatum_model::{Labels, Matcher};
use serde_json::{Map, Value};

use super::envelope::{ApiError, ApiResult, Success};
use super::json::LabelSetsWriter;
use super::params::{MAX_TIME_MS, MIN_TIME_MS, Params};
use super::reading::reading;
use super::stream::PIECE_BYTES;
use crate::Engine;

/// `/api/v1/labels`
pub(crate) async fn names(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    listed(engine, params, |reader, matchers, limit, cancel| reader.label_names(matchers, limit, cancel)).await
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
    listed(engine, params, move |reader, matchers, limit, cancel| reader.label_values(&name, matchers, limit, cancel))
        .await
}

/// `/api/v1/series`
pub(crate) async fn series(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let refuse = |cause| ApiError::parameter("match[]", cause);
    let (found, warnings) =
        collect(engine, params, refuse, |reader, matchers, limit, cancel| reader.label_sets(matchers, limit, cancel))
            .await?;
    let mut writer = LabelSetsWriter::new(found);
    Ok(Success::in_pieces(move |out| writer.fill(out, PIECE_BYTES)).with_notes(warnings, Vec::new()))
}

/// A label set as a JSON object, in the set's order.
pub(crate) fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

async fn listed(
    engine: Arc<Engine>,
    params: Params,
    read: impl Fn(&dyn Reader, &[Matcher], usize, &Cancel) -> Result<Vec<String>, SelectError> + Send + 'static,
) -> ApiResult {
    let (found, warnings) = collect(engine, params, ApiError::bad_data, read).await?;
    Ok(Success::of(&found).with_notes(warnings, Vec::new()))
}

/// Reads for every selector of the request and unites what was found, sorted, up to the request's limit; `read` may stop at its own, which
/// is one more. Beside it, warnings that it is not all. A selector that cannot be read is answered as `refuse` says.
async fn collect<T: Ord + Send + 'static>(
    engine: Arc<Engine>,
    params: Params,
    refuse: impl FnOnce(String) -> ApiError + Send + 'static,
    read: impl Fn(&dyn Reader, &[Matcher], usize, &Cancel) -> Result<Vec<T>, SelectError> + Send + 'static,
) -> Result<(Vec<T>, Vec<String>), ApiError> {
    let min_ms = params.time_ms_or("start", MIN_TIME_MS)?;
    let max_ms = params.time_ms_or("end", MAX_TIME_MS)?;
    let limit = params.limit()?;
    // One more tells that there are more.
    let enough = if limit > 0 { limit.saturating_add(1) } else { 0 };
    let asked = Arc::clone(&engine);
    let collected = reading(&asked, move |cancel| {
        let mut sets = params.matcher_sets().map_err(refuse)?;
        if sets.is_empty() {
            sets.push(Vec::new());
        }
        let everywhere = engine.everywhere();
        let reader = everywhere.open(&Scope::all(), TimeRange { min_ms, max_ms })?;
        let found = if let [matchers] = &sets[..] {
            read(reader.as_ref(), matchers, enough, cancel)?
        } else {
            let mut united = BTreeSet::new();
            for matchers in &sets {
                united.extend(read(reader.as_ref(), matchers, enough, cancel)?);
            }
            united.into_iter().collect()
        };
        drop(reader);
        Ok::<_, ApiError>((found, everywhere.take_warnings()))
    });
    let (mut found, mut warnings) = collected.await??;
    if limit > 0 && found.len() > limit {
        found.truncate(limit);
        warnings.push("results truncated due to limit".to_owned());
    }
    Ok((found, warnings))
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
