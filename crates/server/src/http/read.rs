//! Remote read: `POST /api/v1/read`. Others get our samples as they would from a Prometheus, external labels included: all in one
//! message, or as a stream of compressed chunks where they take that.

mod streamed;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_model::remote_read::{ReadQuery, ReadRequest, RequestError, ResponseEncoder, ResponseType};
use relatum_model::storage::{Cancel, Hints, Reader, Scope, Select, SelectError};
use relatum_model::{Labels, LabelsBuilder, MatchOp, Matcher, Series};

use super::front;
use crate::Engine;

/// The largest decompressed request: Prometheus' bound.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("snappy: corrupt input")]
    Snappy,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(
        "server does not support any of the requested response types: {0:?}; supported: [SAMPLES STREAMED_XOR_CHUNKS]"
    )]
    NoCommonType(Vec<ResponseType>),
    #[error("exceeded sample limit ({0})")]
    TooManySamples(usize),
    #[error(transparent)]
    Store(#[from] SelectError),
}

impl ReadError {
    fn into_response(self) -> Response {
        let status = match &self {
            ReadError::Store(cause) => {
                tracing::error!(error = %crate::chain(cause), "a remote read could not read the store");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            ReadError::Request(RequestError::Matcher(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        front::plain(status, format!("{self}\n"))
    }
}

/// Answers one request. Reading blocks, so it happens on a thread of its own.
pub(crate) async fn read(State(engine): State<Arc<Engine>>, headers: HeaderMap, body: Body) -> Response {
    let body = match engine.inflow().take_read(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    // Decompressed only when it is its turn: until then a request takes what was sent.
    let permit = engine.read_slots().await;
    let request = match parsed(&body.bytes) {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    drop(body);
    match wanted(&request.accepted) {
        None => ReadError::NoCommonType(request.accepted).into_response(),
        Some(ResponseType::StreamedXorChunks) => streamed::answer(engine, request, permit),
        Some(_) => {
            let answer = tokio::task::spawn_blocking(move || {
                let answer = answer(&engine, &request);
                drop(permit);
                answer
            });
            match answer.await {
                Ok(Ok(message)) => {
                    let headers =
                        [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
                    (headers, message).into_response()
                }
                Ok(Err(error)) => error.into_response(),
                Err(_) => front::plain(StatusCode::INTERNAL_SERVER_ERROR, "the read ended unexpectedly\n"),
            }
        }
    }
}

fn parsed(body: &[u8]) -> Result<ReadRequest, ReadError> {
    let length = snap::raw::decompress_len(body).map_err(|_| ReadError::Snappy)?;
    if length > BODY_BYTES_MAX {
        return Err(ReadError::Snappy);
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(|_| ReadError::Snappy)?;
    Ok(ReadRequest::decode(&message)?)
}

/// The first kind of answer that the client takes and we have.
fn wanted(accepted: &[ResponseType]) -> Option<ResponseType> {
    if accepted.is_empty() {
        return Some(ResponseType::Samples);
    }
    accepted.iter().copied().find(|kind| !matches!(kind, ResponseType::Unknown(_)))
}

/// The compressed answer in one message.
fn answer(engine: &Engine, request: &ReadRequest) -> Result<Vec<u8>, ReadError> {
    let live = engine.live();
    let external = &live.config.global.external_labels;
    let samples_max = live.flags.read_samples_max;
    let mut encoder = ResponseEncoder::new();
    let mut left = if samples_max == 0 { usize::MAX } else { samples_max };
    for query in &request.queries {
        let reader = engine.store().open(&Scope::all(), query.range)?;
        let mut found = Vec::new();
        for series in selected(reader.as_ref(), query, external)? {
            let series = series?;
            left = left.checked_sub(series.samples.len()).ok_or(ReadError::TooManySamples(samples_max))?;
            found.push(Series { labels: with_external(&series.labels, external), samples: series.samples });
        }
        // External labels may change the order, and the answer is to be sorted.
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        encoder.push(&found);
    }
    snap::raw::Encoder::new().compress_vec(&encoder.finish()).map_err(|_| ReadError::TooManySamples(samples_max))
}

/// What our own store has for `query`.
fn selected<'r>(
    reader: &'r dyn Reader,
    query: &ReadQuery,
    external: &Labels,
) -> Result<impl Iterator<Item = Result<Series, SelectError>> + use<'r>, SelectError> {
    let matchers: Vec<Matcher> =
        query.matchers.iter().filter(|matcher| !is_met_by(external, matcher)).cloned().collect();
    reader.series(&matchers, &Hints::default(), &Cancel::new())
}

/// Whether every series that goes out satisfies `matcher` because of a label that all of them get on their way.
fn is_met_by(external: &Labels, matcher: &Matcher) -> bool {
    matcher.op() == MatchOp::Equal && external.get(matcher.name()) == Some(matcher.value())
}

fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = LabelsBuilder::new();
    for (name, value) in external.iter().chain(labels.iter()) {
        builder.set(name, value);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_that_both_know() {
        use ResponseType::{Samples, StreamedXorChunks, Unknown};
        for (accepted, expected) in [
            (&[][..], Some(Samples)),
            (&[StreamedXorChunks, Samples], Some(StreamedXorChunks)),
            (&[Unknown(7), Samples, StreamedXorChunks], Some(Samples)),
            (&[Unknown(7)], None),
        ] {
            assert_eq!(wanted(accepted), expected, "{accepted:?}");
        }
    }
}
