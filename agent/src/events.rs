//! What happened: derived from the bag versions seen, and the queue that wakes the loop.
//!
//! Events are not sent around, they are the difference between what a side has seen and what is there. So a restart loses
//! none, several changes of one bag are one event, and whoever looks always finds the newest data, as in juju.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use relatum_relations::endpoints::APPLICATION;
use tokio::sync::Notify;

use crate::store::{Bag, Relations, Role, Seen, SeenBags, StoredRelation, World};

/// What juju calls the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelationEventKind {
    /// The relation is new.
    Created,
    /// A unit came.
    Joined,
    /// A bag changed.
    Changed,
    /// A unit left.
    Departed,
    /// The relation is gone.
    Broken,
}

impl RelationEventKind {
    /// As in a hook's name.
    pub fn as_str(self) -> &'static str {
        match self {
            RelationEventKind::Created => "relation-created",
            RelationEventKind::Joined => "relation-joined",
            RelationEventKind::Changed => "relation-changed",
            RelationEventKind::Departed => "relation-departed",
            RelationEventKind::Broken => "relation-broken",
        }
    }
}

/// One event of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationEvent {
    /// The relation's id.
    pub relation: u64,
    /// What happened.
    pub kind: RelationEventKind,
    /// The other side's unit; none when it is about the application.
    pub unit: Option<String>,
}

/// What there is to be seen now of the relations called `ids`: no bags for one that is gone.
pub fn seen(world: &World, ids: impl IntoIterator<Item = u64>) -> Seen {
    let bags = |id: u64| -> SeenBags {
        let relation = world.relation(id);
        let bags =
            relation.map(|relation| remote_bags(relation).map(|(key, bag)| (key.clone(), bag.version)).collect());
        bags.unwrap_or_default()
    };
    ids.into_iter().map(|id| (id, Arc::new(bags(id)))).collect()
}

/// The bags of the other side.
fn remote_bags(relation: &StoredRelation) -> impl Iterator<Item = (&(Role, String), &Bag)> {
    relation.bags.iter().filter(|((role, _), _)| relation.end(role.other()).application == APPLICATION)
}

/// The events between what was seen and what is there, in juju's order: for each relation created, then joined and changed unit
/// by unit, changed of the application, departed, broken. Those of relations that are gone come last.
///
/// `settled` are the relations of before, of which all events were derived and seen, so that only those are looked at that are others
/// now; `None` when nobody knows.
pub fn derive(world: &World, settled: Option<&Relations>) -> Vec<RelationEvent> {
    let (mut events, mut gone) = (Vec::new(), Vec::new());
    let mut look = |id: u64| {
        let seen = world.seen.get(&id).map(|seen| &**seen);
        match world.relation(id) {
            Some(relation) => {
                let seen = seen.unwrap_or(&NOTHING);
                let is_as_seen = remote_bags(relation).map(|(key, bag)| (key, &bag.version)).eq(seen);
                if !is_as_seen {
                    derive_one(id, &remote_bags(relation).collect(), seen, &mut events);
                }
            }
            None => seen.into_iter().for_each(|seen| derive_one(id, &BTreeMap::new(), seen, &mut gone)),
        }
    };
    match settled {
        Some(settled) => world.relations.changed_since(settled).for_each(&mut look),
        None => {
            world.relations.iter().map(|relation| relation.id).for_each(&mut look);
            world.seen.keys().filter(|id| world.relation(**id).is_none()).for_each(|id| look(*id));
        }
    }
    events.append(&mut gone);
    events
}

/// What was seen of a relation that is new.
static NOTHING: SeenBags = SeenBags::new();

/// The events of one relation, whose other side has the bags `now`.
fn derive_one(relation: u64, now: &BTreeMap<&(Role, String), &Bag>, seen: &SeenBags, events: &mut Vec<RelationEvent>) {
    let mut push = |kind, owner: &str| {
        let unit = Some(owner.to_owned()).filter(|owner| owner.contains('/'));
        events.push(RelationEvent { relation, kind, unit });
    };
    if seen.is_empty() && !now.is_empty() {
        push(RelationEventKind::Created, "");
    }
    for (key @ (_, owner), bag) in now {
        match seen.get(*key) {
            Some(before) if *before == bag.version => {}
            None if owner.contains('/') => {
                push(RelationEventKind::Joined, owner);
                push(RelationEventKind::Changed, owner);
            }
            _ => push(RelationEventKind::Changed, owner),
        }
    }
    for (_, owner) in seen.keys().filter(|key| !now.contains_key(key) && key.1.contains('/')) {
        push(RelationEventKind::Departed, owner);
    }
    if now.is_empty() && !seen.is_empty() {
        push(RelationEventKind::Broken, "");
    }
}

