//! The rules we ship: good files, and their unit tests pass. Our own runner of such tests comes to promtool's verdicts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::binary;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::plain("shipped_rules_pass_our_runner", our_runner),
        crate::with("shipped_rules_pass_their_unit_tests", &[Peer::Promtool3], false, unit_tests),
        crate::with("rule_tests_have_promtools_verdicts", &[Peer::Promtool3], true, same_verdicts),
    ]
}

fn test_rules(mut program: Command, path: &Path) -> anyhow::Result<(Output, String)> {
    let output = program.args(["test", "rules"]).arg(path).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let said = said.into_owned();
    Ok((output, said))
}

/// The files with unit tests in `folder`, sorted.
fn test_files(folder: &Path, is_test: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.retain(|path| is_test(path));
    paths.sort();
    ensure!(!paths.is_empty(), "there are no unit tests in {}", folder.display());
    Ok(paths)
}

fn shipped_tests() -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../alert_rules");
    test_files(&folder, |path| path.to_string_lossy().ends_with(".test.yaml"))
}

fn our_runner() -> anyhow::Result<()> {
    for path in shipped_tests()? {
        let (output, said) = test_rules(Command::new(binary()), &path)?;
        ensure!(output.status.success(), "{}: {said}", path.display());
    }
    Ok(())
}

/// Good files and bad ones, and files that are not unit tests at all.
fn same_verdicts() -> anyhow::Result<()> {
    let mut paths = shipped_tests()?;
    let folder = crate::corpora().context("the corpora are there")?.join("conformance").join("rules").join("promtool");
    paths.extend(test_files(&folder, |path| path.extension().is_some_and(|extension| extension == "yml"))?);
    // Shipped tests whose expectations were changed must fail.
    let changed = tempfile::tempdir()?;
    for path in shipped_tests()? {
        let rules = path.to_string_lossy().replace(".test.yaml", ".yaml");
        let name = path.file_name().context("a file has a name")?;
        std::fs::copy(&rules, changed.path().join(name.to_string_lossy().replace(".test.yaml", ".yaml")))?;
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(changed.path().join(name), text.replace("exp_alerts: []", "exp_alerts: [{}]"))?;
        paths.push(changed.path().join(name));
    }
    let mut differences = Vec::new();
    for path in paths {
        let (theirs, they_said) = test_rules(Peer::Promtool3.command()?, &path)?;
        let (ours, we_said) = test_rules(Command::new(binary()), &path)?;
        if ours.status.code() != theirs.status.code() {
            differences.push(format!("{}: promtool says\n{they_said}\nwe say\n{we_said}", path.display()));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
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
