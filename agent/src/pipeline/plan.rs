//! From files as they are and files as wanted to steps. Looks and answers, changes nothing.

use std::sync::Arc;

use crate::workload::{Files, is_same_text};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a file.
    Write {
        /// Below `rendered/`.
        path: String,
        /// The whole content.
        text: Arc<str>,
    },
    /// Remove a file.
    Remove {
        /// Below `rendered/`.
        path: String,
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
    let mut steps = Vec::new();
    for (path, text) in wanted {
        if !current.get(path).is_some_and(|known| is_same_text(known, text)) {
            steps.push(Step::Write { path: path.clone(), text: Arc::clone(text) });
        }
    }
    for path in current.keys() {
        if !wanted.contains_key(path) {
            steps.push(Step::Remove { path: path.clone() });
        }
    }
    if !steps.is_empty() || !is_loaded {
        steps.push(Step::Reload);
    }
    steps
}
