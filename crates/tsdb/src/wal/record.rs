//! Payloads: definitions of series and rows of samples, column by column.
//!
//! The series of a scrape are numbered one after the other and share their time, and the times of one series are evenly
//! spaced; so numbers and times are written as runs of equal distance and cost next to nothing. A value is written without
//! its trailing zero bytes, which most numbers people measure have.

use relatum_model::Labels;
use relatum_model::exemplar::Exemplar;
use thiserror::Error;

use crate::chunk::{unzigzag, zigzag};
use crate::histogram::{Encoded, HISTOGRAM_BYTES_MAX};

/// The largest number of rows in one section; bounds what a decoder holds.
pub(crate) const ROWS_MAX: usize = 1 << 16;
/// The largest encoded label set the store takes.
pub(crate) const LABELS_BYTES_MAX: usize = 1 << 20;
/// Series are numbered below this.
pub(crate) const ID_MAX: u64 = 1 << 56;

/// A writer ends a payload that is longer than this; with the largest label set or a section of [`SECTION_ROWS`] behind it, it
/// is still below what a frame may hold.
pub(crate) const PART_BYTES: usize = 1 << 20;
/// How many rows a writer puts into one section.
pub(crate) const SECTION_ROWS: usize = 1 << 15;

/// A writer ends a section of histograms that is longer than this.
const HISTOGRAMS_BYTES: usize = 1 << 19;

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const HISTOGRAMS: u8 = 3;
const STARTS: u8 = 4;
const EXEMPLARS: u8 = 5;

/// The most bytes that the labels of an exemplar take; a reader believes no more.
const EXEMPLAR_BYTES_MAX: usize = 1 << 12;

/// One sample as the log holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) t_ms: i64,
    pub(crate) bits: u64,
}

/// When a sample of the rows that follow began to count; 0 if that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartRow {
    pub(crate) id: u64,
    pub(crate) t_ms: i64,
    pub(crate) start_ms: i64,
}

/// Why a payload cannot be read although its checksum fits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct BadPayload(pub(crate) &'static str);

/// Writes the definition of one series.
pub(crate) fn encode_series(out: &mut Vec<u8>, id: u64, labels: &Labels) {
    out.push(SERIES);
    put_varint(out, id);
    put_varint(out, labels.encoded().len() as u64);
    out.extend_from_slice(labels.encoded().as_bytes());
}

/// Writes up to [`ROWS_MAX`] rows as one section.
pub(crate) fn encode_rows(out: &mut Vec<u8>, rows: impl ExactSizeIterator<Item = Row> + Clone) {
    debug_assert!(rows.len() <= ROWS_MAX, "rows are split into sections before");
    out.push(SAMPLES);
    put_varint(out, rows.len() as u64);
    put_runs(out, rows.clone().map(|row| row.id as i64));
    put_runs(out, rows.clone().map(|row| row.t_ms));
    let lengths_at = out.len();
    out.resize(lengths_at + rows.len().div_ceil(2), 0);
    for (i, row) in rows.enumerate() {
        let bytes = row.bits.to_be_bytes();
        let length = 8 - row.bits.trailing_zeros() as usize / 8;
        out[lengths_at + i / 2] |= (length as u8) << (4 * (i % 2));
        out.extend_from_slice(&bytes[..length]);
    }
}

/// Writes when up to [`ROWS_MAX`] samples began to count as one section.
pub(crate) fn encode_starts(out: &mut Vec<u8>, rows: &[StartRow]) {
    debug_assert!(rows.len() <= ROWS_MAX, "rows are split into sections before");
    out.push(STARTS);
    put_varint(out, rows.len() as u64);
    put_runs(out, rows.iter().map(|row| row.id as i64));
    put_runs(out, rows.iter().map(|row| row.t_ms));
    put_runs(out, rows.iter().map(|row| row.start_ms));
}

