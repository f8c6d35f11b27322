//! Runs Prometheus' own acceptance scripts (load/eval notation) against the engine, on series in memory.
//!
//! The scripts are taken from `$RELATUM_CORPORA/conformance/promql`; without that variable there is nothing to run. Each evaluation
//! is also made in the other ways that must not change its result: an instant query as the middle step of a range, and with `@`
//! on every selector at other moments.

mod check;
mod nhcb;
mod script;

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Trial;
use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Engine, EngineOptions};

use check::{Outcome, World};

/// How many evaluations there are.
const EVALUATIONS_MIN: usize = 1436;

fn engine() -> Engine {
    Engine::new(EngineOptions {
        timeout: Duration::from_secs(100),
        syntax: ParseOptions::all(),
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    })
}

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let name = "acceptance_scripts";
    let trial = match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            acceptance_scripts(Path::new(&corpora));
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    };
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn acceptance_scripts(corpora: &Path) {
    let folder = corpora.join("conformance/promql");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    let engine = engine();
    let (mut passed, mut failed) = (0, 0);
    for path in files {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a script can be read");
        let commands = script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut world = World::default();
        let mut counts = [0; 2];
        for command in &commands {
            match world.run(&engine, command) {
                None => {}
                Some(Outcome::Passed) => counts[0] += 1,
                Some(Outcome::Failed(reason)) => {
                    counts[1] += 1;
                    println!("{name}:{}: {reason}", command.line);
                }
            }
        }
        println!("{name:28} passed {:4}  failed {:4}", counts[0], counts[1]);
        passed += counts[0];
        failed += counts[1];
    }
    println!("{:28} passed {passed:4}  failed {failed:4}", "all");
    assert_eq!(failed, 0, "evaluations failed, {passed} passed");
    assert!(passed >= EVALUATIONS_MIN, "{passed} evaluations passed, there were {EVALUATIONS_MIN}");
}
