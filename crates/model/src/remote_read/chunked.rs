//! `prometheus.ChunkedReadResponse`: series as compressed chunks, one message after the other.

use crate::labels::Labels;
use crate::protobuf::{push_key, push_message, push_text, push_uint, push_varint};

/// A chunk as it goes out.
#[derive(Debug, Clone, Copy)]
pub struct WireChunk<'a> {
    /// The time of its first sample, milliseconds since 1970.
    pub min_ms: i64,
    /// The time of its last sample.
    pub max_ms: i64,
    /// Prometheus' number of the encoding.
    pub encoding: u8,
    /// The bytes.
    pub data: &'a [u8],
}

/// Writes messages that hold one series each, or a part of one.
#[derive(Debug)]
pub struct ChunkedSeries {
    query_index: u64,
    // The labels, which each message repeats, and how long they are.
    series: Vec<u8>,
    n_label_bytes: usize,
}

impl ChunkedSeries {
    /// Begins the series `labels`, which answers the query with this number.
    pub fn new(query_index: usize, labels: &Labels) -> Self {
        let mut series = Vec::new();
        for (name, value) in labels {
            push_message(&mut series, 1, |out| {
                push_text(out, 1, name);
                push_text(out, 2, value);
            });
        }
        ChunkedSeries { query_index: query_index as u64, n_label_bytes: series.len(), series }
    }

    /// Adds a chunk.
    pub fn push(&mut self, chunk: WireChunk<'_>) {
        push_message(&mut self.series, 2, |out| {
            push_uint(out, 1, chunk.min_ms.cast_unsigned());
            push_uint(out, 2, chunk.max_ms.cast_unsigned());
            push_uint(out, 3, u64::from(chunk.encoding));
            push_key(out, 4, 2);
            push_varint(out, chunk.data.len() as u64);
            out.extend_from_slice(chunk.data);
        });
    }

    /// How large the message is so far, without what is around the series.
    pub fn series_bytes(&self) -> usize {
        self.series.len()
    }

    /// The message with the chunks since the last one; `None` if there were none.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.series.len() == self.n_label_bytes {
            return None;
        }
        let mut message = Vec::with_capacity(self.series.len() + 16);
        push_key(&mut message, 1, 2);
        push_varint(&mut message, self.series.len() as u64);
        message.extend_from_slice(&self.series);
        push_uint(&mut message, 2, self.query_index);
        self.series.truncate(self.n_label_bytes);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let mut series = ChunkedSeries::new(1, &Labels::from_pairs([("a", "b")]));
        assert_eq!(series.take(), None);
        series.push(WireChunk { min_ms: 5, max_ms: 6, encoding: 1, data: &[7, 8] });
        let label = [10, 6, 10, 1, b'a', 18, 1, b'b'];
        let chunk = [18, 10, 8, 5, 16, 6, 24, 1, 34, 2, 7, 8];
        let expected = [&[10, 20][..], &label, &chunk, &[16, 1]].concat();
        assert_eq!(series.take().unwrap(), expected);
        assert_eq!(series.take(), None);
    }
}
