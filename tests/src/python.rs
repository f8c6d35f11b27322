//! Python environments, made by the tests that need packages of others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The interpreter, if there is one.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("python3")).find(|file| file.is_file())
}

/// An interpreter that has `packages`, each with its version. The environment is made in `folder`, and once for each list of packages.
pub fn with_packages(folder: &Path, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let home = folder.join(format!("python-{}", packages.join("-").replace("==", "_")));
    let python = home.join("bin").join("python");
    let marker = home.join("complete");
    if marker.is_file() {
        return Ok(python);
    }
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
        Ok(())
    };
    run(Command::new(find().context("python3 is missing")?).args(["-m", "venv", "--clear"]).arg(&home))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    std::fs::write(marker, "")?;
    Ok(python)
}
