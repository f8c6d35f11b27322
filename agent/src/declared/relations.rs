//! Makes the relations in the state store as the files of `relations.d` say.
//!
//! The store remembers for each declared relation its file and what the file asked for. So what did not change is not touched, a
//! relation that is still declared keeps its id, and a file that cannot be understood keeps what it declared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use relatum_relations::endpoints::APPLICATION;
use sha2::{Digest as _, Sha256};

use super::file::{self, Declared, Fault};
use super::folder::{Content, Folder};
use crate::control::{Failure, Problem};
use crate::packed::PackedText;
use crate::relate::{self, RelateError};
use crate::store::{Change, Declaration, Role, Store, StoreError, World};

/// The folder, and what was understood of its files.
#[derive(Debug)]
pub struct Declarations {
    folder: Folder,
    /// By file, with its text and whether it names others.
    understood: BTreeMap<String, (PackedText, Understood, bool)>,
    settled: Option<Settled>,
}

type Understood = Result<Vec<Declared>, Vec<Fault>>;

/// A look after which nothing was left to do, so that the same one need not be taken again.
#[derive(Debug)]
struct Settled {
    files: BTreeMap<String, Content>,
    stored: Arc<BTreeMap<u64, Declaration>>,
    problems: Vec<Problem>,
}

impl Settled {
    fn is(&self, files: &BTreeMap<String, Content>, stored: &Arc<BTreeMap<u64, Declaration>>) -> bool {
        Arc::ptr_eq(&self.stored, stored) && self.files == *files
    }
}

/// What all files together ask for.
#[derive(Debug, Default)]
struct Wanted {
    /// By file, in order; of two that declare one relation the first counts.
    relations: Vec<(String, Declared)>,
    /// Files whose relations stay as they are.
    unclear: Vec<String>,
    /// Whether there are files that name others.
    names_files: bool,
    problems: Vec<Problem>,
}

impl Declarations {
    /// Those in `config`, the config directory.
    pub fn new(config: PathBuf) -> Self {
        Declarations {
            folder: Folder::new(config.join(super::RELATIONS), &["yaml", "yml"]),
            understood: BTreeMap::new(),
            settled: None,
        }
    }

    /// Brings the store to what the files say, in one mutation or none, and gives what is wrong with them.
    pub fn sync(&mut self, store: &Mutex<Store>) -> Result<Vec<Problem>, StoreError> {
        let files = match self.folder.read() {
            Ok(files) => files,
            // Without the folder nobody knows what is declared, so all stays.
            Err(reason) => return Ok(vec![self.problem(None, 0, 0, reason)]),
        };
        let mut store = crate::lock(store);
        let stored = store.world()?.declared;
        if let Some(settled) = self.settled.as_ref().filter(|settled| settled.is(&files, &stored)) {
            return Ok(settled.problems.clone());
        }
        let hashes = hashes(&files);
        if self.settled.is_none() && !files.is_empty() && Some(store.declaring_files()?) == hashes {
            self.settled = Some(Settled { files, stored, problems: Vec::new() });
            return Ok(Vec::new());
        }
        let given = files.clone();
        let mut wanted = self.wanted(files);
        if wanted.is_in(&stored) {
            self.share_requests(&stored);
            let problems = wanted.problems.clone();
            self.settled = (!wanted.names_files).then_some(Settled { files: given, stored, problems });
            let is_clear = self.settled.is_some() && wanted.problems.is_empty();
            if let Some(hashes) = hashes.filter(|_| is_clear)
                && store.declaring_files()? != hashes
            {
                store.remember_declaring(&hashes)?;
            }
            return Ok(wanted.problems);
        }
        let description = format!("declared in {}", super::RELATIONS);
        let author = format!("file {}", super::RELATIONS);
        let (_, failed) = store.mutate_by::<_, StoreError>(&author, &description, |change| apply(&wanted, change))?;
        for (file, line, failure) in failed {
            let mut problem = self.problem(Some(&file), line, 0, failure.message);
            problem.hint = failure.hint;
            wanted.problems.push(problem);
        }
        Ok(wanted.problems)
    }

    /// Keeps the requests of all files, which are those in the store, once and not twice.
    fn share_requests(&mut self, stored: &BTreeMap<u64, Declaration>) {
        let stored: HashMap<Key<'_>, &Declaration> = stored.values().map(|known| (known.key(), known)).collect();
        for one in self.understood.values_mut().filter_map(|(_, understood, _)| understood.as_mut().ok()).flatten() {
            if let Some(known) = stored.get(&one.key()).filter(|known| known.request == one.request) {
                one.request = known.request.clone();
            }
        }
    }