/// Writes native histograms, with the series' number and time of each, as one section.
pub(crate) fn encode_histograms(out: &mut Vec<u8>, rows: &[(u64, i64, Encoded)]) {
    debug_assert!(rows.len() <= ROWS_MAX, "rows are split into sections before");
    out.push(HISTOGRAMS);
    put_varint(out, rows.len() as u64);
    put_runs(out, rows.iter().map(|(id, _, _)| *id as i64));
    put_runs(out, rows.iter().map(|(_, t_ms, _)| *t_ms));
    for (_, _, histogram) in rows {
        put_varint(out, histogram.bytes().len() as u64);
        out.extend_from_slice(histogram.bytes());
    }
}

/// Writes an exemplar of series `id`.
pub(crate) fn encode_exemplar(out: &mut Vec<u8>, id: u64, exemplar: &Exemplar) {
    out.push(EXEMPLARS);
    put_varint(out, id);
    put_varint(out, zigzag(exemplar.t_ms));
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_varint(out, exemplar.labels.encoded().len() as u64);
    out.extend_from_slice(exemplar.labels.encoded().as_bytes());
}

/// Collects native histograms until there are enough for a section.
#[derive(Debug, Default)]
pub(crate) struct HistogramRows {
    rows: Vec<(u64, i64, Encoded)>,
    bytes: usize,
}

impl HistogramRows {
    /// Adds one; returns those before it if they are enough.
    pub(crate) fn push(&mut self, id: u64, t_ms: i64, histogram: &Encoded) -> Option<Vec<(u64, i64, Encoded)>> {
        let full = self.bytes > HISTOGRAMS_BYTES || self.rows.len() == ROWS_MAX;
        let before = full.then(|| self.rest());
        self.bytes += histogram.bytes().len();
        self.rows.push((id, t_ms, histogram.clone()));
        before
    }

    /// Takes what is left.
    pub(crate) fn rest(&mut self) -> Vec<(u64, i64, Encoded)> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

/// Part of a payload.
#[derive(Debug)]
pub(crate) enum Section<'a> {
    /// From here on `id` stands for `labels`.
    Series { id: u64, labels: Labels },
    /// A series whose label set is not one: the rest of the payload is good.
    BadSeries { id: u64 },
    /// Samples in the order in which they were appended.
    Rows(Rows<'a>),
    /// When samples of the rows that follow began to count.
    Starts(Vec<StartRow>),
    /// An exemplar and the series' number.
    Exemplar { id: u64, exemplar: Exemplar },
    /// Native histograms in the order in which they were appended: the series' number, the time, and the histogram.
    Histograms(Vec<(u64, i64, &'a [u8])>),
}

/// The sections of `payload`, one by one; ends after the first error.
pub(crate) fn sections(payload: &[u8]) -> impl Iterator<Item = Result<Section<'_>, BadPayload>> {
    let mut cursor = Cursor(payload);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || cursor.0.is_empty() {
            return None;
        }
        let section = section(&mut cursor);
        failed = section.is_err();
        Some(section)
    })
}

