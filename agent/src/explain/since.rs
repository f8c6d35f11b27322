//! Since when a databag says something: the newest revision before which it said something else there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use crate::control::{BagPlace, Since};
use crate::store::{BagBefore, Role, Store, World};

/// Who knows what databags said.
pub(crate) trait History {
    /// What a databag said before each revision that wrote it, newest first.
    fn of(&self, relation: u64, role: Role, owner: &str) -> Vec<BagBefore>;
    /// The oldest revision that is known.
    fn oldest(&self) -> u64;
}

type Bag = (u64, Role, String);

/// The state store, asked once for each databag.
pub(crate) struct Stored<'a> {
    store: &'a Mutex<Store>,
    known: RefCell<BTreeMap<Bag, Vec<BagBefore>>>,
}

impl<'a> Stored<'a> {
    /// The history in `store`.
    pub(crate) fn new(store: &'a Mutex<Store>) -> Self {
        Stored { store, known: RefCell::default() }
    }
}

impl History for Stored<'_> {
    fn of(&self, relation: u64, role: Role, owner: &str) -> Vec<BagBefore> {
        let mut known = self.known.borrow_mut();
        let read = || crate::lock(self.store).bag_history(relation, role, owner).unwrap_or_default();
        known.entry((relation, role, owner.to_owned())).or_insert_with(read).clone()
    }

    fn oldest(&self) -> u64 {
        crate::lock(self.store).reach().map_or(0, |reach| *reach.start())
    }
}

/// Since when `source` says what it does.
pub(super) fn since(
    history: &dyn History,
    world: &World,
    relation: u64,
    role: Role,
    source: &BagPlace,
) -> Option<Since> {
    let bag = world.relation(relation)?.bags.get(&(role, source.owner.clone()))?;
    let says = |text: Option<&String>| {
        let text = text?;
        match source.path.is_empty() {
            true => Some(Value::from(text.as_str())),
            false => at(&serde_json::from_str(text).ok()?, &source.path).cloned(),
        }
    };
    let now = says(bag.content.read().get(&source.key));
    for before in history.of(relation, role, &source.owner) {
        if says(before.content.as_ref().and_then(|content| content.get(&source.key))) != now {
            let revision = before.revision;
            let (author, description) = (revision.author, revision.description);
            return Some(Since {
                revision: revision.id,
                at_ms: revision.at_ms,
                author,
                description,
                or_earlier: false,
            });
        }
    }
    Some(Since { revision: history.oldest(), or_earlier: true, ..Since::default() })
}

/// What stands at a path such as `[0].static_configs[1].targets`.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut value = value;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        value = match step.strip_suffix(']') {
            Some(number) => value.get(number.parse::<usize>().ok()?)?,
            None => value.get(step)?,
        };
    }
    Some(value)
}
