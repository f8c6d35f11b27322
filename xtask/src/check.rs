//! What has to pass before a change is handed over, quickest first.

use crate::{cargo, test, tidy};

/// Runs format, lints, tidiness and all tests.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    crate::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    test::run(false, false)
}
