//! Remote read: `POST /api/v1/read`. Others get our samples as they would from a Prometheus, external labels included.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_model::remote_read::{ReadRequest, RequestError, ResponseEncoder, ResponseType};
use relatum_model::storage::{Cancel, Hints, Scope, Select, SelectError};
use relatum_model::{Labels, LabelsBuilder, MatchOp, Matcher, Series};

use super::front;
use crate::Engine;

/// The largest decompressed request: Prometheus' bound.
const BODY_BYTES_MAX: usize = 32 << 20;

/// How many samples one answer may have, as `--storage.remote.read-sample-limit` has it.
const SAMPLES_MAX: usize = 50_000_000;

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("snappy: corrupt input")]
    Snappy,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("server does not support any of the requested response types: {0:?}; supported: [SAMPLES]")]
    NoCommonType(Vec<ResponseType>),
    #[error("exceeded sample limit ({SAMPLES_MAX})")]
    TooManySamples,
    #[error(transparent)]
    Store(#[from] SelectError),
}

impl ReadError {
    fn status(&self) -> StatusCode {
        match self {
            ReadError::Store(_) | ReadError::Request(RequestError::Matcher(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Answers one request. Reading blocks, so it happens on a thread of its own.
pub(crate) async fn read(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    let permit = engine.query_slots().await;
    let answer = tokio::task::spawn_blocking(move || {
        let answer = answer(&engine, &body);
        drop(permit);
        answer
    });
    match answer.await {
        Ok(Ok(message)) => {
            let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
            (headers, message).into_response()
        }
        Ok(Err(error)) => {
            if let ReadError::Store(cause) = &error {
                tracing::error!(error = %crate::chain(cause), "a remote read could not read the store");
            }
            front::plain(error.status(), format!("{error}\n"))
        }
        Err(_) => front::plain(StatusCode::INTERNAL_SERVER_ERROR, "the read ended unexpectedly\n"),
    }
}

/// The compressed answer to the compressed request `body`.
fn answer(engine: &Engine, body: &[u8]) -> Result<Vec<u8>, ReadError> {
    let length = snap::raw::decompress_len(body).map_err(|_| ReadError::Snappy)?;
    if length > BODY_BYTES_MAX {
        return Err(ReadError::Snappy);
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(|_| ReadError::Snappy)?;
    let request = ReadRequest::decode(&message)?;
    if !request.accepted.is_empty() && !request.accepted.contains(&ResponseType::Samples) {
        return Err(ReadError::NoCommonType(request.accepted));
    }
    let live = engine.live();
    let external = &live.config.global.external_labels;
    let mut encoder = ResponseEncoder::new();
    let mut left = SAMPLES_MAX;
    for query in &request.queries {
        let reader = engine.store().open(&Scope::all(), query.range)?;
        let matchers: Vec<Matcher> =
            query.matchers.iter().filter(|matcher| !is_met_by(external, matcher)).cloned().collect();
        let mut found = Vec::new();
        for series in reader.series(&matchers, &Hints::default(), &Cancel::new())? {
            let series = series?;
            left = left.checked_sub(series.samples.len()).ok_or(ReadError::TooManySamples)?;
            found.push(Series { labels: with_external(&series.labels, external), samples: series.samples });
        }
        // External labels may change the order, and the answer is to be sorted.
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        encoder.push(&found);
    }
    snap::raw::Encoder::new().compress_vec(&encoder.finish()).map_err(|_| ReadError::TooManySamples)
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
