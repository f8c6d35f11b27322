//! Aggregations that keep some elements of each group as they are: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use relatum_model::Labels;

use super::groups::Grouping;
use super::{Block, Column, Cost, Evaluator, HistogramColumn, Row, Scalars, Steps};
use crate::error::QueryError;
use crate::syntax::AggregateOp;

/// An element of a group: its row and its value.
type Element = (usize, f64);

/// A heap with the element first that is the next to be replaced.
///
/// Among equal values it is the shape of the heap that decides who stays, and in which order they come out; so it is the textbook
/// heap, as Prometheus has it.
struct Heap {
    elements: Vec<Element>,
    // Whether an element comes nearer to the top than another.
    is_before: fn(f64, f64) -> bool,
}

fn smaller_first(a: f64, b: f64) -> bool {
    a.is_nan() || a < b
}

fn larger_first(a: f64, b: f64) -> bool {
    a.is_nan() || a > b
}

impl Heap {
    fn push(&mut self, element: Element) {
        self.elements.push(element);
        let mut child = self.elements.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !(self.is_before)(self.elements[child].1, self.elements[parent].1) {
                break;
            }
            self.elements.swap(child, parent);
            child = parent;
        }
    }

    fn replace_first(&mut self, element: Element) {
        self.elements[0] = element;
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= self.elements.len() {
                break;
            }
            let right = left + 1;
            let is_right =
                right < self.elements.len() && (self.is_before)(self.elements[right].1, self.elements[left].1);
            let child = if is_right { right } else { left };
            if !(self.is_before)(self.elements[child].1, self.elements[parent].1) {
                break;
            }
            self.elements.swap(parent, child);
            parent = child;
        }
    }

    /// Adds an element; of more than `k` the first one goes.
    fn offer(&mut self, element: Element, k: usize) {
        if self.elements.len() < k {
            self.push(element);
        } else if let Some((_, first)) = self.elements.first()
            && ((self.is_before)(*first, element.1) && !first.is_nan() || (first.is_nan() && !element.1.is_nan()))
        {
            self.replace_first(element);
        }
    }

    /// The elements, best first.
    fn sort(&mut self) {
        let is_before = self.is_before;
        self.elements.sort_by(|a, b| {
            if is_before(b.1, a.1) {
                if is_before(a.1, b.1) { Ordering::Equal } else { Ordering::Less }
            } else if is_before(a.1, b.1) {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        });
    }
}

/// Collects who is kept at each step.
struct Kept {
    columns: Vec<Column>,
    histograms: Vec<HistogramColumn>,
    // At a single step the order counts.
    order: Vec<usize>,
}

impl Kept {
    fn new(n_rows: usize) -> Self {
        let histograms = vec![HistogramColumn::default(); n_rows];
        Kept { columns: vec![Column::default(); n_rows], histograms, order: Vec::new() }
    }

    /// What it takes before anybody is kept. The labels will be those of the block.
    fn cost_of_rows(n_rows: usize) -> Cost {
        let row_bytes = size_of::<Column>() + size_of::<HistogramColumn>() + size_of::<usize>();
        Cost::default().with_bytes(n_rows.saturating_mul(row_bytes))
    }

    /// Keeps an element; gives what is held for it from now on.
    fn add(&mut self, step: usize, (row, value): Element, block: &Block) -> Cost {
        if self.columns[row].slots() == 0 && self.histograms[row].is_empty() {
            self.order.push(row);
        }
        match block.rows[row].histograms.get(step) {
            Some(histogram) => {
                self.histograms[row].push(step, histogram.clone());
                HistogramColumn::cost_of_shared(histogram)
            }
            None => {
                let column = &mut self.columns[row];
                let before = column.slots();
                column.push(step, value);
                Cost::from(column.slots() - before)
            }
        }
    }

    fn into_block(mut self, block: &Block, steps: Steps) -> Block {
        if steps.count > 1 {
            self.order.sort_unstable();
        }
        let rows = self
            .order
            .iter()
            .map(|at| {
                block.rows[*at]
                    .with_values(std::mem::take(&mut self.columns[*at]), std::mem::take(&mut self.histograms[*at]))
            })
            .collect();
        Block { rows }
    }
}

