//! What a target says about its metrics: kind, help and unit of each family.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::exposition::{MetricKind, help_text};

/// How many families of one target are described; more are scraped, but not described.
const FAMILIES_MAX: usize = 100_000;

/// What is known of one metric family of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// The name of the family.
    pub family: String,
    /// What it measures.
    pub kind: MetricKind,
    /// What it is, for people; may be empty.
    pub help: String,
    /// Its unit; may be empty.
    pub unit: String,
}

/// The families of one target.
#[derive(Debug, Default)]
pub(crate) struct Metadata(Mutex<Families>);

#[derive(Debug, Default)]
pub(crate) struct Families {
    known: BTreeMap<Box<str>, Family>,
    // Whether something was said that nobody asked for yet.
    is_news: bool,
}

#[derive(Debug, Clone, Default)]
struct Family {
    kind: MetricKind,
    // As it was written, escapes included: compared with each scrape, read rarely.
    help: Box<str>,
    unit: Box<str>,
}

impl Metadata {
    /// Opens the families for what a scrape says.
    pub(crate) fn update(&self) -> MutexGuard<'_, Families> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All families, by name.
    pub(crate) fn families(&self) -> Vec<FamilyMetadata> {
        let families = self.update();
        let described = families.known.iter().map(|(name, family)| FamilyMetadata {
            family: name.to_string(),
            kind: family.kind,
            help: help_text(&family.help).into_owned(),
            unit: family.unit.to_string(),
        });
        described.collect()
    }

    /// Calls `each` with name, kind, help and unit of all families, if a scrape said something else since the last call.
    pub(crate) fn take_news(&self, each: &mut dyn FnMut(&str, MetricKind, &str, &str)) {
        let mut families = self.update();
        if std::mem::take(&mut families.is_news) {
            families
                .known
                .iter()
                .for_each(|(name, family)| each(name, family.kind, &help_text(&family.help), &family.unit));
        }
    }
}

impl Families {
    pub(crate) fn set_kind(&mut self, name: &str, kind: MetricKind) {
        if let Some(family) = self.family(name)
            && family.kind != kind
        {
            family.kind = kind;
            self.is_news = true;
        }
    }

    pub(crate) fn set_help(&mut self, name: &str, help: &str) {
        if let Some(family) = self.family(name)
            && &*family.help != help
        {
            family.help = Box::from(help);
            self.is_news = true;
        }
    }

    pub(crate) fn set_unit(&mut self, name: &str, unit: &str) {
        if let Some(family) = self.family(name)
            && &*family.unit != unit
        {
            family.unit = Box::from(unit);
            self.is_news = true;
        }
    }

    fn family(&mut self, name: &str) -> Option<&mut Family> {
        // Known on all scrapes but the first: look before a key is made.
        if !self.known.contains_key(name) {
            if self.known.len() >= FAMILIES_MAX {
                return None;
            }
            self.known.insert(Box::from(name), Family::default());
            self.is_news = true;
        }
        self.known.get_mut(name)
    }
}
