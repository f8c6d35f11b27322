//! The chunk of a series that still grows.
//!
//! There is one for each series, most of which stand still: what it takes beside its samples counts more than how they are coded.

use std::sync::Arc;

use relatum_model::Samples;
use relatum_model::storage::TimeRange;

use super::{BitsIter, CHUNK_SAMPLES_MAX, Chunk, Form, Window, zigzag};
use crate::system::expect_use_of;
use crate::times::RecentTimes;

/// What a full chunk of a series that stands still needs, as many do, so that it never moves.
const FIRST_BYTES: usize = 56;
/// The buffer grows by this.
const GROWTH_BYTES: usize = 32;
/// What the allocator keeps of that for itself.
const ALLOCATOR_BYTES: usize = 8;

/// A chunk to which samples are added.
#[derive(Debug, Default)]
pub(crate) struct OpenChunk {
    // Begins with the time of the first sample; there is room behind `used`.
    pub(super) bytes: Box<[u8]>,
    pub(super) last_ms: i64,
    pub(super) delta_ms: i64,
    pub(super) last_bits: u64,
    pub(super) used: u16,
    pub(super) count: u8,
    // Bits of the last byte that are not used yet, and are zeros.
    pub(super) bits_free: u8,
    pub(super) window: Window,
    // Whether an empty chunk knows the sample that is the last one all the same: it is elsewhere.
    pub(super) knows_last: bool,
}

impl OpenChunk {
    /// How many samples there are.
    pub(crate) fn count(&self) -> u32 {
        u32::from(self.count)
    }

