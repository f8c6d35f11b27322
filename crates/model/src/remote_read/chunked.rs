//! `prometheus.ChunkedReadResponse`: series as compressed chunks, one message after the other.

use super::AnswerError;
use crate::labels::Labels;
use crate::protobuf::{Fault, Fields, push_key, push_message, push_text, push_uint, push_varint};
use crate::remote_write::{InvalidLabels, LABELS_MAX};

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
    fields: Fields<'a>,
}

impl<'a> ChunkedPart<'a> {
    fn of(fields: Fields<'a>) -> Result<Self, AnswerError> {
        let mut pairs = Vec::new();
        let mut looking = fields.clone();
        while let Some((number, field)) = looking.next()? {
            if number == 1 {
                if pairs.len() == LABELS_MAX {
                    return Err(looking.error("series has too many labels").into());
                }
                pairs.push(label(field.message()?)?);
            }
        }
        pairs.sort_unstable();
        if let Some(repeated) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidLabels::Repeated(repeated[0].0.to_owned()).into());
        }
        Ok(ChunkedPart { labels: Labels::from_pairs(pairs), fields })
    }

    /// Some of its chunks, in the order in which they stand there. Each is read when it is asked for: two bytes can say that there is one.
    pub fn chunks(&self) -> impl Iterator<Item = Result<WireChunk<'a>, AnswerError>> + use<'a> {
        messages(self.fields.clone(), 2, |fields| Ok(chunk(fields)?))
    }
}

/// What a message has of series. Each part is read when it is asked for, and nothing follows one that is none; which query it answers is
/// not looked at. The size of the message is what bounds all work.
pub fn decode_chunked(message: &[u8]) -> impl Iterator<Item = Result<ChunkedPart<'_>, AnswerError>> {
    messages(Fields::new(message, 0), 1, ChunkedPart::of)
}

/// Reads the messages in the fields `wanted`, up to the first that cannot be read.
fn messages<'a, T>(
    mut fields: Fields<'a>,
    wanted: u64,
    read: impl Fn(Fields<'a>) -> Result<T, AnswerError>,
) -> impl Iterator<Item = Result<T, AnswerError>> {
    std::iter::from_fn(move || {
        let next = (|| {
            while let Some((number, field)) = fields.next()? {
                if number == wanted {
                    return Ok(Some(read(field.message()?)?));
                }
            }
            Ok(None)
        })();
        if next.is_err() {
            fields = Fields::default();
        }
        next.transpose()
    })
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
        let parts: Vec<_> = decode_chunked(&expected).collect::<Result<_, _>>().unwrap();
        assert_eq!((parts.len(), parts[0].labels.to_string().as_str()), (1, r#"{a="b"}"#));
        let chunks: Vec<_> = parts[0].chunks().collect();
        assert_eq!(chunks, [Ok(WireChunk { min_ms: 5, max_ms: 6, encoding: 1, data: &[7, 8] })]);
        for cut in 1..expected.len() {
            // Never a panic; some prefixes are whole messages.
            let parts = decode_chunked(&expected[..cut]).flatten();
            assert!(parts.flat_map(|part| part.chunks().collect::<Vec<_>>()).count() <= 1);
        }
        // Nothing follows what is no part.
        let twice = [&[10, 16][..], &label, &label, &expected].concat();
        let errors: Vec<_> = decode_chunked(&twice).map(Result::err).collect();
        assert!(matches!(&errors[..], [Some(AnswerError::Labels(InvalidLabels::Repeated(_)))]), "{errors:?}");
        let many = [&[10, 0xa2, 0x9c, 0x01][..], &[10, 0].repeat(10_001)].concat();
        let error = decode_chunked(&many).next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "cannot decode write request at byte 20006: series has too many labels");
    }
}
