//! The body of a remote write 1.0 request: the protobuf message `prometheus.WriteRequest`, after decompression.
//!
//! [`Decoder`] walks over the bytes and borrows from them, because a general protobuf decoder spends most of its time on
//! strings that are looked at once. Exemplars, histograms and metadata are counted, not read. [`Encoder`] writes the message.

use thiserror::Error;

use crate::labels::Labels;
use crate::protobuf::{Content, Fault, Fields, push_text, push_varint, text_size, varint_size};
use crate::sample::Sample;
use crate::text::quote;

/// How many labels one series may have: far beyond any real one, and a bound for the memory a request of empty labels takes.
const LABELS_MAX: usize = 10_000;

/// Why the bytes are not a `prometheus.WriteRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot decode write request at byte {at}: {reason}")]
pub struct DecodeError {
    /// Where in the body, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        DecodeError { at: fault.at, reason: fault.reason }
    }
}

/// Why the labels of one series make no label set; the rest of the request may still be good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidLabels {
    /// There is no metric name.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// Two labels have the same name.
    #[error("label name {} is not unique: invalid sample", quote(.0))]
    Repeated(String),
    /// A label has the empty name.
    #[error("label name \"\" is invalid")]
    EmptyName,
    /// A name or value is not UTF-8.
    #[error("label names and values must be UTF-8")]
    NotUtf8,
}

/// Reads a request series by series.
#[derive(Debug)]
pub struct Decoder<'a> {
    fields: Fields<'a>,
    series: WriteSeries<'a>,
    n_metadata: usize,
}

/// One series of a request.
#[derive(Debug, Default)]
pub struct WriteSeries<'a> {
    /// The labels in the order of the request, not checked; see [`WriteSeries::label_set`].
    pub labels: Vec<(&'a str, &'a str)>,
    /// How many samples there are; see [`WriteSeries::samples`].
    pub n_samples: usize,
    /// How many exemplars there are.
    pub n_exemplars: usize,
    /// How many histograms there are.
    pub n_histograms: usize,
    is_utf8: bool,
    fields: Fields<'a>,
}

impl<'a> Decoder<'a> {
    /// A decoder for a decompressed body. Its size is what bounds all work.
    pub fn new(body: &'a [u8]) -> Self {
        Decoder { fields: Fields::new(body, 0), series: WriteSeries::default(), n_metadata: 0 }
    }

    /// Reads the next series, checked to its end; `None` behind the last one.
    ///
    /// The series borrows the decoder's buffers, so it must be used before the next one is read.
    pub fn next_series(&mut self) -> Result<Option<&WriteSeries<'a>>, DecodeError> {
        while let Some((number, field)) = self.fields.next()? {
            match number {
                1 => {
                    let body = field.message()?;
                    self.series.read(body)?;
                    return Ok(Some(&self.series));
                }
                3 => {
                    field.message()?;
                    self.n_metadata += 1;
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// How many metadata entries were passed so far.
    pub fn n_metadata(&self) -> usize {
        self.n_metadata
    }
}

impl<'a> WriteSeries<'a> {
    fn read(&mut self, fields: Fields<'a>) -> Result<(), DecodeError> {
        self.labels.clear();
        (self.n_samples, self.n_exemplars, self.n_histograms) = (0, 0, 0);
        (self.is_utf8, self.fields) = (true, fields.clone());
        let mut fields = fields;
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    if self.labels.len() == LABELS_MAX {
                        return Err(DecodeError { at: field.at, reason: "series has too many labels" });
                    }
                    let (name, value) = label(field.message()?)?;
                    match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                        (Ok(name), Ok(value)) => self.labels.push((name, value)),
                        _ => self.is_utf8 = false,
                    }
                }
                2 => {
                    sample(field.message()?)?;
                    self.n_samples += 1;
                }
                3 => {
                    field.message()?;
                    self.n_exemplars += 1;
                }
                4 => {
                    field.message()?;
                    self.n_histograms += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The samples in the order of the request.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        let mut fields = self.fields.clone();
        // `read` went this way before and found no fault.
        std::iter::from_fn(move || {
            while let Some((number, field)) = fields.next().ok()? {
                if number == 2 {
                    return field.message().and_then(sample).ok();
                }
            }
            None
        })
    }

    /// The label set: sorted, and without empty values.
    pub fn label_set(&self) -> Result<Labels, InvalidLabels> {
        if !self.is_utf8 {
            return Err(InvalidLabels::NotUtf8);
        }
        // The protocol demands sorted labels, and nearly every sender complies.
        let labels = match Labels::from_sorted(self.labels.iter().copied()) {
            Some(labels) => labels,
            None => self.repaired()?,
        };
        match labels.iter().next() {
            Some(("", _)) => Err(InvalidLabels::EmptyName),
            _ if labels.metric_name().is_none() => Err(InvalidLabels::NoName),
            _ => Ok(labels),
        }
    }

    fn repaired(&self) -> Result<Labels, InvalidLabels> {
        let mut labels = self.labels.clone();
        labels.sort_by_key(|(name, _)| *name);
        if let Some(repeated) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidLabels::Repeated(repeated[0].0.to_owned()));
        }
        labels.retain(|(_, value)| !value.is_empty());
        Ok(Labels::from_sorted(labels).expect("labels are sorted, unique and not empty"))
    }
}

