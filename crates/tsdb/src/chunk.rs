//! Chunks: a run of samples of one series, compressed in memory.
//!
//! In a chunk that still grows, times are stored as the change of their distance, values as the bits that differ from the
//! value before, so a series that is scraped regularly costs a bit or two a sample while it stands still. Everything is done on
//! bits with wrapping arithmetic: any time and any float comes back exactly, NaN payloads and the sign of zero included. The
//! form leaves the process only in an image of the head ([`image`]), whose version changes with it. A full chunk becomes two
//! columns as blocks have them (`block::column`), if its values are decimals: that of the times is shared.

pub(crate) mod decoder;
pub(crate) mod image;
mod open;

use std::sync::Arc;

use relatum_model::Samples;
use relatum_model::storage::TimeRange;

use crate::block::column::encode_decimals;
use crate::block::decoder::{decode_integers, decode_values};
use crate::times::RecentTimes;

use self::decoder::ChunkDecoder;
pub(crate) use self::open::OpenChunk;

/// How many samples a chunk holds before the next one is begun. Fewer cost more bytes in headers, more cost a point query
/// the decoding of samples that it does not need.
pub(crate) const CHUNK_SAMPLES_MAX: u32 = 120;

/// A finished chunk. Clones share the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// The time of the first sample.
    pub(crate) min_ms: i64,
    /// The time of the last sample.
    pub(crate) max_ms: i64,
    count: u32,
    form: Form,
}

/// How the samples of a chunk are held.
#[derive(Debug, Clone)]
enum Form {
    Bits(Arc<[u8]>),
    Columns { times: Arc<[u8]>, values: Arc<[u8]> },
}

impl Chunk {
    /// The samples, oldest first, as time and value's bits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let (bits, columns) = match &self.form {
            Form::Bits(bytes) => (Some(BitsIter::new(bytes, self.count)), None),
            Form::Columns { times, values } => {
                let n = self.count as usize;
                // They were written here and never left memory.
                let times = decode_integers(times, n).unwrap_or_default();
                let values = decode_values(values, n).unwrap_or_default();
                (None, Some(times.into_iter().zip(values.into_iter().map(f64::to_bits))))
            }
        };
        bits.into_iter().flatten().chain(columns.into_iter().flatten())
    }

    /// Adds the samples inside `range` to `samples`.
    pub(crate) fn push_to(&self, range: TimeRange, decoder: &mut ChunkDecoder, samples: &mut Samples) {
        match &self.form {
            Form::Bits(bytes) => BitsIter::new(bytes, self.count).push_to(range, samples),
            Form::Columns { times, values } => decoder.push((times, values), self.count as usize, range, samples),
        }
    }

    /// The same samples as columns, if their values are decimals.
    fn packed(self, recent: &mut RecentTimes) -> Chunk {
        let (times, bits): (Vec<i64>, Vec<u64>) = self.iter().unzip();
        let mut values = Vec::new();
        if !encode_decimals(&mut values, &bits) {
            return self;
        }
        Chunk { form: Form::Columns { times: recent.column(&times), values: Arc::from(values) }, ..self }
    }

    /// How many samples there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// Which bits of the last difference of values were written.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    leading: u8,
    // 0 until the first difference.
    length: u8,
}

impl Window {
    /// As its twelve bits say.
    fn of(bits: u64) -> Self {
        Window { leading: (bits >> 6) as u8, length: (bits & 0x3f) as u8 + 1 }
    }

    /// The difference of which the bits inside the window are these.
    #[inline]
    fn difference(self, inside: u64) -> u64 {
        // What comes from disk may say anything; what was written here fits.
        inside.wrapping_shl(64u32.wrapping_sub(u32::from(self.leading) + u32::from(self.length)))
    }
}

/// How many bits one look shows, wherever they begin in their byte.
const SEEN_BITS: u32 = 57;

/// The samples of a chunk that is held as bits.
struct BitsIter<'a> {
    bytes: &'a [u8],
    // In bits.
    at: usize,
    left: u32,
    first: bool,
    window: Window,
    t_ms: i64,
    delta_ms: i64,
    bits: u64,
}

impl<'a> BitsIter<'a> {
    fn new(bytes: &'a [u8], count: u32) -> Self {
        BitsIter { bytes, at: 0, left: count, first: true, window: Window::default(), t_ms: 0, delta_ms: 0, bits: 0 }
    }