    fn wanted(&mut self, files: BTreeMap<String, Content>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut before = std::mem::take(&mut self.understood);
        let mut owners: HashMap<(String, String), String> = HashMap::new();
        for (name, content) in files {
            let text = match content {
                Ok(text) => text,
                Err(reason) => {
                    wanted.problems.push(self.problem(Some(&name), 0, 0, reason));
                    wanted.unclear.push(name);
                    continue;
                }
            };
            let (understood, names_files) = match before.remove(&name) {
                // Files that entries name may have changed though the file has not, so such a file is always read anew.
                Some((known, understood, false)) if known == text => (understood, false),
                _ => {
                    let plain = text.read();
                    let names_files = plain.contains("-file") || plain.contains("rules:");
                    (file::parse(&plain, self.folder.path()), names_files)
                }
            };
            wanted.names_files |= names_files;
            match &understood {
                Ok(declared) => {
                    for one in declared {
                        let key = (one.endpoint.clone(), one.application.clone());
                        if let Some(other) = owners.get(&key) {
                            let message =
                                format!("{} with {} is declared in {other} already", one.endpoint, one.application);
                            wanted.problems.push(self.problem(Some(&name), one.line, 0, message));
                            continue;
                        }
                        owners.insert(key, name.clone());
                        wanted.relations.push((name.clone(), one.clone()));
                    }
                }
                Err(faults) => {
                    for fault in faults {
                        wanted.problems.push(self.problem(
                            Some(&name),
                            fault.line,
                            fault.column,
                            fault.message.clone(),
                        ));
                    }
                    wanted.unclear.push(name.clone());
                }
            }
            self.understood.insert(name, (text, understood, names_files));
        }
        wanted
    }

    fn problem(&self, file: Option<&str>, line: u64, column: u64, message: String) -> Problem {
        let path = file.map_or_else(|| self.folder.path().to_owned(), |file| self.folder.path().join(file));
        let mut key = path.display().to_string();
        if line > 0 {
            key += &format!(":{line}");
        }
        if line > 0 && column > 0 {
            key += &format!(":{column}");
        }
        let hint = file.map(|_| "what it declared before stays".to_owned());
        Problem { key: Some(key), message, hint, ..Problem::default() }
    }
}

/// What the files say, as hashes; `None` if one cannot be read. Another version of this program may understand them otherwise.
fn hashes(files: &BTreeMap<String, Content>) -> Option<BTreeMap<String, String>> {
    let hash = |text: &PackedText| {
        let mut hasher = Sha256::new_with_prefix(concat!(env!("CARGO_PKG_VERSION"), "\n"));
        hasher.update(text.read());
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    files.iter().map(|(name, content)| Some((name.clone(), hash(content.as_ref().ok()?)))).collect()
}

impl Wanted {
    /// Whether the store says the same already.
    fn is_in(&self, stored: &BTreeMap<u64, Declaration>) -> bool {
        let of_clear = stored.values().filter(|known| !self.unclear.contains(&known.file));
        let by_key: HashMap<Key<'_>, &Declaration> = of_clear.map(|known| (known.key(), known)).collect();
        by_key.len() == self.relations.len()
            && self.relations.iter().all(|(file, one)| {
                let known = by_key.get(&one.key());
                known.is_some_and(|known| known.file == *file && known.request == one.request)
            })
    }
}

/// What tells one declared relation from all others: our endpoint, and the application at the other side.
type Key<'a> = (&'a str, &'a str);

impl Declaration {
    fn key(&self) -> Key<'_> {
        (&self.endpoint, &self.application)
    }
}

impl Declared {
    fn key(&self) -> Key<'_> {
        (&self.endpoint, &self.application)
    }
}

