//! Names and values of labels: where the head, a block and a series have them.

use std::collections::BTreeSet;
use std::sync::Arc;

use relatum_model::Labels;

use crate::block::layout::Damage;
use crate::block::reader::Index as BlockIndex;
use crate::index::Index;
use crate::ordered::{Ordered, Place, Run};
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
    /// Adds those of the head to `texts`. Unless the reader `sees_all` of its series, those that are not there already are returned
    /// instead, in order, each with a series that has it.
    pub(crate) fn of_head(
        self,
        index: &Index,
        sees_all: bool,
        texts: &mut Ordered<String>,
    ) -> Vec<(String, Arc<MemSeries>)> {
        let mut unsure = Vec::new();
        match self {
            Wanted::Names => texts.walk(|run| add_all(index.first_of_names(), run, sees_all, &mut unsure)),
            Wanted::ValuesOf(name) => {
                texts.walk(|run| add_all(index.first_of_values(name), run, sees_all, &mut unsure))
            }
        }
        unsure
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
        texts: &mut Ordered<String>,
        mut is_visible: impl FnMut(u32) -> bool,
    ) -> Result<(), Damage> {
        let n_series = index.n_series();
        texts.walk(|run| {
            match self {
                Wanted::Names => {
                    for name in index.names() {
                        let (name, values) = name?;
                        match run.place(|found| found.as_str().cmp(name)) {
                            Place::There => continue,
                            Place::Beyond => break,
                            Place::Missing => {}
                        }
                        for value in values.entries() {
                            if value?.1.any(n_series, &mut is_visible)? {
                                run.add(name.to_owned());
                                break;
                            }
                        }
                    }
                }
                Wanted::ValuesOf(name) => {
                    for value in index.values(name)? {
                        let (value, list) = value?;
                        match run.place(|found| found.as_str().cmp(value)) {
                            Place::There => {}
                            Place::Beyond => break,
                            Place::Missing if list.any(n_series, &mut is_visible)? => run.add(value.to_owned()),
                            Place::Missing => {}
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Adds those of a series.
    pub(crate) fn of_labels(self, labels: &Labels, gathered: &mut Gathered) {
        match self {
            Wanted::Names => labels.iter().for_each(|(name, _)| gathered.add(name)),
            Wanted::ValuesOf(name) => labels.get(name).into_iter().for_each(|value| gathered.add(value)),
        }
    }
}

/// Adds `texts` of the head, or if they are not sure those that are missing to `unsure`.
fn add_all<'i>(
    texts: impl Iterator<Item = (&'i str, &'i Arc<MemSeries>)>,
    run: &mut Run<'_, String>,
    are_sure: bool,
    unsure: &mut Vec<(String, Arc<MemSeries>)>,
) {
    for (text, series) in texts {
        match run.place(|found| found.as_str().cmp(text)) {
            Place::There => {}
            Place::Beyond => break,
            Place::Missing if are_sure => run.add(text.to_owned()),
            Place::Missing => unsure.push((text.to_owned(), Arc::clone(series))),
        }
    }
}

/// The first of texts that come in any order, most of them often.
pub(crate) struct Gathered {
    found: BTreeSet<String>,
    limit: usize,
}

impl Gathered {
    /// Keeps `limit` texts, or all if that is 0.
    pub(crate) fn first(limit: usize) -> Self {
        Gathered { found: BTreeSet::new(), limit: if limit == 0 { usize::MAX } else { limit } }
    }

    /// Adds a text that mostly is there already.
    pub(crate) fn add(&mut self, text: &str) {
        let is_among = self.found.len() < self.limit || self.found.last().is_some_and(|last| text < last.as_str());
        if is_among && !self.found.contains(text) {
            self.found.insert(text.to_owned());
            if self.found.len() > self.limit {
                self.found.pop_last();
            }
        }
    }

    /// The texts that were kept.
    pub(crate) fn in_order(self) -> impl Iterator<Item = String> {
        self.found.into_iter()
    }
}
