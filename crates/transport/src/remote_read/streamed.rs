//! Answers that come as a stream of frames: length, checksum and message, each with compressed chunks of series.
//!
//! Much smaller than samples one by one, and the other side need not have all of it in memory. What comes is decoded frame by frame,
//! so that only samples are kept; a few bytes can stand for many, so what counts is the memory that these take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use relatum_model::remote_read::{Room, decode_chunked};
use relatum_model::{Labels, Samples, Series};

/// A media type that begins so is such a stream.
pub(super) const MEDIA_TYPE: &str = "application/x-streamed-protobuf";

/// The largest message of a frame: Prometheus' bound. Ours have at most a megabyte.
const MESSAGE_BYTES_MAX: usize = 50_000_000;

/// A length in seven-bit groups has at most as many bytes.
const LENGTH_BYTES_MAX: usize = 10;
const CHECKSUM_BYTES: usize = 4;

/// Adds the samples of a chunk, by Prometheus' number of its encoding and its bytes, behind those that are there. What they take in
/// memory goes from what is left of it, in bytes.
pub type DecodeChunk = fn(u8, &[u8], &mut usize, &mut Samples) -> Result<(), String>;

/// What came of a stream so far.
#[derive(Debug)]
pub(super) struct Streamed {
    decode: DecodeChunk,
    room: Room,
    // The bytes of a frame that is not whole yet.
    waiting: Vec<u8>,
    series: Vec<Series>,
    // Their places, as a series may come in several messages.
    places: HashMap<Labels, usize>,
}

impl Streamed {
    pub(super) fn new(decode: DecodeChunk, room: Room) -> Self {
        Streamed { decode, room, waiting: Vec::new(), series: Vec::new(), places: HashMap::new() }
    }

    /// Takes the next piece of the stream.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        self.waiting.extend_from_slice(piece);
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut rest = &waiting[..];
        while let Some((message, behind)) = frame(rest)? {
            self.take(message)?;
            rest = behind;
        }
        let n_taken = waiting.len() - rest.len();
        waiting.drain(..n_taken);
        self.waiting = waiting;
        Ok(())
    }

    /// The series in the order in which they came. Fails if the stream ended in the middle of a frame.
    pub(super) fn finish(self) -> Result<Vec<Series>, String> {
        if !self.waiting.is_empty() {
            return Err("the stream ended in the middle of a frame".to_owned());
        }
        let mut series = self.series;
        series.iter_mut().for_each(|one| put_in_order(&mut one.samples));
        Ok(series)
    }

    fn take(&mut self, message: &[u8]) -> Result<(), String> {
        for part in decode_chunked(message) {
            let part = part.map_err(|error| error.to_string())?;
            let chunks = part.chunks();
            // The parts of a series follow each other.
            let place = match self.series.last() {
                Some(last) if last.labels == part.labels => self.series.len() - 1,
                _ => match self.places.entry(part.labels) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(free) => {
                        let labels = free.key().clone();
                        self.room.take_series(&labels).map_err(|error| error.to_string())?;
                        self.series.push(Series { labels, samples: Samples::default() });
                        *free.insert(self.series.len() - 1)
                    }
                },
            };
            let samples = &mut self.series[place].samples;
            for chunk in chunks {
                let chunk = chunk.map_err(|error| error.to_string())?;
                (self.decode)(chunk.encoding, chunk.data, &mut self.room.bytes_left, samples)?;
            }
        }
        Ok(())
    }
}

/// A message, and what is behind it.
type Framed<'a> = (&'a [u8], &'a [u8]);

/// The message of the first frame; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Result<Option<Framed<'_>>, String> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        // Beyond the bound long before it can overflow.
        length |= usize::from(byte & 0x7f) << (7 * at.min(5));
        if length > MESSAGE_BYTES_MAX {
            return Err(format!("a frame has more than {MESSAGE_BYTES_MAX} bytes"));
        }
        if byte & 0x80 != 0 {
            continue;
        }
        let rest = &bytes[at + 1..];
        let Some((checksum, rest)) = rest.split_first_chunk::<CHECKSUM_BYTES>() else { return Ok(None) };
        let Some((message, behind)) = rest.split_at_checked(length) else { return Ok(None) };
        if crc32c::crc32c(message) != u32::from_be_bytes(*checksum) {
            return Err("the checksum of a frame does not fit".to_owned());
        }
        return Ok(Some((message, behind)));
    }
    if bytes.len() >= LENGTH_BYTES_MAX { Err("a frame has a length that is none".to_owned()) } else { Ok(None) }
}

