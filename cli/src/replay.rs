//! `relatum replay`

use std::fs;
use std::path::{Path, PathBuf};

use relatum_agent::replay::{self, Replayed};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::table::Table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Cases: JSON files, or folders of them
    #[arg(required = true, value_name = "CASE.json|DIR")]
    cases: Vec<PathBuf>,
    /// Where the files are said to be
    #[arg(long, value_name = "DIR", default_value = "/etc/prometheus")]
    config_root: PathBuf,
    /// Write the files below this folder, as if it were the root of the file system
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Runs each case; fails only for what is no case.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    for path in files(&args.cases)? {
        let failed = |reason: String| CommandFailure::failed(format!("cannot replay {}: {reason}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let case = replay::read(&text).map_err(|error| failed(error.to_string()))?;
        let replayed = replay::replay(&case, &args.config_root).map_err(failed)?;
        if let Some(folder) = &args.write {
            write(folder, &replayed).map_err(|error| failed(error.to_string()))?;
        }
        global.format.print(&replayed, tabular)?;
    }
    Ok(())
}

fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, CommandFailure> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path)
            .map_err(|error| CommandFailure::failed(format!("cannot read {}: {error}", path.display())))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        found.sort();
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
