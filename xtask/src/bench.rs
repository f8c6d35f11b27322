//! `cargo xtask bench`: numbers about the whole program, measured from outside.

use anyhow::bail;

/// How fast the agent starts with many relations, and a relation becomes a scraped target.
pub(crate) fn relate() -> anyhow::Result<()> {
    bail!("not yet")
}