/// Why the loop should look at the world again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The agent begins.
    Start,
    /// Options, `relatum.yaml` or a template may be different.
    ConfigChanged,
    /// A relation may be different.
    RelationsChanged,
    /// What runs the rendered files is there again, or another.
    WorkloadChanged,
    /// The time has come for something that was put off, such as asking for the next certificate or looking at the disk.
    TimePassed,
}

impl Event {
    /// All of them, which is also the most that can wait.
    pub const ALL: [Event; 5] =
        [Event::Start, Event::ConfigChanged, Event::RelationsChanged, Event::WorkloadChanged, Event::TimePassed];
}

/// The one queue. A burst is one entry of each kind, and one pass.
#[derive(Debug, Default)]
pub struct EventQueue {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    events: BTreeSet<Event>,
    /// How many pushes there were.
    tickets: u64,
}

impl EventQueue {
    /// Adds an event and gives the number to wait for: a pass that took this number or a later one has seen the change.
    pub fn push(&self, event: Event) -> u64 {
        let mut pending = crate::lock(&self.pending);
        pending.events.insert(event);
        pending.tickets += 1;
        self.wake.notify_one();
        pending.tickets
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        crate::lock(&self.pending).events.len()
    }

    /// Waits until there is something, then takes all there is, with the newest number.
    pub async fn take(&self) -> (BTreeSet<Event>, u64) {
        loop {
            {
                let mut pending = crate::lock(&self.pending);
                if !pending.events.is_empty() {
                    return (std::mem::take(&mut pending.events), pending.tickets);
                }
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Endpoint;

    fn relation(id: u64, bags: &[(&str, u64)]) -> StoredRelation {
        let endpoint =
            |application: &str| Endpoint { application: application.to_owned(), name: "metrics-endpoint".to_owned() };
        let mut all = BTreeMap::new();
        for (owner, version) in bags {
            let role = if owner.starts_with(APPLICATION) { Role::Requirer } else { Role::Provider };
            all.insert(
                (role, (*owner).to_owned()),
                Bag { version: *version, content: crate::packed::PackedBag::default() },
            );
        }
        let interface = "prometheus_scrape".to_owned();
        StoredRelation { id, interface, provider: endpoint("zinc"), requirer: endpoint(APPLICATION), bags: all }
    }

    #[track_caller]
    fn check(before: &[StoredRelation], after: &[StoredRelation], expected: &[&str]) {
        let world = |relations: &[StoredRelation]| World {
            relations: relations.iter().cloned().map(Arc::new).collect(),
            ..World::default()
        };
        let before = world(before);
        let ids = before.relations.iter().map(|relation| relation.id);
        let world = World { seen: seen(&before, ids), ..world(after) };
        let text = |event: &RelationEvent| {
            format!("{} {} {}", event.relation, event.kind.as_str(), event.unit.as_deref().unwrap_or("-"))
        };
        assert_eq!(derive(&world, None).iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(derive(&world, Some(&before.relations)).iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(derive(&world, Some(&world.relations)), []);
    }

    #[test]
    fn events_are_differences() {
        let one = relation(1, &[("zinc", 1), ("zinc/0", 1)]);
        check(
            &[],
            std::slice::from_ref(&one),
            &["1 relation-created -", "1 relation-changed -", "1 relation-joined zinc/0", "1 relation-changed zinc/0"],
        );
        check(std::slice::from_ref(&one), std::slice::from_ref(&one), &[]);
        check(
            std::slice::from_ref(&one),
            &[relation(1, &[("zinc", 5), ("zinc/1", 5)])],
            &[
                "1 relation-changed -",
                "1 relation-joined zinc/1",
                "1 relation-changed zinc/1",
                "1 relation-departed zinc/0",
            ],
        );
        // What we wrote ourselves is no news.
        check(
            std::slice::from_ref(&one),
            &[relation(1, &[("zinc", 1), ("zinc/0", 1), ("prometheus", 9), ("prometheus/0", 9)])],
            &[],
        );
        check(&[one], &[], &["1 relation-departed zinc/0", "1 relation-broken -"]);
    }

    #[tokio::test]
    async fn a_burst_is_one_pass() {
        let queue = EventQueue::default();
        let tickets: Vec<u64> =
            [Event::Start, Event::RelationsChanged, Event::RelationsChanged].map(|event| queue.push(event)).into();
        let (events, newest) = queue.take().await;
        assert_eq!((events.len(), newest), (2, tickets[2]));
        let later = queue.push(Event::ConfigChanged);
        assert_eq!(queue.take().await, (BTreeSet::from([Event::ConfigChanged]), later));
    }
}
