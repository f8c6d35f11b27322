//! Chunks of native histograms: all of one layout, each number as the change of its change.

use std::sync::Arc;

use relatum_model::histogram::{Buckets, CUSTOM_SCHEMA, Count, CounterReset, Histogram, NativeHistogram, Span};
use relatum_model::{HistogramSample, STALE_NAN_BITS, stale_nan};

use super::Damage;
use super::bits::{BitReader, BitWriter, Window};
use super::xor::Starts;

/// How many samples a chunk gets.
const CHUNK_SAMPLES: usize = 120;
/// The largest number of buckets of a histogram that is read, and of spans, which may be empty, and of bounds.
const BUCKETS_MAX: u64 = 1 << 20;

const RESET: u8 = 0b1000_0000;
const NOT_RESET: u8 = 0b0100_0000;
const GAUGE: u8 = 0b1100_0000;

/// Runs of histograms, which ascend in time, that one chunk can hold without a change to any of them.
pub(super) fn runs(samples: &[HistogramSample]) -> impl Iterator<Item = &[HistogramSample]> {
    samples.chunk_by(|a, b| goes_on(&a.histogram, &b.histogram)).flat_map(|run| run.chunks(CHUNK_SAMPLES))
}

/// Whether `next` can stand behind `before` in a chunk, which says of it that counting went on.
fn goes_on(before: &NativeHistogram, next: &NativeHistogram) -> bool {
    match (before, next) {
        (NativeHistogram::Integer(before), NativeHistogram::Integer(next)) => goes_on_from(before, next),
        (NativeHistogram::Float(before), NativeHistogram::Float(next)) => goes_on_from(before, next),
        _ => false,
    }
}

fn goes_on_from<C: Count>(before: &Histogram<C>, next: &Histogram<C>) -> bool {
    if before.is_stale() || next.is_stale() {
        return before.is_stale() && next.is_stale();
    }
    let same_bounds = before.custom_bounds.iter().map(|bound| bound.to_bits());
    let same_layout = before.schema == next.schema
        && before.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && before.positive.spans == next.positive.spans
        && before.negative.spans == next.negative.spans
        && same_bounds.eq(next.custom_bounds.iter().map(|bound| bound.to_bits()));
    let is_gauge = |histogram: &Histogram<C>| histogram.counter_reset == CounterReset::Gauge;
    if !same_layout || is_gauge(before) != is_gauge(next) {
        return false;
    }
    let grows = |before: &[C], next: &[C]| before.iter().zip(next).all(|(before, next)| before <= next);
    is_gauge(next)
        || next.counter_reset != CounterReset::Reset
            && before.count <= next.count
            && before.zero_count <= next.zero_count
            && grows(&before.positive.counts, &next.positive.counts)
            && grows(&before.negative.counts, &next.negative.counts)
}

/// Writes one of [`runs`]; whether the counts are floats.
pub(super) fn encode(run: &[HistogramSample]) -> (bool, Vec<u8>) {
    let Some(first) = run.first() else { return (false, Vec::new()) };
    let first = Row::of(&first.histogram);
    let hint = match first.hint {
        CounterReset::Unknown => 0,
        CounterReset::Reset => RESET,
        CounterReset::NotReset => NOT_RESET,
        CounterReset::Gauge => GAUGE,
    };
    let [high, low] = (run.len() as u16).to_be_bytes();
    let mut out = BitWriter::new(&[high, low, hint]);
    put_layout(&mut out, &first.layout);
    let (mut before_ms, mut delta) = (0, 0);
    let mut numbers: Vec<Number> = Number::of_all(&first.layout, first.is_float);
    for (at, sample) in run.iter().enumerate() {
        let new = if at == 0 { 0 } else { sample.t_ms.wrapping_sub(before_ms) };
        out.put_varbit(if at == 0 { sample.t_ms } else { new.wrapping_sub(delta) });
        (before_ms, delta) = (sample.t_ms, new);
        for (number, bits) in numbers.iter_mut().zip(Row::of(&sample.histogram).numbers) {
            number.put(&mut out, bits, at == 0);
        }
    }
    (first.is_float, out.into_bytes())
}

