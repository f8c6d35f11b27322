//! Who may come in, and how: what `--web.config.file` says of TLS, users, headers and how many requests are served, and what flags say of the latter.
//!
//! The file and the certificates it names are looked at for every connection and every request, so that a new certificate needs no
//! restart. What cannot be used is logged, and what was in effect before stays: a half-written file locks nobody out.

mod client_auth;
mod gate;
mod limit;
mod metrics;
mod tls;
mod users;
pub mod x509;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::http::{HeaderName, HeaderValue};
use relatum_config::web::WebConfig;
use rustls::ServerConfig;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::files::{DiskFiles, FileProblem, Files, whole_file};

pub(crate) use gate::{Door, later, pass};
use limit::RateLimiter;
use metrics::Counts;
pub use tls::check_pair;
use users::Users;

/// Why what the file says cannot be done.
#[derive(Debug, Error)]
pub enum WebError {
    /// One of the files it names cannot be read.
    #[error("cannot read {field} {}", path.display())]
    Read {
        /// The key.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something in it is not what it should be.
    #[error("cannot use {field}: {reason}")]
    Unusable {
        /// The key.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The rules for all that comes in over HTTP. Many listeners may share it.
#[derive(Debug)]
pub struct Web {
    current: ArcSwap<Rules>,
    users: Users,
    // One at a time reads the files, and says once what is wrong with them.
    looking: Mutex<Option<String>>,
    draining: CancellationToken,
    door: ArcSwap<Door>,
    pub(crate) counts: Counts,
}

/// Rules that are ready to be in effect; [`Web::commit`] cannot fail.
#[derive(Debug)]
#[must_use = "prepared rules do nothing before they are committed"]
pub struct PreparedWeb {
    rules: Rules,
    source: Option<Source>,
}

impl PreparedWeb {
    /// Has the files they were read from looked at for every connection and request. Not for files that somebody replaces in several
    /// steps and tells us when it is done.
    pub fn watched(mut self) -> Self {
        self.rules.source = self.source.take();
        self
    }
}

/// What is in effect.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Until when our certificate is valid, milliseconds since 1970, if that can be read.
    not_after_ms: Option<i64>,
    pub(crate) http2: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    config: WebConfig,
    limiter: Option<Arc<RateLimiter>>,
    source: Option<Source>,
}

/// The files the rules were read from.
#[derive(Debug)]
struct Source {
    file: PathBuf,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

/// What is different after a file was replaced or edited: device, inode, size, time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let stamp = |m: Metadata| Stamp(m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec());
        std::fs::metadata(path).ok().map(stamp)
    }
}

impl Default for Web {
    /// Plain HTTP for everybody.
    fn default() -> Self {
        Web {
            current: ArcSwap::from_pointee(Rules::open()),
            users: Users::default(),
            looking: Mutex::default(),
            draining: CancellationToken::new(),
            door: ArcSwap::default(),
            counts: Counts::default(),
        }
    }
}

impl Web {
    /// Reads the file at `path`, if there is one to read, from `files`, and the certificates it names from disk. They are not looked at
    /// again unless [`PreparedWeb::watched`] says so.
    pub fn prepare(&self, files: &dyn Files, path: Option<&Path>) -> Result<PreparedWeb, Vec<FileProblem>> {
        let Some(path) = path else { return Ok(PreparedWeb { rules: Rules::open(), source: None }) };
        let (rules, source) = Rules::read(files, path, &self.current.load())?;
        Ok(PreparedWeb { rules, source })
    }

    /// Puts prepared rules in effect for every connection and request from now on.
    pub fn commit(&self, prepared: PreparedWeb) {
        self.put(prepared.rules);
    }

    /// Puts limits and the access log of flags in effect. A client's count begins anew.
    pub(crate) fn set_door(&self, door: Door) {
        self.door.store(Arc::new(door));
    }

    fn door(&self) -> Arc<Door> {
        self.door.load_full()
    }

