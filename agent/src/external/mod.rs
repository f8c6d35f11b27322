//! The workload beside us: a real Prometheus that reads the rendered files and is told when they are new.
//!
//! It is another's process: it may be away, be another version tomorrow, or read other files than ours. So what it is gets asked
//! again and again, what it refuses is put back, and what cannot be known is said in `status`.

mod drive;
mod listener;
mod peer;
mod process;
mod reload;

use std::sync::Arc;

use thiserror::Error;

use crate::daemon::{self, Running, StartError};
use crate::dialect::Version;
use crate::options::Options;
use drive::External;
pub use reload::{BadReload, Reload};

/// Where the agent's own listener is when nobody says: on this host only, and away from Prometheus' port.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:9096";

/// Which Prometheus is driven, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalOptions {
    /// How it is told that the files are new.
    pub reload: Reload,
    /// Under which URL it is reached: for the data source, for what is published, and to see that it took the files. For
    /// [`Reload::Http`] the URL that is asked is the default.
    pub url: Option<String>,
    /// Its version, where it cannot be asked.
    pub version: Option<Version>,
}

/// What is said of the workload by flags, each of which may come from a file as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadFlags {
    /// `--workload`: `embedded` or `external`.
    pub workload: Option<String>,
    /// `--reload`.
    pub reload: Option<String>,
    /// `--workload-url`.
    pub url: Option<String>,
    /// `--workload-version`.
    pub version: Option<String>,
}

/// Why the flags cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadWorkload {
    /// No such kind.
    #[error("cannot use workload {0:?}: it is `embedded` or `external`")]
    Kind(String),
    /// Nothing says how.
    #[error(
        "cannot drive an external workload: --reload signal:PID or --reload http:URL says how it is told of new files"
    )]
    NoReload,
    /// Something is said that does not count.
    #[error("cannot use {0} without --workload external")]
    Embedded(&'static str),
    /// The value of `--reload`.
    #[error(transparent)]
    Reload(#[from] BadReload),
    /// The value of `--workload-url`.
    #[error("cannot use workload URL {0:?}: it begins with http:// or https:// and names a host")]
    Url(String),
    /// The value of `--workload-version`.
    #[error("cannot use workload version: {0}")]
    Version(String),
}

impl WorkloadFlags {
    /// Takes from `below` what is not said here.
    pub fn or(self, below: WorkloadFlags) -> WorkloadFlags {
        WorkloadFlags {
            workload: self.workload.or(below.workload),
            reload: self.reload.or(below.reload),
            url: self.url.or(below.url),
            version: self.version.or(below.version),
        }
    }

    /// What they come to; none for the server in this process.
    pub fn external(self) -> Result<Option<ExternalOptions>, BadWorkload> {
        match self.workload.as_deref() {
            Some("external") => {}
            None | Some("embedded") => {
                let idle =
                    [("--reload", &self.reload), ("--workload-url", &self.url), ("--workload-version", &self.version)];
                return match idle.iter().find(|(_, value)| value.is_some()) {
                    Some((flag, _)) => Err(BadWorkload::Embedded(flag)),
                    None => Ok(None),
                };
            }
            Some(other) => return Err(BadWorkload::Kind(other.to_owned())),
        }
        let reload: Reload = self.reload.ok_or(BadWorkload::NoReload)?.parse()?;
        let url = match self.url {
            Some(url) => Some(reload::base_url(&url).ok_or(BadWorkload::Url(url))?),
            None => None,
        };
        let version = self.version.map(|text| text.parse()).transpose().map_err(BadWorkload::Version)?;
        Ok(Some(ExternalOptions { reload, url, version }))
    }
}

/// Starts an agent that drives the Prometheus that `external` describes; it is ready when this returns, whether that Prometheus is there
/// or not.
pub async fn start(options: Options, external: ExternalOptions) -> Result<Running, StartError> {
    let mut options = options;
    options.workload_url = Some(drive::published_url(&external));
    daemon::start_with(options, |wiring| Ok(Arc::new(External::open(wiring, external)))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: [Option<&str>; 4], expected: Result<bool, &str>) {
        let [workload, reload, url, version] = words.map(|word| word.map(str::to_owned));
        let found = WorkloadFlags { workload, reload, url, version }.external();
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.is_some(), expected, "{words:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, _) => panic!("{words:?} gives {found:?}"),
        }
    }

    #[test]
    fn flags() {
        check([None, None, None, None], Ok(false));
        check([Some("embedded"), None, None, None], Ok(false));
        check([Some("external"), Some("signal:17"), None, None], Ok(true));
        check([Some("external"), Some("http://p:9090"), Some("https://p.example/x/"), Some("2.53")], Ok(true));
        check([Some("outer"), None, None, None], Err("`embedded` or `external`"));
        check([Some("external"), None, None, None], Err("--reload"));
        check([None, Some("signal:17"), None, None], Err("without --workload external"));
        check([Some("external"), Some("kill:17"), None, None], Err("kill:17"));
        check([Some("external"), Some("signal:17"), Some("p:9090"), None], Err("p:9090"));
        check([Some("external"), Some("signal:17"), None, Some("new")], Err("new"));
    }
}
