//! The commands of a script.

use regex::Regex;
use relatum_model::time::parse_duration;
use relatum_promql::notation::{self, Described};

/// One command and where it stands.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Clear,
    Load { step_ms: i64, with_nhcb: bool, series: Vec<Described> },
    Eval(Box<Eval>),
}

/// When to evaluate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Moments {
    Instant(i64),
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What is expected of a text.
#[derive(Debug)]
pub(crate) enum Pattern {
    Any,
    Exactly(String),
    Regex(Regex),
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exactly(expected) => expected == text,
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A query and what it must give.
#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) query: String,
    pub(crate) moments: Moments,
    pub(crate) is_ordered: bool,
    pub(crate) fail: Option<Pattern>,
    pub(crate) warnings: Vec<Pattern>,
    pub(crate) infos: Vec<Pattern>,
    pub(crate) no_warnings: bool,
    pub(crate) no_infos: bool,
    pub(crate) expected: Expected,
}

#[derive(Debug)]
pub(crate) enum Expected {
    Scalar(f64),
    Text(String),
    Series(Vec<Described>),
    /// A range vector with these moments.
    RangeVector {
        start_ms: i64,
        step_ms: i64,
        series: Vec<Described>,
    },
}

pub(crate) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, number) = (lines[at], at + 1);
        at += 1;
        if line.is_empty() {
            continue;
        }
        let start = at;
        let word = line.split_whitespace().next().unwrap_or("");
        if word != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                at += 1;
            }
        }
        let body = &lines[start..at];
        let kind = match word {
            "clear" => Ok(Kind::Clear),
            _ if word.starts_with("load") => load(line, body),
            _ if word.starts_with("eval") => eval(line, body).map(|eval| Kind::Eval(Box::new(eval))),
            _ => Err(format!("not a command: {line}")),
        };
        commands.push(Command { line: number, kind: kind.map_err(|error| format!("line {number}: {error}"))? });
    }
    Ok(commands)
}

fn load(line: &str, body: &[&str]) -> Result<Kind, String> {
    let (word, step) = line.split_once(char::is_whitespace).ok_or("load without a step")?;
    let series = body.iter().map(|line| notation::parse(line)).collect::<Result<Vec<_>, _>>()?;
    Ok(Kind::Load { step_ms: milliseconds(step.trim())?, with_nhcb: word == "load_with_nhcb", series })
}

fn milliseconds(text: &str) -> Result<i64, String> {
    parse_duration(text).map(|duration| duration.as_millis() as i64).map_err(|error| format!("{text}: {error}"))
}

fn eval(line: &str, body: &[&str]) -> Result<Eval, String> {
    let instant = Regex::new(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+at\s+(\S+)\s+(.+)$").unwrap();
    let range =
        Regex::new(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$").unwrap();
    let (modifier, moments, query) = if let Some(found) = instant.captures(line) {
        (found.get(1), Moments::Instant(milliseconds(&found[2])?), found[3].to_owned())
    } else if let Some(found) = range.captures(line) {
        let (start_ms, end_ms) = (milliseconds(&found[2])?, milliseconds(&found[3])?);
        let moments = Moments::Range { start_ms, end_ms, step_ms: milliseconds(&found[4])? };
        (found.get(1), moments, found[5].to_owned())
    } else {
        return Err(format!("not an evaluation: {line}"));
    };
    let modifier = modifier.map_or("", |found| found.as_str());
    let mut eval = Eval {
        query,
        moments,
        is_ordered: modifier == "ordered",
        fail: (modifier == "fail").then_some(Pattern::Any),
        warnings: if modifier == "warn" { vec![Pattern::Any] } else { Vec::new() },
        infos: if modifier == "info" { vec![Pattern::Any] } else { Vec::new() },
        no_warnings: false,
        no_infos: false,
        expected: Expected::Series(Vec::new()),
    };
    let expect = Regex::new(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$").unwrap();
    let range_vector = Regex::new(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$").unwrap();
    let mut series = Vec::new();
    let mut of_range_vector = None;
    for line in body {
        if let Some(found) = range_vector.captures(line) {
            of_range_vector = Some((milliseconds(&found[1])?, milliseconds(&found[3])?));
        } else if let Some(text) = line.strip_prefix("expect string ") {
            let text = text.trim();
            let inside = &text[1..text.len() - 1];
            eval.expected = Expected::Text(inside.replace("\\\"", "\""));
            return Ok(eval);
        } else if let Some(message) = line.strip_prefix("expected_fail_message") {
            eval.fail = Some(Pattern::Exactly(message.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(Pattern::Regex(Regex::new(pattern.trim()).map_err(|error| error.to_string())?));
        } else if let Some(found) = expect.captures(line) {
            let pattern = match (found.get(2).map(|kind| kind.as_str()), found.get(3)) {
                (Some("msg"), Some(text)) => Pattern::Exactly(text.as_str().trim().to_owned()),
                (Some(_), Some(text)) => {
                    Pattern::Regex(Regex::new(text.as_str().trim()).map_err(|error| error.to_string())?)
                }
                _ => Pattern::Any,
            };
            match &found[1] {
                "ordered" => eval.is_ordered = true,
                "fail" => eval.fail = Some(pattern),
                "warn" => eval.warnings.push(pattern),
                "info" => eval.infos.push(pattern),
                "no_warn" => eval.no_warnings = true,
                _ => eval.no_infos = true,
            }
        } else if let Ok(number) = notation::parse_number(line) {
            eval.expected = Expected::Scalar(number);
            return Ok(eval);
        } else {
            series.push(notation::parse(line)?);
        }
    }
    eval.expected = match of_range_vector {
        Some((start_ms, step_ms)) => Expected::RangeVector { start_ms, step_ms, series },
        None => Expected::Series(series),
    };
    Ok(eval)
}
