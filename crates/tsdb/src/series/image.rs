//! The changing part of a series as bytes of an image of the head.

use relatum_model::Samples;
use relatum_model::storage::TimeRange;

use super::{HeldHistogram, LateSample, Phase, Rare, State, Version};
use crate::block::bytes::{Cursor, put_varint};
use crate::block::layout::Damage;
use crate::chunk::image::{TimesRead, TimesWritten};
use crate::chunk::{Chunk, OpenChunk, pack, unzigzag, zigzag};
use crate::histogram::{Encoded, HISTOGRAM_BYTES_MAX};
use crate::starts::Starts;

// What follows the kinds of samples that every series has.
const UNSURE: u8 = 1;
const NEWEST_ELSEWHERE: u8 = 2;
const RARE: u8 = 4;

impl State {
    /// Writes what a reader of `commit` sees, except what a cut has in blocks already (`in_blocks`). `times` are the columns
    /// that the frame has.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, times: &mut TimesWritten, commit: u64, in_blocks: bool) {
        if self.last_commit <= commit && (in_blocks || !self.has_aside()) {
            self.encode_all(out, times);
        } else {
            self.as_of(commit, in_blocks).encode_all(out, times);
        }
    }

    /// The state as a reader of `commit` sees it.
    fn as_of(&self, commit: u64, in_blocks: bool) -> State {
        let range = TimeRange::ALL;
        let snapshot =
            if in_blocks { self.snapshot_without_aside(range, commit) } else { self.snapshot(range, commit) };
        let Samples { timestamps, values, .. } = snapshot.decode();
        let (closed, open) = pack(timestamps.into_iter().zip(values.into_iter().map(f64::to_bits)));
        let held = |(t_ms, histogram): (i64, &Encoded)| HeldHistogram { t_ms, commit, histogram: histogram.clone() };
        let mut histograms: Vec<_> = snapshot.histograms().map(held).collect();
        histograms.sort_unstable_by_key(|held| held.t_ms);
        let newest_histogram = histograms.last().map(|held| (held.t_ms, held.histogram.fingerprint()));
        let newest = open.last().into_iter().chain(newest_histogram).max_by_key(|(t_ms, _)| *t_ms);
        let mut state = State {
            phase: Phase::Listed,
            // Whether a block had a newer one is not known any more.
            unsure: true,
            n_aside: 0,
            chunks: closed,
            open,
            version: Version::default(),
            last_commit: commit,
            rare: None,
        };
        if !histograms.is_empty() || self.has_starts() {
            state.rare = Some(Box::new(Rare { histograms, starts: self.starts().clone(), ..Rare::default() }));
        }
        state.set_newest(newest);
        state
    }

    fn encode_all(&self, out: &mut Vec<u8>, times: &mut TimesWritten) {
        let newest_elsewhere = self.newest_elsewhere();
        let has_rare = !self.late().is_empty() || !self.held().is_empty() || self.has_starts();
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        out.push(flag(self.unsure, UNSURE) | flag(newest_elsewhere.is_some(), NEWEST_ELSEWHERE) | flag(has_rare, RARE));
        if let Some((t_ms, bits)) = newest_elsewhere {
            put_varint(out, zigzag(t_ms));
            out.extend_from_slice(&bits.to_le_bytes());
        }
        put_varint(out, self.closed().len() as u64);
        self.closed().iter().for_each(|chunk| chunk.encode(out, times));
        self.open.encode(out);
        if has_rare {
            put_varint(out, self.late().len() as u64);
            for sample in self.late() {
                put_varint(out, zigzag(sample.t_ms));
                out.extend_from_slice(&sample.bits.to_le_bytes());
            }
            put_varint(out, self.held().len() as u64);
            for held in self.held() {
                put_varint(out, zigzag(held.t_ms));
                put_varint(out, held.histogram.bytes().len() as u64);
                out.extend_from_slice(held.histogram.bytes());
            }
            self.starts().encode(out);
        }
    }

    /// Reads a state in which everything was brought by `commit`.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, times: &mut TimesRead, commit: u64) -> Result<State, Damage> {
        let flags = cursor.byte()?;
        if flags & !(UNSURE | NEWEST_ELSEWHERE | RARE) != 0 {
            return Err(Damage("unknown flags of a series"));
        }
        let elsewhere = match flags & NEWEST_ELSEWHERE {
            0 => None,
            _ => Some((unzigzag(cursor.varint()?), cursor.u64()?)),
        };
        let n_closed = cursor.count(1)?;
        // Not by what is said: a count of bytes is no promise of chunks.
        let mut closed = Vec::with_capacity(n_closed.min(4));
        for _ in 0..n_closed {
            closed.push(Chunk::decode(cursor, times)?);
        }
        let open = OpenChunk::decode(cursor)?;
        let rare = if flags & RARE == 0 { None } else { Some(Box::new(Rare::decode(cursor, commit)?)) };
        let newest = elsewhere.or(open.last());
        let ends = closed.iter().map(|chunk| (chunk.min_ms, chunk.max_ms));
        let ends: Vec<_> = ends.chain(open.last().map(|(last_ms, _)| (open.min_ms(), last_ms))).collect();
        if !ends.is_sorted_by(|before, after| before.1 < after.0) {
            return Err(Damage("chunks of a series overlap"));
        }
        if ends.last().is_some_and(|(_, last_ms)| newest.is_none_or(|(newest_ms, _)| newest_ms < *last_ms)) {
            return Err(Damage("a series has a newer sample than its newest"));
        }
        closed.shrink_to_fit();
        let mut state =
            State { phase: Phase::Listed, chunks: closed, open, rare, last_commit: commit, ..State::default() };
        state.unsure = flags & UNSURE != 0;
        state.set_newest(newest);
        Ok(state)
    }
}

impl Rare {
    fn decode(cursor: &mut Cursor<'_>, commit: u64) -> Result<Rare, Damage> {
        let n_late = cursor.count(1)?;
        let late =
            (0..n_late).map(|_| Ok(LateSample { t_ms: unzigzag(cursor.varint()?), bits: cursor.u64()?, commit }));
        let late = late.collect::<Result<Vec<_>, Damage>>()?;
        let mut histograms = Vec::new();
        for _ in 0..cursor.count(1)? {
            let t_ms = unzigzag(cursor.varint()?);
            let n_bytes = cursor.count(1)?;
            if n_bytes > HISTOGRAM_BYTES_MAX {
                return Err(Damage("histogram too large"));
            }
            let histogram = Encoded::from_bytes(cursor.bytes(n_bytes)?);
            histogram.decode(t_ms)?;
            histograms.push(HeldHistogram { t_ms, commit, histogram });
        }
        let sorted = late.is_sorted_by(|a: &LateSample, b| a.t_ms < b.t_ms);
        if !sorted || !histograms.is_sorted_by(|a: &HeldHistogram, b| a.t_ms < b.t_ms) {
            return Err(Damage("samples of a series are out of order"));
        }
        Ok(Rare { late, histograms, starts: Starts::decode(cursor)?, ..Rare::default() })
    }
}
