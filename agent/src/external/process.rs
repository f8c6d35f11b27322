//! A Prometheus on this host, as the kernel shows it: whether it is one, which version, and which file it reads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid as Number;
use tokio::process::Command;

use super::reload::Pid;
use crate::dialect::Version;

/// How long a program may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// A pid file is one short line.
const PID_FILE_BYTES_MAX: u64 = 64;

/// One process that is a Prometheus by its looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    number: i32,
    /// When it began, in the kernel's ticks: a number is used again.
    began: u64,
    arguments: Vec<String>,
}

impl Process {
    /// Finds the process, or says why it is not to be signalled. SIGHUP ends most programs, so nothing but a Prometheus gets it.
    pub(super) fn find(pid: &Pid) -> Result<Process, String> {
        let number = match pid {
            Pid::Number(number) => *number,
            Pid::File(path) => read_pid(path)?,
        };
        let folder = PathBuf::from(format!("/proc/{number}"));
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no process {number}"),
            _ => format!("process {number} cannot be looked at: {error}"),
        };
        let stat = fs::read_to_string(folder.join("stat")).map_err(gone)?;
        let (began, is_zombie) =
            read_stat(&stat).ok_or_else(|| format!("the state of process {number} is unreadable"))?;
        if is_zombie {
            return Err(format!("process {number} has ended"));
        }
        let arguments = fs::read(folder.join("cmdline")).map_err(gone)?;
        let arguments: Vec<String> =
            arguments.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
        let name = arguments.first().map(String::as_str).unwrap_or_default();
        let file_name = Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !file_name.starts_with("prometheus") || file_name.starts_with("prometheus-") {
            let shown: String =
                if name.is_empty() { "a thread of the kernel".to_owned() } else { name.chars().take(200).collect() };
            return Err(format!("process {number} is {shown}, not a Prometheus; it gets no signal"));
        }
        Ok(Process { number, began, arguments })
    }

    /// What is different after a restart.
    pub(super) fn incarnation(&self) -> String {
        format!("{}@{}", self.number, self.began)
    }

    /// Asks its program.
    pub(super) async fn version(&self) -> Result<Version, String> {
        let program = format!("/proc/{}/exe", self.number);
        let asked = Command::new(&program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
        let failed =
            |reason: String| format!("the program of process {} does not say its version: {reason}", self.number);
        let output = tokio::time::timeout(VERSION_TIMEOUT, asked).await;
        let output = output.map_err(|_| failed("it takes too long".to_owned()))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        // Older versions say it on the other stream.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.strip_prefix("prometheus, version ").and_then(|rest| rest.split_whitespace().next());
        version.ok_or_else(|| failed("it is no Prometheus".to_owned()))?.parse().map_err(failed)
    }

    /// Whether it reads `ours`; if not, what it reads.
    pub(super) fn reads(&self, ours: &Path) -> Result<(), String> {
        let Some(named) = self.flag("config.file") else {
            return Err("prometheus.yml in its own folder".to_owned());
        };
        // As the process sees it: from its folder, in its view of the file systems.
        let seen = |name: &str| {
            let name = Path::new(name);
            let root = PathBuf::from(format!("/proc/{}/root", self.number));
            match name.strip_prefix("/") {
                Ok(below) => root.join(below),
                Err(_) => PathBuf::from(format!("/proc/{}/cwd", self.number)).join(name),
            }
        };
        let is_same = match (fs::metadata(seen(&named)), fs::metadata(ours)) {
            (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()),
            // Without the right to look, or before the first file is written, the name has to do.
            _ => Path::new(&named) == ours,
        };
        if is_same { Ok(()) } else { Err(named) }
    }

    /// Where it answers HTTP, by its own arguments.
    pub(super) fn url(&self) -> Option<String> {
        if self.flag("web.config.file").is_some() {
            // TLS or a password, and we have neither certificate nor password.
            return None;
        }
        let listen = self.flag("web.listen-address").unwrap_or_else(|| "0.0.0.0:9090".to_owned());
        let (host, port) = listen.rsplit_once(':')?;
        let host = if matches!(host, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { host };
        let prefix = match (self.flag("web.route-prefix"), self.flag("web.external-url")) {
            (Some(prefix), _) => prefix,
            (None, Some(url)) => reqwest::Url::parse(&url).map(|url| url.path().to_owned()).unwrap_or_default(),
            (None, None) => String::new(),
        };
        Some(format!("http://{host}:{port}/{}", prefix.trim_matches('/')).trim_end_matches('/').to_owned())
    }

    /// Tells it that the files are new.
    pub(super) fn hang_up(&self) -> Result<(), String> {
        kill(Number::from_raw(self.number), Signal::SIGHUP).map_err(|error| match error {
            Errno::EPERM => format!("process {} belongs to somebody whom we may not send a signal", self.number),
            Errno::ESRCH => format!("process {} has ended", self.number),
            error => format!("process {} cannot be sent a signal: {error}", self.number),
        })
    }

    fn flag(&self, name: &str) -> Option<String> {
        flag(&self.arguments, name)
    }
}

/// The value of `--name=value` or `--name value`, with one or two hyphens; the last one counts.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let mut value = None;
    for (at, argument) in arguments.iter().enumerate().skip(1) {
        let Some(rest) = argument.trim_start_matches('-').strip_prefix(name).filter(|_| argument.starts_with('-'))
        else {
            continue;
        };
        match rest.strip_prefix('=') {
            Some(given) => value = Some(given.to_owned()),
            None if rest.is_empty() => value = arguments.get(at + 1).cloned(),
            None => {}
        }
    }
    value
}

