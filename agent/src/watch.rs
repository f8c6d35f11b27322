//! Wakes the loop when something in the config directory changes.
//!
//! Folders are watched, not files: editors and kubelets replace files and swap links, and a watch on a file dies with it. What an
//! event says is not looked at; the pass reads what is there. A slow look at names, sizes and times is the net for file systems
//! that tell nothing, and for folders that came later than we did.

mod writers;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::daemon::Agent;
use crate::declared::folder::{Stamp, is_young, stamp};
use crate::declared::{RELATIONS, RULES, SCRAPES};
use crate::events::Event;
use writers::Writers;

/// How long a burst may go on before the loop looks: editors and unpackers touch several files at once.
const QUIET: Duration = Duration::from_millis(5);

/// How long somebody may take to write a file; then what is there of it counts.
const WRITING_MAX: Duration = Duration::from_secs(1);

/// How often the folders are looked at though nobody said that anything changed.
const POLL: Duration = Duration::from_secs(30);

/// More files than are worth comparing; beyond it the events have to do.
const FILES_MAX: usize = 50_000;

/// What is larger is told apart by size and time alone.
const HASHED_BYTES_MAX: u64 = 4 << 20;

/// Watches `config`, the folder of `relatum.yaml`, until the agent stops.
pub(crate) async fn run(agent: Arc<Agent>, config: PathBuf) {
    let changed = Arc::new(Notify::new());
    let writers = Arc::new(Mutex::new(Writers::default()));
    let (wake, heard) = (Arc::clone(&changed), Arc::clone(&writers));
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) => {
            if crate::lock(&heard).hear(&event) {
                wake.notify_one();
            }
        }
        // For instance more events than the kernel keeps: then everything may have changed.
        Err(error) => {
            debug!(%error, "watching missed something");
            wake.notify_one();
        }
    });
    let mut watched = match watcher {
        Ok(watcher) => Some(Watched { watcher, folders: BTreeMap::new() }),
        Err(error) => {
            warn!(%error, "changed files are noticed only every {} seconds", POLL.as_secs());
            None
        }
    };
    let mut seen = look(&config, &BTreeMap::new());
    loop {
        if let Some(watched) = &mut watched {
            watched.follow(&config);
        }
        tokio::select! {
            () = agent.stopping.cancelled() => return,
            () = changed.notified() => settle(&changed, &writers).await,
            // The rendered files, too, are looked at now and then.
            () = tokio::time::sleep(POLL) => drop(agent.queue.push(Event::TimePassed)),
        }
        let now = look(&config, &seen);
        let is_changed = !now.iter().map(Looked::said).eq(seen.iter().map(Looked::said));
        seen = now;
        if is_changed {
            agent.queue.push(Event::ConfigChanged);
        }
    }
}

/// Waits until a burst is over and nobody is in the middle of a file.
async fn settle(changed: &Notify, writers: &Mutex<Writers>) {
    let settled = async {
        loop {
            tokio::time::sleep(QUIET).await;
            if crate::lock(writers).is_quiet() {
                return;
            }
            changed.notified().await;
        }
    };
    if tokio::time::timeout(WRITING_MAX, settled).await.is_err() {
        crate::lock(writers).give_up();
    }
}

struct Watched {
    watcher: RecommendedWatcher,
    /// The folders that are watched, with what identifies them: one that was replaced must be watched anew.
    folders: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watched {
    /// Watches all folders that are there now.
    fn follow(&mut self, config: &Path) {
        let identity = |path: &Path| {
            let stamp = fs::metadata(path).ok().filter(fs::Metadata::is_dir).map(|metadata| stamp(&metadata))?;
            Some((stamp.0, stamp.1))
        };
        for (path, mode) in folders(config) {
            let now = identity(&path);
            if self.folders.get(&path).copied() == now {
                continue;
            }
            if self.folders.remove(&path).is_some() {
                // It is gone already, as often as not.
                let _ = self.watcher.unwatch(&path);
            }
            if let Some(now) = now {
                match self.watcher.watch(&path, mode) {
                    Ok(()) => drop(self.folders.insert(path, now)),
                    Err(error) => debug!(%error, path = %path.display(), "cannot watch"),
                }
            }
        }
    }
}

/// What is watched: the config directory, the folders in it that count, and, for the day it comes, the folder it would be in.
fn folders(config: &Path) -> Vec<(PathBuf, RecursiveMode)> {
    let mut folders = vec![(config.to_owned(), RecursiveMode::NonRecursive)];
    if !config.is_dir() {
        folders.extend(config.parent().map(|parent| (parent.to_owned(), RecursiveMode::NonRecursive)));
    }
    for name in [RELATIONS, SCRAPES, RULES] {
        folders.push((config.join(name), RecursiveMode::NonRecursive));
    }
    folders.push((config.join("templates"), RecursiveMode::Recursive));
    folders
}

/// A file as it was when it was looked at.
struct Looked {
    stamp: Stamp,
    /// Of the content, where the time cannot tell one writing from the next; kept for as long as the stamp is the same.
    hash: Option<u64>,
    /// Whether another writing may have left the same stamp.
    is_young: bool,
}

impl Looked {
    fn at(path: &Path, stamp: Stamp, before: Option<&Looked>) -> Looked {
        let is_young = is_young(stamp);
        let hash = match before.filter(|before| before.stamp == stamp) {
            Some(before) if !before.is_young => before.hash,
            None if !is_young => None,
            _ if stamp.2 > HASHED_BYTES_MAX => None,
            _ => fs::read(path).ok().map(|bytes| {
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                hasher.finish()
            }),
        };
        Looked { stamp, hash, is_young }
    }

    fn said<'a>((path, looked): (&'a PathBuf, &Looked)) -> (&'a PathBuf, Stamp, Option<u64>) {
        (path, looked.stamp, looked.hash)
    }
}

/// Names, sizes and times of all that counts, and what is in those that were just written. Links are followed, so that a swapped
/// folder behind them is seen.
fn look(config: &Path, before: &BTreeMap<PathBuf, Looked>) -> BTreeMap<PathBuf, Looked> {
    let mut seen = BTreeMap::new();
    let mut note = |path: PathBuf| {
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
            && seen.len() < FILES_MAX
        {
            let looked = Looked::at(&path, stamp(&metadata), before.get(&path));
            seen.insert(path, looked);
        }
    };
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    note(config.join("relatum.yaml"));
    // The agent's file may have another name, and entries of `relations.d` name files beside them.
    entries(config).for_each(&mut note);
    for name in [RELATIONS, SCRAPES, RULES] {
        entries(&config.join(name)).for_each(&mut note);
    }
    for template in entries(&config.join("templates")) {
        entries(&template).for_each(&mut note);
    }
    seen
}