    /// Cancelled when no more requests are taken: answers that would go on for ever end then.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Whether connections are made with TLS.
    pub fn is_tls(&self) -> bool {
        self.current.load().tls.is_some()
    }

    /// What is in effect, after a look at whether the files are still the same.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        let rules = self.current.load_full();
        if rules.is_current() {
            return rules;
        }
        let mut known_fault = self.looking.lock().expect("nothing panics while it reads");
        let rules = self.current.load_full();
        let Some(Source { file, .. }) = rules.source.as_ref().filter(|_| !rules.is_current()) else { return rules };
        match Rules::read(&DiskFiles, file, &rules) {
            Ok((mut fresh, source)) => {
                fresh.source = source;
                *known_fault = None;
                info!(file = %file.display(), "web configuration loaded");
                self.put(fresh);
                self.current.load_full()
            }
            Err(problems) => {
                let fault = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                if known_fault.as_ref() != Some(&fault) {
                    error!(error = fault, "the web configuration was not loaded; the last good one stays");
                    *known_fault = Some(fault);
                }
                rules
            }
        }
    }

    fn put(&self, rules: Rules) {
        self.users.keep_only(&rules.config.users);
        self.current.store(Arc::new(rules));
    }
}

impl Rules {
    fn open() -> Rules {
        let config = WebConfig { http2: true, ..WebConfig::default() };
        Rules { tls: None, not_after_ms: None, http2: true, headers: Vec::new(), config, limiter: None, source: None }
    }

    fn read(files: &dyn Files, path: &Path, before: &Rules) -> Result<(Rules, Option<Source>), Vec<FileProblem>> {
        let in_file = |problem| vec![FileProblem { path: path.to_owned(), problem }];
        let whole = |message: String| in_file(whole_file(message));
        // Before reading, so that what changes meanwhile is seen the next time.
        let mut stamps = vec![(path.to_owned(), Stamp::of(path))];
        let text = files.read(path).map_err(|error| whole(format!("cannot read the file: {error}")))?;
        let mut config = WebConfig::parse(&text).map_err(|problems| {
            let in_file = |problem| FileProblem { path: path.to_owned(), problem };
            problems.into_iter().map(in_file).collect::<Vec<_>>()
        })?;
        config.join_directory(path.parent().unwrap_or(Path::new("")));
        let (mut tls, mut not_after_ms) = (None, None);
        if let Some(wanted) = &config.tls {
            let named = [&wanted.cert_file, &wanted.key_file, &wanted.client_ca_file];
            stamps.extend(named.into_iter().flatten().map(|path| (path.clone(), Stamp::of(path))));
            let (made, chain, warnings) =
                tls::server_config(wanted, config.http2).map_err(|error| whole(crate::chain(&error)))?;
            not_after_ms = chain.first().and_then(|own| x509::Certificate::read(own).ok()).map(|own| own.not_after_ms);
            for warning in warnings {
                warn!(file = %path.display(), "{warning}");
            }
            tls = Some(Arc::new(made));
        }
        let mut headers = Vec::new();
        for (name, value) in config.headers.iter().filter(|(_, value)| !value.is_empty()) {
            match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => {
                    return Err(whole(format!(
                        "cannot use header {name}: its value has characters that no header may have"
                    )));
                }
            }
        }
        // A limit that is what it was goes on counting.
        let kept = before.limiter.as_ref().filter(|_| before.config.rate_limit == config.rate_limit);
        let limiter = config.rate_limit.map(|limit| match kept {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(RateLimiter::new(limit)),
        });
        let source = Some(Source { file: path.to_owned(), stamps });
        Ok((Rules { tls, not_after_ms, http2: config.http2, headers, config, limiter, source: None }, source))
    }

    fn is_current(&self) -> bool {
        self.source.iter().flat_map(|source| &source.stamps).all(|(path, stamp)| Stamp::of(path) == *stamp)
    }
}

#[cfg(test)]
mod tests;
