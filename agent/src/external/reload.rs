//! `--reload`: how the workload is told that the files are new.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

/// How.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// SIGHUP to a process.
    Signal(Pid),
    /// POST to `/-/reload` below this URL, which has no slash at the end.
    Http(String),
}

/// Which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pid {
    /// By number.
    Number(i32),
    /// By the number in a file, as it is when it is needed.
    File(PathBuf),
}

/// Neither form.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("cannot use reload {0:?}: it is signal:PID, signal:/path/of/a/pid/file or http:URL")]
pub struct BadReload(String);

impl FromStr for Reload {
    type Err = BadReload;

    fn from_str(text: &str) -> Result<Self, BadReload> {
        let bad = || BadReload(text.to_owned());
        if let Some(process) = text.strip_prefix("signal:") {
            return match process.parse::<i32>() {
                // 0 and negative numbers are groups of processes, and 1 is never a Prometheus that we may restart by mistake.
                Ok(number) if number > 1 => Ok(Reload::Signal(Pid::Number(number))),
                Err(_) if process.starts_with('/') => Ok(Reload::Signal(Pid::File(process.into()))),
                _ => Err(bad()),
            };
        }
        // `http:` is the name of the way, and most URLs begin with it already.
        let url = match text.strip_prefix("http:") {
            Some(rest) if !rest.starts_with("//") => rest,
            _ => text,
        };
        base_url(url).map(Reload::Http).ok_or_else(bad)
    }
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reload::Signal(Pid::Number(number)) => write!(f, "process {number}"),
            Reload::Signal(Pid::File(path)) => write!(f, "the process of {}", path.display()),
            Reload::Http(url) => f.write_str(&without_password(url)),
        }
    }
}

/// The URL below which Prometheus answers: `url` without a slash or `/-/reload` at the end. `None` if it is no such URL.
pub(super) fn base_url(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return None;
    }
    let url = parsed.as_str().trim_end_matches('/');
    Some(url.strip_suffix("/-/reload").unwrap_or(url).trim_end_matches('/').to_owned())
}

/// For messages and for others: user and password are for us alone.
pub(super) fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    // Fails only for URLs without a host, which have no password.
    let _ = parsed.set_username("").and_then(|()| parsed.set_password(None));
    parsed.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("signal:17", Some("process 17")),
            ("signal:/run/prometheus.pid", Some("the process of /run/prometheus.pid")),
            ("http:http://p:9090", Some("http://p:9090")),
            ("http:https://u:secret@p.example/cos/-/reload", Some("https://p.example/cos")),
            ("http://p:9090/", Some("http://p:9090")),
            ("https://p:9090/-/reload", Some("https://p:9090")),
            ("signal:", None),
            ("signal:0", None),
            ("signal:1", None),
            ("signal:-17", None),
            ("signal:prometheus", None),
            ("http:", None),
            ("http:p:9090", None),
            ("http://p:9090/?a=b", None),
            ("p:9090", None),
        ] {
            let found = text.parse::<Reload>().ok().map(|reload| reload.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
