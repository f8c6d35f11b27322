//! All relations on `metrics-endpoint` together, kept from pass to pass: only what changed is understood and put in its place anew.
//!
//! A job's name is one for the whole server, so a relation also changes when another takes or gives up one of its names. Those that
//! clash are few, and are named anew together in every pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use imbl::OrdMap;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::prometheus_scrape::{self as scrape, Scraped};
use relatum_server::parallel;
use serde_json::Value;

use super::rules::Rules;
use super::scrape::{Basis, Jobs, Scrape, materials, n_targets};
use super::view::View;
use super::{BagKey, Desired, RelationKey, Yield};
use crate::store::{Relations, Role, StoredRelation};

/// The endpoint.
pub(super) const ENDPOINT: &str = "metrics-endpoint";

/// Our role on it.
const ROLE: Role = Role::Requirer;

/// What was understood of all of them.
#[derive(Default)]
pub(super) struct Scrapes {
    basis: Basis,
    /// By id, with what each was understood from.
    known: HashMap<u64, (Arc<StoredRelation>, Arc<Scrape>)>,
    /// Every name of a job, with each relation that has such a job.
    names: BTreeSet<(Arc<str>, u64)>,
    /// The relations with a job whose name is not theirs alone.
    clashing: BTreeSet<u64>,
    /// Those with problems.
    faulty: BTreeSet<u64>,
    /// Those with certificates or keys.
    with_materials: BTreeSet<u64>,
    /// The jobs of those that do not clash.
    pub(super) jobs: OrdMap<RelationKey, Arc<Jobs>>,
    /// By the name of the file.
    pub(super) rules: OrdMap<String, Arc<Rules>>,
    pub(super) yields: OrdMap<RelationKey, Yield>,
    /// What we publish.
    pub(super) bags: OrdMap<BagKey, Arc<Databag>>,
}

impl Scrapes {
    /// Brings everything to what `relations` are now, when only those called `changed` came, went or are others since the last time.
    /// What they are understood with is `basis`; if that is another, so are all.
    pub(super) fn update(&mut self, relations: &Relations, changed: &[u64], basis: Basis) {
        if self.basis != basis {
            *self = Scrapes { basis, ..Scrapes::default() };
            self.change(relations, relations.iter().map(|relation| relation.id));
        } else {
            self.change(relations, changed.iter().copied());
        }
    }

    fn change(&mut self, relations: &Relations, changed: impl Iterator<Item = u64>) {
        let (mut touched, mut unread) = (BTreeSet::new(), Vec::new());
        for id in changed {
            let now = relations.get(id).filter(|stored| is_on_endpoint(stored));
            match (now, self.known.get_mut(&id)) {
                (None, None) => {}
                (None, Some(_)) => self.forget(id, &mut touched),
                (Some(now), Some((known, _))) if view(now).is_as(known) => {
                    *known = Arc::clone(now);
                    touched.insert(id);
                }
                (Some(now), _) => unread.push(now),
            }
        }
        let read = parallel::map(&unread, |stored| Arc::new(Scrape::read(&view(stored), &self.basis)));
        for (stored, scrape) in unread.into_iter().zip(read) {
            self.forget(stored.id, &mut touched);
            self.remember(stored, scrape, &mut touched);
        }
        for id in touched {
            self.place(id);
        }
    }

    /// Takes out a relation. Those that had a name with it are `touched`.
    fn forget(&mut self, id: u64, touched: &mut BTreeSet<u64>) {
        let Some((stored, scrape)) = self.known.remove(&id) else { return };
        for name in &scrape.names {
            self.names.remove(&(Arc::clone(name), id));
            touched.extend(self.owners(name));
        }
        let key = view(&stored).key();
        self.jobs.remove(&key);
        self.yields.remove(&key);
        self.bags.remove(&bag_key(id));
        if let Some(rules) = &scrape.rules {
            self.rules.remove(&rules.file_name);
        }
        for set in [&mut self.clashing, &mut self.faulty, &mut self.with_materials] {
            set.remove(&id);
        }
    }

    /// Takes in a relation. It is `touched`, and so are those that have a name with it.
    fn remember(&mut self, stored: &Arc<StoredRelation>, scrape: Arc<Scrape>, touched: &mut BTreeSet<u64>) {
        let id = stored.id;
        touched.insert(id);
        for name in &scrape.names {
            touched.extend(self.owners(name));
            self.names.insert((Arc::clone(name), id));
        }
        if let Some(rules) = &scrape.rules {
            self.rules.insert(rules.file_name.clone(), Arc::clone(rules));
        }
        if !scrape.problems.is_empty() {
            self.faulty.insert(id);
        }
        if !scrape.materials.is_empty() {
            self.with_materials.insert(id);
        }
        self.known.insert(id, (Arc::clone(stored), scrape));
    }

