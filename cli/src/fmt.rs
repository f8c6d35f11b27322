//! `relatum fmt`: rule files with their expressions laid out for reading.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use relatum_config::rules::RuleFile;

use crate::failure::CommandFailure;
use crate::output::put;

/// Lays out every `expr` of rule files as `relatum promql format` does, and leaves all else (order, quotes, comments) as it is.
/// An expression with comments in it stays as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The rule files; without any, standard input
    files: Vec<PathBuf>,
    /// Write the files instead of printing them; names those that changed
    #[arg(short, long, conflicts_with = "check", requires = "files")]
    write: bool,
    /// Only name the files that would change, and end with 1 if there are any
    #[arg(long)]
    check: bool,
}

/// Formats every file; one that is refused does not end the run.
pub(crate) fn run(args: &Args) -> Result<ExitCode, CommandFailure> {
    let mut is_well = true;
    if args.files.is_empty() {
        let text = io::read_to_string(io::stdin())
            .map_err(|error| CommandFailure::failed(format!("cannot read standard input: {error}")))?;
        is_well &= format("standard input", &text, args, None)?;
    }
    for path in &args.files {
        let name = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|error| CommandFailure::failed(format!("cannot read {name}: {error}")))?;
        is_well &= format(&name, &text, args, Some(path))?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the file is a rule file and, where that is asked, laid out already.
fn format(name: &str, text: &str, args: &Args, path: Option<&Path>) -> Result<bool, CommandFailure> {
    let formatted = match RuleFile::format(text) {
        Ok(formatted) => formatted,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{name}:{problem}"));
            return Ok(false);
        }
    };
    let is_same = formatted == text;
    match path {
        _ if args.check => {
            if !is_same {
                put(&format!("{name}\n"))?;
            }
            return Ok(is_same);
        }
        Some(path) if args.write => {
            if !is_same {
                write(path, &formatted)
                    .map_err(|error| CommandFailure::failed(format!("cannot write {name}: {error}")))?;
                put(&format!("{name}\n"))?;
            }
        }
        _ => put(&formatted)?,
    }
    Ok(true)
}

/// Replaces the file as a whole, so that a crash leaves either text; a link stays a link.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = path.with_file_name(name);
    let written = fs::write(&unfinished, text)
        .and_then(|()| fs::set_permissions(&unfinished, fs::metadata(&path)?.permissions()))
        .and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}
