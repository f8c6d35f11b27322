//! The notation of series in acceptance scripts and unit tests of rules: `metric{label="value"} 1+2x3 _ stale`.

use std::sync::Arc;

use relatum_model::histogram::{Buckets, CounterReset, Span};
use relatum_model::text::format_value_short;
use relatum_model::{Histogram, Labels, MatchOp, stale_nan};

use crate::histogram;
use crate::syntax::parse_selector;

/// How many samples one series may have: a count is a few digits, and must not fill the memory.
const POINTS_MAX: usize = 10_000_000;

/// How many buckets are written of a histogram: two that are far apart must not fill the memory with the gap.
const WRITTEN_BUCKETS_MAX: i64 = 1_000_000;

/// One place in a sequence of samples.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    /// No sample.
    Missing,
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<DescribedHistogram>),
}

/// A histogram as it is described.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedHistogram {
    /// The histogram.
    pub histogram: Histogram<f64>,
    /// Whether the description says what is known of the histogram before; if not, any answer is right.
    pub hint_is_given: bool,
}

/// A series as its line describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name and labels.
    pub labels: Labels,
    /// Its samples, one after the other at equal distances.
    pub points: Vec<Point>,
    /// When the samples began to count, in milliseconds from the time of each, if the line says that instead of values.
    pub starts: Option<Vec<Option<i64>>>,
}

impl Described {
    /// Whether any sample is a histogram.
    pub fn has_histograms(&self) -> bool {
        self.points.iter().any(|point| matches!(point, Point::Histogram(_)))
    }
}

/// Reads a series and its samples.
pub fn parse(line: &str) -> Result<Described, String> {
    let end = metric_end(line);
    let (metric, rest) = line.split_at(end);
    match metric.trim().strip_suffix("@st") {
        Some(metric) => {
            let starts = Some(parse_starts(rest)?);
            Ok(Described { labels: parse_labels(metric)?, points: Vec::new(), starts })
        }
        None => Ok(Described { labels: parse_labels(metric)?, points: parse_points(rest)?, starts: None }),
    }
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
        if rest.starts_with("{{") {
            rest = parse_histograms(rest, &mut points)?.trim_start();
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

/// Reads one histogram, or several that grow from one to the next, and gives what is behind.
fn parse_histograms<'t>(text: &'t str, points: &mut Vec<Point>) -> Result<&'t str, String> {
    let (start, mut rest) = histogram_in_braces(text)?;
    let mut step = None;
    for (sign, factor) in [('+', 1.0), ('-', -1.0)] {
        if let Some(after) = rest.strip_prefix(sign).filter(|after| after.starts_with("{{")) {
            let (found, after) = histogram_in_braces(after)?;
            step = Some((found, factor));
            rest = after;
        }
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (times, after) = rest.split_at(end);
    let times = match times.strip_prefix('x') {
        Some(count) => parse_count(count, times)?,
        None if times.is_empty() && step.is_none() => 0,
        None => return Err(format!("not a count: {times}")),
    };
    if points.len() + times >= POINTS_MAX {
        return Err(format!("more than {POINTS_MAX} samples"));
    }
    let Some((step, factor)) = step else {
        points.resize(points.len() + times + 1, Point::Histogram(Arc::new(start)));
        return Ok(after);
    };
    let hint_is_given = step.hint_is_given;
    let mut histogram = start.histogram;
    for at in 0..=times {
        if at > 0 {
            if histogram.schema > step.histogram.schema {
                return Err(format!(
                    "error combining histograms: cannot merge from schema {} to {}",
                    step.histogram.schema, histogram.schema
                ));
            }
            let combine = if factor > 0.0 { histogram::add } else { histogram::subtract };
            (histogram, _) = combine(&histogram, &step.histogram).map_err(
                |_| "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
            )?;
        }
        points.push(Point::Histogram(Arc::new(DescribedHistogram { histogram: histogram.clone(), hint_is_given })));
    }
    Ok(after)
}

fn histogram_in_braces(text: &str) -> Result<(DescribedHistogram, &str), String> {
    let inside = text.strip_prefix("{{").ok_or("not a histogram")?;
    let (inside, after) = inside.split_once("}}").ok_or("unclosed histogram")?;
    let (histogram, hint_is_given) = parse_histogram(inside)?;
    Ok((DescribedHistogram { histogram, hint_is_given }, after))
}

/// Reads what stands between the braces of a histogram, and tells whether it says something of the histogram before.
pub fn parse_histogram(text: &str) -> Result<(Histogram<f64>, bool), String> {
    let mut histogram = Histogram::default();
    let (mut offset, mut n_offset, mut hint_is_given) = (0, 0, false);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("not a part of a histogram: {rest}"))?;
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("unclosed list")?,
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        rest = after.trim_start();
        let number = || parse_number(value);
        let whole = || value.parse::<i32>().map_err(|error| format!("{value}: {error}"));
        let list = || value.split_whitespace().map(parse_number).collect::<Result<Vec<f64>, String>>();
        match key {
            "schema" => histogram.schema = whole()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_bounds = list()?.into(),
            "buckets" => histogram.positive.counts = list()?,
            "n_buckets" => histogram.negative.counts = list()?,
            "offset" => offset = whole()?,
            "n_offset" => n_offset = whole()?,
            "counter_reset_hint" => {
                hint_is_given = true;
                histogram.counter_reset = match value {
                    "unknown" => CounterReset::Unknown,
                    "reset" => CounterReset::Reset,
                    "not_reset" => CounterReset::NotReset,
                    "gauge" => CounterReset::Gauge,
                    other => return Err(format!("not a counter reset hint: {other}")),
                };
            }
            other => return Err(format!("not a part of a histogram: {other}")),
        }
    }
    for (offset, Buckets { spans, counts }) in [(offset, &mut histogram.positive), (n_offset, &mut histogram.negative)]
    {
        if !counts.is_empty() {
            spans.push(Span { offset, length: counts.len() as u32 });
        }
    }
    Ok((histogram, hint_is_given))
}