    /// Adds the samples inside `range` to `samples`.
    fn push_to(mut self, range: TimeRange, samples: &mut Samples) {
        samples.timestamps.reserve(self.left as usize);
        samples.values.reserve(self.left as usize);
        let mut put = |t_ms: i64, bits: u64| {
            if t_ms >= range.min_ms && t_ms <= range.max_ms {
                samples.timestamps.push(t_ms);
                samples.values.push(f64::from_bits(bits));
            }
        };
        if !self.step() {
            return;
        }
        put(self.t_ms, self.bits);
        while self.t_ms <= range.max_ms {
            // Samples that keep distance and value are two zeros each: as many at once as are seen.
            let seen = self.bits_at(self.at);
            let repeated = (seen.leading_zeros().min(SEEN_BITS) / 2).min(self.left);
            if repeated > 0 {
                self.at += 2 * repeated as usize;
                self.left -= repeated;
                for _ in 0..repeated {
                    self.t_ms = self.t_ms.wrapping_add(self.delta_ms);
                    put(self.t_ms, self.bits);
                }
            } else if self.left > 0 && self.step_seen(seen) || self.step() {
                put(self.t_ms, self.bits);
            } else {
                return;
            }
        }
    }

    /// Goes to the next sample, which is there and begins with the bits in `seen`, if it keeps the distance and its value is
    /// seen whole: as most are.
    #[inline(always)]
    fn step_seen(&mut self, seen: u64) -> bool {
        let mut window = self.window;
        let header = match seen >> 61 {
            0b010 => 3,
            0b011 => {
                window = Window::of(seen << 3 >> 52);
                15
            }
            _ => return false,
        };
        let length = u32::from(window.length);
        if length == 0 || header + length > SEEN_BITS {
            return false;
        }
        self.window = window;
        self.left -= 1;
        self.at += (header + length) as usize;
        self.bits ^= window.difference(seen << header >> (64 - length));
        self.t_ms = self.t_ms.wrapping_add(self.delta_ms);
        true
    }

    /// Goes to the next sample; `false` at the end.
    fn step(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        if self.first {
            self.first = false;
            self.t_ms = self.take(64) as i64;
            self.bits = self.take(64);
            return true;
        }
        self.delta_ms = self.delta_ms.wrapping_add(unzigzag(self.take_time()));
        self.bits ^= self.take_difference();
        self.t_ms = self.t_ms.wrapping_add(self.delta_ms);
        true
    }

    fn take_time(&mut self) -> u64 {
        match self.peek8() {
            0b0000_0000..=0b0111_1111 => self.skip(1, 0),
            0b1000_0000..=0b1011_1111 => self.skip(2, 7),
            0b1100_0000..=0b1101_1111 => self.skip(3, 14),
            0b1110_0000..=0b1110_1111 => self.skip(4, 24),
            0b1111_0000..=0b1111_1111 => self.skip(4, 64),
        }
    }

    fn take_difference(&mut self) -> u64 {
        match self.peek8() >> 6 {
            0b00 | 0b01 => {
                self.at += 1;
                return 0;
            }
            0b10 => self.at += 2,
            _ => self.window = Window::of(self.skip(2, 12)),
        }
        let difference = self.take(u32::from(self.window.length));
        self.window.difference(difference)
    }

    fn skip(&mut self, prefix: usize, n: u32) -> u64 {
        self.at += prefix;
        self.take(n)
    }

    fn take(&mut self, n: u32) -> u64 {
        match n {
            0 => 0,
            1..=56 => {
                let value = self.bits_at(self.at) >> (64 - n);
                self.at += n as usize;
                value
            }
            _ => {
                let high = self.take(n - 32);
                (high << 32) | self.take(32)
            }
        }
    }

    fn peek8(&self) -> u8 {
        (self.bits_at(self.at) >> 56) as u8
    }

    /// The bits from `at` on, of which the first [`SEEN_BITS`] are there, zeros behind the end.
    fn bits_at(&self, at: usize) -> u64 {
        self.window_at(at) << (at % 8)
    }

    /// Eight bytes from the one that holds bit `at`, zeros behind the end.
    fn window_at(&self, at: usize) -> u64 {
        let from = at / 8;
        match self.bytes.get(from..from + 8) {
            Some(whole) => u64::from_be_bytes(whole.try_into().expect("the slice has eight bytes")),
            None => {
                let rest = self.bytes.get(from..).unwrap_or(&[]);
                let mut padded = [0; 8];
                padded[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(padded)
            }
        }
    }
}

impl Iterator for BitsIter<'_> {
    type Item = (i64, u64);

    fn next(&mut self) -> Option<(i64, u64)> {
        self.step().then_some((self.t_ms, self.bits))
    }
}