fn section<'a>(cursor: &mut Cursor<'a>) -> Result<Section<'a>, BadPayload> {
    match cursor.byte()? {
        SERIES => {
            let id = cursor.varint()?;
            if id == 0 || id >= ID_MAX {
                return Err(BadPayload("number of a series out of range"));
            }
            let length = cursor.varint()?;
            if length > LABELS_BYTES_MAX as u64 {
                return Err(BadPayload("label set too large"));
            }
            let text = std::str::from_utf8(cursor.bytes(length as usize)?).ok();
            Ok(match text.and_then(Labels::from_encoded) {
                Some(labels) => Section::Series { id, labels },
                None => Section::BadSeries { id },
            })
        }
        SAMPLES => {
            let n = cursor.varint()?;
            if n > ROWS_MAX as u64 {
                return Err(BadPayload("too many rows in a section"));
            }
            let n = n as usize;
            let ids = cursor.runs(n)?;
            let times = cursor.runs(n)?;
            let lengths = cursor.bytes(n.div_ceil(2))?;
            let mut total = 0;
            for i in 0..n {
                let length = length_of(lengths, i);
                if length > 8 {
                    return Err(BadPayload("length of a value out of range"));
                }
                total += length;
            }
            let values = cursor.bytes(total)?;
            Ok(Section::Rows(Rows { ids, times, lengths, values, at: 0, n }))
        }
        STARTS => {
            let n = cursor.varint()?;
            if n > ROWS_MAX as u64 {
                return Err(BadPayload("too many rows in a section"));
            }
            let n = n as usize;
            let (mut ids, mut times, mut starts) = (cursor.runs(n)?, cursor.runs(n)?, cursor.runs(n)?);
            let row = || Some(StartRow { id: ids.next()? as u64, t_ms: times.next()?, start_ms: starts.next()? });
            Ok(Section::Starts(std::iter::from_fn(row).take(n).collect()))
        }
        EXEMPLARS => {
            let (id, t_ms) = (cursor.varint()?, unzigzag(cursor.varint()?));
            let bits = cursor.bytes(8)?.try_into().map(u64::from_le_bytes).expect("eight bytes");
            let length = cursor.varint()?;
            if length > EXEMPLAR_BYTES_MAX as u64 {
                return Err(BadPayload("labels of an exemplar too large"));
            }
            let text = std::str::from_utf8(cursor.bytes(length as usize)?).ok();
            let labels = text.and_then(Labels::from_encoded).ok_or(BadPayload("labels of an exemplar are none"))?;
            Ok(Section::Exemplar { id, exemplar: Exemplar { labels, value: f64::from_bits(bits), t_ms } })
        }
        HISTOGRAMS => {
            let n = cursor.varint()?;
            // Each takes a byte at least.
            if n > ROWS_MAX as u64 || n > cursor.0.len() as u64 {
                return Err(BadPayload("too many histograms in a section"));
            }
            let n = n as usize;
            let (mut ids, mut times) = (cursor.runs(n)?, cursor.runs(n)?);
            let mut rows = Vec::with_capacity(n);
            for _ in 0..n {
                let length = cursor.varint()?;
                if length > HISTOGRAM_BYTES_MAX as u64 {
                    return Err(BadPayload("histogram too large"));
                }
                let bytes = cursor.bytes(length as usize)?;
                let (Some(id), Some(t_ms)) = (ids.next(), times.next()) else {
                    return Err(BadPayload("section ends early"));
                };
                rows.push((id as u64, t_ms, bytes));
            }
            Ok(Section::Histograms(rows))
        }
        _ => Err(BadPayload("unknown kind of section")),
    }
}

fn length_of(lengths: &[u8], i: usize) -> usize {
    usize::from(lengths[i / 2] >> (4 * (i % 2)) & 0xf)
}

/// The rows of one section. Their form was checked, so reading them cannot fail.
#[derive(Debug, Clone)]
pub(crate) struct Rows<'a> {
    ids: Runs<'a>,
    times: Runs<'a>,
    lengths: &'a [u8],
    values: &'a [u8],
    at: usize,
    n: usize,
}

impl Iterator for Rows<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.at == self.n {
            return None;
        }
        let (bytes, rest) = self.values.split_at(length_of(self.lengths, self.at));
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        self.values = rest;
        self.at += 1;
        Some(Row { id: self.ids.next()? as u64, t_ms: self.times.next()?, bits: u64::from_be_bytes(value) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.n - self.at, Some(self.n - self.at))
    }
}

impl ExactSizeIterator for Rows<'_> {}

// A column is a sequence of runs: the distance to the number before, and over how many numbers it stays the same.
fn put_runs(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let (mut previous, mut distance, mut length) = (0i64, 0i64, 0u64);
    for number in numbers {
        let step = number.wrapping_sub(previous);
        if length > 0 && step == distance {
            length += 1;
        } else {
            if length > 0 {
                put_varint(out, zigzag(distance));
                put_varint(out, length);
            }
            (distance, length) = (step, 1);
        }
        previous = number;
    }
    if length > 0 {
        put_varint(out, zigzag(distance));
        put_varint(out, length);
    }
}

#[derive(Debug, Clone)]
struct Runs<'a> {
    cursor: Cursor<'a>,
    number: i64,
    distance: i64,
    left: u64,
}

