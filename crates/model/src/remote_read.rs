//! Remote read: the protobuf messages `prometheus.ReadRequest`, `prometheus.ReadResponse` and `prometheus.ChunkedReadResponse`,
//! after decompression. Requests and answers are read and written; what is in chunks is for others to know.

mod answer;
mod chunked;
mod room;

use crate::matcher::{MatchOp, Matcher};
pub use answer::{AnswerError, decode_answer};
pub use chunked::{ChunkedPart, ChunkedSeries, WireChunk, decode_chunked};
pub use room::Room;

use crate::protobuf::{Fault, Fields, push_message, push_text, push_uint, push_varint};
use crate::regex::CompileBudget;
pub use crate::remote_write::DecodeError;
use crate::remote_write::Encoder;
use crate::sample::Series;
use crate::storage::TimeRange;

/// How many queries one request may ask, and how many matchers one query may have: bounds for memory, far beyond real ones.
const QUERIES_MAX: usize = 1_000;
const MATCHERS_MAX: usize = 1_000;

/// A kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// One message with all samples.
    Samples,
    /// A stream of compressed chunks.
    StreamedXorChunks,
    /// One that is not known here.
    Unknown(u64),
}

/// One query of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadQuery {
    /// Which moments are asked for, both ends included.
    pub range: TimeRange,
    /// Which series are asked for: those that satisfy all of these.
    pub matchers: Vec<Matcher>,
}

/// A request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadRequest {
    /// The queries; the answer has one result for each, in this order.
    pub queries: Vec<ReadQuery>,
    /// The kinds of answer that are accepted, best first; empty means [`ResponseType::Samples`].
    pub accepted: Vec<ResponseType>,
}

/// Why a body is no request that can be answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// It is no such message.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// It asks more at once than is answered.
    #[error("a read request may have {0}")]
    TooMany(&'static str),
    /// A matcher has no kind that is known, or an expression that is none.
    #[error("{0}")]
    Matcher(String),
}

impl From<Fault> for RequestError {
    fn from(fault: Fault) -> Self {
        RequestError::Decode(fault.into())
    }
}

impl ReadRequest {
    /// Reads a decompressed body. Its size is what bounds all work.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        let mut request = ReadRequest::default();
        let mut regexes = CompileBudget::new();
        let mut fields = Fields::new(body, 0);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 if request.queries.len() == QUERIES_MAX => return Err(RequestError::TooMany("1000 queries")),
                1 => request.queries.push(query(field.message()?, &mut regexes)?),
                // Repeated enumerations come one by one, or packed.
                2 => match field.uint() {
                    Ok(kind) => request.accepted.push(response_type(kind)),
                    Err(_) => {
                        let mut packed = field.message()?;
                        while !packed.rest().is_empty() && request.accepted.len() < QUERIES_MAX {
                            request.accepted.push(response_type(packed.varint()?));
                        }
                    }
                },
                _ => {}
            }
        }
        Ok(request)
    }
}

impl ReadRequest {
    /// The message, before compression.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for query in &self.queries {
            push_message(&mut out, 1, |out| {
                push_uint(out, 1, query.range.min_ms.cast_unsigned());
                push_uint(out, 2, query.range.max_ms.cast_unsigned());
                for matcher in &query.matchers {
                    push_message(out, 3, |out| {
                        let kind = match matcher.op() {
                            MatchOp::Equal => 0,
                            MatchOp::NotEqual => 1,
                            MatchOp::Regex => 2,
                            MatchOp::NotRegex => 3,
                        };
                        push_uint(out, 1, kind);
                        push_text(out, 2, matcher.name());
                        push_text(out, 3, matcher.value());
                    });
                }
            });
        }
        for accepted in &self.accepted {
            out.push(2 << 3);
            push_varint(
                &mut out,
                match accepted {
                    ResponseType::Samples => 0,
                    ResponseType::StreamedXorChunks => 1,
                    ResponseType::Unknown(number) => *number,
                },
            );
        }
        out
    }
}

