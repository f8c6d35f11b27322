//! Buffers of batches that ended, for those that begin.
//!
//! A batch needs the same two every time, of some hundred kilobytes: fresh ones are far from the processor, and given back to the
//! system and fetched again with every batch.

use std::sync::{Mutex, PoisonError};

use crate::batch::{Pending, Tips};

/// So many of each are kept: more batches rarely begin at once.
const KEPT_MAX: usize = 4;
/// Larger ones are not kept.
const KEPT_SAMPLES_MAX: usize = 4096;

/// The buffers.
#[derive(Default)]
pub(crate) struct Spare {
    pending: Mutex<Vec<Vec<Pending>>>,
    tips: Mutex<Vec<Tips>>,
}

impl Spare {
    /// Room for a batch of about `samples`.
    pub(crate) fn take(&self, samples: usize) -> (Vec<Pending>, Tips) {
        let pending = pop(&self.pending).unwrap_or_else(|| Vec::with_capacity(samples));
        let tips = pop(&self.tips).unwrap_or_else(|| Tips::with_capacity(samples));
        (pending, tips)
    }

    /// Takes samples that were dealt with.
    pub(crate) fn keep_pending(&self, mut pending: Vec<Pending>) {
        pending.clear();
        if (1..=KEPT_SAMPLES_MAX).contains(&pending.capacity()) {
            push(&self.pending, pending);
        }
    }

    /// Takes the tips of a batch that ended.
    pub(crate) fn keep_tips(&self, mut tips: Tips) {
        tips.clear();
        // Its capacity goes in steps of two.
        if (1..=2 * KEPT_SAMPLES_MAX).contains(&tips.capacity()) {
            push(&self.tips, tips);
        }
    }
}

fn pop<T>(kept: &Mutex<Vec<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push<T>(kept: &Mutex<Vec<T>>, one: T) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT_MAX {
        kept.push(one);
    }
}
