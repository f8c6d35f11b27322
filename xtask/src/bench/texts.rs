//! `cargo xtask bench texts`: how fast what reaches us as text is read, on one core.

use crate::cargo;

/// Runs the benches of the readers one after another; each prints its rows below these titles.
pub(crate) fn run() -> anyhow::Result<()> {
    let bench = |package, name, extra: &[&str]| {
        let mut command = cargo(&["bench", "--quiet", "--package", package, "--bench", name]);
        command.args(extra);
        command
    };
    let benches = [("relatum-promql", "syntax"), ("relatum-model", "texts"), ("relatum-server", "configuration")];
    // All are built first, so that no compiler runs beside what is measured.
    for (package, name) in benches {
        crate::run(&mut bench(package, name, &["--no-run"]))?;
    }
    println!("{:<58}{:>14}{:>14}", "", "mean", "target");
    for (package, name) in benches {
        crate::run(&mut bench(package, name, &[]))?;
    }
    Ok(())
}
