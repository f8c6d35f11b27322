//! `relatum backup` and `relatum restore`: all of an agent, or of the store of a server without one, in one folder, and back.
//!
//! A backup is a copy of the data directory, in which the samples are a store of their own, and a list of its files with their
//! checksums (`docs/formats/backup.md`). The list is written last, so a folder without it is no backup. An agent that runs goes on
//! meanwhile: it copies state and samples itself, as they are at one moment each.

mod files;
mod folders;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_agent::control::MakeCopy;
use relatum_agent::control::client::Client;
use relatum_agent::store::{OpenError, Store as State};
use relatum_tsdb::{OpenError as OpenSamplesError, Options, Store as Samples, inspect};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::files::{checksum, copy, files_of, inside};
use self::folders::{Lent, check_empty, give_back, make_private};
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{counted, good};

/// The list of files.
const LIST: &str = "backup.json";
/// The version of the format this code writes and reads.
const VERSION: u32 = 1;
/// The state of relations; without it a folder is no data directory.
const STATE: &str = "state.db";
/// How often a file is copied that an agent changes meanwhile.
const TRIES: usize = 5;
/// Where the samples are.
const SAMPLES: &str = "tsdb";
/// What each store of samples has: its log and its blocks.
const LOG: &str = "wal";
const BLOCKS: &str = "blocks";

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The folder to write; it must not be there, or be empty
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The folder that `relatum backup` wrote
    #[arg(value_name = "DIR")]
    from: PathBuf,
}

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    crc32c: u32,
}

/// Writes everything of the agent into a folder and reads it back.
pub(crate) fn backup(global: &Global, args: &BackupArgs) -> Result<(), CommandFailure> {
    let data_dir = data_dir(global);
    let list = write(&data_dir, &args.to)?;
    say(global, &list, &format!("{} holds all of {}", args.to.display(), data_dir.display()))
}

/// Makes a data directory of a backup. Nothing is overwritten.
pub(crate) fn restore(global: &Global, args: &RestoreArgs) -> Result<(), CommandFailure> {
    let data_dir = data_dir(global);
    let list = read(&args.from, &data_dir)?;
    say(global, &list, &format!("{} is as it was", data_dir.display()))
}

fn data_dir(global: &Global) -> PathBuf {
    global.data_dir.clone().unwrap_or_else(relatum_agent::options::data_dir)
}

fn say(global: &Global, list: &List, text: &str) -> Result<(), CommandFailure> {
    let bytes: u64 = list.files.iter().map(|file| file.bytes).sum();
    global.format.print(&json!({ "files": list.files.len(), "bytes": bytes }), |_| {
        format!("{}: {}, {bytes} bytes\n", good(text), counted(list.files.len() as u64, "file", "files"))
    })
}