/// Does what is to be done; each relation alone, so that one that cannot be made keeps no other from being made.
fn apply(wanted: &Wanted, change: &Change<'_>) -> Result<Vec<(String, u64, Failure)>, StoreError> {
    let mut world = change.world()?;
    let mut failed = Vec::new();
    let stored = world.declared.clone();
    let stored: HashMap<Key<'_>, &Declaration> = stored.values().map(|known| (known.key(), known)).collect();
    let keys: HashSet<Key<'_>> = wanted.relations.iter().map(|(_, one)| one.key()).collect();
    let is_gone = |known: &Declaration| !wanted.unclear.contains(&known.file) && !keys.contains(&known.key());
    let gone: Vec<u64> = world.declared.iter().filter(|(_, known)| is_gone(known)).map(|(id, _)| *id).collect();
    for id in gone {
        change.forget_declaration(id)?;
        if world.relation(id).is_some() {
            relate::remove_declared(id, &world, change)?;
        }
        change.refresh(&mut world, id)?;
    }
    let by_hand = related_by_hand(&world);
    for (file, one) in &wanted.relations {
        let known = stored.get(&one.key()).copied();
        let declaration = Declaration {
            file: file.clone(),
            endpoint: one.endpoint.clone(),
            application: one.application.clone(),
            request: one.request.clone(),
        };
        if known == Some(&declaration) {
            continue;
        }
        if let Some(other) = known.filter(|other| wanted.unclear.contains(&other.file)) {
            let message = format!(
                "{} with {} is declared in {}, which cannot be understood now",
                one.endpoint, one.application, other.file
            );
            failed.push((file.clone(), one.line, Failure::failed(message)));
            continue;
        }
        if known.is_none() && by_hand.contains(&(one.endpoint.clone(), one.application.clone())) {
            let message = format!("{} is related with {} by hand already", one.endpoint, one.application);
            let hint = "remove that relation with `relatum remove-relation` first";
            failed.push((file.clone(), one.line, Failure::failed(message).hint(hint)));
            continue;
        }
        let attempt = change.attempt(|| -> Result<u64, RelateError> {
            let request = serde_json::from_str(&one.request.read()).expect("what was written as a request is one");
            let relation = relate::declare(&request, &world, change)?;
            change.put_declaration(relation, &declaration)?;
            Ok(relation)
        });
        match attempt {
            Ok(relation) => change.refresh(&mut world, relation)?,
            Err(RelateError::Refused(failure)) => failed.push((file.clone(), one.line, failure)),
            Err(RelateError::Store(error)) => return Err(error),
        }
    }
    Ok(failed)
}

