//! `relatum replay`

use std::fs;
use std::path::{Path, PathBuf};

use relatum_agent::replay::{self, ModelName, result::Replayed};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::table::Table;

/// How the files of a folder end that are taken for cases.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Saved units: cases as JSON, or what `juju show-unit` prints, or folders of either
    #[arg(required = true, value_name = "FILE|DIR")]
    cases: Vec<PathBuf>,
    /// Where the files are said to be
    #[arg(long, value_name = "DIR", default_value = "/etc/prometheus")]
    config_root: PathBuf,
    /// Write the files below this folder, as if it were the root of the file system
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// The model of a unit that `juju show-unit` shows
    #[arg(long, value_name = "NAME", default_value_t = ModelName::default().name)]
    model: String,
    /// Its UUID
    #[arg(long, value_name = "UUID", default_value_t = ModelName::default().uuid)]
    model_uuid: String,
}

/// Runs each case; fails, after the others, only for what is no case.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let mut failures = Vec::new();
    for path in files(&args.cases, &mut failures)? {
        if let Err(reason) = run_file(global, args, &path)? {
            failures.push(format!("cannot replay {}: {reason}", path.display()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(CommandFailure::failed(failures.join("\n"))) }
}

/// The inner result is what is wrong with this file, the outer one with us.
fn run_file(global: &Global, args: &Args, path: &Path) -> Result<Result<(), String>, CommandFailure> {
    let model = ModelName { name: args.model.clone(), uuid: args.model_uuid.clone() };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let cases = match replay::read(&text, &model) {
        Ok(cases) => cases,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for case in cases {
        let replayed = match replay::replay(&case, &args.config_root) {
            Ok(replayed) => replayed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Some(folder) = &args.write {
            write(folder, &replayed)
                .map_err(|error| CommandFailure::failed(format!("cannot write below {}: {error}", folder.display())))?;
        }
        global.format.print(&replayed, tabular)?;
    }
    Ok(Ok(()))
}

fn files(named: &[PathBuf], failures: &mut Vec<String>) -> Result<Vec<PathBuf>, CommandFailure> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path)
            .map_err(|error| CommandFailure::failed(format!("cannot read {}: {error}", path.display())))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let is_case = |path: &PathBuf| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| ENDINGS.contains(&ending))
        };
        found.retain(is_case);
        found.sort();
        if found.is_empty() {
            failures.push(format!("cannot replay {}: no file in it ends in {}", path.display(), ENDINGS.join(", ")));
        }
        files.extend(found);
    }
    Ok(files)
}

fn write(folder: &Path, replayed: &Replayed) -> std::io::Result<()> {
    for (path, text) in &replayed.files {
        let target = folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap_or(folder))?;
        fs::write(target, text.as_bytes())?;
    }
    Ok(())
}

fn tabular(replayed: &Replayed) -> String {
    let status = &replayed.status;
    let mut out = format!("{} {}\n", state(&status.status), status.message);
    let mut jobs = Table::new(&["Job", ">Targets"]);
    for job in &replayed.scrape_jobs {
        let groups = job["static_configs"].as_array().into_iter().flatten();
        let targets: usize = groups.map(|group| group["targets"].as_array().map_or(0, Vec::len)).sum();
        jobs.row([job["job_name"].as_str().unwrap_or_default().to_owned(), targets.to_string()]);
    }
    let mut files = Table::new(&["File", ">Bytes"]);
    for (path, text) in &replayed.files {
        files.row([path.clone(), text.len().to_string()]);
    }
    for table in [jobs, files] {
        if !table.is_empty() {
            out.push('\n');
            out.push_str(&table.render());
        }
    }
    for problem in &replayed.problems {
        out.push_str(&format!("\nproblem: {problem}"));
    }
    out.push('\n');
    out
}