fn failed(what: &str, path: &Path, error: &dyn std::error::Error) -> CommandFailure {
    CommandFailure::failed(format!("cannot {what} {}: {}", path.display(), chain(error)))
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn write(data_dir: &Path, to: &Path) -> Result<List, CommandFailure> {
    if !data_dir.join(STATE).is_file() {
        return if data_dir.join(LOG).is_dir() {
            write_store(data_dir, to)
        } else {
            Err(CommandFailure::failed(format!("there is no agent in {}, and no store", data_dir.display())))
        };
    }
    check_empty(to)?;
    let whole = match State::open(data_dir, Arc::new(|| 0)) {
        // Both are held to the end: what is copied stands still.
        Ok(state) => Some(state),
        Err(OpenError::InUse(_)) => None,
        Err(error) => return Err(failed("open", data_dir, &error)),
    };
    let mut files = Vec::new();
    files_of(data_dir, Path::new(""), &mut files).map_err(|error| failed("read", data_dir, &error))?;
    files.retain(|path| !path.starts_with(SAMPLES));
    make_private(to)?;
    let to = &fs::canonicalize(to).map_err(|error| failed("read", to, &error))?;
    let mut list = List { version: VERSION, files: Vec::new() };
    if whole.is_none() {
        // With its log, which the copy of the agent does not need.
        files.retain(|path| !path.as_os_str().to_string_lossy().starts_with(STATE));
        copy_running(data_dir, to)?;
        list.files.push(entry(to, PathBuf::from(STATE))?);
    }
    for path in files {
        list.files.extend(if whole.is_some() {
            Some(copy(data_dir, to, path)?)
        } else {
            copy_moving(data_dir, to, path)?
        });
    }
    let (samples, target) = (data_dir.join(SAMPLES), to.join(SAMPLES));
    if whole.is_some() && samples.is_dir() {
        copy_samples(&samples, &target)?;
    }
    if target.is_dir() {
        list.files.extend(samples_in(to, Path::new(SAMPLES), &samples)?);
    }
    finish(list, to)
}

/// The same for the folder of a server without an agent, which is the store itself.
fn write_store(store: &Path, to: &Path) -> Result<List, CommandFailure> {
    check_empty(to)?;
    make_private(to)?;
    let to = &fs::canonicalize(to).map_err(|error| failed("read", to, &error))?;
    copy_samples(store, to)?;
    finish(List { version: VERSION, files: samples_in(to, Path::new(""), store)? }, to)
}

/// The entries of the store that was copied from `samples` into the folder `store` of the backup, if it is whole.
fn samples_in(to: &Path, store: &Path, samples: &Path) -> Result<Vec<Entry>, CommandFailure> {
    let target = to.join(store);
    let found = inspect::verify(&target).map_err(|error| failed("read", &target, &error))?;
    if let Some(problem) = found.problems.first() {
        let text = format!("cannot back up {}: {}: {}", samples.display(), problem.file, problem.reason);
        return Err(CommandFailure::failed(text).hint("`relatum tsdb repair` saves what is left of it"));
    }
    let mut copied = Vec::new();
    files_of(to, store, &mut copied).map_err(|error| failed("read", &target, &error))?;
    copied.into_iter().map(|path| entry(to, path)).collect()
}

/// Writes the list, which makes a backup of the folder.
fn finish(list: List, to: &Path) -> Result<List, CommandFailure> {
    let path = to.join(LIST);
    let text = serde_json::to_vec_pretty(&list).map_err(|error| failed("write", &path, &error))?;
    let written = File::create_new(&path).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
    written.map_err(|error| failed("write", &path, &error))?;
    Ok(list)
}

/// Copies the samples of an agent or a server that is stopped.
fn copy_samples(samples: &Path, target: &Path) -> Result<(), CommandFailure> {
    let options =
        Options { retention: Duration::ZERO, sync_interval: None, maintenance_interval: None, ..Options::default() };
    let store = Samples::open(samples, options).map_err(|error| match error {
        OpenSamplesError::InUse { .. } => CommandFailure::failed(chain(&error))
            .hint("a server copies its store itself: POST /api/v1/admin/tsdb/snapshot, with --web.enable-admin-api"),
        error => CommandFailure::failed(chain(&error)),
    })?;
    fs::create_dir_all(target.join(LOG)).map_err(|error| failed("make", target, &error))?;
    store.snapshot(target).map_err(|error| failed("copy", samples, &error))?;
    store.close().map_err(|error| failed("close", samples, &error))
}

/// Has the agent that runs in `data_dir` copy what only it can.
fn copy_running(data_dir: &Path, to: &Path) -> Result<(), CommandFailure> {
    // It writes with its own permissions, which need not be ours.
    let owner = fs::metadata(data_dir.join(STATE)).map_err(|error| failed("read", data_dir, &error))?;
    let ask = |to: &Path| -> Result<bool, CommandFailure> {
        let made = crate::runtime()?.block_on(Client::new(data_dir).make_copy(&MakeCopy { to: to.to_owned() }))?;
        Ok(made.has_samples)
    };
    let has_samples = if owner.uid() == nix::unistd::geteuid().as_raw() {
        ask(to)?
    } else {
        let lent = Lent::to((owner.uid(), owner.gid()), to)?;
        let has_samples = ask(lent.path())?;
        lent.take()?;
        has_samples
    };
    if has_samples {
        let log = to.join(SAMPLES).join(LOG);
        fs::create_dir_all(&log).map_err(|error| failed("make", &log, &error))?;
    }
    Ok(())
}

/// Copies a file that may change meanwhile, or go, which is `None`.
fn copy_moving(from: &Path, to: &Path, path: PathBuf) -> Result<Option<Entry>, CommandFailure> {
    let mut tries = 0..TRIES;
    loop {
        let copied = copy(from, to, path.clone());
        if copied.is_err() && !from.join(&path).exists() {
            return Ok(None);
        }
        if copied.is_ok() || tries.next().is_none() {
            return copied.map(Some);
        }
    }
}

/// The entry of a file that was written.
fn entry(to: &Path, path: PathBuf) -> Result<Entry, CommandFailure> {
    let whole = to.join(&path);
    let (bytes, crc32c) = checksum(&whole).map_err(|error| failed("read", &whole, &error))?;
    Ok(Entry { path, bytes, crc32c })
}

fn read(from: &Path, data_dir: &Path) -> Result<List, CommandFailure> {
    let path = from.join(LIST);
    let text = fs::read(&path).map_err(|error| {
        failed("read", &path, &error).hint("a folder without this list is no backup, or one that was not finished")
    })?;
    let list: List = serde_json::from_slice(&text).map_err(|error| failed("read", &path, &error))?;
    if list.version != VERSION {
        let text = format!("cannot read {}: its format has version {}, not {VERSION}", path.display(), list.version);
        return Err(CommandFailure::failed(text));
    }
    check_empty(data_dir)?;
    // All of it is looked at before anything is written.
    for entry in &list.files {
        let whole = from.join(inside(&entry.path)?);
        let found = checksum(&whole).map_err(|error| failed("read", &whole, &error))?;
        if found != (entry.bytes, entry.crc32c) {
            return Err(CommandFailure::failed(format!("{} is not as it was written", whole.display())));
        }
    }
    let owner = make_private(data_dir)?;
    for entry in &list.files {
        copy(from, data_dir, entry.path.clone())?;
    }
    for store in [data_dir.join(SAMPLES), data_dir.to_owned()] {
        if store.join(BLOCKS).is_dir() {
            let log = store.join(LOG);
            fs::create_dir_all(&log).map_err(|error| failed("make", &log, &error))?;
        }
    }
    owner.map_or(Ok(()), |owner| give_back(data_dir, owner))?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use relatum_model::Labels;
    use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};

    use super::*;

    /// A data directory with a state, a key that only its owner reads, and a sample.
    fn agent(dir: &Path) {
        drop(State::open(dir, Arc::new(|| 7)).unwrap());
        fs::create_dir(dir.join("rendered")).unwrap();
        fs::write(dir.join("rendered/prometheus.yml"), "global: {}\n").unwrap();
        let store = Samples::open(&dir.join(SAMPLES), Options::for_history()).unwrap();
        let mut appender = store.appender();
        appender.append(SeriesRef::NONE, &Labels::from_pairs([("__name__", "a")]), 5, 2.5).unwrap();
        appender.commit().unwrap();
    }

    fn samples(dir: &Path) -> usize {
        let store = Samples::open(&dir.join(SAMPLES), Options::for_history()).unwrap();
        let reader = Select::open(&store, &Scope::all(), TimeRange::ALL).unwrap();
        let found = reader.series(&[], &Hints::default(), &Cancel::new()).unwrap();
        found.map(|series| series.unwrap().samples.len()).sum()
    }

    #[test]
    fn the_store_of_a_server_without_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        agent(&at("data"));
        let store = at("data").join(SAMPLES);
        {
            let _running = Samples::open(&store, Options::for_history()).unwrap();
            check_refused(write(&store, &at("b")), "/api/v1/admin/tsdb/snapshot");
        }
        write(&store, &at("b")).unwrap_or_else(|failure| panic!("{failure:?}"));
        read(&at("b"), &at("new").join(SAMPLES)).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(at("new").join(SAMPLES).join(LOG).is_dir());
        assert_eq!(samples(&at("new")), 1);
    }

    #[track_caller]
    fn check_refused<T>(result: Result<T, CommandFailure>, part: &str) {
        match result {
            Ok(_) => panic!("it is not refused: {part}"),
            Err(failure) => assert!(format!("{failure:?}").contains(part), "{failure:?}"),
        }
    }

    #[test]
    fn what_is_backed_up_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        check_refused(write(&at("data"), &at("b")), "there is no agent");
        agent(&at("data"));
        {
            let _running = State::open(&at("data"), Arc::new(|| 7)).unwrap();
            // Somebody holds it who answers nobody.
            check_refused(write(&at("data"), &at("b")), "cannot reach an agent");
            fs::set_permissions(at("b"), Permissions::from_mode(0o755)).unwrap();
        }
        write(&at("data"), &at("b")).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(fs::metadata(at("b")).unwrap().mode() & 0o007, 0, "others may look into it");
        check_refused(write(&at("data"), &at("b")), "it is not empty");
        check_refused(read(&at("b"), &at("data")), "it is not empty");
        read(&at("b"), &at("new")).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(fs::read_to_string(at("new/rendered/prometheus.yml")).unwrap(), "global: {}\n");
        assert_eq!(samples(&at("new")), 1);
        drop(State::open(&at("new"), Arc::new(|| 7)).unwrap());

        let file = at("b/rendered/prometheus.yml");
        fs::write(&file, "global: []\n").unwrap();
        check_refused(read(&at("b"), &at("other")), "is not as it was written");
        assert!(!at("other").exists(), "nothing was written");
        fs::remove_file(at("b").join(LIST)).unwrap();
        check_refused(read(&at("b"), &at("other")), "is no backup");
        let text = json!({ "version": VERSION, "files": [{ "path": "../x", "bytes": 0, "crc32c": 0 }] }).to_string();
        fs::write(at("b").join(LIST), text).unwrap();
        check_refused(read(&at("b"), &at("other")), "does not lie inside");
    }
}