/// Reads a chunk; `each` gets the samples in order. They may take `bytes_left` of memory, from which goes what they take: a few bits of
/// a chunk can stand for all the buckets of a histogram.
pub(super) fn decode(
    bytes: &[u8],
    is_float: bool,
    has_starts: bool,
    bytes_left: &mut usize,
    mut each: impl FnMut(HistogramSample),
) -> Result<(), Damage> {
    let (header, rest) = bytes.split_first_chunk::<3>().ok_or(Damage("a chunk ends early"))?;
    // With start times the third byte is about those, and the hint stands in the highest bits of the number of samples.
    let hint = if has_starts { header[0] & GAUGE } else { header[2] & GAUGE };
    let high = if has_starts { header[0] & !GAUGE } else { header[0] };
    let first_hint = match hint {
        RESET => CounterReset::Reset,
        NOT_RESET => CounterReset::NotReset,
        GAUGE => CounterReset::Gauge,
        _ => CounterReset::Unknown,
    };
    let mut starts = has_starts.then(|| Starts::new(header[2]));
    let mut bits = BitReader::new(rest);
    let n = u16::from_be_bytes([high, header[1]]);
    if n == 0 {
        return Ok(());
    }
    let layout = take_layout(&mut bits)?;
    let mut numbers = Number::of_all(&layout, is_float);
    let stale_bytes = size_of::<HistogramSample>() + size_of::<NativeHistogram>();
    let sample_bytes = stale_bytes + layout.bytes() + numbers.len() * size_of::<u64>();
    let (mut t_ms, mut delta) = (0i64, 0i64);
    let mut row = vec![0u64; numbers.len()];
    for at in 0..n {
        let before_ms = t_ms;
        if at == 0 {
            t_ms = bits.varbit()?;
        } else {
            delta = delta.wrapping_add(bits.varbit()?);
            t_ms = t_ms.wrapping_add(delta);
        }
        let mut stale = false;
        for (i, (number, value)) in numbers.iter_mut().zip(&mut row).enumerate() {
            // Behind a marker of staleness there are no buckets; the first sample has them always.
            if i == BUCKETS_AT && stale && at > 0 {
                break;
            }
            *value = number.take(&mut bits, at == 0)?;
            stale |= i == SUM_AT && *value == STALE_NAN_BITS;
        }
        if let Some(starts) = &mut starts {
            starts.take(&mut bits, at, t_ms, before_ms)?;
        }
        let hint = match first_hint {
            CounterReset::Gauge => CounterReset::Gauge,
            _ if at == 0 => first_hint,
            _ => CounterReset::NotReset,
        };
        super::take_memory(bytes_left, if stale { stale_bytes } else { sample_bytes })?;
        let histogram = if stale { stale_histogram(is_float) } else { histogram(&layout, &row, is_float, hint) };
        let start_ms = starts.as_ref().map_or(0, |starts| starts.start_ms);
        each(HistogramSample { t_ms, start_ms, histogram: Arc::new(histogram) });
    }
    Ok(())
}

/// What all histograms of a chunk have in common.
#[derive(Debug, Clone, PartialEq, Default)]
struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    bounds: Arc<[f64]>,
}

impl Layout {
    /// What each histogram takes of it: all but the bounds, which are shared.
    fn bytes(&self) -> usize {
        (self.positive.len() + self.negative.len()) * size_of::<Span>()
    }

    fn n_buckets(&self) -> (usize, usize) {
        let n = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum();
        (n(&self.positive), n(&self.negative))
    }
}

/// Where the sum stands among the numbers of a histogram: behind the count of all and that of the zero bucket.
const SUM_AT: usize = 2;
/// Where the buckets begin, those above zero first.
const BUCKETS_AT: usize = 3;

