//! The log of queries: one line of JSON for each, in the form of Prometheus' `query_log_file`; and a word about slow ones.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relatum_model::exposition::MetricFamily;
use serde_json::{Value, json};
use tracing::warn;

use crate::http::query_stats::Turn;

/// Of a longer query a warning has the beginning. The log of queries has all of it.
const WARNED_BYTES_MAX: usize = 2000;

/// A query that was asked.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) query: &'a str,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
    pub(crate) by: By<'a>,
}

/// Who asks.
#[derive(Debug)]
pub(crate) enum By<'a> {
    /// Somebody over HTTP.
    Client { client: &'a str, method: &'a str, path: &'a str },
    /// A rule of this group.
    Rule { file: &'a str, group: &'a str },
}

/// Where queries are logged, if anywhere.
#[derive(Debug, Default)]
pub(crate) struct QueryLog {
    open: Mutex<Option<LogFile>>,
    is_open: AtomicBool,
    failures: AtomicU64,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    // A disk that is full is said once.
    failed: bool,
}

/// A log that is ready to be written; see [`QueryLog::commit`].
#[derive(Debug)]
pub(crate) struct PreparedQueryLog(Option<LogFile>);

impl QueryLog {
    /// Opens the file at `path`.
    pub(crate) fn prepare(path: Option<&Path>) -> io::Result<PreparedQueryLog> {
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            Ok::<_, io::Error>(LogFile { path: path.to_owned(), file, failed: false })
        };
        path.map(open).transpose().map(PreparedQueryLog)
    }

    /// Logs to the prepared file from now on. A file that was moved away is made anew by that.
    pub(crate) fn commit(&self, prepared: PreparedQueryLog) {
        self.is_open.store(prepared.0.is_some(), Ordering::Relaxed);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = prepared.0;
    }

    /// Whether anybody wants lines. Does not wait for one that is being written.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Writes a line, if anybody wants it.
    pub(crate) fn write(&self, asked: &Asked<'_>, error: Option<&str>, stats: impl FnOnce() -> Value, at_ms: i64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = &mut *open else { return };
        let written = log.file.write_all(line(asked, error, &stats(), at_ms).as_bytes());
        if let Err(error) = &written
            && !log.failed
        {
            warn!(file = %log.path.display(), %error, "queries cannot be logged");
        }
        log.failed = written.is_err();
        self.failures.fetch_add(u64::from(log.failed), Ordering::Relaxed);
    }

    /// Whether there is a log, and how it fares.
    pub(crate) fn metrics(&self) -> [MetricFamily; 2] {
        [
            MetricFamily::gauge(
                "prometheus_engine_query_log_enabled",
                "Whether queries are logged.",
                f64::from(u8::from(self.is_open())),
            ),
            MetricFamily::counter(
                "prometheus_engine_query_log_failures_total",
                "Queries that could not be logged.",
                self.failures.load(Ordering::Relaxed) as f64,
            ),
        ]
    }
}

/// Says so when a query took longer than `slow_after`, and why if it failed; zero says nothing of any. How long it waited is said, too,
/// and does not make it a slow one.
pub(crate) fn warn_if_slow(asked: &Asked<'_>, error: Option<&str>, turn: Turn, slow_after: Duration) {
    if slow_after.is_zero() || turn.took < slow_after {
        return;
    }
    let Asked { query, start_ms, end_ms, step_ms, ref by } = *asked;
    let (query, error) = (&*beginning(query), error.map(beginning));
    let (error, seconds) = (error.as_deref(), turn.took.as_secs_f64());
    match by {
        By::Client { client, .. } => {
            let waited_seconds = turn.waited.as_secs_f64();
            warn!(query, start_ms, end_ms, step_ms, client, seconds, waited_seconds, error, "slow query");
        }
        By::Rule { file, group } => warn!(query, at_ms = start_ms, file, group, seconds, error, "slow query of a rule"),
    }
}

