//! Names and values of labels: where the head, a block and a series have them, and the first of them in their order.

use std::collections::BTreeSet;
use std::sync::Arc;

use relatum_model::Labels;

use crate::block::layout::Damage;
use crate::block::reader::Index as BlockIndex;
use crate::index::Index;
use crate::series::MemSeries;

/// Which texts of labels are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'n> {
    /// The names of labels.
    Names,
    /// The values of the label with this name.
    ValuesOf(&'n str),
}

impl Wanted<'_> {
    /// The first `limit` of the head, each with a series that has it.
    pub(crate) fn of_head(self, index: &Index, limit: usize) -> Vec<(String, Arc<MemSeries>)> {
        match self {
            Wanted::Names => index.first_of_names(limit),
            Wanted::ValuesOf(name) => index.first_of_values(name, limit),
        }
    }

    /// The series of the head that have any of `texts`.
    pub(crate) fn having(self, index: &Index, texts: &[String]) -> Vec<Arc<MemSeries>> {
        match self {
            Wanted::Names => index.having_names(texts),
            Wanted::ValuesOf(name) => index.having_values(name, texts),
        }
    }

    /// Adds those that series of a block have for which `is_visible` holds. It is asked until there is one, and not of texts that are there
    /// already.
    pub(crate) fn of_block(
        self,
        index: &BlockIndex<'_>,
        texts: &mut Texts,
        mut is_visible: impl FnMut(u32) -> bool,
    ) -> Result<(), Damage> {
        let n_series = index.n_series();
        match self {
            Wanted::Names => {
                for name in index.names() {
                    let (name, values) = name?;
                    if texts.wants(name) {
                        for value in values.entries() {
                            if value?.1.any(n_series, &mut is_visible)? {
                                texts.insert(name);
                                break;
                            }
                        }
                    } else if texts.are_before(name) {
                        break;
                    }
                }
            }
            Wanted::ValuesOf(name) => {
                for value in index.values(name)? {
                    let (value, list) = value?;
                    if texts.wants(value) {
                        if list.any(n_series, &mut is_visible)? {
                            texts.insert(value);
                        }
                    } else if texts.are_before(value) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds those of a series.
    pub(crate) fn of_labels(self, labels: &Labels, texts: &mut Texts) {
        match self {
            Wanted::Names => labels.iter().for_each(|(name, _)| texts.insert(name)),
            Wanted::ValuesOf(name) => labels.get(name).into_iter().for_each(|value| texts.insert(value)),
        }
    }
}

/// The first of the texts that were found, in their order, each once.
pub(crate) struct Texts {
    found: BTreeSet<String>,
    limit: usize,
}

impl Texts {
    /// Keeps `limit` texts, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Texts { found: BTreeSet::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// How many texts are kept at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether `text` is not there and would be kept.
    pub(crate) fn wants(&self, text: &str) -> bool {
        let is_among = self.found.len() < self.limit || self.found.last().is_some_and(|last| text < last.as_str());
        is_among && !self.found.contains(text)
    }

    /// Whether there are enough texts before `text`, and so before all that come behind it.
    pub(crate) fn are_before(&self, text: &str) -> bool {
        self.found.len() >= self.limit && self.found.last().is_some_and(|last| last.as_str() < text)
    }

    /// Adds a text that mostly is there already.
    pub(crate) fn insert(&mut self, text: &str) {
        if self.wants(text) {
            self.found.insert(text.to_owned());
            if self.found.len() > self.limit {
                self.found.pop_last();
            }
        }
    }

    /// The texts that were kept.
    pub(crate) fn in_order(self) -> Vec<String> {
        self.found.into_iter().collect()
    }
}
