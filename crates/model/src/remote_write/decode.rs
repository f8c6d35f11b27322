//! Reading requests, series by series.

use super::histogram::{HistogramFault, read_histogram};
use super::{DecodeError, InvalidLabels, LABELS_MAX, SYMBOLS_MAX, Version};
use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::protobuf::{Content, Fault, Fields};
use crate::sample::{HistogramSample, Sample};

/// Reads a request series by series.
#[derive(Debug)]
pub struct Decoder<'a> {
    version: Version,
    fields: Fields<'a>,
    // Of 2.0; `None` stands for one that is not UTF-8.
    symbols: Vec<Option<&'a str>>,
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
    /// Those of them whose labels are label sets.
    pub exemplars: Vec<Exemplar>,
    /// How many histograms there are; see [`WriteSeries::histograms`].
    pub n_histograms: usize,
    // Of drafts of 2.0, which had one for all samples; 0 if there is none.
    start_ms: i64,
    has_symbols: bool,
    is_utf8: bool,
    is_whole: bool,
    histogram_field: u64,
    fields: Fields<'a>,
}

/// A series as it stands in the request: its labels, which are not looked at, and the rest.
#[derive(Debug, Clone)]
pub struct RawSeries<'a> {
    version: Version,
    body: Fields<'a>,
    // The labels with which the message begins, as far as they are written as everybody writes them.
    labels: &'a [u8],
    rest: &'a [u8],
}

/// All that a series has, as most do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlainSample {
    /// When it began to count; 0 if that is not known.
    pub start_ms: i64,
    /// The sample.
    pub sample: Sample,
    /// Whether the series says what its metric is; see [`super::descriptions`].
    pub is_described: bool,
}

impl<'a> RawSeries<'a> {
    fn of(version: Version, body: Fields<'a>) -> Self {
        let message = body.rest();
        let (labels, rest) = match version {
            Version::V1 => labels_at(message),
            Version::V2 => symbols_at(message),
        };
        RawSeries { version, body, labels, rest }
    }

    /// The labels with which it begins. In 1.0 these are texts, which are equal for equal labels that are written in the same way; in
    /// 2.0 numbers of symbols of this request, see [`RawSeries::symbols`]. There may be more behind them unless
    /// [`WriteSeries::is_whole`] or [`RawSeries::sample`] says otherwise.
    pub fn labels(&self) -> &'a [u8] {
        self.labels
    }

    /// The numbers of a series of 2.0, names and values in turn; `None` if they are no numbers.
    pub fn symbols(&self) -> impl Iterator<Item = Option<usize>> + use<'a> {
        let mut numbers = Fields::new(self.labels, 0);
        std::iter::from_fn(move || {
            (!numbers.rest().is_empty()).then(|| {
                let number = numbers.varint();
                // Behind a fault nothing follows.
                number.ok().and_then(|number| usize::try_from(number).ok()).or_else(|| {
                    numbers = Fields::default();
                    None
                })
            })
        })
    }

    /// Its sample, with when it began to count (0 if that is not known), if there is nothing behind the labels but one sample, and
    /// in 2.0 metadata.
    #[inline]
    pub fn sample(&self) -> Option<PlainSample> {
        let ((start_ms, sample), rest) = plain_sample(self.rest)?;
        let is_plain = rest.is_empty() || self.version == Version::V2 && is_metadata(rest);
        // Empty metadata is a key and a length.
        is_plain.then_some(PlainSample { start_ms, sample, is_described: rest.len() > 2 })
    }
}

/// How labels, samples and metadata begin.
const LABEL_KEY: u8 = 1 << 3 | 2;
const SYMBOLS_KEY: u8 = 1 << 3 | 2;
const SAMPLE_KEY: u8 = 2 << 3 | 2;
const METADATA_KEY: u8 = 5 << 3 | 2;
const VALUE_KEY: u8 = 1 << 3 | 1;
const TIME_KEY: u8 = 2 << 3;
const START_KEY: u8 = 3 << 3;