/// Folds the sign into the lowest bit, so that small changes of either sign are small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Packs samples that are sorted by time into full chunks and an open one with the rest.
pub(crate) fn pack(samples: impl IntoIterator<Item = (i64, u64)>) -> (Vec<Chunk>, OpenChunk) {
    let (mut closed, mut open) = (Vec::new(), OpenChunk::default());
    for (t_ms, bits) in samples {
        if open.count() == CHUNK_SAMPLES_MAX {
            closed.extend(open.finish());
        }
        open.push(t_ms, bits);
    }
    (closed, open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(samples: &[(i64, u64)]) {
        let (closed, open) = pack(samples.iter().copied());
        let back: Vec<_> = closed.iter().flat_map(Chunk::iter).chain(open.snapshot().iter()).collect();
        assert_eq!(back, samples);
        let at = |place: usize| samples.get(place).map_or(i64::MAX, |(t_ms, _)| *t_ms);
        for range in [TimeRange::ALL, TimeRange { min_ms: at(samples.len() / 3), max_ms: at(samples.len() * 3 / 4) }] {
            let mut pushed = Samples::default();
            let mut decoder = ChunkDecoder::default();
            closed.iter().for_each(|chunk| chunk.push_to(range, &mut decoder, &mut pushed));
            open.push_to(range, &mut pushed);
            let inside = samples.iter().filter(|(t_ms, _)| range.contains(*t_ms)).copied();
            assert!(pushed.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).eq(inside), "{range:?}");
        }
        let mut recent = RecentTimes::default();
        let packed: Vec<_> = closed.into_iter().map(|chunk| chunk.packed(&mut recent)).collect();
        let back: Vec<_> = packed.iter().flat_map(|chunk| chunk.iter().collect::<Vec<_>>()).collect();
        assert_eq!(back, samples[..back.len()]);
        let range = TimeRange { min_ms: at(samples.len() / 5), max_ms: at(samples.len() / 2) };
        let (mut decoder, mut pushed) = (ChunkDecoder::default(), Samples::default());
        // Twice, the second time with times that are known.
        for _ in 0..2 {
            pushed.clear();
            packed.iter().for_each(|chunk| chunk.push_to(range, &mut decoder, &mut pushed));
            let inside = back.iter().filter(|(t_ms, _)| range.contains(*t_ms)).copied();
            assert!(pushed.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).eq(inside), "{range:?}");
        }
    }

    #[test]
    fn every_bit_comes_back() {
        check(&[]);
        check(&[(i64::MIN, 0), (0, u64::MAX), (i64::MAX, 1)]);
        check(&[(0, 0.0f64.to_bits()), (1, (-0.0f64).to_bits()), (2, 0x7ff0_0000_0000_0002), (3, f64::NAN.to_bits())]);
        // A full window, then a difference of one bit at either end of it.
        check(&[(0, 0), (1, u64::MAX), (2, u64::MAX - 1), (3, u64::MAX - 1 - (1 << 63)), (4, 0)]);
        let regular: Vec<_> = (0..1000).map(|i| (i * 15_000, (i as f64).to_bits())).collect();
        check(&regular);
    }

    #[test]
    fn a_series_that_stands_still_costs_two_bits_a_sample() {
        let (closed, _) = pack((0..121).map(|i| (i * 15_000, 42f64.to_bits())));
        let Form::Bits(bytes) = &closed[0].form else { panic!("it was not packed") };
        assert!(bytes.len() <= 16 + 4 + 120 / 4, "{} bytes", bytes.len());
        let mut recent = RecentTimes::default();
        let packed = closed[0].clone().packed(&mut recent);
        assert!(packed.iter().eq(closed[0].iter()));
        let Form::Columns { values, .. } = &packed.form else { panic!("its values are decimals") };
        assert!(values.len() <= 8, "{} bytes", values.len());
    }

    proptest! {
        #[test]
        fn any_samples(times in proptest::collection::btree_set(any::<i64>(), 0..300), bits in any::<[u64; 7]>(), mask in any::<u64>()) {
            let samples: Vec<_> =
                times.iter().enumerate().map(|(i, t)| (*t, bits[i % 7] & if i % 3 == 0 { mask } else { u64::MAX })).collect();
            check(&samples);
        }

        #[test]
        fn small_steps(steps in proptest::collection::vec((1i64..70_000, -5i64..5), 0..300)) {
            let (mut t, mut v) = (1_700_000_000_000, 1000i64);
            let samples: Vec<_> = steps.iter().map(|(dt, dv)| { t += dt; v += dv; (t, (v as f64 / 4.0).to_bits()) }).collect();
            check(&samples);
        }
    }
}