    /// Puts the jobs of a relation where they belong: with all others, or with those that clash; and what we tell the other side.
    fn place(&mut self, id: u64) {
        let Some((stored, scrape)) = self.known.get(&id) else { return };
        let view = view(stored);
        let key = view.key();
        let is_taken =
            |name: &Arc<str>| self.basis.reserved.contains(&&**name) || self.owners(name).any(|owner| owner != id);
        let is_clashing = scrape.has_double || scrape.names.iter().any(is_taken);
        let runs = !is_clashing && !scrape.jobs.is_empty();
        let mut bag = view.our_bag().unwrap_or_default();
        match &scrape.event {
            Some(event) => bag.insert(scrape::EVENT.to_owned(), event.clone()),
            None => bag.remove(scrape::EVENT),
        };
        let n_rules = scrape.rules.as_ref().map_or(0, |rules| rules.n_rules);
        let n_targets = if runs { scrape.n_targets } else { 0 };
        let jobs = runs.then(|| Arc::clone(&scrape.jobs));
        match is_clashing {
            true => self.clashing.insert(id),
            false => self.clashing.remove(&id),
        };
        self.bags.insert(bag_key(id), Arc::new(bag));
        self.yields.insert(key.clone(), Yield { targets: n_targets, rules: n_rules, note: String::new() });
        match jobs {
            Some(jobs) => drop(self.jobs.insert(key, jobs)),
            None => drop(self.jobs.remove(&key)),
        }
    }

    /// The relations with a job called `name`.
    fn owners(&self, name: &Arc<str>) -> impl Iterator<Item = u64> {
        let owners = self.names.range((Arc::clone(name), 0)..=(Arc::clone(name), u64::MAX));
        owners.map(|(_, id)| *id)
    }
}

impl Desired {
    /// Adds what `scrapes` has beside the maps that `self` was begun with.
    pub(super) fn add_scrapes(&mut self, scrapes: &Scrapes) {
        for id in &scrapes.faulty {
            self.problems.extend(scrapes.known[id].1.problems.iter().cloned());
        }
        for id in scrapes.with_materials.difference(&scrapes.clashing) {
            let materials = &scrapes.known[id].1.materials;
            self.materials.extend(materials.iter().map(|(path, text)| (Arc::clone(path), text.clone())));
        }
        self.add_clashing(scrapes);
    }

    /// Adds the jobs of the relations with a job whose name another one has, too; such jobs get new names.
    fn add_clashing(&mut self, scrapes: &Scrapes) {
        let Scrapes { basis, clashing, .. } = scrapes;
        if clashing.is_empty() {
            return;
        }
        // The names of all others count as taken, too: whatever a new name would be, it renames nobody else's job.
        let read = |id: &u64| basis.read(view(&scrapes.known[id].0).relation());
        let scraped: Vec<Scraped> = clashing.iter().map(read).collect();
        let others = scrapes.names.iter().filter(|(_, id)| !clashing.contains(id)).map(|(name, _)| &**name);
        let taken: Vec<&str> = basis.reserved.iter().copied().chain(others).collect();
        let finished = scrape::finish(&scraped, &basis.folder, &taken);
        let mut jobs: BTreeMap<RelationKey, Vec<Value>> = BTreeMap::new();
        for job in finished.jobs {
            jobs.entry(job.origin.relation).or_default().push(Value::Object(job.config));
        }
        self.materials.extend(materials(finished.files));
        for (key, jobs) in jobs {
            self.yields.entry(key.clone()).or_default().targets += n_targets(&jobs);
            let stored = &scrapes.known[&key.1].0;
            self.scrapes.insert(key, Arc::new(Jobs::new(view(stored).ends(), &jobs)));
        }
    }
}

fn is_on_endpoint(stored: &StoredRelation) -> bool {
    let end = stored.end(ROLE);
    end.application == APPLICATION && end.name == ENDPOINT
}

fn view(stored: &Arc<StoredRelation>) -> View<'_> {
    View::new(stored, ROLE)
}

fn bag_key(id: u64) -> BagKey {
    (id, ROLE, APPLICATION.to_owned())
}
