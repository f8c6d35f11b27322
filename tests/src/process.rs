//! Processes of a test: started on free ports, stopped when the test ends, their output kept for the error message.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use crate::{PATIENCE, http, wait_for};

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Running {
    /// Starts `command` and collects what it prints.
    pub fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("stdout was asked for"), Arc::clone(&output));
        collect(child.stderr.take().expect("stderr was asked for"), Arc::clone(&output));
        Ok(Running { name: name.to_owned(), child, output })
    }

    /// What the process printed so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("the collectors do not panic").clone()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `url` answers 200; fails early if the process ends.
    pub fn wait_ready(&mut self, url: &str) -> anyhow::Result<()> {
        let what = format!("{} at {url}", self.name);
        let ended = wait_for(&what, PATIENCE, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Some(status));
            }
            http::get(url).is_ok_and(|answer| answer.status == 200).then_some(None)
        })
        .with_context(|| self.output())?;
        match ended {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended with {status}:\n{}", self.name, self.output()),
        }
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until the process ends by itself; returns its exit code.
    pub fn wait_end(&mut self) -> anyhow::Result<Option<i32>> {
        let what = format!("{} to end", self.name);
        let status =
            wait_for(&what, PATIENCE, || self.child.try_wait().ok().flatten()).with_context(|| self.output())?;
        Ok(status.code())
    }

    /// Asks the process to stop (SIGTERM) and waits for its end; returns its exit code.
    pub fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        let pid = self.child.id().to_string();
        anyhow::ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "cannot signal {}", self.name);
        let what = format!("{} to stop", self.name);
        let status =
            wait_for(&what, PATIENCE, || self.child.try_wait().ok().flatten()).with_context(|| self.output())?;
        Ok(status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut output = output.lock().expect("no collector panics");
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// A port that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
