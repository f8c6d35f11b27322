//! The notation of series in acceptance scripts and unit tests of rules: `metric{label="value"} 1+2x3 _ stale`.

use relatum_model::{Labels, MatchOp, stale_nan};

use crate::syntax::parse_selector;

/// How many samples one series may have: a count is a few digits, and must not fill the memory.
const POINTS_MAX: usize = 10_000_000;

/// One place in a sequence of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Point {
    /// No sample.
    Missing,
    /// A number.
    Float(f64),
    /// A histogram, which is not read.
    Histogram,
}

/// A series as its line describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name and labels.
    pub labels: Labels,
    /// Its samples, one after the other at equal distances.
    pub points: Vec<Point>,
    /// Whether the line gives start timestamps instead of values.
    pub is_start_timestamps: bool,
}

impl Described {
    /// Whether any sample is a histogram.
    pub fn has_histograms(&self) -> bool {
        self.points.contains(&Point::Histogram)
    }
}

/// Reads a series and its samples.
pub fn parse(line: &str) -> Result<Described, String> {
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

/// Reads the name and labels of a series; nothing, and `{}`, is the series without labels.
pub fn parse_labels(metric: &str) -> Result<Labels, String> {
    let metric = metric.trim();
    if matches!(metric, "" | "{}") {
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
                    parse_count(count, after)? + 1
                }
                None => 1,
            };
            points.resize(points.len() + count, Point::Histogram);
            if points.len() > POINTS_MAX {
                return Err(format!("more than {POINTS_MAX} samples"));
            }
            rest = rest[end..].trim_start();
            continue;
        }
        let (item, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        parse_item(item, &mut points)?;
        if points.len() > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} samples"));
        }
        rest = after.trim_start();
    }
    Ok(points)
}

fn parse_count(count: &str, item: &str) -> Result<usize, String> {
    let count = count.parse::<usize>().map_err(|error| format!("{item}: {error}"))?;
    if count > POINTS_MAX { Err(format!("{item}: more than {POINTS_MAX} samples")) } else { Ok(count) }
}

fn parse_item(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    // `0x10` is zero, eleven times: counts win over hexadecimal numbers.
    let is_repeated = item.rsplit_once('x').is_some_and(|(_, count)| count.parse::<usize>().is_ok());
    if let (false, Ok(value)) = (is_repeated, parse_number(item)) {
        points.push(Point::Float(value));
        return Ok(());
    }
    let (body, count) = match item.rsplit_once('x') {
        Some((body, count)) => (body, Some(parse_count(count, item)?)),
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

/// Reads a number as PromQL writes it, with its sign.
pub fn parse_number(text: &str) -> Result<f64, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<&str, &str>) {
        let shown = parse(line).map(|series| {
            let points = series.points.iter().map(|point| match point {
                Point::Missing => " _".to_owned(),
                Point::Float(value) if relatum_model::is_stale(*value) => " stale".to_owned(),
                Point::Float(value) => format!(" {value}"),
                Point::Histogram => " histogram".to_owned(),
            });
            format!("{}{}", series.labels, points.collect::<String>())
        });
        assert_eq!(shown.as_deref().map_err(String::as_str), expected, "{line}");
    }

    #[test]
    fn reads_series() {
        check("up 1", Ok("up 1"));
        check("up{a=\"b c\"} 1+2x3 _ stale", Ok("up{a=\"b c\"} 1 3 5 7 _ stale"));
        check("up 0x2 _x2 5-5x1", Ok("up 0 0 0 _ _ 5 0"));
        check("up {{count:1}}x1 2", Ok("up histogram histogram 2"));
        check("{} -1", Ok("{} -1"));
        check("up{a=\"b\" 1", Err("up{a=\"b\" 1: 1:10: parse error: unexpected character inside braces: '1'"));
        check("up one", Err("not a value: one"));
        // A count is a few digits; the samples would fill the memory.
        check("up 1x99999999999", Err("1x99999999999: more than 10000000 samples"));
    }
}