/// Chunks of one series come by time, but those of several blocks may overlap.
fn put_in_order(samples: &mut Samples) {
    if !samples.timestamps.is_sorted_by(|a, b| a < b) {
        let mut floats: Vec<(i64, f64)> = samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
        floats.sort_by_key(|(t_ms, _)| *t_ms);
        floats.dedup_by_key(|(t_ms, _)| *t_ms);
        (samples.timestamps, samples.values) = floats.into_iter().unzip();
        samples.starts.clear();
    }
    if !samples.histograms.is_sorted_by(|a, b| a.t_ms < b.t_ms) {
        samples.histograms.sort_by_key(|sample| sample.t_ms);
        samples.histograms.dedup_by_key(|sample| sample.t_ms);
        // Each said something of the one that was before it in its own block.
        samples.tell_resets(None);
    }
}

#[cfg(test)]
mod tests {
    use relatum_model::remote_read::{ChunkedSeries, WireChunk};

    use super::*;

    /// A chunk of this encoding has a byte for each moment, which is its value, too.
    fn decode(encoding: u8, data: &[u8], bytes_left: &mut usize, samples: &mut Samples) -> Result<(), String> {
        if encoding != 7 {
            return Err(format!("encoding {encoding} is not known"));
        }
        *bytes_left = bytes_left.checked_sub(1000 * data.len()).ok_or("there is no memory left")?;
        data.iter().for_each(|byte| samples.push(i64::from(*byte), f64::from(*byte)));
        Ok(())
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        assert!(message.len() < 128);
        [&[message.len() as u8][..], &crc32c::crc32c(message).to_be_bytes(), message].concat()
    }

    fn stream(parts: &[(&str, u8, &[&[u8]])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, encoding, chunks) in parts {
            let mut series = ChunkedSeries::new(0, &Labels::from_pairs([("__name__", *name)]));
            for data in *chunks {
                series.push(WireChunk { min_ms: 0, max_ms: 0, encoding: *encoding, data });
            }
            out.extend(framed(&series.take().unwrap()));
        }
        out
    }

    /// What is read of `bytes` that come in pieces of `size`.
    fn read(bytes: &[u8], size: usize, bytes_max: usize) -> Result<Vec<String>, String> {
        let mut streamed = Streamed::new(decode, Room::new(bytes_max));
        bytes.chunks(size).try_for_each(|piece| streamed.push(piece))?;
        let series = streamed.finish()?;
        Ok(series.iter().map(|one| format!("{} {:?}", one.labels, one.samples.timestamps)).collect())
    }

    #[test]
    fn series_in_parts() {
        // In several messages, with others in between, with chunks that overlap.
        let bytes =
            stream(&[("a", 7, &[&[1, 2], &[3]]), ("a", 7, &[&[4]]), ("b", 7, &[&[9, 5], &[5]]), ("a", 7, &[&[2, 6]])]);
        let expected = ["a [1, 2, 3, 4, 6]", "b [5, 9]"].map(str::to_owned).to_vec();
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(read(&bytes, size, 9_900), Ok(expected.clone()), "pieces of {size}");
        }
        assert_eq!(read(&bytes, 8, 8_900).unwrap_err(), "there is no memory left");
        assert_eq!(read(&[], 1, 0), Ok(Vec::new()));
        // Series without samples take memory, too.
        let empty = stream(&[("a", 7, &[&[]]), ("b", 7, &[&[]])]);
        assert_eq!(read(&empty, 8, 900).map(|series| series.len()), Ok(2));
        assert_eq!(read(&empty, 8, 200).unwrap_err(), "the answer takes more than 200 bytes of memory");
    }

    #[test]
    fn streams_that_are_none() {
        let good = stream(&[("a", 7, &[&[1, 2]])]);
        for cut in 1..good.len() {
            assert_eq!(read(&good[..cut], 5, 9_000).unwrap_err(), "the stream ended in the middle of a frame", "{cut}");
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for (bytes, expected) in [
            (flipped, "the checksum of a frame does not fit"),
            (stream(&[("a", 8, &[&[1]])]), "encoding 8 is not known"),
            (vec![0x80; 20], "a frame has a length that is none"),
            (vec![0xff; 20], "a frame has more than 50000000 bytes"),
            (framed(&[10, 9]), "cannot decode"),
        ] {
            let error = read(&bytes, 64, 9_000).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
