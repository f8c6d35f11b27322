//! From files as they are and files as wanted to steps. Looks and answers, changes nothing.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::packed::PackedText;
use crate::workload::Files;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a file.
    Write {
        /// Below `rendered/`.
        path: Arc<str>,
        /// The whole content.
        text: PackedText,
    },
    /// Remove a file.
    Remove {
        /// Below `rendered/`.
        path: Arc<str>,
    },
    /// Make the workload run what is there.
    Reload,
}

impl Step {
    /// The file it is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Step::Write { path, .. } | Step::Remove { path } => Some(path),
            Step::Reload => None,
        }
    }
}

/// Lists the steps from `current` to `wanted`; empty when they agree and the workload `is_loaded` with them.
pub fn plan(current: &Files, wanted: &Files, is_loaded: bool) -> Vec<Step> {
    let (mut steps, mut gone) = (Vec::new(), Vec::new());
    for item in current.diff(wanted) {
        match item {
            DiffItem::Add(path, text) | DiffItem::Update { new: (path, text), .. } => {
                steps.push(Step::Write { path: Arc::clone(path), text: text.clone() });
            }
            DiffItem::Remove(path, _) => gone.push(Step::Remove { path: Arc::clone(path) }),
        }
    }
    steps.append(&mut gone);
    if !steps.is_empty() || !is_loaded {
        steps.push(Step::Reload);
    }
    steps
}