/// Our endpoint and the other application of every relation that no file declares.
fn related_by_hand(world: &World) -> HashSet<(String, String)> {
    let by_hand = world.relations.iter().filter(|relation| !world.declared.contains_key(&relation.id));
    let sides = by_hand.flat_map(|relation| {
        [Role::Provider, Role::Requirer].map(|role| (relation.end(role), relation.end(role.other())))
    });
    let ours = sides.filter(|(ours, _)| ours.application == APPLICATION);
    ours.map(|(ours, theirs)| (ours.name.clone(), theirs.application.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::control::{Document, Relate};
    use crate::relate::Which;
    use crate::store::{Model, Origin};

    struct Bench {
        dir: TempDir,
        store: Mutex<Store>,
        declarations: Declarations,
    }

    impl Bench {
        fn new() -> Bench {
            let dir = TempDir::new().unwrap();
            let mut store = Store::open(&dir.path().join("data"), Arc::new(|| 0)).unwrap();
            let model = Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec78".into() };
            store
                .mutate::<_, StoreError>("begin", |change| {
                    change.set_model(&model)?;
                    change.put_application(APPLICATION, Origin::Builtin, "relatum", "{}")?;
                    change.put_unit(APPLICATION, 0)
                })
                .unwrap();
            fs::create_dir(dir.path().join(super::super::RELATIONS)).unwrap();
            let declarations = Declarations::new(dir.path().to_owned());
            Bench { store: Mutex::new(store), declarations, dir }
        }

        /// Writes `text` into the file, or removes the file, and looks. What there is then, and parts of what is wrong.
        #[track_caller]
        fn check(&mut self, file: &str, text: Option<&str>, relations: &[&str], problems: &[&str]) {
            let path = self.dir.path().join(super::super::RELATIONS).join(file);
            match text {
                // Written aside and moved, as the time of a change may not be finer than the test is fast.
                Some(text) => {
                    fs::write(path.with_extension("new"), text).unwrap();
                    fs::rename(path.with_extension("new"), path).unwrap();
                }
                None => fs::remove_file(path).unwrap(),
            }
            let found = self.declarations.sync(&self.store).unwrap();
            let world = crate::lock(&self.store).world().unwrap();
            let shown: Vec<String> = world
                .relations
                .iter()
                .map(|relation| {
                    let theirs = if relation.provider.application == APPLICATION {
                        &relation.requirer
                    } else {
                        &relation.provider
                    };
                    let units = relation
                        .bags
                        .keys()
                        .filter(|(_, owner)| owner.starts_with(&format!("{}/", theirs.application)));
                    let units: Vec<&str> = units.map(|(_, owner)| owner.rsplit('/').next().unwrap()).collect();
                    format!("{} {} {}", relation.id, theirs.application, units.join(","))
                })
                .collect();
            assert_eq!(shown, relations);
            assert_eq!(found.len(), problems.len(), "{found:?}");
            for (problem, part) in found.iter().zip(problems) {
                assert!(problem.to_string().contains(part), "{part} in {problem}");
            }
            // Looking again finds the same, and changes nothing.
            let revision = world.revision;
            assert_eq!(self.declarations.sync(&self.store).unwrap().len(), problems.len());
            assert_eq!(crate::lock(&self.store).revision().unwrap(), revision);
        }

        fn relate(&self, words: &[&str]) -> Result<u64, RelateError> {
            let request = Relate {
                arguments: words.iter().map(|word| (*word).to_owned()).collect(),
                databag: Some(Document { name: "f".into(), text: "{application: hand, units: {hand/0: {}}}".into() }),
                ..Relate::default()
            };
            let mut store = crate::lock(&self.store);
            store.mutate("relate", |change| relate::relate(&request, change)).map(|(_, outcome)| outcome.relation)
        }
    }

    #[test]
    fn files_make_change_and_remove_relations() {
        let mut bench = Bench::new();
        let two = "relations:\n- {endpoint: metrics-endpoint, application: a, addresses: ['h:1', 'h:2']}\n\
                   - {endpoint: ingress, application: b, app: {}, units: {b/0: {}, b/1: {}}}\n";
        bench.check("x.yaml", Some(two), &["1 a 0,1", "2 b 0,1"], &[]);
        // A half-written file, and one of two documents.
        bench.check("x.yaml", Some("relations:\n- {endpoint: met"), &["1 a 0,1", "2 b 0,1"], &["x.yaml:2:"]);
        bench.check("x.yaml", Some("relations: []\n---\n{}"), &["1 a 0,1", "2 b 0,1"], &["multiple"]);
        // An address goes, another comes: units that stay keep their number, and the relation its id.
        let other = "relations:\n- {endpoint: ingress, application: b, app: {}, units: {b/1: {}}}\n\
                     - {endpoint: metrics-endpoint, application: a, addresses: ['h:3', 'h:2'], labels: {x: y}}\n";
        bench.check("x.yaml", Some(other), &["1 a 1,2", "2 b 1"], &[]);
        // Two files for one relation: the first by name counts. One that cannot be made keeps no other from being made.
        let more = "relations:\n- {endpoint: metrics-endpoint, application: a, addresses: ['h:9']}\n\
                    - {endpoint: metrics-endpoint, application: c, addresses: ['h:1'], labels: {job: x}}\n\
                    - {endpoint: alertmanager, addresses: ['h:1']}\n";
        bench.check(
            "y.yaml",
            Some(more),
            &["1 a 1,2", "2 b 1", "3 alertmanager 0"],
            &["declared in x.yaml already", "y.yaml:3: --label job is set by the agent"],
        );
        // Another file declares it still: the relation stays.
        bench.check("x.yaml", None, &["1 a 3", "3 alertmanager 0"], &["--label job"]);
        bench.check("y.yaml", None, &[], &[]);
    }

    #[test]
    fn a_start_understands_only_what_is_not_understood_yet() {
        let mut bench = Bench::new();
        let of = |host: &str| {
            format!("relations: [{{endpoint: metrics-endpoint, application: a, addresses: ['{host}:1', 'h:2']}}]")
        };
        bench.check("x.yaml", Some(&of("h")), &["1 a 0,1"], &[]);
        let restart = |bench: &mut Bench| {
            bench.declarations = Declarations::new(bench.dir.path().to_owned());
            assert_eq!(bench.declarations.sync(&bench.store).unwrap(), []);
            bench.declarations.understood.len()
        };
        assert_eq!(restart(&mut bench), 0, "the file was not parsed");
        // It counts all the same, as soon as something is otherwise.
        bench.check("y.yaml", Some("relations: []"), &["1 a 0,1"], &[]);
        bench.check("x.yaml", Some(&of("other")), &["1 a 1,2"], &[]);
        assert_eq!(restart(&mut bench), 0);
        let forget = |change: &Change<'_>| change.forget_declaration(1);
        crate::lock(&bench.store).mutate::<_, StoreError>("forget", forget).unwrap();
        assert!(crate::lock(&bench.store).declaring_files().unwrap().is_empty());
    }

    #[test]
    fn what_is_declared_changes_only_in_its_file() {
        let mut bench = Bench::new();
        let id = bench.relate(&["ingress"]).unwrap();
        let hand = "relations: [{endpoint: ingress, application: hand, app: {}, units: {hand/0: {}}}]";
        bench.check("x.yaml", Some(hand), &["1 hand 0"], &["related with hand by hand already"]);
        let remove = |bench: &Bench| {
            let mut store = crate::lock(&bench.store);
            store.mutate::<_, RelateError>("remove", |change| relate::remove(&Which::Id(id), change)).map(drop)
        };
        remove(&bench).unwrap();
        bench.check("x.yaml", Some(hand), &["2 hand 0"], &[]);
        let refused = bench.relate(&["ingress"]).unwrap_err().to_string();
        assert!(refused.contains("declared in relations.d/x.yaml"), "{refused}");
    }
}
