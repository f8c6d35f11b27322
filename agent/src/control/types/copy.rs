//! The request for a copy of what the agent keeps, for `relatum backup`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where to write a copy. Only root and the agent's own user may ask for one: it is written with the agent's permissions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeCopy {
    /// A folder that is there and that the agent may write into, by its path from the root.
    pub to: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MadeCopy {
    /// The revision that the copy of the state has.
    pub revision: u64,
    /// Whether there are samples beside it; a workload beside the agent keeps its own.
    pub has_samples: bool,
}
