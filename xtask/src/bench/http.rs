//! `cargo xtask bench http`: what writing and asking over HTTP takes, beside the peers.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::promql::start_servers;
use super::relate::Folder;
use crate::{cargo, target_dir};

/// The rows in their order, with what ours may be at most.
const ROWS: &[(&str, Option<f64>)] = &[
    ("write-samples-per-s", None),
    ("write-cpu-s-per-million", Some(0.40)),
    ("write-ack-p50-ms", None),
    ("write-ack-p99-ms", Some(20.0)),
    ("single-series-p50-ms", Some(0.20)),
    ("single-range-p50-ms", None),
    ("label-values-p50-ms", Some(0.35)),
    ("label-values-matched-p50-ms", Some(0.35)),
    ("series-p50-ms", Some(0.35)),
    ("labels-p50-ms", None),
    ("large-answer-mb-per-s", None),
    ("large-answer-mb-per-cpu-s", None),
    ("mixed-query-p50-ms", None),
    ("mixed-ack-p99-ms", Some(25.0)),
    ("connections-open", None),
    ("busy-requests-per-s", None),
    ("connections-mib", None),
    ("connections-growth-mib", Some(4.0)),
];

/// Writes and asks with `targets` scrape targets of 1000 series each.
pub(crate) fn run(targets: usize) -> anyhow::Result<()> {
    for arguments in
        [["--package", "relatum-tests", "--example", "traffic"], ["--package", "relatum-cli", "--bin", "relatum"]]
    {
        crate::run(cargo(&["build", "--release", "--quiet"]).args(arguments))?;
    }
    let dir = Folder::new()?;
    let servers = start_servers(&dir.0, &["--web.max-connections=2000"])?;
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    eprintln!("over HTTP: {}", names.join(", "));
    let mut command = Command::new(target_dir().join("release/examples/traffic"));
    command.arg(targets.to_string());
    command.args(servers.iter().map(|server| format!("{}={}={}", server.name, server.child.id(), server.url)));
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    let mut measured: BTreeMap<(String, String), f64> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let [row, name, value] = line.split(' ').collect::<Vec<_>>()[..] else { anyhow::bail!("what is {line:?}?") };
        measured.insert((row.to_owned(), name.to_owned()), value.parse()?);
    }
    println!("{} series", targets * 1000);
    print!("{:<30}{:>10}", "", "gate");
    names.iter().for_each(|name| print!("{name:>14}"));
    println!();
    for (row, gate) in ROWS {
        let shown = gate.map_or_else(|| "-".to_owned(), |most| format!("{most:.2}"));
        print!("{row:<30}{shown:>10}");
        let mut is_met = true;
        for name in &names {
            match measured.get(&((*row).to_owned(), (*name).to_owned())) {
                Some(value) => {
                    print!("{value:>14.3}");
                    is_met &= *name != "relatum" || gate.is_none_or(|most| *value <= most);
                }
                None => print!("{:>14}", "-"),
            }
        }
        println!("{}", if is_met { "" } else { "  above the gate" });
    }
    Ok(())
}
