//! What people type and what they read: sessions of a shell under `tests/scripts/sessions`, a file each.
//!
//! `$ ` begins a command for `sh` in an empty folder, with `relatum` on the path; the lines below it are what it prints, on either
//! stream, and `? N` is its exit code unless that is 0. `…` stands for any text in a line, and for any number of lines where it
//! stands alone. A file whose first line is `# with an agent` has one, whose data directory the commands know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::program::{Agent, binary};

const WITH_AGENT: &str = "# with an agent";

pub(crate) fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sessions");
    let files = std::fs::read_dir(&folder).expect("the sessions are there").flatten().map(|entry| entry.path());
    let files: BTreeMap<String, PathBuf> =
        files.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path))).collect();
    files
        .into_iter()
        .map(|(name, path)| {
            Trial::test(format!("session_{name}"), move || {
                run(&path).map_err(|error| libtest_mimic::Failed::from(format!("{error:#}")))
            })
        })
        .collect()
}

/// A command and what comes of it.
#[derive(Debug, Default)]
struct Step {
    line: usize,
    command: String,
    printed: Vec<String>,
    code: i32,
}

fn run(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder)?;
    let agent = text.starts_with(WITH_AGENT).then(|| Agent::start(dir.path())).transpose()?;
    let mut wrong = Vec::new();
    for step in steps(&text)? {
        let mut shell = Command::new("sh");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = binary().parent().context("the program is in a folder")?.to_owned();
        let paths = std::iter::once(own).chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(paths)?).env("HOME", &folder).env_remove("COLUMNS");
        if let Some(agent) = &agent {
            shell.env("RELATUM_DATA_DIR", &agent.data_dir);
        }
        let output = shell.current_dir(&folder).args(["-c", &format!("exec 2>&1; {}", step.command)]).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let code = output.status.code().unwrap_or(-1);
        let expected: Vec<&str> = step.printed.iter().map(String::as_str).collect();
        if code != step.code || !are_alike(&expected, &printed) {
            wrong.push(format!("line {}: {}\n{}\n? {code}", step.line, step.command, printed.join("\n")));
        }
    }
    ensure!(wrong.is_empty(), "{}: what was printed instead:\n\n{}", path.display(), wrong.join("\n\n"));
    agent.map_or(Ok(()), |agent| agent.nothing_unexpected())
}

fn steps(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: at + 1, command: command.to_owned(), ..Step::default() });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            ensure!(line.is_empty() || line.starts_with('#'), "line {}: no command came before", at + 1);
            continue;
        };
        match line.strip_prefix("? ") {
            Some(code) => step.code = code.parse().with_context(|| format!("line {}", at + 1))?,
            None => step.printed.push(line.to_owned()),
        }
    }
    for step in &mut steps {
        // Empty lines and comments before the next command are for readers.
        while step.printed.last().is_some_and(|line| line.is_empty() || line.starts_with("# ")) {
            step.printed.pop();
        }
    }
    Ok(steps)
}

/// Whether the lines are those expected, where `…` alone stands for any.
fn are_alike(expected: &[&str], printed: &[&str]) -> bool {
    // What is printed may end in an empty line, which the file cannot say.
    let printed = match printed {
        [lines @ .., ""] => lines,
        lines => lines,
    };
    match expected {
        [] => printed.is_empty(),
        ["…", rest @ ..] => (0..=printed.len()).any(|from| are_alike(rest, &printed[from..])),
        [first, rest @ ..] => {
            printed.split_first().is_some_and(|(line, lines)| fits(first, line) && are_alike(rest, lines))
        }
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| fits(rest, &line[at..]))
        }),
    }
}