/// Writes a histogram as [`parse_histogram`] reads it, braces included: what promtool shows, and compares by.
pub fn write_histogram(histogram: &Histogram<f64>) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, value: f64| {
        if value != 0.0 {
            parts.push(format!("{name}:{}", format_value_short(value)));
        }
    };
    part("schema", histogram.schema.into());
    part("count", histogram.count);
    part("sum", histogram.sum);
    part("z_bucket", histogram.zero_count);
    part("z_bucket_w", histogram.zero_threshold);
    let list = |numbers: &[f64]| {
        format!("[{}]", numbers.iter().copied().map(format_value_short).collect::<Vec<_>>().join(" "))
    };
    if histogram.has_custom_bounds() {
        parts.push(format!("custom_values:{}", list(&histogram.custom_bounds)));
    }
    match histogram.counter_reset {
        CounterReset::Unknown => {}
        CounterReset::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        CounterReset::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        CounterReset::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    for (offset_name, name, buckets) in
        [("offset", "buckets", &histogram.positive), ("n_offset", "n_buckets", &histogram.negative)]
    {
        // The notation has one run of buckets, so the gaps between spans are filled up.
        let present: Vec<(i32, f64)> = buckets.iter().filter(|(_, count)| *count != 0.0).collect();
        let (Some(&(first, _)), Some(&(last, _))) = (present.first(), present.last()) else { continue };
        if i64::from(last) - i64::from(first) > WRITTEN_BUCKETS_MAX {
            parts.push(format!("{name}:(too many)"));
            continue;
        }
        if first != 0 {
            parts.push(format!("{offset_name}:{first}"));
        }
        let mut counts = vec![0.0; (last - first) as usize + 1];
        present.iter().for_each(|(index, count)| counts[(index - first) as usize] = *count);
        parts.push(format!("{name}:{}", list(&counts)));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

/// Reads when samples began to count: `-30s-1mx2` is half a minute before the first, and a minute more each time.
fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        let (body, count) = match item.rsplit_once('x') {
            Some((body, count)) => (body, Some(parse_count(count, item)?)),
            None => (item, None),
        };
        if starts.len() + count.unwrap_or(0) >= POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} samples"));
        }
        if body == "_" {
            starts.resize(starts.len() + count.unwrap_or(1), None);
            continue;
        }
        let sign = body.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let (first, step) = body.split_at(sign.unwrap_or(body.len()));
        let (mut start_ms, step_ms) = (signed_ms(first)?, if step.is_empty() { 0 } else { signed_ms(step)? });
        for _ in 0..=count.unwrap_or(0) {
            starts.push(Some(start_ms));
            start_ms = start_ms.saturating_add(step_ms);
        }
    }
    Ok(starts)
}

fn signed_ms(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let duration = relatum_model::time::parse_duration(digits).map_err(|error| format!("{text}: {error}"))?;
    Ok(sign * i64::try_from(duration.as_millis()).map_err(|error| format!("{text}: {error}"))?)
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
                Point::Histogram(described) => format!(" {}", histogram::to_text(&described.histogram)),
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
        check("up {{count:1}}x1 2", Ok("up {count:1, sum:0} {count:1, sum:0} 2"));
        check(
            "up {{schema:1 sum:-3 z_bucket:1 z_bucket_w:0.5 buckets:[1 2] offset:3 n_buckets:[1]}}",
            Ok(
                "up {count:0, sum:-3, [-1,-0.7071067811865475):1, [-0.5,0.5]:1, (2,2.82842712474619]:1, (2.82842712474619,4]:2}",
            ),
        );
        check("up {{count:2}}-{{count:3}}x1 1", Ok("up {count:2, sum:0} {count:-1, sum:0} 1"));
        check("up {{count:2 buckets:[1]}", Err("unclosed histogram"));
        check("up {{size:2}}", Err("not a part of a histogram: size"));
        check("{} -1", Ok("{} -1"));
        check("up{a=\"b\" 1", Err("up{a=\"b\" 1: 1:10: parse error: unexpected character inside braces: '1'"));
        check("up one", Err("not a value: one"));
        // A count is a few digits; the samples would fill the memory.
        check("up 1x99999999999", Err("1x99999999999: more than 10000000 samples"));
    }

    #[test]
    fn writes_histograms() {
        for text in [
            "{{}}",
            "{{schema:1 count:32.1 sum:-0.3 z_bucket:7.1 z_bucket_w:0.05 offset:-3 buckets:[5.1 10 7] n_offset:-5 n_buckets:[4.1 5]}}",
            "{{count:2 sum:3 counter_reset_hint:not_reset buckets:[2]}}",
            "{{schema:-53 count:1e+21 sum:NaN custom_values:[1 2.5] counter_reset_hint:gauge buckets:[1 0 -2]}}",
        ] {
            let inside = text.trim_start_matches("{{").trim_end_matches("}}");
            let (histogram, _) = parse_histogram(inside).unwrap();
            assert_eq!(write_histogram(&histogram), text);
        }
        let apart = Histogram {
            positive: Buckets {
                spans: vec![Span { offset: 1, length: 1 }, Span { offset: i32::MAX - 3, length: 1 }],
                counts: vec![1.0, 1.0],
            },
            ..Histogram::default()
        };
        assert_eq!(write_histogram(&apart), "{{buckets:(too many)}}");
    }
}
