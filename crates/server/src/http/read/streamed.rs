//! Answers of remote read as a stream: frames of length, checksum and message, each with compressed chunks of one series.
//!
//! Only chunks of one query are in memory, compressed; a client that reads slowly holds up the reading and nothing else.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use relatum_model::Labels;
use relatum_model::remote_read::{ChunkedSeries, ReadRequest, WireChunk};
use relatum_model::storage::{Scope, Select, SelectError};
use relatum_tsdb::prometheus::{EncodedChunk, encode_chunks};
use tokio::sync::OwnedSemaphorePermit;

use super::super::stream::{Pieces, pieced};
use super::{selected, with_external};
use crate::Engine;

const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Begins to answer; the rest comes while the client reads.
pub(super) fn answer(engine: Arc<Engine>, request: ReadRequest, permit: OwnedSemaphorePermit) -> Response {
    let (pieces, body) = pieced();
    tokio::task::spawn_blocking(move || {
        if let Err(cause) = stream(&engine, &request, &pieces) {
            // The status is sent already. A stream that ends in the middle of a frame cannot be taken for a whole one.
            tracing::error!(error = %crate::chain(&cause), "a remote read could not read the store");
            let _ = pieces.blocking_send(Bytes::from_static(&[0xff]));
        }
        drop(permit);
    });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

fn stream(engine: &Engine, request: &ReadRequest, pieces: &Pieces) -> Result<(), SelectError> {
    let live = engine.live();
    let external = &live.config.global.external_labels;
    for (query_index, query) in request.queries.iter().enumerate() {
        let reader = engine.store().open(&Scope::all(), query.range)?;
        let mut found: Vec<(Labels, Vec<EncodedChunk>)> = Vec::new();
        for series in selected(reader.as_ref(), query, external)? {
            let series = series?;
            if pieces.is_closed() {
                return Ok(());
            }
            found.push((with_external(&series.labels, external), encode_chunks(&series.samples)));
        }
        // External labels may change the order, and clients merge streams by it.
        found.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, chunks) in found {
            for message in messages(query_index, &labels, &chunks, live.flags.read_frame_bytes) {
                if pieces.blocking_send(frame(&message)).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The messages of one series, none larger than `bytes_max` unless one chunk alone is.
fn messages(query_index: usize, labels: &Labels, chunks: &[EncodedChunk], bytes_max: usize) -> Vec<Vec<u8>> {
    let mut series = ChunkedSeries::new(query_index, labels);
    let mut messages = Vec::new();
    for chunk in chunks {
        if series.series_bytes() + chunk.data.len() > bytes_max {
            messages.extend(series.take());
        }
        let EncodedChunk { min_ms, max_ms, encoding, ref data } = *chunk;
        series.push(WireChunk { min_ms, max_ms, encoding, data });
    }
    messages.extend(series.take());
    messages
}

fn frame(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 14);
    let mut length = message.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}

#[cfg(test)]
mod tests {
    use relatum_model::Samples;

    use super::*;

    #[test]
    fn frames() {
        let bytes = frame(&[1; 200]);
        assert_eq!(bytes[..2], [0xc8, 1]);
        assert_eq!(bytes[2..6], crc32c::crc32c(&[1; 200]).to_be_bytes());
        assert_eq!(bytes.len(), 206);
    }

    #[test]
    fn a_long_series_takes_several_messages() {
        let times: Vec<i64> = (0..1200).map(|n| n * 1000).collect();
        let chunks =
            encode_chunks(&Samples::of_floats(times.clone(), times.iter().map(|t| (*t as f64).sin()).collect()));
        let labels = Labels::from_pairs([("__name__", "m")]);
        let whole = messages(0, &labels, &chunks, 1 << 20);
        let pieces = messages(0, &labels, &chunks, 2000);
        assert_eq!(whole.len(), 1);
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() < 2100), "{}", pieces.len());
        assert!(messages(0, &labels, &[], 2000).is_empty());
    }
}