/// The labels of 1.0 with which `message` begins, and what follows.
#[inline]
fn labels_at(message: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while message.get(end) == Some(&LABEL_KEY) {
        let Some((length, after)) = length(&message[end + 1..]) else { break };
        let Some(rest) = after.len().checked_sub(length) else { break };
        end = message.len() - rest;
    }
    message.split_at(end)
}

/// The numbers of symbols with which `message` of 2.0 begins, and what follows.
#[inline]
fn symbols_at(message: &[u8]) -> (&[u8], &[u8]) {
    let numbers = message.strip_prefix(&[SYMBOLS_KEY]).and_then(length);
    numbers.and_then(|(length, after)| after.split_at_checked(length)).unwrap_or((&[], message))
}

/// The sample with which `bytes` begin, if it is written as everybody writes it, and what follows.
#[inline]
fn plain_sample(bytes: &[u8]) -> Option<((i64, Sample), &[u8])> {
    let (length, after) = length(bytes.strip_prefix(&[SAMPLE_KEY])?)?;
    let (message, rest) = after.split_at_checked(length)?;
    // What is zero is not written.
    let (value, times) = match *message {
        [VALUE_KEY, ref after @ ..] => {
            let (value, times) = after.split_first_chunk()?;
            (f64::from_bits(u64::from_le_bytes(*value)), times)
        }
        _ => (0.0, message),
    };
    let (t_ms, start) = behind_key(TIME_KEY, times)?;
    let (start_ms, end) = behind_key(START_KEY, start)?;
    end.is_empty().then_some(((start_ms, Sample { t_ms, value }), rest))
}

/// The number behind `key` if `bytes` begin with that, else 0; and what follows.
#[inline]
fn behind_key(key: u8, bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = bytes.strip_prefix(&[key]) else { return Some((0, bytes)) };
    let mut number = 0u64;
    // With nine bytes there is no overflow to think of; a negative number has ten.
    for (at, byte) in digits.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some((number.cast_signed(), &digits[at + 1..]));
        }
    }
    None
}

/// Whether `bytes` are one message of metadata.
fn is_metadata(bytes: &[u8]) -> bool {
    let message = bytes.strip_prefix(&[METADATA_KEY]).and_then(length);
    message.is_some_and(|(length, after)| after.len() == length)
}

/// A length of one or two bytes, as nearly all are, and what follows.
#[inline]
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [low @ ..0x80, ref rest @ ..] => Some((usize::from(low), rest)),
        [low, high @ ..0x80, ref rest @ ..] => Some((usize::from(low & 0x7f) | usize::from(high) << 7, rest)),
        _ => None,
    }
}

impl<'a> Decoder<'a> {
    /// A decoder for a decompressed body of 1.0. Its size is what bounds all work.
    pub fn new(body: &'a [u8]) -> Self {
        Decoder {
            version: Version::V1,
            fields: Fields::new(body, 0),
            symbols: Vec::new(),
            series: WriteSeries::default(),
            n_metadata: 0,
        }
    }

    /// A decoder for a decompressed body of `version`; reads the symbols of 2.0 at once.
    pub fn of(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder { version, ..Decoder::new(body) };
        if version == Version::V2 {
            let mut fields = decoder.fields.clone();
            while let Some((number, field)) = fields.next()? {
                if number == 4 {
                    if decoder.symbols.len() == SYMBOLS_MAX {
                        return Err(DecodeError { at: field.at, reason: "request has too many symbols" });
                    }
                    decoder.symbols.push(std::str::from_utf8(field.message()?.rest()).ok());
                }
            }
        }
        Ok(decoder)
    }