impl Iterator for Runs<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.left == 0 {
            self.distance = unzigzag(self.cursor.varint().ok()?);
            self.left = self.cursor.varint().ok()?;
        }
        self.left = self.left.checked_sub(1)?;
        self.number = self.number.wrapping_add(self.distance);
        Some(self.number)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Result<u8, BadPayload> {
        let (first, rest) = self.0.split_first().ok_or(BadPayload("section ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], BadPayload> {
        let (bytes, rest) = self.0.split_at_checked(n).ok_or(BadPayload("section ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, BadPayload> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BadPayload("number too large"))
    }

    /// Checks that runs over exactly `n` numbers follow, and steps over them.
    fn runs(&mut self, n: usize) -> Result<Runs<'a>, BadPayload> {
        let start = self.0;
        let mut covered = 0u64;
        while covered < n as u64 {
            self.varint()?;
            let length = self.varint()?;
            covered = covered.saturating_add(length);
            if length == 0 || covered > n as u64 {
                return Err(BadPayload("runs do not add up to the rows"));
            }
        }
        let column = &start[..start.len() - self.0.len()];
        Ok(Runs { cursor: Cursor(column), number: 0, distance: 0, left: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = (Vec<(u64, Labels)>, Vec<Row>);

    fn decode(payload: &[u8]) -> Result<Decoded, BadPayload> {
        let (mut series, mut rows) = (Vec::new(), Vec::new());
        for section in sections(payload) {
            match section? {
                Section::Series { id, labels } => series.push((id, labels)),
                Section::BadSeries { .. } | Section::Histograms(_) | Section::Starts(_) | Section::Exemplar { .. } => {}
                Section::Rows(more) => rows.extend(more),
            }
        }
        Ok((series, rows))
    }

    #[test]
    fn a_scrape_costs_little_more_than_its_values() {
        let rows: Vec<_> =
            (0..1000).map(|i| Row { id: 7 + i, t_ms: 1_700_000_000_000, bits: (i as f64).to_bits() }).collect();
        let mut payload = Vec::new();
        encode_rows(&mut payload, rows.iter().copied());
        assert!(payload.len() < 1000 * 4, "{} bytes", payload.len());
        assert_eq!(decode(&payload), Ok((vec![], rows)));
    }

    #[test]
    fn a_bad_label_set_leaves_the_rest() {
        let mut payload = Vec::new();
        encode_series(&mut payload, 1, &Labels::from_pairs([("a", "b")]));
        let at = payload.len() - 2;
        payload[at] = 0x3f;
        encode_series(&mut payload, 2, &Labels::from_pairs([("c", "d")]));
        assert_eq!(decode(&payload), Ok((vec![(2, Labels::from_pairs([("c", "d")]))], vec![])));
    }

    proptest! {
        #[test]
        fn rows_come_back(raw in proptest::collection::vec((1..ID_MAX, any::<i64>(), any::<u64>(), 0u32..65), 0..50)) {
            let rows: Vec<_> = raw
                .iter()
                .map(|&(id, t_ms, bits, keep)| Row { id, t_ms, bits: bits & u64::MAX.checked_shl(keep).unwrap_or(0) })
                .collect();
            let labels = Labels::from_pairs([("__name__", "up"), ("x", "\u{e9}")]);
            let mut payload = Vec::new();
            encode_series(&mut payload, 5, &labels);
            encode_rows(&mut payload, rows.iter().copied());
            encode_rows(&mut payload, rows.iter().copied());
            let (series, back) = decode(&payload).unwrap();
            prop_assert_eq!(series, vec![(5, labels)]);
            prop_assert_eq!(back, [rows.clone(), rows].concat());
            // Cut anywhere, the decoder ends with an error or fewer rows.
            for cut in (0..payload.len()).step_by(17) {
                let _ = decode(&payload[..cut]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..6) {
            let mut payload = vec![kind];
            payload.extend(bytes);
            if let Ok((_, rows)) = decode(&payload) {
                prop_assert!(rows.len() <= payload.len() * ROWS_MAX);
            }
        }
    }
}
