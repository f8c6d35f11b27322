//! Writing requests.

use std::collections::HashMap;

use super::Version;
use super::histogram::push_histogram;
use crate::exemplar::Exemplar;
use crate::exposition::MetricDescription;
use crate::labels::Labels;
use crate::protobuf::{push_double, push_key, push_message, push_text, push_uint, push_varint, text_size, varint_size};
use crate::sample::{Sample, Samples};

/// Writes a request.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    body: Vec<u8>,
    // Kept from series to series, so that encoding allocates little.
    series: Vec<u8>,
    // The numbers of the texts of 2.0, which come before the first series when the request is finished.
    symbols: HashMap<String, u64>,
    symbol_bytes: Vec<u8>,
    // Those of one series.
    numbers: Vec<u64>,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder::new()
    }
}

impl Encoder {
    /// A request of 1.0 without series.
    pub fn new() -> Self {
        Encoder::of(Version::V1)
    }

    /// A request of `version` without series.
    pub fn of(version: Version) -> Self {
        let (mut symbols, mut symbol_bytes) = (HashMap::new(), Vec::new());
        if version == Version::V2 {
            // The first symbol is the empty text, by the protocol.
            symbols.insert(String::new(), 0);
            push_text(&mut symbol_bytes, 4, "");
        }
        Encoder { version, body: Vec::new(), series: Vec::new(), symbols, symbol_bytes, numbers: Vec::new() }
    }

    /// Adds a series with its samples, oldest first.
    pub fn push(&mut self, labels: &Labels, samples: &[Sample]) {
        self.begin_series(labels);
        for sample in samples {
            self.push_sample(*sample, 0);
        }
        self.end_series();
    }

    /// Adds a series with its samples, histograms among them.
    pub fn push_samples(&mut self, labels: &Labels, samples: &Samples) {
        self.push_series(labels, samples, &[], None);
    }

    /// Adds a series with all that is known of it. 1.0 has no place for start timestamps, nor here for what a metric is; both are left
    /// out there.
    pub fn push_series(
        &mut self,
        labels: &Labels,
        samples: &Samples,
        exemplars: &[&Exemplar],
        described: Option<&MetricDescription>,
    ) {
        self.begin_series(labels);
        let has_starts = self.version == Version::V2;
        let starts = samples.starts.iter().copied().filter(|_| has_starts).chain(std::iter::repeat(0));
        for (sample, start_ms) in samples.iter().zip(starts) {
            self.push_sample(sample, start_ms);
        }
        for sample in &samples.histograms {
            let (number, start_ms) = if has_starts { (3, sample.start_ms) } else { (4, 0) };
            push_histogram(&mut self.series, number, sample.t_ms, start_ms, &sample.histogram);
        }
        for exemplar in exemplars {
            self.push_exemplar(exemplar);
        }
        if let (Version::V2, Some(described)) = (self.version, described) {
            let (help, unit) = (self.symbol(&described.help), self.symbol(&described.unit));
            push_message(&mut self.series, 5, |out| {
                push_uint(out, 1, described.kind.number().into());
                push_uint(out, 3, help);
                push_uint(out, 4, unit);
            });
        }
        self.end_series();
    }

    /// Adds what is known of a family to a request of 1.0; 2.0 says it of each series.
    pub fn push_description(&mut self, family: &str, described: &MetricDescription) {
        if self.version == Version::V2 {
            return;
        }
        push_message(&mut self.body, 3, |out| {
            push_uint(out, 1, described.kind.number().into());
            push_text(out, 2, family);
            if !described.help.is_empty() {
                push_text(out, 4, &described.help);
            }
            if !described.unit.is_empty() {
                push_text(out, 5, &described.unit);
            }
        });
    }

    fn push_exemplar(&mut self, exemplar: &Exemplar) {
        let t_ms = exemplar.t_ms.cast_unsigned();
        match self.version {
            Version::V1 => push_message(&mut self.series, 3, |out| {
                for (name, value) in &exemplar.labels {
                    push_message(out, 1, |out| {
                        push_text(out, 1, name);
                        push_text(out, 2, value);
                    });
                }
                push_double(out, 2, exemplar.value);
                push_uint(out, 3, t_ms);
            }),
            Version::V2 => {
                let texts = exemplar.labels.iter().flat_map(|(name, value)| [name, value]);
                let numbers: Vec<u64> = texts.map(|text| self.symbol(text)).collect();
                push_message(&mut self.series, 4, |out| {
                    push_message(out, 1, |out| numbers.iter().for_each(|number| push_varint(out, *number)));
                    push_double(out, 2, exemplar.value);
                    push_uint(out, 3, t_ms);
                });
            }
        }
    }

    /// The number of a text of 2.0, which is new or known.
    fn symbol(&mut self, text: &str) -> u64 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let number = self.symbols.len() as u64;
        self.symbols.insert(text.to_owned(), number);
        push_text(&mut self.symbol_bytes, 4, text);
        number
    }

    fn begin_series(&mut self, labels: &Labels) {
        self.series.clear();
        match self.version {
            Version::V1 => {
                for (name, value) in labels {
                    self.series.push(1 << 3 | 2);
                    push_varint(&mut self.series, (text_size(name) + text_size(value)) as u64);
                    push_text(&mut self.series, 1, name);
                    push_text(&mut self.series, 2, value);
                }
            }
            Version::V2 => {
                let mut numbers = std::mem::take(&mut self.numbers);
                numbers.clear();
                numbers.extend(labels.iter().flat_map(|(name, value)| [name, value]).map(|text| self.symbol(text)));
                push_message(&mut self.series, 1, |out| numbers.iter().for_each(|number| push_varint(out, *number)));
                self.numbers = numbers;
            }
        }
    }

    fn push_sample(&mut self, sample: Sample, start_ms: i64) {
        let (t_ms, start_ms) = (sample.t_ms.cast_unsigned(), start_ms.cast_unsigned());
        let start_bytes = if start_ms == 0 { 0 } else { 1 + varint_size(start_ms) };
        self.series.push(2 << 3 | 2);
        push_varint(&mut self.series, (1 + 8 + 1 + varint_size(t_ms) + start_bytes) as u64);
        self.series.push(1 << 3 | 1);
        self.series.extend(sample.value.to_bits().to_le_bytes());
        self.series.push(2 << 3);
        push_varint(&mut self.series, t_ms);
        push_uint(&mut self.series, 3, start_ms);
    }

    fn end_series(&mut self) {
        let number = if self.version == Version::V1 { 1 } else { 5 };
        push_key(&mut self.body, number, 2);
        push_varint(&mut self.body, self.series.len() as u64);
        self.body.extend_from_slice(&self.series);
    }

    /// The size of the request so far, in bytes before compression.
    pub fn body_bytes(&self) -> usize {
        self.symbol_bytes.len() + self.body.len()
    }

    /// The finished request, before compression.
    pub fn finish(self) -> Vec<u8> {
        if self.symbol_bytes.is_empty() {
            return self.body;
        }
        let mut message = self.symbol_bytes;
        message.extend_from_slice(&self.body);
        message
    }
}