    /// Reads the next series, checked to its end; `None` behind the last one.
    ///
    /// The series borrows the decoder's buffers, so it must be used before the next one is read.
    pub fn next_series(&mut self) -> Result<Option<&WriteSeries<'a>>, DecodeError> {
        match self.next_raw()? {
            Some(raw) => self.read(&raw).map(Some),
            None => Ok(None),
        }
    }

    /// Finds the next series without a look at what it has; `None` behind the last one.
    pub fn next_raw(&mut self) -> Result<Option<RawSeries<'a>>, DecodeError> {
        while let Some((number, field)) = self.fields.next()? {
            match (self.version, number) {
                (Version::V1, 1) | (Version::V2, 5) => {
                    return Ok(Some(RawSeries::of(self.version, field.message()?)));
                }
                (Version::V1, 3) => {
                    field.message()?;
                    self.n_metadata += 1;
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Reads a series that was found, checked to its end.
    pub fn read(&mut self, raw: &RawSeries<'a>) -> Result<&WriteSeries<'a>, DecodeError> {
        match self.version {
            Version::V1 => self.series.read(raw)?,
            Version::V2 => self.n_metadata += usize::from(self.series.read_referring(raw, &self.symbols)?),
        }
        Ok(&self.series)
    }

    /// The symbols of a request of 2.0; `None` stands for one that is not UTF-8.
    pub fn symbols(&self) -> &[Option<&'a str>] {
        &self.symbols
    }

    /// How often was said what a metric is in what was read so far; see [`super::descriptions`].
    pub fn n_metadata(&self) -> usize {
        self.n_metadata
    }
}

impl<'a> WriteSeries<'a> {
    fn begin(&mut self, fields: &Fields<'a>, histogram_field: u64) {
        self.labels.clear();
        self.exemplars.clear();
        (self.n_samples, self.n_exemplars, self.n_histograms, self.start_ms) = (0, 0, 0, 0);
        (self.is_utf8, self.has_symbols, self.is_whole) = (true, true, true);
        (self.histogram_field, self.fields) = (histogram_field, fields.clone());
    }

    /// Whether all its labels are in [`RawSeries::labels`].
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Reads a series of 1.0.
    fn read(&mut self, raw: &RawSeries<'a>) -> Result<(), DecodeError> {
        let mut fields = raw.body.clone();
        self.begin(&fields, 4);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    if self.labels.len() == LABELS_MAX {
                        return Err(DecodeError { at: field.at, reason: "series has too many labels" });
                    }
                    self.is_whole &= fields.rest().len() >= raw.rest.len();
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
                    self.exemplars.extend(exemplar(field.message()?, &[])?);
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

    /// Reads a series of 2.0; tells whether it says what its metric is.
    fn read_referring(&mut self, raw: &RawSeries<'a>, symbols: &[Option<&'a str>]) -> Result<bool, DecodeError> {
        let mut fields = raw.body.clone();
        self.begin(&fields, 3);
        let mut has_metadata = false;
        // A label is two numbers, and a field may end between them.
        let mut name: Option<u64> = None;
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    self.is_whole &= fields.rest().len() >= raw.rest.len();
                    let mut n_labels = self.labels.len();
                    field.uints(|number| match name.take() {
                        None => name = Some(number),
                        Some(name) => {
                            n_labels += 1;
                            if n_labels <= LABELS_MAX {
                                self.refer(symbols, name, number);
                            }
                        }
                    })?;
                    if n_labels > LABELS_MAX {
                        return Err(DecodeError { at: field.at, reason: "series has too many labels" });
                    }
                }
                2 => {
                    sample(field.message()?)?;
                    self.n_samples += 1;
                }
                3 => {
                    field.message()?;
                    self.n_histograms += 1;
                }
                4 => {
                    self.exemplars.extend(exemplar(field.message()?, symbols)?);
                    self.n_exemplars += 1;
                }
                // Some senders have an empty one for each series.
                5 => has_metadata |= !field.message()?.rest().is_empty(),
                6 => self.start_ms = field.uint()?.cast_signed(),
                _ => {}
            }
        }
        self.has_symbols &= name.is_none();
        Ok(has_metadata)
    }

    fn refer(&mut self, symbols: &[Option<&'a str>], name: u64, value: u64) {
        let symbol = |number: u64| usize::try_from(number).ok().and_then(|at| symbols.get(at).copied());
        match (symbol(name), symbol(value)) {
            (Some(Some(name)), Some(Some(value))) => self.labels.push((name, value)),
            (Some(_), Some(_)) => self.is_utf8 = false,
            _ => self.has_symbols = false,
        }
    }

    /// The samples in the order of the request.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        self.started_samples().map(|(_, sample)| sample)
    }

    /// The samples in the order of the request, each with the time at which it began to count; 0 if that is not known.
    pub fn started_samples(&self) -> impl Iterator<Item = (i64, Sample)> + use<'a> {
        let mut fields = self.fields.clone();
        let series_start_ms = self.start_ms;
        // `read` went this way before and found no fault.
        std::iter::from_fn(move || {
            while let Some((number, field)) = fields.next().ok()? {
                if number == 2 {
                    let (start_ms, sample) = field.message().and_then(sample).ok()?;
                    return Some((if start_ms == 0 { series_start_ms } else { start_ms }, sample));
                }
            }
            None
        })
    }

    /// The histograms in the order of the request. Each is read when it is asked for, and makes sense or is a fault.
    pub fn histograms(&self) -> impl Iterator<Item = Result<HistogramSample, HistogramFault>> + use<'a> {
        let mut fields = self.fields.clone();
        let (series_start_ms, wanted) = (self.start_ms, self.histogram_field);
        std::iter::from_fn(move || {
            while let Some((number, field)) = fields.next().ok()? {
                if number == wanted {
                    let mut read = field.message().map_err(HistogramFault::from).and_then(read_histogram);
                    if let Ok(sample) = &mut read
                        && sample.start_ms == 0
                    {
                        sample.start_ms = series_start_ms;
                    }
                    return Some(read);
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
        if !self.has_symbols {
            return Err(InvalidLabels::NoSymbol);
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

/// An exemplar, whose labels stand there in 1.0 and refer to `symbols` in 2.0; `None` if they are no label set.
fn exemplar(mut fields: Fields<'_>, symbols: &[Option<&str>]) -> Result<Option<Exemplar>, Fault> {
    let (mut value, mut t_ms, mut is_valid) = (0.0, 0, true);
    let (mut pairs, mut numbers): (Vec<(&str, &str)>, Vec<u64>) = (Vec::new(), Vec::new());
    while let Some((number, field)) = fields.next()? {
        match (number, field.content) {
            (1, _) if pairs.len() + numbers.len() / 2 >= LABELS_MAX => is_valid = false,
            (1, _) if symbols.is_empty() => {
                let (name, value) = label(field.message()?)?;
                match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                    (Ok(name), Ok(value)) => pairs.push((name, value)),
                    _ => is_valid = false,
                }
            }
            (1, _) => field.uints(|number| {
                if numbers.len() < 2 * LABELS_MAX {
                    numbers.push(number);
                }
            })?,
            (2, Content::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Content::Varint(number)) => t_ms = number.cast_signed(),
            (2 | 3, _) => return Err(field.wrong_type()),
            _ => {}
        }
    }
    let symbol = |number: &u64| usize::try_from(*number).ok().and_then(|at| symbols.get(at).copied().flatten());
    for pair in numbers.chunks(2) {
        match pair {
            [name, value] => match (symbol(name), symbol(value)) {
                (Some(name), Some(value)) => pairs.push((name, value)),
                _ => is_valid = false,
            },
            _ => is_valid = false,
        }
    }
    pairs.sort_unstable_by_key(|(name, _)| *name);
    pairs.retain(|(_, value)| !value.is_empty());
    let labels = Labels::from_sorted(pairs).filter(|_| is_valid);
    Ok(labels.map(|labels| Exemplar { labels, value, t_ms }))
}

/// A sample, and when it began to count, which 1.0 has no field for.
fn sample(mut fields: Fields<'_>) -> Result<(i64, Sample), Fault> {
    let mut sample = Sample { t_ms: 0, value: 0.0 };
    let mut start_ms = 0;
    while let Some((number, field)) = fields.next()? {
        match (number, field.content) {
            (1, Content::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            // A negative number is written as its two's complement.
            (2, Content::Varint(number)) => sample.t_ms = number.cast_signed(),
            (3, Content::Varint(number)) => start_ms = number.cast_signed(),
            (1 | 2, _) => return Err(field.wrong_type()),
            _ => {}
        }
    }
    Ok((start_ms, sample))
}
