//! Who is in the middle of writing a file, as far as the kernel tells.
//!
//! Whoever writes a file where it stands empties it first. Looked at in between, an empty file is a good one that says nothing,
//! so all that it said would go for a moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind};

/// What counts in the folders that are watched; logs and the like may stay open for ever.
const ENDINGS: [&str; 5] = ["yaml", "yml", "rules", "json", "hbs"];

/// More files than one writes at a time; who writes more of them is not waited for.
const WRITERS_MAX: usize = 10_000;

/// The files that were written to and not yet closed.
#[derive(Debug, Default)]
pub(super) struct Writers(BTreeSet<PathBuf>);

impl Writers {
    /// Takes note of an event. True if somebody should look because of it: reading is no change, and we read after each one.
    pub(super) fn hear(&mut self, event: &notify::Event) -> bool {
        match event.kind {
            // Only inotify tells when a file is closed.
            EventKind::Modify(ModifyKind::Data(_)) if cfg!(target_os = "linux") => {
                let room = WRITERS_MAX.saturating_sub(self.0.len());
                self.0.extend(event.paths.iter().filter(|path| counts(path)).take(room).cloned());
                true
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.forget(&event.paths),
            EventKind::Access(_) => false,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                self.forget(&event.paths);
                true
            }
            _ => true,
        }
    }

    /// Whether nobody writes.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for them no longer, until they write again.
    pub(super) fn give_up(&mut self) {
        self.0.clear();
    }

    fn forget(&mut self, paths: &[PathBuf]) -> bool {
        let before = self.0.len();
        self.0.retain(|path| !paths.contains(path));
        self.0.len() < before
    }
}

fn counts(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind, RenameMode};

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[track_caller]
    fn check(events: &[(EventKind, &str)], looks: &[bool], is_quiet: bool) {
        let mut writers = Writers::default();
        let hear = |(kind, path): &(EventKind, &str)| writers.hear(&notify::Event::new(*kind).add_path(path.into()));
        assert_eq!((events.iter().map(hear).collect::<Vec<_>>(), writers.is_quiet()), (looks.to_vec(), is_quiet));
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only inotify tells when a file is closed")]
    fn a_file_is_complete_when_it_is_closed() {
        check(&[(WRITTEN, "a.yaml")], &[true], false);
        check(&[(WRITTEN, "a.yaml"), (WRITTEN, "a.yaml"), (CLOSED, "a.yaml")], &[true, true, true], true);
        check(&[(WRITTEN, "a.yaml"), (WRITTEN, "b.yml"), (CLOSED, "b.yml")], &[true, true, true], false);
        // Who opened a file for writing and wrote nothing changed nothing.
        check(&[(CLOSED, "a.yaml")], &[false], true);
        check(&[(EventKind::Access(AccessKind::Open(AccessMode::Any)), "a.yaml")], &[false], true);
        // What is made by a link or a rename is complete from the first moment, and what is gone is not written any more.
        check(&[(EventKind::Create(CreateKind::File), "a.yaml")], &[true], true);
        check(&[(WRITTEN, "a.yaml"), (EventKind::Remove(RemoveKind::File), "a.yaml")], &[true, true], true);
        let moved = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        check(&[(WRITTEN, "a.yaml"), (moved, "a.yaml")], &[true, true], true);
        // A log in the same folder is never closed.
        check(&[(WRITTEN, "agent.log")], &[true], true);
    }
}
