//! How much of an answer is taken in: others answer whatever they like, and a few bytes can stand for much.

use super::AnswerError;
use crate::labels::Labels;
use crate::sample::Series;

/// The memory that what is read of an answer may take.
#[derive(Debug)]
pub struct Room {
    bytes_max: usize,
    /// What is left of it; whoever makes samples takes theirs from here.
    pub bytes_left: usize,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Room { bytes_max, bytes_left: bytes_max }
    }

    /// Takes what a series takes without its samples.
    pub fn take_series(&mut self, labels: &Labels) -> Result<(), AnswerError> {
        // Its text stands behind two counts.
        self.take(size_of::<Series>() + 2 * size_of::<usize>() + labels.encoded().len())
    }

    /// Takes so many bytes.
    pub fn take(&mut self, bytes: usize) -> Result<(), AnswerError> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(AnswerError::TooLarge(self.bytes_max))?;
        Ok(())
    }
}
