//! `relatum check metrics`

use std::io::Read;
use std::path::PathBuf;

use clap::ValueEnum;
use relatum_model::exposition::client::{ClientFamily, ClientKind, read_families};
use relatum_model::exposition::lint::lint;

use super::{Verdict, unreadable};
use crate::failure::CommandFailure;
use crate::output::{printable, put};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files; without any, standard input
    files: Vec<PathBuf>,
    /// Print how many series each metric has
    #[arg(long)]
    extended: bool,
    /// What to look for in metrics that are valid
    #[arg(long, value_enum, default_value = "all")]
    lint: MetricLint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricLint {
    /// Every habit that good metrics have
    All,
    /// Nothing
    None,
}

/// Checks each file, or standard input where none is named.
pub(super) fn check_all(args: &Args, verdict: &mut Verdict) -> Result<(), CommandFailure> {
    if !args.extended && args.lint == MetricLint::None {
        return Err(CommandFailure::failed("at least one of --extended or linting must be enabled")
            .hint("add --extended to count series, or leave --lint=none out"));
    }
    if args.files.is_empty() {
        let mut body = Vec::new();
        let read = std::io::stdin().read_to_end(&mut body);
        read.map_err(|error| CommandFailure::failed(format!("cannot read standard input: {error}")))?;
        return check("", &body, args, verdict);
    }
    for file in &args.files {
        let name = file.display();
        match std::fs::read(file) {
            Ok(body) => check(&format!("{name}: "), &body, args, verdict)?,
            Err(error) => unreadable(&name.to_string(), &error, verdict)?,
        }
    }
    Ok(())
}

fn check(place: &str, body: &[u8], args: &Args, verdict: &mut Verdict) -> Result<(), CommandFailure> {
    let families = match read_families(body) {
        Ok(families) => families,
        Err(error) => {
            verdict.refused = true;
            let doing = if args.lint == MetricLint::None { "parsing text to metric families" } else { "linting" };
            eprintln!("{place}error while {doing}: {error}");
            return Ok(());
        }
    };
    if args.lint == MetricLint::All {
        for problem in lint(&families) {
            verdict.linted = true;
            eprintln!("{place}{} {}", printable(&problem.metric), problem.text);
        }
    }
    if args.extended { put(&cardinalities(&families)) } else { Ok(()) }
}

/// A table of how many series each family has, the largest first.
fn cardinalities(families: &[ClientFamily]) -> String {
    let mut counts: Vec<(usize, &str)> =
        families.iter().map(|family| (n_series(family), family.name.as_str())).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let total: usize = counts.iter().map(|(n, _)| n).sum();
    let share = |n: usize| format!("{:.2}%", n as f64 / total as f64 * 100.0);
    let mut rows = vec![["Metric".to_owned(), "Cardinality".to_owned(), "Percentage".to_owned()]];
    rows.extend(counts.into_iter().map(|(n, name)| [printable(name), n.to_string(), share(n)]));
    rows.push(["Total".to_owned(), total.to_string(), "100%".to_owned()]);
    // Columns as promtool's, whose last cell is padded too.
    let width = |at: usize| 4 + rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 3]| -> String {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells + "\n"
    };
    rows.iter().map(line).collect()
}

/// How many series a family makes. As promtool counts: all of a family's metrics have as many parts as the first.
fn n_series(family: &ClientFamily) -> usize {
    match family.kind {
        ClientKind::Histogram | ClientKind::Summary => {
            family.metrics.len() * (2 + family.metrics.first().map_or(0, |metric| metric.n_parts))
        }
        _ => family.metrics.len(),
    }
}
