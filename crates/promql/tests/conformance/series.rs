//! The notation of series: `metric{label="value"} 1+2x3 _ stale`.

use relatum_model::{Labels, MatchOp, stale_nan};
use relatum_promql::syntax::parse_selector;

/// One place in a sequence of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Point {
    Missing,
    Float(f64),
    /// A histogram, which is not read.
    Histogram,
}

/// A series as a script describes it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<Point>,
    /// Whether the line gives start timestamps instead of values.
    pub(crate) is_start_timestamps: bool,
}

impl Described {
    pub(crate) fn has_histograms(&self) -> bool {
        self.points.contains(&Point::Histogram)
    }
}

pub(crate) fn parse(line: &str) -> Result<Described, String> {
    let end = metric_end(line);
    let (metric, rest) = line.split_at(end);
    let (metric, is_start_timestamps) = match metric.trim().strip_suffix("@st") {
        Some(metric) => (metric, true),
        None => (metric.trim(), false),
    };
    let labels = parse_labels(metric)?;
    let points = if is_start_timestamps { Vec::new() } else { parse_points(rest)? };
    Ok(Described { labels, points, is_start_timestamps })
}

/// Where the metric ends: at the first blank outside of braces, or behind them.
fn metric_end(line: &str) -> usize {
    let (mut quote, mut is_escaped, mut depth) = (None, false, 0);
    for (at, c) in line.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '{' => depth += 1,
                '}' => depth -= 1,
                c if c.is_whitespace() && depth == 0 && !line[at..].trim_start().starts_with('{') => return at,
                c if c.is_whitespace() && depth == 0 && line[at..].trim_start().starts_with("{{") => return at,
                _ => {}
            },
        }
    }
    line.len()
}

fn parse_labels(metric: &str) -> Result<Labels, String> {
    if metric == "{}" {
        return Ok(Labels::empty());
    }
    let selector = parse_selector(metric).map_err(|error| format!("{metric}: {error}"))?;
    let matchers = selector.all_matchers();
    if matchers.iter().any(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("not a series: {metric}"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))))
}

fn parse_points(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("{{") {
            // Up to three items may hang together: histogram, sign and histogram, count.
            let mut end = inside.find("}}").ok_or("unclosed histogram")? + 4;
            if rest[end..].starts_with(['+', '-']) && rest[end + 1..].starts_with("{{") {
                end += 3 + rest[end + 3..].find("}}").ok_or("unclosed histogram")? + 2;
            }
            let after = rest[end..].split_whitespace().next().unwrap_or("");
            let count = match after.strip_prefix('x').filter(|_| rest[end..].starts_with('x')) {
                Some(count) => {
                    end += 1 + count.len();
                    count.parse::<usize>().map_err(|error| format!("{after}: {error}"))? + 1
                }
                None => 1,
            };
            points.resize(points.len() + count, Point::Histogram);
            rest = rest[end..].trim_start();
            continue;
        }
        let (item, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        parse_item(item, &mut points)?;
        rest = after.trim_start();
    }
    Ok(points)
}

fn parse_item(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    // `0x10` is zero, eleven times: counts win over hexadecimal numbers.
    let is_repeated = item.rsplit_once('x').is_some_and(|(_, count)| count.parse::<usize>().is_ok());
    if let (false, Ok(value)) = (is_repeated, parse_number(item)) {
        points.push(Point::Float(value));
        return Ok(());
    }
    let (body, count) = match item.rsplit_once('x') {
        Some((body, count)) => (body, Some(count.parse::<usize>().map_err(|error| format!("{item}: {error}"))?)),
        None => (item, None),
    };
    match body {
        "_" => points.resize(points.len() + count.unwrap_or(1), Point::Missing),
        "stale" => points.resize(points.len() + count.map_or(1, |count| count + 1), Point::Float(stale_nan())),
        _ => {
            let count = count.ok_or_else(|| format!("not a value: {item}"))?;
            let sign = body
                .char_indices()
                .skip(1)
                .filter(|(at, c)| matches!(c, '+' | '-') && !body[..*at].ends_with(['e', 'E', '+', '-']))
                .map(|(at, _)| at)
                .next();
            let (start, step) = match sign {
                Some(at) => (parse_number(&body[..at])?, parse_number(body[at..].trim_start_matches('+'))?),
                None => (parse_number(body)?, 0.0),
            };
            // Added up one by one, as the notation says, not multiplied.
            let mut value = start;
            for _ in 0..=count {
                points.push(Point::Float(value));
                value += step;
            }
        }
    }
    Ok(())
}

pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).map(|value| sign * value as f64).map_err(|error| error.to_string());
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && !matches!(digits.to_ascii_lowercase().as_str(), "nan" | "inf")
    {
        return Err(format!("not a number: {text}"));
    }
    digits.parse::<f64>().map(|value| sign * value).map_err(|error| format!("{text}: {error}"))
}