/// One histogram as numbers: floats by their bits, whole buckets by what they have more than the one before.
struct Row {
    layout: Layout,
    is_float: bool,
    hint: CounterReset,
    numbers: Vec<u64>,
}

impl Row {
    fn of(histogram: &NativeHistogram) -> Row {
        match histogram {
            NativeHistogram::Integer(histogram) => {
                let mut row = Row::begin(histogram, false, [histogram.count, histogram.zero_count]);
                for counts in [&histogram.positive.counts, &histogram.negative.counts] {
                    let before = std::iter::once(&0).chain(counts);
                    row.numbers.extend(counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before)));
                }
                row.without_buckets_if_stale(histogram.sum)
            }
            NativeHistogram::Float(histogram) => {
                let counts = [histogram.count.to_bits(), histogram.zero_count.to_bits()];
                let mut row = Row::begin(histogram, true, counts);
                let counts = histogram.positive.counts.iter().chain(&histogram.negative.counts);
                row.numbers.extend(counts.map(|count| count.to_bits()));
                row.without_buckets_if_stale(histogram.sum)
            }
        }
    }

    fn begin<C>(histogram: &Histogram<C>, is_float: bool, [count, zero_count]: [u64; 2]) -> Row {
        let layout = Layout {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            positive: histogram.positive.spans.clone(),
            negative: histogram.negative.spans.clone(),
            bounds: Arc::clone(&histogram.custom_bounds),
        };
        let numbers = vec![count, zero_count, histogram.sum.to_bits()];
        Row { layout, is_float, hint: histogram.counter_reset, numbers }
    }

    fn without_buckets_if_stale(mut self, sum: f64) -> Row {
        if sum.to_bits() == STALE_NAN_BITS {
            self.layout = Layout::default();
            self.numbers = vec![0, 0, STALE_NAN_BITS];
        }
        self
    }
}

fn histogram(layout: &Layout, row: &[u64], is_float: bool, hint: CounterReset) -> NativeHistogram {
    let (n_positive, _) = layout.n_buckets();
    let (positive, negative) = row[BUCKETS_AT..].split_at(n_positive);
    if is_float {
        let floats = |bits: &[u64]| bits.iter().map(|bits| f64::from_bits(*bits)).collect();
        NativeHistogram::Float(of_layout(layout, hint, row, f64::from_bits, floats(positive), floats(negative)))
    } else {
        let counts = |steps: &[u64]| {
            let count = |sum: &mut u64, step: &u64| {
                *sum = sum.wrapping_add(*step);
                Some(*sum)
            };
            steps.iter().scan(0, count).collect()
        };
        NativeHistogram::Integer(of_layout(layout, hint, row, |count| count, counts(positive), counts(negative)))
    }
}

fn of_layout<C>(
    layout: &Layout,
    counter_reset: CounterReset,
    row: &[u64],
    count: impl Fn(u64) -> C,
    positive: Vec<C>,
    negative: Vec<C>,
) -> Histogram<C> {
    Histogram {
        schema: layout.schema,
        counter_reset,
        zero_threshold: layout.zero_threshold,
        zero_count: count(row[1]),
        count: count(row[0]),
        sum: f64::from_bits(row[SUM_AT]),
        positive: Buckets { spans: layout.positive.clone(), counts: positive },
        negative: Buckets { spans: layout.negative.clone(), counts: negative },
        custom_bounds: Arc::clone(&layout.bounds),
    }
}

fn stale_histogram(is_float: bool) -> NativeHistogram {
    if is_float {
        NativeHistogram::Float(Histogram { sum: stale_nan(), ..Histogram::default() })
    } else {
        NativeHistogram::Integer(Histogram { sum: stale_nan(), ..Histogram::default() })
    }
}

/// One of the numbers of a histogram, from sample to sample.
#[derive(Debug, Clone)]
enum Number {
    /// A count, or what a bucket has more than the one before; then the change of its change.
    Integer { is_signed: bool, value: i64, delta: i64 },
    /// Bits, then those that differ.
    Float { value: f64, window: Window },
}

