//! `relatum tsdb repair`

use std::path::PathBuf;
use std::process::ExitCode;

use relatum_tsdb::inspect::{self, Prospect};
use serde_json::json;

use super::{chain, damage, open_store, unreadable};
use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{counted, good};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory; no process may have it open
    #[arg(default_value = "data", value_name = "DIR")]
    dir: PathBuf,
    /// Only say what would be repaired; exit 1 if anything would
    #[arg(long)]
    dry_run: bool,
}

/// Writes what is damaged anew without the damage.
pub(crate) fn run(global: &Global, args: &Args) -> Result<ExitCode, CommandFailure> {
    let dir = &args.dir;
    let before = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
    let is_well = before.problems.is_empty() && before.set_aside.is_empty();
    if args.dry_run || is_well {
        let prospect = |file: &String| inspect::prospect(dir, file).map_err(|error| unreadable(dir, &error));
        let prospects = before.set_aside.iter().map(prospect).collect::<Result<Vec<Prospect>, CommandFailure>>()?;
        let files_that = |wanted: Prospect| -> Vec<&String> {
            let files = before.set_aside.iter().zip(&prospects);
            files.filter(|(_, prospect)| **prospect == wanted).map(|(file, _)| file).collect()
        };
        let data = json!({
            "problems": damage::as_json(&before.problems),
            "setAside": before.set_aside,
            "wouldBringBack": files_that(Prospect::ComesBack),
            "allDeleted": files_that(Prospect::AllDeleted),
            "repairs": [],
        });
        global.format.print(&data, |_| {
            let mut text = String::new();
            for problem in &before.problems {
                text += &format!("would repair {}: {}\n", problem.file, problem.reason);
            }
            for (file, prospect) in before.set_aside.iter().zip(&prospects) {
                text += &match prospect {
                    Prospect::ComesBack => format!("would bring back {file}, as far as it can be read\n"),
                    Prospect::AllDeleted => {
                        format!("would be done with {file}: every sample in it was deleted, so none comes back\n")
                    }
                    Prospect::Stays => nothing_left(file),
                };
            }
            if is_well {
                text += &format!("{}\n", good("everything is as it was written"));
            }
            text
        })?;
        // What no repair can change is none of its work.
        let is_done = before.problems.is_empty() && files_that(Prospect::Stays).len() == prospects.len();
        return Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    let store = open_store(dir)?;
    let repairs = store.repair().map_err(|error| failed(&error))?;
    let dropped = store.opened().dropped.clone();
    store.close().map_err(|error| failed(&error))?;
    drop(store);
    let after = inspect::verify(dir).map_err(|error| unreadable(dir, &error))?;
    let data = json!({
        "problems": damage::as_json(&before.problems),
        "repairs": repairs.iter().map(|repair| json!({
            "file": repair.file,
            "keptAs": repair.kept_as,
            "reason": repair.reason,
            "replacedBy": repair.replaced_by,
            "samplesKept": repair.samples_kept,
            "chunksLost": repair.chunks_lost,
            "uncertain": repair.is_uncertain,
        })).collect::<Vec<_>>(),
        "dropped": dropped.iter().map(|dropped| json!({
            "file": dropped.file,
            "offset": dropped.offset,
            "bytes": dropped.bytes,
            "samples": dropped.samples,
            "reason": dropped.reason,
        })).collect::<Vec<_>>(),
        "left": damage::as_json(&after.problems),
        "setAside": after.set_aside,
    });
    global.format.print(&data, |_| {
        let mut text = String::new();
        for repair in &repairs {
            text += &format!("{}: {}\n", repair.file, repair.reason);
            let kept = counted(repair.samples_kept, "sample", "samples");
            match &repair.replaced_by {
                Some(file) => text += &format!("  {kept} are in {file} now"),
                None if !repair.is_uncertain && repair.chunks_lost == 0 => text += "  every sample in it was deleted",
                None => text += "  nothing of it can be read",
            }
            if repair.chunks_lost > 0 {
                text += &format!(", {} lost", counted(repair.chunks_lost, "chunk", "chunks"));
            }
            if repair.is_uncertain {
                text += ", and what else it held is not known";
            }
            text += &format!("\n  the damaged file stays as {}\n", repair.kept_as);
        }
        for dropped in &dropped {
            text += &format!(
                "{}: {} at byte {}, {} bytes left out\n",
                dropped.file, dropped.reason, dropped.offset, dropped.bytes
            );
        }
        for problem in &after.problems {
            text += &format!("still damaged: {}: {}\n", problem.file, problem.reason);
        }
        for file in &after.set_aside {
            text += &nothing_left(file);
        }
        if after.problems.is_empty() {
            text += &format!("{}\n", good("what is left is sound"));
        }
        text
    })?;
    Ok(if after.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of a file that stays set aside.
fn nothing_left(file: &str) -> String {
    format!("{file}: nothing of it can be read; it is in no answer and may be removed\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use relatum_model::Labels;
    use relatum_model::storage::{Append, SeriesRef, TimeRange};
    use relatum_tsdb::{Options, Store};

    use super::*;

    #[derive(clap::Parser)]
    struct Repair {
        #[command(flatten)]
        global: Global,
        #[command(flatten)]
        args: Args,
    }

    #[track_caller]
    fn check(dir: &Path, options: &[&str], is_success: bool) {
        let args = ["repair", dir.to_str().unwrap()].into_iter().chain(options.iter().copied());
        let Repair { global, args } = Repair::parse_from(args);
        let code = run(&global, &args).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(u8::from(!is_success))), "{options:?}");
    }

    /// The one block, of one sample, that a store in `dir` leaves after `change`.
    fn block_of(dir: &Path, change: impl FnOnce(&Store)) -> PathBuf {
        let store = Store::open(dir, Options::for_history()).unwrap();
        let mut appender = store.appender();
        appender.append(SeriesRef::NONE, &Labels::from_pairs([("__name__", "a")]), 5, 2.5).unwrap();
        appender.commit().unwrap();
        store.cut().unwrap();
        change(&store);
        store.close().unwrap();
        let mut files = fs::read_dir(dir.join("blocks")).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.to_string_lossy().ends_with(".block")).unwrap()
    }

    #[test]
    fn a_dry_run_ends_as_there_is_something_to_repair() {
        let dir = tempfile::tempdir().unwrap();
        let block = block_of(dir.path(), |_| {});
        check(dir.path(), &["--dry-run"], true);
        let set_aside = block.with_extension("block.damaged");
        fs::rename(&block, &set_aside).unwrap();
        check(dir.path(), &["--dry-run"], false);
        check(dir.path(), &[], true);
        check(dir.path(), &["--dry-run"], true);
        fs::write(&set_aside, [7; 4096]).unwrap();
        check(dir.path(), &["--dry-run"], true);
        check(dir.path(), &[], true);
    }

    #[test]
    fn nothing_comes_back_of_what_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let block = block_of(dir.path(), |store| store.delete(&[], TimeRange::ALL).map(drop).unwrap());
        let set_aside = block.with_extension("block.damaged");
        fs::rename(&block, &set_aside).unwrap();
        let file = set_aside.file_name().unwrap().to_str().unwrap();
        assert_eq!(inspect::prospect(dir.path(), file).unwrap(), Prospect::AllDeleted);
        check(dir.path(), &["--dry-run"], false);
        check(dir.path(), &[], true);
        check(dir.path(), &["--dry-run"], true);
    }
}
