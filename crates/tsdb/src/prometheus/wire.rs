//! Samples as Prometheus' chunks, without a file around them: as blocks hold them, and as remote read sends them.

use relatum_model::Samples;
use thiserror::Error;

use super::chunks::{self, FLOAT_HISTOGRAM, HISTOGRAM, XOR};
use super::{histograms, xor};

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChunk {
    /// The time of its first sample, milliseconds since 1970.
    pub min_ms: i64,
    /// The time of its last sample.
    pub max_ms: i64,
    /// Prometheus' number of the encoding: 1 for floats, 2 for histograms, 3 for histograms of floats.
    pub encoding: u8,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Why bytes are no chunk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot decode chunk: {0}")]
pub struct ChunkError(String);

/// The samples of a series as chunks, by time.
pub fn encode_chunks(samples: &Samples) -> Vec<EncodedChunk> {
    let floats: Vec<(i64, f64)> = samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
    // A chunk may not reach over one of the other kind.
    let breaks: Vec<i64> = samples.histograms.iter().map(|sample| sample.t_ms).collect();
    let between = |a: i64, b: i64| breaks.partition_point(|t| *t < a) == breaks.partition_point(|t| *t < b);
    let mut pieces = Vec::new();
    for run in floats.chunk_by(|a, b| between(a.0, b.0)).flat_map(|run| run.chunks(xor::CHUNK_SAMPLES)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        pieces.push(EncodedChunk { min_ms: first.0, max_ms: last.0, encoding: XOR, data: xor::encode(run) });
    }
    let times: Vec<i64> = floats.iter().map(|(t_ms, _)| *t_ms).collect();
    let between = |a: i64, b: i64| times.partition_point(|t| *t < a) == times.partition_point(|t| *t < b);
    let alone = samples.histograms.chunk_by(|a, b| between(a.t_ms, b.t_ms));
    for run in alone.flat_map(histograms::runs) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let (is_float, data) = histograms::encode(run);
        let encoding = if is_float { FLOAT_HISTOGRAM } else { HISTOGRAM };
        pieces.push(EncodedChunk { min_ms: first.t_ms, max_ms: last.t_ms, encoding, data });
    }
    pieces.sort_by_key(|chunk| chunk.min_ms);
    pieces
}

/// Adds the samples of a chunk behind those that `samples` has. They may take `bytes_left` of memory, from which goes what they take.
pub fn decode_chunk(
    encoding: u8,
    data: &[u8],
    bytes_left: &mut usize,
    samples: &mut Samples,
) -> Result<(), ChunkError> {
    chunks::decode(encoding, data, bytes_left, samples).map_err(|damage| ChunkError(damage.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let times: Vec<i64> = (0..250).map(|n| n * 15_000).collect();
        let samples = Samples::of_floats(times.clone(), times.iter().map(|t| *t as f64 / 7.0).collect());
        let chunks = encode_chunks(&samples);
        assert_eq!(chunks.iter().map(|chunk| chunk.encoding).collect::<Vec<_>>(), [XOR; 3]);
        assert_eq!((chunks[0].min_ms, chunks[2].max_ms), (0, 249 * 15_000));
        let (mut read, mut bytes_left) = (Samples::default(), 250 * 16);
        for chunk in &chunks {
            decode_chunk(chunk.encoding, &chunk.data, &mut bytes_left, &mut read).unwrap();
        }
        assert_eq!((&read, bytes_left), (&samples, 0));
        assert!(decode_chunk(9, &[], &mut bytes_left, &mut read).is_err());
        assert!(decode_chunk(XOR, &chunks[0].data, &mut bytes_left, &mut read).is_err(), "there is no memory left");
    }
}
