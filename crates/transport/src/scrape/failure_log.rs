//! The file in which a job writes down each failed scrape, one JSON object a line, as Prometheus writes it.
//!
//! It is opened for each line: scrapes rarely fail, and so whoever rotates the file need not tell us.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::ScrapeError;
use crate::time::{now_ms, rfc3339};

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: String,
    job_name: &'a str,
    target: &'a str,
}

/// Opens the file for further lines; makes it if it does not exist.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Adds a line.
pub(crate) fn write(path: &Path, job: &str, url: &str, failure: &ScrapeError) -> io::Result<()> {
    let line = Line { time: rfc3339(now_ms()), level: "ERROR", msg: failure.to_string(), job_name: job, target: url };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    // In one call, so that lines of several targets do not mix.
    open(path)?.write_all(&text)
}