impl Evaluator<'_> {
    /// `topk`, `bottomk` and `limitk`.
    pub(super) fn pick_some(
        &mut self,
        op: AggregateOp,
        block: Block,
        grouping: &Grouping,
        k: &Scalars,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let is_before = if op == AggregateOp::Bottomk { larger_first } else { smaller_first };
        let members = grouping.members();
        let mut heap = Heap { elements: Vec::new(), is_before };
        let mut kept = Kept::new(block.rows.len());
        self.budget.charge(Kept::cost_of_rows(block.rows.len()).plus(grouping.cost()))?;
        for step in 0..steps.count {
            self.budget.check()?;
            let k = k.at(step);
            if k < 1.0 {
                continue;
            }
            let k = (k as usize).min(block.rows.len());
            for members in members.iter() {
                self.budget.step(members.len())?;
                heap.elements.clear();
                for &row in members {
                    let Some(value) = place_of(&block.rows[row], step, op == AggregateOp::Limitk) else { continue };
                    if op != AggregateOp::Limitk {
                        heap.offer((row, value), k);
                    } else if heap.elements.len() < k {
                        heap.push((row, value));
                    } else {
                        break;
                    }
                }
                if op != AggregateOp::Limitk {
                    heap.sort();
                }
                for element in &heap.elements {
                    self.budget.charge(kept.add(step, *element, &block))?;
                }
            }
        }
        Ok(kept.into_block(&block, steps))
    }

    /// `limit_ratio`: keeps a part of the series, chosen by the hash of their labels.
    pub(super) fn pick_ratio(
        &mut self,
        block: Block,
        grouping: &Grouping,
        ratio: &Scalars,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let places: Vec<f64> = block.rows.iter().map(|row| place_between_0_and_1(&row.labels)).collect();
        let members = grouping.members();
        let mut heap = Heap { elements: Vec::new(), is_before: smaller_first };
        let mut kept = Kept::new(block.rows.len());
        self.budget.charge(Kept::cost_of_rows(block.rows.len()).plus(grouping.cost()))?;
        for step in 0..steps.count {
            self.budget.check()?;
            let ratio = ratio.at(step).clamp(-1.0, 1.0);
            if ratio == 0.0 {
                continue;
            }
            for members in members.iter() {
                self.budget.step(members.len())?;
                heap.elements.clear();
                for &row in members {
                    let Some(value) = place_of(&block.rows[row], step, true) else { continue };
                    // A negative ratio is the complement of the positive one.
                    let is_kept = if ratio > 0.0 { places[row] < ratio } else { places[row] >= 1.0 + ratio };
                    if is_kept {
                        heap.push((row, value));
                    }
                }
                for element in &heap.elements {
                    self.budget.charge(kept.add(step, *element, &block))?;
                }
            }
        }
        Ok(kept.into_block(&block, steps))
    }
}

/// The value that decides about an element's place. A histogram, if wanted at all, has that of zero.
fn place_of(row: &Row, step: usize, takes_histograms: bool) -> Option<f64> {
    row.floats.get(step).or_else(|| (takes_histograms && row.histograms.get(step).is_some()).then_some(0.0))
}

/// Where between 0 and 1 the hash of the labels lies: the same in every process, and the same as in Prometheus.
fn place_between_0_and_1(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.encoded().len());
    for (name, value) in labels {
        for field in [name, value] {
            // One byte of length, or a mark and three bytes of it.
            if field.len() < 255 {
                bytes.push(field.len() as u8);
            } else {
                bytes.push(255);
                bytes.extend_from_slice(&(field.len() as u32).to_le_bytes()[..3]);
            }
            bytes.extend_from_slice(field.as_bytes());
        }
    }
    xxh64(&bytes) as f64 / u64::MAX as f64
}

const PRIMES: [u64; 5] =
    [0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63, 0x27d4_eb2f_1656_67c5];

/// XXH64 with seed zero.
fn xxh64(bytes: &[u8]) -> u64 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let round = |lane: u64, input: u64| lane.wrapping_add(input.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1);
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("a word has eight bytes"));
    let mut stripes = bytes.chunks_exact(32);
    let mut hash = if bytes.len() >= 32 {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, 0u64.wrapping_sub(p1)];
        for stripe in &mut stripes {
            for (lane, chunk) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(chunk));
            }
        }
        let [a, b, c, d] = lanes;
        let mixed = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        lanes.iter().fold(mixed, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(p1).wrapping_add(p4))
    } else {
        p5
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for chunk in &mut words {
        hash = (hash ^ round(0, word(chunk))).rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
    }
    let mut rest = words.remainder();
    if let Some((chunk, after)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*chunk)).wrapping_mul(p1);
        hash = hash.rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
        rest = after;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(p3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh64() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
    }
}