    /// The bytes that are written.
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..usize::from(self.used)]
    }

    /// The time of the first sample; meaningless in an empty chunk.
    pub(crate) fn min_ms(&self) -> i64 {
        self.bytes.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
    }

    /// The time and the value's bits of the last sample; `None` in an empty chunk.
    pub(crate) fn last(&self) -> Option<(i64, u64)> {
        (self.count > 0).then_some((self.last_ms, self.last_bits))
    }

    /// The same, and in an empty chunk what [`OpenChunk::remember`] said.
    pub(crate) fn newest(&self) -> Option<(i64, u64)> {
        (self.count > 0 || self.knows_last).then_some((self.last_ms, self.last_bits))
    }

    /// Tells an empty chunk of a sample that stands elsewhere: those that follow are newer.
    pub(crate) fn remember(&mut self, (t_ms, bits): (i64, u64)) {
        debug_assert_eq!(self.count, 0, "a chunk with samples knows its last one");
        (self.last_ms, self.last_bits, self.knows_last) = (t_ms, bits, true);
    }

    /// Says that a sample will be added soon.
    #[inline]
    pub(crate) fn expect_push(&self) {
        if let Some(next) = self.bytes.get(usize::from(self.used).saturating_sub(1)) {
            expect_use_of(next);
        }
    }

    /// Adds a sample that is newer than all others.
    pub(crate) fn push(&mut self, t_ms: i64, bits: u64) {
        debug_assert!(self.count == 0 || t_ms > self.last_ms, "samples of a chunk are pushed in order");
        debug_assert!(self.count() < CHUNK_SAMPLES_MAX, "a full chunk is closed before");
        if self.count == 0 {
            self.put(t_ms as u64, 64);
            self.put(bits, 64);
        } else {
            let delta = t_ms.wrapping_sub(self.last_ms);
            let (time, n_time) = time_bits(zigzag(delta.wrapping_sub(self.delta_ms)));
            let (value, n_value) = self.value_bits(bits ^ self.last_bits);
            match (n_time, n_value) {
                (..=64, ..=64) if n_time + n_value <= 64 => {
                    self.put((time as u64) << n_value | value as u64, n_time + n_value);
                }
                _ => {
                    self.put_wide(time, n_time);
                    self.put_wide(value, n_value);
                }
            }
            self.delta_ms = delta;
        }
        self.last_ms = t_ms;
        self.last_bits = bits;
        self.count += 1;
    }

    /// Adds the samples inside `range` to `samples`.
    pub(crate) fn push_to(&self, range: TimeRange, samples: &mut Samples) {
        BitsIter::new(self.written(), self.count()).push_to(range, samples);
    }

    /// Closes the chunk and leaves an empty one in its place; `None` if there was nothing in it.
    pub(crate) fn finish(&mut self) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let chunk = self.snapshot();
        *self = OpenChunk::default();
        Some(chunk)
    }

    /// The same for a chunk that is full: it takes less room than one of a few samples would.
    pub(crate) fn finish_full(&mut self, recent: &mut RecentTimes) -> Option<Chunk> {
        self.finish().map(|chunk| chunk.packed(recent))
    }

    /// What is in the chunk now.
    pub(crate) fn snapshot(&self) -> Chunk {
        Chunk {
            min_ms: self.min_ms(),
            max_ms: self.last_ms,
            count: self.count(),
            form: Form::Bits(Arc::from(self.written())),
        }
    }

    /// How a difference of values is written: the bits and their number.
    fn value_bits(&mut self, difference: u64) -> (u128, u32) {
        if difference == 0 {
            return (0, 1);
        }
        let leading = difference.leading_zeros() as u8;
        let trailing = difference.trailing_zeros() as u8;
        let length = 64 - leading - trailing;
        let Window { leading: window_leading, length: window_length } = self.window;
        let fits = window_length > 0 && leading >= window_leading && trailing >= 64 - window_leading - window_length;
        // A new window costs 12 bits more; a wide old one is left when that pays at once.
        if fits && window_length <= length + 12 {
            let bits = difference >> (64 - window_leading - window_length);
            ((0b10 << window_length) | u128::from(bits), 2 + u32::from(window_length))
        } else {
            self.window = Window { leading, length };
            let window = (0b11 << 12) | (u128::from(leading) << 6) | u128::from(length - 1);
            ((window << length) | u128::from(difference >> trailing), 14 + u32::from(length))
        }
    }

    /// Writes the lowest `n` bits of `value`, which may be more than 64.
    fn put_wide(&mut self, value: u128, n: u32) {
        if n > 64 {
            self.put((value >> 64) as u64, n - 64);
        }
        self.put(value as u64, n.min(64));
    }

    /// Writes the lowest `n` bits of `value`, highest first.
    fn put(&mut self, value: u64, n: u32) {
        // What is written in the last byte, then the value, from the highest bit on.
        let written = (8 - u32::from(self.bits_free)) % 8;
        let from = usize::from(self.used) - usize::from(written > 0);
        let n_bytes = (written + n).div_ceil(8) as usize;
        let end = from + n_bytes;
        if end > self.bytes.len() {
            self.grow(end);
        }
        let value = value & (u64::MAX >> (64 - n));
        let room = &mut self.bytes[from..];
        let last = if written > 0 { room[0] } else { 0 };
        if written + n <= 64 {
            let word = ((u64::from(last) << 56) | (value << (64 - written - n))).to_be_bytes();
            // A whole word where there is room for it: a copy of a length that is known is one instruction.
            match room.first_chunk_mut() {
                Some(room) => *room = word,
                None => room[..n_bytes].copy_from_slice(&word[..n_bytes]),
            }
        } else {
            let word = ((u128::from(last) << 120) | (u128::from(value) << (128 - written - n))).to_be_bytes();
            room[..n_bytes].copy_from_slice(&word[..n_bytes]);
        }
        // As many as the samples of a chunk take at most are far fewer than there are numbers.
        self.used = end as u16;
        self.bits_free = (n_bytes as u32 * 8 - written - n) as u8;
    }

    /// Makes room up to `end`, and little more: what a buffer has too much, it has once a series.
    #[cold]
    fn grow(&mut self, end: usize) {
        let length = (end + ALLOCATOR_BYTES).div_ceil(GROWTH_BYTES) * GROWTH_BYTES - ALLOCATOR_BYTES;
        let length = length.max(FIRST_BYTES);
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.reserve_exact(length - bytes.len());
        bytes.resize(length, 0);
        self.bytes = bytes.into_boxed_slice();
    }
}

/// How a change of the distance of times is written: the bits and their number.
fn time_bits(change: u64) -> (u128, u32) {
    let bits = u128::from(change);
    match change {
        0 => (0, 1),
        1..0x80 => ((0b10 << 7) | bits, 2 + 7),
        0x80..0x4000 => ((0b110 << 14) | bits, 3 + 14),
        0x4000..0x100_0000 => ((0b1110 << 24) | bits, 4 + 24),
        _ => ((0b1111 << 64) | bits, 4 + 64),
    }
}