fn read_pid(path: &Path) -> Result<i32, String> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    io::Read::read_to_string(&mut io::Read::take(file, PID_FILE_BYTES_MAX), &mut text).map_err(unreadable)?;
    let number = text.trim().parse::<i32>().ok().filter(|number| *number > 1);
    number.ok_or_else(|| format!("{} holds no number of a process", path.display()))
}

/// When the process began, and whether it is only waiting to be buried. The name in brackets may hold anything.
fn read_stat(stat: &str) -> Option<(u64, bool)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some((fields.nth(18)?.parse().ok()?, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_prometheus_gets_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let file = dir.path().join("pid");
        fs::write(&file, format!("{own}\n")).unwrap();
        let empty = dir.path().join("empty");
        fs::write(&empty, "\n").unwrap();
        for (pid, part) in [
            (Pid::Number(i32::try_from(own).unwrap()), "not a Prometheus"),
            (Pid::File(file), "not a Prometheus"),
            (Pid::File(empty), "holds no number"),
            (Pid::File(dir.path().join("none")), "cannot read"),
            (Pid::Number(i32::MAX), "there is no process"),
        ] {
            let reason = Process::find(&pid).unwrap_err();
            assert!(reason.contains(part), "{pid:?}: {reason}");
        }
    }

    #[test]
    fn states() {
        let rest = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(read_stat(&format!("7 (a) b) S {rest}")), Some((12345, false)));
        assert_eq!(read_stat(&format!("7 (prometheus) Z {rest}")), Some((12345, true)));
        assert_eq!(read_stat("7 (prometheus"), None);
    }

    #[test]
    fn arguments_say_where_it_answers() {
        let process = |arguments: &[&str]| Process {
            number: 2,
            began: 0,
            arguments: ["prometheus"].iter().chain(arguments).map(|a| (*a).to_owned()).collect(),
        };
        for (arguments, expected) in [
            (&[][..], Some("http://127.0.0.1:9090")),
            (&["--web.listen-address", "10.0.0.1:9091"], Some("http://10.0.0.1:9091")),
            (&["-web.listen-address=:9092", "--web.external-url=http://x/cos"], Some("http://127.0.0.1:9092/cos")),
            (&["--web.external-url=http://x/cos", "--web.route-prefix=/"], Some("http://127.0.0.1:9090")),
            (&["--web.config.file=web.yml"], None),
        ] {
            assert_eq!(process(arguments).url().as_deref(), expected, "{arguments:?}");
        }
    }
}