impl Number {
    /// One for each number of a histogram of this layout.
    fn of_all(layout: &Layout, is_float: bool) -> Vec<Number> {
        let (n_positive, n_negative) = layout.n_buckets();
        let number = |at: usize| match is_float || at == SUM_AT {
            true => Number::Float { value: 0.0, window: Window::default() },
            false => Number::Integer { is_signed: at >= BUCKETS_AT, value: 0, delta: 0 },
        };
        (0..BUCKETS_AT + n_positive + n_negative).map(number).collect()
    }

    fn put(&mut self, out: &mut BitWriter, bits: u64, is_first: bool) {
        match self {
            Number::Integer { is_signed, value, delta } => {
                let new = bits as i64;
                match (is_first, *is_signed) {
                    (true, true) => out.put_varbit(new),
                    (true, false) => out.put_varbit_unsigned(bits),
                    (false, _) => {
                        let change = new.wrapping_sub(*value);
                        out.put_varbit(change.wrapping_sub(*delta));
                        *delta = change;
                    }
                }
                *value = new;
            }
            Number::Float { value, window } => {
                let new = f64::from_bits(bits);
                if is_first {
                    out.put(bits, 64);
                } else {
                    window.put(out, *value, new);
                }
                *value = new;
            }
        }
    }

    fn take(&mut self, bits: &mut BitReader<'_>, is_first: bool) -> Result<u64, Damage> {
        match self {
            Number::Integer { is_signed, value, delta } => {
                match (is_first, *is_signed) {
                    (true, true) => *value = bits.varbit()?,
                    (true, false) => *value = bits.varbit_unsigned()? as i64,
                    (false, _) => {
                        *delta = delta.wrapping_add(bits.varbit()?);
                        *value = value.wrapping_add(*delta);
                    }
                }
                Ok(*value as u64)
            }
            Number::Float { value, window } => {
                *value = if is_first { bits.float()? } else { window.take(bits, *value)? };
                Ok(value.to_bits())
            }
        }
    }
}

fn put_layout(out: &mut BitWriter, layout: &Layout) {
    put_zero_threshold(out, layout.zero_threshold);
    out.put_varbit(i64::from(layout.schema));
    for spans in [&layout.positive, &layout.negative] {
        out.put_varbit_unsigned(spans.len() as u64);
        for span in spans {
            out.put_varbit_unsigned(u64::from(span.length));
            out.put_varbit(i64::from(span.offset));
        }
    }
    if layout.schema == CUSTOM_SCHEMA {
        out.put_varbit_unsigned(layout.bounds.len() as u64);
        layout.bounds.iter().for_each(|bound| put_bound(out, *bound));
    }
}

fn take_layout(bits: &mut BitReader<'_>) -> Result<Layout, Damage> {
    let zero_threshold = take_zero_threshold(bits)?;
    let schema = i32::try_from(bits.varbit()?).map_err(|_| Damage("unknown schema of a histogram"))?;
    let (mut spans, mut n_buckets) = ([Vec::new(), Vec::new()], 0u64);
    for spans in &mut spans {
        for _ in 0..take_count(bits)? {
            let (length, offset) = (bits.varbit_unsigned()?, bits.varbit()?);
            n_buckets = n_buckets.saturating_add(length);
            match (u32::try_from(length), i32::try_from(offset)) {
                (Ok(length), Ok(offset)) if n_buckets <= BUCKETS_MAX => spans.push(Span { offset, length }),
                _ => return Err(Damage("a histogram has too many buckets")),
            }
        }
    }
    let mut bounds = Vec::new();
    if schema == CUSTOM_SCHEMA {
        for _ in 0..take_count(bits)? {
            bounds.push(take_bound(bits)?);
        }
    }
    let [positive, negative] = spans;
    Ok(Layout { schema, zero_threshold, positive, negative, bounds: bounds.into() })
}