fn response_type(number: u64) -> ResponseType {
    match number {
        0 => ResponseType::Samples,
        1 => ResponseType::StreamedXorChunks,
        number => ResponseType::Unknown(number),
    }
}

fn query(mut fields: Fields<'_>, regexes: &mut CompileBudget) -> Result<ReadQuery, RequestError> {
    let mut query = ReadQuery { range: TimeRange { min_ms: 0, max_ms: 0 }, matchers: Vec::new() };
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => query.range.min_ms = field.uint()? as i64,
            2 => query.range.max_ms = field.uint()? as i64,
            3 if query.matchers.len() == MATCHERS_MAX => return Err(RequestError::TooMany("1000 matchers a query")),
            3 => query.matchers.push(matcher(field.message()?, regexes)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(mut fields: Fields<'_>, regexes: &mut CompileBudget) -> Result<Matcher, RequestError> {
    let (mut kind, mut name, mut value) = (0, "", "");
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => kind = field.uint()?,
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(RequestError::Matcher("invalid matcher type".to_owned())),
    };
    Matcher::new_within(op, name, value, regexes).map_err(|error| RequestError::Matcher(error.to_string()))
}

/// Writes `prometheus.ReadResponse`, result by result.
#[derive(Debug, Default)]
pub struct ResponseEncoder {
    out: Vec<u8>,
}

impl ResponseEncoder {
    /// An empty answer.
    pub fn new() -> Self {
        ResponseEncoder::default()
    }

    /// Adds the result of the next query.
    pub fn push<'a>(&mut self, series: impl IntoIterator<Item = &'a Series>) {
        // A result is a list of the same messages, under the same number, as a write request.
        let mut encoder = Encoder::new();
        for one in series {
            encoder.push_samples(&one.labels, &one.samples);
        }
        let result = encoder.finish();
        self.out.push(1 << 3 | 2);
        push_varint(&mut self.out, result.len() as u64);
        self.out.extend_from_slice(&result);
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::sample::Samples;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    #[test]
    fn requests() {
        let matcher = [&[8, 2][..], &message(2, b"job"), &message(3, b"a.*")].concat();
        let query = [&[8, 10, 16, 20][..], &message(3, &matcher)].concat();
        let body = [message(1, &query), vec![16, 1, 16, 0], message(2, &[7])].concat();
        let request = ReadRequest::decode(&body).unwrap();
        assert_eq!(
            request.accepted,
            [ResponseType::StreamedXorChunks, ResponseType::Samples, ResponseType::Unknown(7)]
        );
        assert_eq!(request.queries[0].range, TimeRange { min_ms: 10, max_ms: 20 });
        assert_eq!(request.queries[0].matchers[0].to_string(), r#"job=~"a.*""#);
        assert_eq!(ReadRequest::decode(&request.encode()).unwrap(), request);
        for cut in 1..body.len() {
            // Never a panic; some prefixes are whole messages.
            let _ = ReadRequest::decode(&body[..cut]);
        }
        let bad = message(1, &message(3, &[&[8, 2][..], &message(3, b"(")].concat()));
        assert!(matches!(ReadRequest::decode(&bad), Err(RequestError::Matcher(_))));
    }

    #[test]
    fn answers() {
        let samples = Samples::of_floats(vec![5], vec![1.0]);
        let series = [Series { labels: Labels::from_pairs([("a", "b")]), samples }];
        let mut answer = ResponseEncoder::new();
        answer.push(&series);
        answer.push(&[]);
        let label = [message(1, b"a"), message(2, b"b")].concat();
        let sample = [&[9][..], &1f64.to_le_bytes(), &[16, 5]].concat();
        let one = message(1, &[message(1, &label), message(2, &sample)].concat());
        assert_eq!(answer.finish(), [message(1, &one), message(1, &[])].concat());
    }
}
