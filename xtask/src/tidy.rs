//! Tidiness that the compiler does not check: which crate may name which, file headers, and words that belong elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::root;

// The picture in ARCHITECTURE.md. Every crate may also name `model`; `tests` and `xtask` may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["agent", "server", "tsdb", "promql", "rules", "config"]),
    ("agent", &["relations", "server", "config"]),
    ("relations", &["config", "promql"]),
    ("model", &[]),
    ("config", &["promql"]),
    ("tsdb", &[]),
    ("promql", &[]),
    ("rules", &["promql", "config"]),
    ("transport", &["config"]),
    ("gateway", &["promql"]),
    ("server", &["gateway", "rules", "transport", "tsdb", "promql", "config"]),
];

// The engine serves anybody; what a relation is, only `relations` and `agent` know.
const WORDS_ABOVE_THE_ENGINE: &[&str] = &["juju", "databag", "charm"];

/// Prints every untidy place and fails if there is one.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut problems = arrows()?;
    for file in rust_files(&root())? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = file.strip_prefix(root()).unwrap_or(&file);
        problems.extend(file_problems(place, &text));
    }
    for problem in &problems {
        eprintln!("untidy: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} untidy places", problems.len());
    }
    eprintln!("tidy: crate arrows, headers and words are in order");
    Ok(())
}

fn arrows() -> anyhow::Result<Vec<String>> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut problems = Vec::new();
    for manifest in manifests()? {
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let table: toml::Table = text.parse().with_context(|| format!("cannot parse {}", manifest.display()))?;
        let folder = manifest.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
        if matches!(folder, "tests" | "xtask") {
            continue;
        }
        let Some(may_name) = allowed.get(folder) else {
            problems.push(format!("crate {folder} is not in the picture of arrows"));
            continue;
        };
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let named = table.get(section).and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys());
            for other in named.filter_map(|name| name.strip_prefix("relatum-")) {
                if other != "model" && !may_name.contains(&other) {
                    problems.push(format!("{folder} -> {other} is no arrow of ARCHITECTURE.md ({section})"));
                }
            }
        }
    }
    Ok(problems)
}

fn manifests() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["", "crates"] {
        for entry in fs::read_dir(root().join(folder)).context("cannot list the workspace")? {
            let manifest = entry?.path().join("Cargo.toml");
            if manifest.is_file() {
                found.push(manifest);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn file_problems(place: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{}: does not begin with what the file is for (`//!`)", place.display()));
    }
    if place.starts_with("crates") && !place.components().any(|c| c.as_os_str() == "tests") {
        // Tests at the end of a file may use whatever labels they like.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let lower = line.to_lowercase();
            for word in WORDS_ABOVE_THE_ENGINE.iter().filter(|w| lower.contains(**w)) {
                problems.push(format!("{}:{}: the engine knows no {word:?}", place.display(), number + 1));
            }
        }
    }
    problems
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(rust_files(&path)?);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
