//! Many relations as one value.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::StoredRelation;

/// Relations by id.
///
/// A copy takes no time and shares all that is alike with the original; two of which one came from the other are compared in the
/// time that their differences take, however many relations there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations(OrdMap<u64, Arc<StoredRelation>>);

impl Relations {
    /// The relation called `id`.
    pub fn get(&self, id: u64) -> Option<&Arc<StoredRelation>> {
        self.0.get(&id)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut StoredRelation> {
        self.0.get_mut(&id).map(Arc::make_mut)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StoredRelation>> {
        self.0.values()
    }

    /// The relation at place `at` of all, by id.
    pub fn nth(&self, at: usize) -> Option<&Arc<StoredRelation>> {
        self.iter().nth(at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a relation, or puts it in the place of the one with its id.
    pub fn insert(&mut self, relation: Arc<StoredRelation>) {
        self.0.insert(relation.id, relation);
    }

    /// Takes out the relation called `id`.
    pub fn remove(&mut self, id: u64) -> Option<Arc<StoredRelation>> {
        self.0.remove(&id)
    }

    /// The ids of those that came, went or are others than in `before`, in order.
    pub fn changed_since<'a>(&'a self, before: &'a Relations) -> impl Iterator<Item = u64> + 'a {
        before.0.diff(&self.0).map(|item| match item {
            DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } | DiffItem::Remove(id, _) => *id,
        })
    }
}

impl FromIterator<Arc<StoredRelation>> for Relations {
    fn from_iter<I: IntoIterator<Item = Arc<StoredRelation>>>(relations: I) -> Self {
        Relations(relations.into_iter().map(|relation| (relation.id, relation)).collect())
    }
}

impl Extend<Arc<StoredRelation>> for Relations {
    fn extend<I: IntoIterator<Item = Arc<StoredRelation>>>(&mut self, relations: I) {
        relations.into_iter().for_each(|relation| self.insert(relation));
    }
}
