//! Runs all scripts of a folder on one kind of source, and counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relatum_promql::syntax::ParseOptions;
use relatum_promql::{Engine, EngineOptions};

use super::check::{Outcome, Source, World};
use super::script;

/// How many evaluations the scripts of the corpora have.
pub(crate) const EVALUATIONS_MIN: usize = 1436;

fn engine() -> Engine {
    Engine::new(EngineOptions {
        timeout: Duration::from_secs(100),
        syntax: ParseOptions::all(),
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    })
}

/// Prints how many evaluations of each file passed; panics unless all did but for those of the files in `known`, which must fail
/// as often as is said there, and there were as many as there should be.
pub(crate) fn scripts<S: Source + Default>(folder: &Path, evaluations_min: usize, known: &[(&str, usize)]) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    let engine = engine();
    let (mut passed, mut failed, mut unexpected) = (0, 0, 0);
    for path in files {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a script can be read");
        let commands = script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut world = World::<S>::default();
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
        let known = known.iter().find(|(file, _)| *file == name).map_or(0, |(_, n)| *n);
        unexpected += usize::from(counts[1] != known);
    }
    println!("{:28} passed {passed:4}  failed {failed:4}", "all");
    assert_eq!(unexpected, 0, "files have other failures than expected, {passed} passed");
    assert!(passed + failed >= evaluations_min, "{passed} evaluations passed, there were {evaluations_min}");
}