fn label<'a>(mut fields: Fields<'a>) -> Result<(&'a [u8], &'a [u8]), Fault> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.message()?.rest(),
            2 => value = field.message()?.rest(),
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample(mut fields: Fields<'_>) -> Result<Sample, Fault> {
    let mut sample = Sample { t_ms: 0, value: 0.0 };
    while let Some((number, field)) = fields.next()? {
        match (number, field.content) {
            (1, Content::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            // A negative number is written as its two's complement.
            (2, Content::Varint(number)) => sample.t_ms = number.cast_signed(),
            (1 | 2, _) => return Err(field.wrong_type()),
            _ => {}
        }
    }
    Ok(sample)
}

/// Writes a request.
#[derive(Debug, Default)]
pub struct Encoder {
    body: Vec<u8>,
    // Kept from series to series, so that encoding allocates little.
    series: Vec<u8>,
}

impl Encoder {
    /// A request without series.
    pub fn new() -> Self {
        Encoder::default()
    }

    /// Adds a series with its samples, oldest first.
    pub fn push(&mut self, labels: &Labels, samples: &[Sample]) {
        self.series.clear();
        for (name, value) in labels {
            self.series.push(1 << 3 | 2);
            push_varint(&mut self.series, (text_size(name) + text_size(value)) as u64);
            push_text(&mut self.series, 1, name);
            push_text(&mut self.series, 2, value);
        }
        for sample in samples {
            let t_ms = sample.t_ms.cast_unsigned();
            self.series.push(2 << 3 | 2);
            push_varint(&mut self.series, (1 + 8 + 1 + varint_size(t_ms)) as u64);
            self.series.push(1 << 3 | 1);
            self.series.extend(sample.value.to_bits().to_le_bytes());
            self.series.push(2 << 3);
            push_varint(&mut self.series, t_ms);
        }
        self.body.push(1 << 3 | 2);
        push_varint(&mut self.body, self.series.len() as u64);
        self.body.extend_from_slice(&self.series);
    }

    /// The size of the request so far, in bytes before compression.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The finished request, before compression.
    pub fn finish(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything in a body: label sets with samples, then the counts of what is not read.
    fn shown(body: &[u8]) -> Result<String, DecodeError> {
        let mut out = String::new();
        let mut decoder = Decoder::new(body);
        while let Some(series) = decoder.next_series()? {
            let labels = series.label_set().map_or_else(|error| error.to_string(), |labels| labels.to_string());
            let samples: Vec<_> = series.samples().map(|sample| format!("{}@{}", sample.value, sample.t_ms)).collect();
            assert_eq!(samples.len(), series.n_samples);
            out += &format!("{labels} {} x{} h{}; ", samples.join(","), series.n_exemplars, series.n_histograms);
        }
        Ok(format!("{out}m{}", decoder.n_metadata()))
    }

    #[track_caller]
    fn check(body: &[u8], expected: Result<&str, &str>) {
        let shown = shown(body).map_err(|error| error.to_string());
        assert_eq!(shown.as_deref().map_err(String::as_str), expected, "body {body:?}");
    }

    #[test]
    fn requests() {
        check(b"", Ok("m0"));
        check(b"\x0a\x00", Ok("missing metric name (__name__ label)  x0 h0; m0"));
        // A name, a sample without time, metadata, and two fields nobody knows.
        check(
            b"\x0a\x1c\x0a\x0d\x0a\x08__name__\x12\x01a\x12\x09\x09\0\0\0\0\0\0\xf0\x3f\x1a\x00\x1a\x00\x1a\x00\x20\x05\x2d\0\0\0\0",
            Ok("a 1@0 x1 h0; m2"),
        );
        // Unsorted labels and an empty value are put right, repeated ones are not.
        check(
            b"\x0a\x1e\x0a\x06\x0a\x01z\x12\x01y\x0a\x03\x0a\x01e\x0a\x0d\x0a\x08__name__\x12\x01a\x22\x00",
            Ok("a{z=\"y\"}  x0 h1; m0"),
        );
        check(
            b"\x0a\x10\x0a\x06\x0a\x01a\x12\x01y\x0a\x06\x0a\x01a\x12\x01y",
            Ok("label name \"a\" is not unique: invalid sample  x0 h0; m0"),
        );
        check(b"\x0a\x08\x0a\x06\x0a\x01\xff\x12\x01y", Ok("label names and values must be UTF-8  x0 h0; m0"));
        check(b"\x0a\x05\x0a\x03\x12\x01y", Ok("label name \"\" is invalid  x0 h0; m0"));
    }

    #[test]
    fn damaged_requests() {
        check(b"\x0a", Err("cannot decode write request at byte 1: message ends early"));
        check(b"\x0a\x05\x0a", Err("cannot decode write request at byte 2: message ends early"));
        check(b"\x0a\x02\x0a\x05", Err("cannot decode write request at byte 4: message ends early"));
        check(b"\x28\x01\x29\x00", Err("cannot decode write request at byte 3: message ends early"));
        check(
            b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            Err("cannot decode write request at byte 10: number is too long"),
        );
        check(
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            Err("cannot decode write request at byte 11: message ends early"),
        );
        check(b"\x28\x01\x0b", Err("cannot decode write request at byte 3: wire type is not valid"));
        check(b"\x00\x01", Err("cannot decode write request at byte 1: field number is not valid"));
        check(b"\x0a\x04\x12\x02\x08\x01", Err("cannot decode write request at byte 6: field has the wrong wire type"));
        let many = b"\x0a\x00".repeat(LABELS_MAX + 1);
        let mut body = b"\x0a".to_vec();
        push_varint(&mut body, many.len() as u64);
        body.extend(many);
        check(&body, Err("cannot decode write request at byte 20006: series has too many labels"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            pairs in prop::collection::btree_map("\\PC{1,200}", "\\PC{1,200}", 0..5),
            samples in prop::collection::vec((any::<i64>(), any::<f64>()), 0..5),
        ) {
            let mut builder = Labels::from_pairs(pairs).to_builder();
            let labels = builder.set("__name__", "a").build();
            let samples: Vec<Sample> = samples.into_iter().map(|(t_ms, value)| Sample { t_ms, value }).collect();
            let mut encoder = Encoder::new();
            encoder.push(&labels, &samples);
            encoder.push(&labels, &[]);
            let body = encoder.finish();
            let mut decoder = Decoder::new(&body);
            let series = decoder.next_series().unwrap().expect("two series were written");
            prop_assert_eq!(series.label_set().unwrap(), labels);
            let bits = |sample: &Sample| (sample.t_ms, sample.value.to_bits());
            let read: Vec<Sample> = series.samples().collect();
            prop_assert_eq!(read.iter().map(bits).collect::<Vec<_>>(), samples.iter().map(bits).collect::<Vec<_>>());
            prop_assert!(decoder.next_series().unwrap().is_some());
            prop_assert!(decoder.next_series().unwrap().is_none());
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x0a), Just(0x12), 0u8..12], 0..60)) {
            let _ = shown(&bytes);
        }
    }
}
