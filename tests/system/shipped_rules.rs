//! The rules we ship: good files, and their unit tests pass.

use std::path::Path;

use anyhow::ensure;
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("shipped_rules_pass_their_unit_tests", &[Peer::Promtool3], false, unit_tests)]
}

fn unit_tests() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../alert_rules");
    let mut n_tests = 0;
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let is_test = path.to_string_lossy().ends_with(".test.yaml");
        let verb = if is_test { ["test", "rules"] } else { ["check", "rules"] };
        let output = Peer::Promtool3.command()?.args(verb).arg(&path).output()?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", path.display());
        n_tests += usize::from(is_test);
    }
    ensure!(n_tests > 0, "there are no unit tests");
    Ok(())
}
