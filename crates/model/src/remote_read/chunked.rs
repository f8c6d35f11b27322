//! `prometheus.ChunkedReadResponse`: series as compressed chunks, one message after the other.

use super::AnswerError;
use crate::labels::Labels;
use crate::protobuf::{Fault, Fields, push_key, push_message, push_text, push_uint, push_varint};
use crate::remote_write::InvalidLabels;

/// A chunk as it goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What one message has of a series.
#[derive(Debug, Clone)]
pub struct ChunkedPart<'a> {
    /// The labels of the series.
    pub labels: Labels,
    /// Some of its chunks.
    pub chunks: Vec<WireChunk<'a>>,
}

/// Reads a message: the number of the query that it answers, and what it has of series. Its size is what bounds all work.
pub fn decode_chunked(message: &[u8]) -> Result<(u64, Vec<ChunkedPart<'_>>), AnswerError> {
    let (mut query_index, mut parts) = (0, Vec::new());
    let mut fields = Fields::new(message, 0);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => parts.push(part(field.message()?)?),
            2 => query_index = field.uint()?,
            _ => {}
        }
    }
    Ok((query_index, parts))
}

fn part<'a>(mut fields: Fields<'a>) -> Result<ChunkedPart<'a>, AnswerError> {
    let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => pairs.push(label(field.message()?)?),
            2 => chunks.push(chunk(field.message()?)?),
            _ => {}
        }
    }
    pairs.sort_unstable();
    if let Some(repeated) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(InvalidLabels::Repeated(repeated[0].0.to_owned()).into());
    }
    Ok(ChunkedPart { labels: Labels::from_pairs(pairs), chunks })
}

fn label<'a>(mut fields: Fields<'a>) -> Result<(&'a str, &'a str), Fault> {
    let (mut name, mut value) = ("", "");
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn chunk<'a>(mut fields: Fields<'a>) -> Result<WireChunk<'a>, Fault> {
    let mut chunk = WireChunk { min_ms: 0, max_ms: 0, encoding: 0, data: &[] };
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => chunk.min_ms = field.uint()?.cast_signed(),
            2 => chunk.max_ms = field.uint()?.cast_signed(),
            // One that does not fit is none that is known.
            3 => chunk.encoding = u8::try_from(field.uint()?).unwrap_or(u8::MAX),
            4 => chunk.data = field.message()?.rest(),
            _ => {}
        }
    }
    Ok(chunk)
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
        let (query_index, parts) = decode_chunked(&expected).unwrap();
        assert_eq!((query_index, parts.len(), parts[0].labels.to_string().as_str()), (1, 1, r#"{a="b"}"#));
        assert_eq!(parts[0].chunks, [WireChunk { min_ms: 5, max_ms: 6, encoding: 1, data: &[7, 8] }]);
        for cut in 1..expected.len() {
            // Never a panic; some prefixes are whole messages.
            let _ = decode_chunked(&expected[..cut]);
        }
        let twice = [&[10, 16][..], &label, &label].concat();
        assert!(matches!(decode_chunked(&twice), Err(AnswerError::Labels(InvalidLabels::Repeated(_)))));
    }
}
