//! `relatum version`

use serde_json::json;

use crate::Global;
use crate::failure::CommandFailure;

/// Prints the version.
pub(crate) fn run(global: &Global) -> Result<(), CommandFailure> {
    let version = env!("CARGO_PKG_VERSION");
    global.format.print(&json!({ "version": version }), |_| format!("relatum {version}\n"))
}
