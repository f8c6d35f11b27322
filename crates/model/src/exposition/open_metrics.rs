//! OpenMetrics 1.0, line by line. What the lines must be together is checked in `strict`.

use super::cursor::{Cursor, Fault};
use super::{Entry, Exemplar, Format, MetricKind, ParsedSample, series};
use crate::text::quote;

/// Reads the next entry; `None` at the end. `kind` is what the last `TYPE` line said.
pub(super) fn next<'a>(cursor: &mut Cursor<'a>, kind: MetricKind, format: Format) -> Result<Option<Entry<'a>>, Fault> {
    cursor.start = cursor.at;
    if cursor.is_at_end() {
        return Err(no_end());
    }
    if !cursor.take("# ") {
        return sample(cursor, kind, format).map(|sample| Some(Entry::Sample(sample)));
    }
    if cursor.take("EOF") {
        cursor.take("\n");
        let unexpected = Fault::Invalid("unexpected data after # EOF".to_owned());
        return if cursor.is_at_end() { Ok(None) } else { Err(unexpected) };
    }
    for (word, fault) in [
        ("HELP ", "expected metric name after HELP"),
        ("TYPE ", "expected metric name after TYPE"),
        ("UNIT ", "expected metric name after UNIT"),
    ] {
        if cursor.take(word) {
            let is_quoted = cursor.peek() == Some(b'"');
            if is_quoted && format == Format::OpenMetricsStrict {
                return Err(Fault::Expected(fault));
            }
            let name = cursor.family_name(fault)?;
            let text = metadata(cursor, word)?;
            let entry = match word {
                "HELP " => Entry::Help { name, text },
                "TYPE " => Entry::Type { name, kind: kind_of(cursor, text)? },
                _ => Entry::Unit { name, unit: unit_of(name, text)? },
            };
            return Ok(Some(entry));
        }
    }
    Err(Fault::Expected("expected a valid start token"))
}

/// What stands behind the name of a metadata line, which a newline must end.
fn metadata<'a>(cursor: &mut Cursor<'a>, word: &str) -> Result<&'a str, Fault> {
    let missing = || Fault::Invalid(format!("expected text in {}", word.trim_end()));
    if !cursor.take(" ") {
        return Err(missing());
    }
    let text = cursor.rest_of_line();
    if cursor.take("\n") { Ok(text) } else { Err(missing()) }
}

fn kind_of(cursor: &Cursor<'_>, text: &str) -> Result<MetricKind, Fault> {
    MetricKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| cursor.unknown_kind(text))
}

fn unit_of<'a>(name: &str, unit: &'a str) -> Result<&'a str, Fault> {
    let is_suffix = name.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
    if unit.is_empty() || is_suffix {
        Ok(unit)
    } else {
        Err(Fault::Invalid(format!("unit {} not a suffix of metric {}", quote(unit), quote(name))))
    }
}

fn sample<'a>(cursor: &mut Cursor<'a>, kind: MetricKind, format: Format) -> Result<ParsedSample<'a>, Fault> {
    let start = cursor.at;
    series::walk(cursor, format)?;
    let series = cursor.since(start);
    let value = value(cursor, "expected value after metric")?;
    let mut sample = ParsedSample { series, kind, t_ms: None, created_ms: None, value, exemplar: None };
    if cursor.take(" # {") {
        sample.exemplar = Some(exemplar(cursor, format)?);
    } else if cursor.peek() == Some(b' ') {
        sample.t_ms = Some(time(cursor)?);
        if cursor.take(" # {") {
            sample.exemplar = Some(exemplar(cursor, format)?);
        }
    }
    end_of_line(cursor, "expected timestamp or comment")?;
    Ok(sample)
}

/// Reads an exemplar whose opening brace is behind the cursor.
fn exemplar<'a>(cursor: &mut Cursor<'a>, format: Format) -> Result<Exemplar<'a>, Fault> {
    let start = cursor.at - 1;
    series::labels(cursor, format, None, |_| {})?;
    let labels = cursor.since(start);
    let value = value(cursor, "expected value after exemplar labels")?;
    let t_ms = if cursor.peek() == Some(b' ') { Some(time(cursor)?) } else { None };
    Ok(Exemplar { labels, value, t_ms })
}

fn value(cursor: &mut Cursor<'_>, fault: &'static str) -> Result<f64, Fault> {
    let text = word(cursor).ok_or(Fault::Expected(fault))?;
    cursor.value_of(text)
}

/// A time in seconds, to milliseconds; what is finer is cut off.
fn time(cursor: &mut Cursor<'_>) -> Result<i64, Fault> {
    let text = word(cursor).ok_or(Fault::Expected("expected timestamp or comment"))?;
    let seconds = cursor.value_of(text)?;
    if seconds.is_finite() { Ok((seconds * 1000.0) as i64) } else { Err(cursor.invalid("invalid timestamp")) }
}

/// One space and what follows it up to the next space or the end of the line.
fn word<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    if !cursor.take(" ") {
        return None;
    }
    Some(cursor.take_while(|byte| byte != b' ' && byte != b'\n')).filter(|text| !text.is_empty())
}

fn end_of_line(cursor: &mut Cursor<'_>, fault: &'static str) -> Result<(), Fault> {
    if cursor.take("\n") {
        Ok(())
    } else if cursor.is_at_end() {
        Err(no_end())
    } else {
        Err(Fault::Expected(fault))
    }
}

fn no_end() -> Fault {
    Fault::Invalid("data does not end with # EOF".to_owned())
}