/// How many spans or bounds follow.
fn take_count(bits: &mut BitReader<'_>) -> Result<u64, Damage> {
    let n = bits.varbit_unsigned()?;
    if n > BUCKETS_MAX { Err(Damage("a histogram has too many buckets")) } else { Ok(n) }
}

/// Powers of two from 2^-243 to 2^10 are one byte.
fn put_zero_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    // The exponent of a positive power of two and nothing else; 1023 stands for 2^0.
    let exponent = (bits >> 52) as i64 - 1023;
    let is_power = bits << 12 == 0 && bits >> 63 == 0 && (-243..=10).contains(&exponent);
    if bits == 0 {
        out.put(0, 8);
    } else if is_power {
        out.put((exponent + 244) as u64, 8);
    } else {
        out.put(255, 8);
        out.put(bits, 64);
    }
}

fn take_zero_threshold(bits: &mut BitReader<'_>) -> Result<f64, Damage> {
    match bits.take(8)? {
        0 => Ok(0.0),
        255 => bits.float(),
        exponent => Ok(f64::from_bits((exponent + 1023 - 244) << 52)),
    }
}

/// Thousandths up to 33,554.430 are a number, others a zero and the float.
fn put_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    let fits = (0.0..=33_554_430.0).contains(&thousandths) && (thousandths / 1000.0).to_bits() == bound.to_bits();
    if fits {
        out.put_varbit_unsigned(thousandths as u64 + 1);
    } else {
        out.put(0, 1);
        out.put(bound.to_bits(), 64);
    }
}

