//! Reads the rendered texts the way the server will, before any of them is on disk.
//!
//! Relations were understood with the same parser, so what fails here is an override, or parts that are good alone and not
//! together. A file at fault is replaced by the last good one, or left out; the main file has nothing that could replace it,
//! so with it the whole set waits.

use std::collections::BTreeSet;

use super::desire::{Desired, Owner};
use super::render::{ARGUMENTS_PATH, MAIN_PATH, Rendered};
use crate::control::Problem;
use crate::workload::{Fault, Files, Workload};

/// The files to have on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Path below `rendered/` to text.
    pub wanted: Files,
    /// Whether they load. If not, nothing may be changed.
    pub is_loadable: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Settles which files to have: takes those that were `rendered`.
pub fn check(current: &Files, rendered: &mut Rendered, desired: &Desired, workload: &dyn Workload) -> Checked {
    let mut wanted = std::mem::take(&mut rendered.files);
    for path in &rendered.failed {
        if let Some(last_good) = current.get(path.as_str()) {
            wanted.insert(path.as_str().into(), last_good.clone());
        }
    }
    let mut problems = Vec::new();
    // Without these two there is nothing to load; they can only be missing when an override failed on the first start.
    let is_missing = |path: &&str| rendered.failed.contains(*path) && !wanted.contains_key(*path);
    if let Some(missing) = [MAIN_PATH, ARGUMENTS_PATH].into_iter().find(is_missing) {
        problems.push(problem(missing, desired, "there is no good version of this file yet".to_owned()));
        return Checked { wanted, is_loadable: false, problems };
    }
    if wanted == *current {
        return Checked { wanted, is_loadable: true, problems };
    }
    let mut checked = Checked { wanted, is_loadable: true, problems };
    loop {
        let faults = workload.check(&checked.wanted);
        if faults.is_empty() {
            return checked;
        }
        if !checked.repair(&faults, current, desired) {
            checked.is_loadable = false;
            return checked;
        }
    }
}

impl Checked {
    /// Puts something better in the place of every file at fault, and names the faults. False if nothing could be done, so
    /// that asking again and again comes to an end: a file is replaced at most once and left out at most once.
    pub(super) fn repair(&mut self, faults: &[Fault], current: &Files, desired: &Desired) -> bool {
        let paths: BTreeSet<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        let mut repaired = false;
        for path in paths {
            repaired |= replace(path, current, &mut self.wanted);
        }
        for fault in faults {
            let found = problem(&fault.path, desired, fault.message.clone());
            if !self.problems.contains(&found) {
                self.problems.push(found);
            }
        }
        repaired
    }
}

/// Puts the last good version in the place of a file, or else leaves the file out. False if neither can be done.
fn replace(path: &str, current: &Files, wanted: &mut Files) -> bool {
    match (current.get(path), wanted.get(path)) {
        (Some(last_good), Some(faulty)) if last_good != faulty => {
            wanted.insert(path.into(), last_good.clone());
            true
        }
        (_, Some(_)) if path != MAIN_PATH && path != ARGUMENTS_PATH => wanted.remove(path).is_some(),
        _ => false,
    }
}

fn problem(path: &str, desired: &Desired, message: String) -> Problem {
    let path = Some(path.to_owned()).filter(|path| !path.is_empty());
    let (relation, key) = match path.as_deref().and_then(|path| desired.owner(path)) {
        Some(Owner::Relation((endpoint, id))) => (Some(format!("{endpoint}:{id}")), path),
        Some(Owner::File(source)) => (None, Some(source)),
        None => (None, path),
    };
    Problem { relation, key, message, ..Problem::default() }
}
