//! The readers against corpora of other projects. Without the corpora the tests are skipped, and say what they need.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use relatum_model::exposition::{Entry, Format, labels_of, parse};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![with_corpora("exposition", exposition)];
    libtest_mimic::run(&arguments, trials).exit();
}

fn with_corpora(name: &str, test: fn(&Path) -> Result<(), Failed>) -> Trial {
    match std::env::var_os("RELATUM_CORPORA").map(PathBuf::from).filter(|dir| dir.is_dir()) {
        Some(dir) => Trial::test(name, move || test(&dir)),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    }
}

/// Prints how many files of each folder were read, or refused, as they should be; fails if one was not.
fn exposition(corpora: &Path) -> Result<(), Failed> {
    let dir = corpora.join("conformance/openmetrics");
    let mut failures = Vec::new();
    let folders = [("exposition", samples(&dir.join("exposition"))?), ("parsers", verdicts(&dir.join("parsers"))?)];
    for (folder, results) in folders {
        let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        println!("openmetrics/{folder}: {} passed, {} failed", results.len() - failed.len(), failed.len());
        failures.extend(failed.into_iter().map(|failure| format!("{folder}/{failure}")));
        if results.is_empty() {
            failures.push(format!("{folder}: empty"));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Bodies that Prometheus reads.
fn samples(folder: &Path) -> Result<Vec<Result<(), String>>, Failed> {
    let mut results = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let body = fs::read(&path)?;
        let format = if body.ends_with(b"# EOF\n") { Format::OpenMetrics } else { Format::Text };
        let name = path.file_name().unwrap_or_default().display();
        results.push(match read(&body, format) {
            Ok(n_samples) if n_samples > 0 => Ok(()),
            Ok(_) => Err(format!("{name}: no samples")),
            Err(reason) => Err(format!("{name}: {reason}")),
        });
    }
    Ok(results)
}

/// Bodies that OpenMetrics allows or forbids; what it forbids must be refused with a line that is in the body and a reason.
fn verdicts(folder: &Path) -> Result<Vec<Result<(), String>>, Failed> {
    let mut results = Vec::new();
    for case in fs::read_dir(folder)? {
        let path = case?.path();
        let case: serde_json::Value = serde_json::from_slice(&fs::read(path.join("test.json"))?)?;
        let file = case["file"].as_str().ok_or("test.json names no file")?;
        let should_parse = case["shouldParse"].as_bool().ok_or("test.json has no verdict")?;
        let body = fs::read(path.join(file))?;
        let name = path.file_name().unwrap_or_default().display();
        results.push(match (read(&body, Format::OpenMetricsStrict), should_parse) {
            (Ok(_), true) => Ok(()),
            (Ok(_), false) => Err(format!("{name}: was read")),
            (Err(reason), true) => Err(format!("{name}: {reason}")),
            (Err(reason), false) => {
                let line = reason.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
                let n_lines = 1 + body.iter().filter(|byte| **byte == b'\n').count();
                match line.map(|(line, why)| (line.parse::<usize>(), why)) {
                    Some((Ok(line), why)) if (1..=n_lines).contains(&line) && !why.is_empty() => Ok(()),
                    _ => Err(format!("{name}: refused without place: {reason}")),
                }
            }
        });
    }
    Ok(results)
}

fn read(body: &[u8], format: Format) -> Result<usize, String> {
    let mut n_samples = 0;
    for entry in parse(body, format).map_err(|error| error.to_string())? {
        if let Entry::Sample(sample) = entry.map_err(|error| error.to_string())? {
            labels_of(sample.series, sample.kind).map_err(|error| format!("{}: {error}", sample.series))?;
            n_samples += 1;
        }
    }
    Ok(n_samples)
}