fn take_bound(bits: &mut BitReader<'_>) -> Result<f64, Damage> {
    match bits.varbit_unsigned()? {
        0 => bits.float(),
        thousandths => Ok((thousandths - 1) as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(counts: &[u64], hint: CounterReset) -> Histogram<u64> {
        Histogram {
            schema: 3,
            counter_reset: hint,
            zero_threshold: 2f64.powi(-128),
            zero_count: 1,
            count: counts.iter().sum::<u64>() + 1,
            sum: counts.iter().sum::<u64>() as f64 * 1.5,
            positive: Buckets {
                spans: vec![Span { offset: -3, length: 2 }, Span { offset: 4, length: 1 }],
                counts: counts[..3].to_vec(),
            },
            negative: Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: counts[3..4].to_vec() },
            ..Histogram::default()
        }
    }

    fn sample(t_ms: i64, histogram: NativeHistogram) -> HistogramSample {
        HistogramSample { t_ms, start_ms: 0, histogram: Arc::new(histogram) }
    }

    /// What comes back of `samples`, and in how many chunks they stand.
    fn through(samples: &[HistogramSample]) -> (Vec<HistogramSample>, usize) {
        let (mut back, mut n) = (Vec::new(), 0);
        for run in runs(samples) {
            let (is_float, bytes) = encode(run);
            decode(&bytes, is_float, false, &mut { usize::MAX }, |sample| back.push(sample)).unwrap();
            n += 1;
        }
        (back, n)
    }

    #[test]
    fn histograms_come_back() {
        let hints = [CounterReset::Unknown, CounterReset::NotReset, CounterReset::NotReset, CounterReset::Reset];
        let mut samples = Vec::new();
        for (i, hint) in hints.into_iter().enumerate() {
            let n = [5, 6, 200_000, 1][i];
            samples.push(sample(i as i64 * 15_000, NativeHistogram::Integer(whole(&[n, 2 * n, n * n, 3], hint))));
        }
        samples.push(sample(70_000, stale_histogram(false)));
        samples.push(sample(80_000, stale_histogram(false)));
        let gauge = whole(&[9, 1, 1, 1], CounterReset::Gauge);
        samples.push(sample(90_000, NativeHistogram::Float(gauge.to_float())));
        samples.push(sample(95_000, NativeHistogram::Float(whole(&[1, 0, 2, 1], CounterReset::Gauge).to_float())));
        let custom = Histogram {
            schema: CUSTOM_SCHEMA,
            custom_bounds: Arc::from([0.005, 0.1, 33_554.430, 1e9, -2.5]),
            count: 4,
            positive: Buckets { spans: vec![Span { offset: 0, length: 2 }], counts: vec![3, 1] },
            ..Histogram::default()
        };
        samples.push(sample(99_000, NativeHistogram::Integer(custom)));
        let (back, n) = through(&samples);
        // NaN is not equal to itself, so the texts are compared.
        assert_eq!(format!("{back:?}"), format!("{samples:?}"));
        assert_eq!(n, 5, "up to the reset, from it, the stale ones, the gauges, the custom one");
    }

    #[test]
    fn few_bits_that_stand_for_much() {
        // A million empty spans, and so many samples without a bucket: each would copy the spans.
        let mut out = BitWriter::new(&[0xff, 0xff, 0]);
        put_zero_threshold(&mut out, 0.0);
        out.put_varbit(0);
        out.put_varbit_unsigned(BUCKETS_MAX);
        (0..BUCKETS_MAX).for_each(|_| out.put(0, 2));
        out.put_varbit_unsigned(0);
        let mut bytes = out.into_bytes();
        bytes.resize(bytes.len() + (1 << 20), 0);
        let (mut n, mut bytes_left) = (0, 100 << 20);
        let decoded = decode(&bytes, false, false, &mut bytes_left, |_| n += 1);
        assert_eq!((decoded, n), (Err(Damage("its samples take more memory than may be used")), 12));
        // More than there can be.
        for n in [BUCKETS_MAX + 1, u64::MAX] {
            let mut out = BitWriter::new(&[0, 1, 0]);
            put_zero_threshold(&mut out, 0.0);
            out.put_varbit(0);
            out.put_varbit_unsigned(n);
            let decoded = decode(&out.into_bytes(), false, false, &mut { usize::MAX }, |_| ());
            assert_eq!(decoded, Err(Damage("a histogram has too many buckets")));
        }
    }

    #[test]
    fn zero_thresholds() {
        for threshold in
            [0.0, 1.0, 2f64.powi(-243), 2f64.powi(-244), 2f64.powi(10), 2f64.powi(11), 0.001, -1.0, f64::NAN]
        {
            let mut out = BitWriter::default();
            put_zero_threshold(&mut out, threshold);
            let bytes = out.into_bytes();
            let is_short = threshold == 0.0
                || threshold > 0.0 && threshold.log2().fract() == 0.0 && (-243.0..=10.0).contains(&threshold.log2());
            assert_eq!(bytes.len() == 1, is_short, "{threshold}");
            assert_eq!(take_zero_threshold(&mut BitReader::new(&bytes)).unwrap().to_bits(), threshold.to_bits());
        }
    }

    proptest! {
        #[test]
        fn any_counts(counts in proptest::collection::vec(any::<[u32; 4]>(), 1..20), float in any::<bool>()) {
            let histogram = |counts: &[u32; 4]| {
                let histogram = whole(&counts.map(u64::from), CounterReset::Unknown);
                if float { NativeHistogram::Float(histogram.to_float()) } else { NativeHistogram::Integer(histogram) }
            };
            let samples: Vec<_> = counts.iter().zip(0..).map(|(counts, t)| sample(t * 15_000, histogram(counts))).collect();
            let (back, _) = through(&samples);
            let without_hints = |sample: &HistogramSample| match &*sample.histogram {
                NativeHistogram::Integer(h) => format!("{:?}", Histogram { counter_reset: CounterReset::Unknown, ..h.clone() }),
                NativeHistogram::Float(h) => format!("{:?}", Histogram { counter_reset: CounterReset::Unknown, ..h.clone() }),
            };
            prop_assert!(back.iter().map(without_hints).eq(samples.iter().map(without_hints)));
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), float in any::<bool>(), starts in any::<bool>()) {
            let _ = decode(&bytes, float, starts, &mut { 1 << 20 }, |_| ());
        }
    }
}
