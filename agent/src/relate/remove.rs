//! `remove-relation`, and how a relation is named on the command line.

use relatum_relations::endpoints::APPLICATION;

use super::{RelateError, applications};
use crate::control::Failure;
use crate::declared::RELATIONS;
use crate::store::{Change, Origin, StoreError, StoredRelation, World};

/// How somebody names a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Its number.
    Id(u64),
    /// One of its endpoints and its number, as juju and our status name it.
    Key(String, u64),
    /// Two of `APP[:ENDPOINT]`.
    Ends(String, String),
}

impl Which {
    /// Reads `ID`, `endpoint:ID`, `"a:x b:y"` or two words.
    pub fn parse(arguments: &[String]) -> Result<Which, Failure> {
        let words: Vec<&str> = arguments.iter().flat_map(|argument| argument.split_whitespace()).collect();
        match words.as_slice() {
            [word] => {
                let which = match word.rsplit_once(':') {
                    Some((endpoint, id)) => id.parse().map(|id| Which::Key(endpoint.to_owned(), id)),
                    None => word.parse().map(Which::Id),
                };
                which.map_err(|_| {
                    Failure::usage(format!("{word:?} does not name a relation"))
                        .hint("write its ID, as `relatum status --relations` shows it, or \"a:x b:y\"")
                })
            }
            [a, b] => Ok(Which::Ends((*a).to_owned(), (*b).to_owned())),
            _ => Err(Failure::usage("a relation is named by its ID or by two of APP[:ENDPOINT]")),
        }
    }
}

const LISTED: &str = "`relatum status --relations` lists them";

/// The relation that `which` names.
pub fn find<'a>(which: &Which, world: &'a World) -> Result<&'a StoredRelation, Failure> {
    match which {
        Which::Id(id) => {
            let found = world.relation(*id).map(|relation| &**relation);
            found.ok_or_else(|| Failure::failed(format!("relation {id} not found")).hint(LISTED))
        }
        Which::Key(endpoint, id) => world
            .relation(*id)
            .map(|relation| &**relation)
            .filter(|relation| [&relation.provider, &relation.requirer].iter().any(|end| end.name == *endpoint))
            .ok_or_else(|| Failure::failed(format!("relation {endpoint}:{id} not found")).hint(LISTED)),
        Which::Ends(a, b) => {
            let fits = |relation: &&StoredRelation| {
                let is = |text: &str, end: &crate::store::Endpoint| text == end.application || text == end.to_string();
                (is(a, &relation.requirer) && is(b, &relation.provider))
                    || (is(b, &relation.requirer) && is(a, &relation.provider))
            };
            let found: Vec<&StoredRelation> = world.relations.iter().map(|relation| &**relation).filter(fits).collect();
            match found.as_slice() {
                [relation] => Ok(relation),
                [] => {
                    // Says what is wrong with the names, if something is.
                    applications::infer(a, b, world)?;
                    Err(Failure::failed(format!("relation \"{a} {b}\" not found")))
                }
                several => {
                    let mut keys: Vec<String> = several
                        .iter()
                        .map(|relation| format!("\"{} {}\"", relation.requirer, relation.provider))
                        .collect();
                    keys.sort();
                    Err(Failure::failed(format!("ambiguous relation: \"{a} {b}\" could refer to {}", keys.join("; "))))
                }
            }
        }
    }
}

/// Removes a relation, and the applications that were only known through it.
pub fn remove(which: &Which, change: &Change<'_>) -> Result<StoredRelation, RelateError> {
    let world = change.world()?;
    let relation = find(which, &world)?;
    refuse_declared(relation.id, &world)?;
    take_away(relation, &world, change)?;
    Ok(relation.clone())
}

/// Removes the relation `id`, which its file does not declare any more.
pub(crate) fn remove_declared(id: u64, world: &World, change: &Change<'_>) -> Result<(), StoreError> {
    match world.relation(id) {
        Some(relation) => take_away(relation, world, change),
        None => Ok(()),
    }
}

/// What a file declares can be changed and removed only there; else the next look at the file would undo it.
pub(super) fn refuse_declared(id: u64, world: &World) -> Result<(), Failure> {
    match world.declared.get(&id) {
        Some(declared) => Err(Failure::failed(format!("relation {id} is declared in {}/{}", RELATIONS, declared.file))
            .hint("change or remove it there")),
        None => Ok(()),
    }
}

pub(super) fn take_away(relation: &StoredRelation, world: &World, change: &Change<'_>) -> Result<(), StoreError> {
    change.remove_relation(relation.id)?;
    for end in [&relation.provider, &relation.requirer] {
        let others = world.relations.iter().filter(|other| other.id != relation.id);
        let still_related = others
            .flat_map(|other| [&other.provider, &other.requirer])
            .any(|other| other.application == end.application);
        let ours = end.application == APPLICATION
            || world.applications.get(&end.application).is_none_or(|known| known.origin == Origin::Builtin);
        if !still_related && !ours {
            change.remove_application(&end.application)?;
        }
    }
    Ok(())
}