/// As much of `text` as a line of a log bears; behind it, how long all of it is.
fn beginning(text: &str) -> Cow<'_, str> {
    match text.floor_char_boundary(WARNED_BYTES_MAX) {
        end if end < text.len() => format!("{}\u{2026} ({} bytes)", &text[..end], text.len()).into(),
        _ => text.into(),
    }
}

fn line(asked: &Asked<'_>, error: Option<&str>, stats: &Value, at_ms: i64) -> String {
    let params = json!({
        "query": asked.query,
        "start": moment(asked.start_ms),
        "end": moment(asked.end_ms),
        "step": asked.step_ms / 1000,
    });
    let mut entry = json!({
        "time": moment(at_ms),
        "level": "INFO",
        "msg": "promql query logged",
        "params": params,
        "stats": stats,
    });
    match asked.by {
        By::Client { client, method, path } => {
            entry["httpRequest"] = json!({ "clientIP": client, "method": method, "path": path });
        }
        By::Rule { file, group } => entry["ruleGroup"] = json!({ "file": file, "name": group }),
    }
    if let Some(error) = error {
        entry["error"] = error.into();
    }
    format!("{entry}\n")
}

/// As Prometheus writes moments here: with milliseconds, in UTC.
fn moment(t_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(t_ms) {
        Ok(moment) => moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => t_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_have_the_beginning_of_a_long_text() {
        assert_eq!(beginning("up"), "up");
        let long = "\u{e9}".repeat(50_000);
        let expected = format!("{}\u{2026} (100000 bytes)", "\u{e9}".repeat(WARNED_BYTES_MAX / 2));
        assert_eq!(beginning(&long), expected);
    }

    #[test]
    fn lines_are_those_of_prometheus() {
        let asked = Asked {
            query: "up == 0",
            start_ms: 1_581_173_981_000,
            end_ms: 1_581_173_981_500,
            step_ms: 15_000,
            by: By::Client { client: "127.0.0.1", method: "GET", path: "/api/v1/query_range" },
        };
        let of_rule = Asked { by: By::Rule { file: "rules/a.yml", group: "a" }, step_ms: 0, ..asked };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.log");
        let log = QueryLog::default();
        log.write(&asked, None, || json!({}), 0);
        log.commit(QueryLog::prepare(Some(&path)).unwrap());
        log.write(&asked, None, || json!({ "timings": {} }), 1_581_173_990_368);
        log.write(&asked, Some("query timed out"), || json!({}), 1_581_173_990_368);
        log.write(&of_rule, None, || json!({}), 1_581_173_990_368);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = json!({
            "time": "2020-02-08T14:59:50.368Z",
            "level": "INFO",
            "msg": "promql query logged",
            "params": {
                "query": "up == 0",
                "start": "2020-02-08T14:59:41.000Z",
                "end": "2020-02-08T14:59:41.500Z",
                "step": 15,
            },
            "stats": { "timings": {} },
            "httpRequest": { "clientIP": "127.0.0.1", "method": "GET", "path": "/api/v1/query_range" },
        });
        assert_eq!(lines.len(), 3, "nothing is written before there is a file");
        assert_eq!(lines[2]["ruleGroup"], json!({ "file": "rules/a.yml", "name": "a" }));
        assert_eq!(lines[2].get("httpRequest"), None);
        assert_eq!(lines[0], expected);
        assert_eq!(lines[1]["error"], "query timed out");
        assert!(QueryLog::prepare(Some(dir.path())).is_err(), "a folder is no file");
        let counts = || log.metrics().map(|family| family.samples[0].value);
        assert_eq!(counts(), [1.0, 0.0]);
        // A device that is always full.
        log.commit(QueryLog::prepare(Some(Path::new("/dev/full"))).unwrap());
        log.write(&asked, None, || json!({}), 0);
        assert_eq!(counts(), [1.0, 1.0]);
        log.commit(QueryLog::prepare(None).unwrap());
        assert_eq!(counts(), [0.0, 1.0]);
    }
}
