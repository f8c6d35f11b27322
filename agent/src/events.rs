//! What happened: derived from the bag versions seen, and the queue that wakes the loop.
//!
//! Events are not sent around, they are the difference between what a side has seen and what is there. So a restart loses
//! none, several changes of one bag are one event, and whoever looks always finds the newest data, as in juju.

use std::collections::BTreeSet;
use std::sync::Mutex;

use relatum_relations::endpoints::APPLICATION;
use tokio::sync::Notify;

use crate::store::{Seen, StoredRelation, World};

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

/// What is there to be seen of the other sides.
pub fn seen(world: &World) -> Seen {
    let remote = |relation: &StoredRelation| {
        let bags = relation.bags.iter().filter(|((role, _), _)| relation.end(role.other()).application == APPLICATION);
        let id = relation.id;
        bags.map(move |((role, owner), bag)| ((id, *role, owner.clone()), bag.version)).collect::<Vec<_>>()
    };
    world.relations.iter().flat_map(remote).collect()
}

/// The events between what was seen and what is there, in juju's order: for each relation created, then joined and changed unit
/// by unit, changed of the application, departed, broken.
pub fn derive(world: &World) -> Vec<RelationEvent> {
    let now = seen(world);
    let known = |seen: &Seen| seen.keys().map(|(id, ..)| *id).collect::<BTreeSet<u64>>();
    let (before_ids, now_ids) = (known(&world.seen), known(&now));
    let mut events = Vec::new();
    let mut push = |relation, kind, owner: &str| {
        let unit = Some(owner.to_owned()).filter(|owner| owner.contains('/'));
        events.push(RelationEvent { relation, kind, unit });
    };
    for id in now_ids.difference(&before_ids) {
        push(*id, RelationEventKind::Created, "");
    }
    for (key @ (id, _, owner), version) in &now {
        match world.seen.get(key) {
            Some(before) if before == version => {}
            None if owner.contains('/') => {
                push(*id, RelationEventKind::Joined, owner);
                push(*id, RelationEventKind::Changed, owner);
            }
            _ => push(*id, RelationEventKind::Changed, owner),
        }
    }
    for (id, _, owner) in world.seen.keys().filter(|key| !now.contains_key(*key) && key.2.contains('/')) {
        push(*id, RelationEventKind::Departed, owner);
    }
    for id in before_ids.difference(&now_ids) {
        push(*id, RelationEventKind::Broken, "");
    }
    events
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
}

impl Event {
    /// All of them, which is also the most that can wait.
    pub const ALL: [Event; 4] = [Event::Start, Event::ConfigChanged, Event::RelationsChanged, Event::WorkloadChanged];
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::{Bag, Endpoint, Role};

    fn relation(id: u64, bags: &[(&str, u64)]) -> StoredRelation {
        let endpoint =
            |application: &str| Endpoint { application: application.to_owned(), name: "metrics-endpoint".to_owned() };
        let mut all = BTreeMap::new();
        for (owner, version) in bags {
            let role = if owner.starts_with(APPLICATION) { Role::Requirer } else { Role::Provider };
            all.insert((role, (*owner).to_owned()), Bag { version: *version, content: BTreeMap::new() });
        }
        let interface = "prometheus_scrape".to_owned();
        StoredRelation { id, interface, provider: endpoint("zinc"), requirer: endpoint(APPLICATION), bags: all }
    }

    #[track_caller]
    fn check(before: &[StoredRelation], after: &[StoredRelation], expected: &[&str]) {
        let before = World { relations: before.to_vec(), ..World::default() };
        let world = World { relations: after.to_vec(), seen: seen(&before), ..World::default() };
        let text = |event: &RelationEvent| {
            format!("{} {} {}", event.relation, event.kind.as_str(), event.unit.as_deref().unwrap_or("-"))
        };
        assert_eq!(derive(&world).iter().map(text).collect::<Vec<_>>(), expected);
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
