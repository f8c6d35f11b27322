//! Buffers for messages of requests that come next.
//!
//! A request of a few thousand samples is some hundred kilobytes when it is decompressed: memory that the system would hand out anew
//! for each, page by page and cleared.

use std::sync::{Mutex, PoisonError};

/// So many are kept: more requests are rarely read at once.
const KEPT_MAX: usize = 4;
/// Larger ones are not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The buffers. What is in them is of no meaning.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn keep(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX && buffer.capacity() <= KEPT_BYTES_MAX {
            kept.push(buffer);
        }
    }
}
