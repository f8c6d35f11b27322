//! What another store answers, piece by piece: one message with all samples, or a stream of chunks.

use relatum_model::Series;
use relatum_model::remote_read::{Room, decode_answer};

use super::streamed::{self, DecodeChunk, Streamed};

/// How large a message of samples may become.
const DECODED_BYTES_MAX: usize = 1 << 30;

/// What one answer may take in memory: Prometheus hands out fifty million samples at most, which are less than this.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// How an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Chunks,
    Samples,
}

impl Form {
    pub(super) fn of(media_type: &str) -> Self {
        if media_type.starts_with(streamed::MEDIA_TYPE) { Form::Chunks } else { Form::Samples }
    }

    /// Prometheus' word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Form::Chunks => "chunked",
            Form::Samples => "sampled",
        }
    }
}

/// What came of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// A part of one message, compressed.
    Samples(Vec<u8>),
    /// A stream.
    Chunks(Streamed),
}

impl Answer {
    /// Nothing yet. `decode` knows the chunks.
    pub(super) fn new(form: Form, decode: DecodeChunk) -> Self {
        match form {
            Form::Chunks => Answer::Chunks(Streamed::new(decode, Room::new(MEMORY_BYTES_MAX))),
            Form::Samples => Answer::Samples(Vec::new()),
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        match self {
            Answer::Samples(bytes) => bytes.extend_from_slice(piece),
            Answer::Chunks(streamed) => streamed.push(piece)?,
        }
        Ok(())
    }

    /// The series, in the order in which they came.
    pub(super) fn finish(self) -> Result<Vec<Series>, String> {
        match self {
            Answer::Samples(bytes) => decoded(&bytes),
            Answer::Chunks(streamed) => streamed.finish(),
        }
    }
}

/// The series of a compressed answer.
fn decoded(bytes: &[u8]) -> Result<Vec<Series>, String> {
    let length = snap::raw::decompress_len(bytes).map_err(|_| "the answer is not snappy".to_owned())?;
    if length > DECODED_BYTES_MAX {
        return Err(format!("the answer has more than {DECODED_BYTES_MAX} bytes"));
    }
    let body = snap::raw::Decoder::new().decompress_vec(bytes).map_err(|_| "the answer is not snappy".to_owned())?;
    let results = decode_answer(&body, Room::new(MEMORY_BYTES_MAX)).map_err(|error| error.to_string())?;
    Ok(results.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use relatum_model::remote_read::ResponseEncoder;
    use relatum_model::{Labels, Samples};

    use super::*;

    #[test]
    fn one_message() {
        let series =
            Series { labels: Labels::from_pairs([("__name__", "m")]), samples: Samples::of_floats(vec![1], vec![2.0]) };
        let mut encoder = ResponseEncoder::new();
        encoder.push(std::slice::from_ref(&series));
        let bytes = snap::raw::Encoder::new().compress_vec(&encoder.finish()).unwrap();
        let mut answer = Answer::new(Form::of("application/x-protobuf"), |_, _, _, _| Ok(()));
        bytes.chunks(3).for_each(|piece| answer.push(piece).unwrap());
        assert_eq!(answer.finish(), Ok(vec![series]));
        // Four gigabytes, it says.
        assert!(decoded(b"\xff\xff\xff\xff\x0f").unwrap_err().contains("more than"));
        assert_eq!(decoded(b"\x05a").unwrap_err(), "the answer is not snappy");
    }
}
