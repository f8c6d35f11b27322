//! The text format of Prometheus, 0.0.4 and, with quoted names, 1.0.

use super::cursor::{Cursor, Fault, is_blank};
use super::{Entry, Format, MetricKind, ParsedSample, series};

/// Reads the next entry; `None` at the end. `kind` is what the last `TYPE` line said.
pub(super) fn next<'a>(cursor: &mut Cursor<'a>, kind: MetricKind) -> Result<Option<Entry<'a>>, Fault> {
    loop {
        cursor.skip_blanks();
        if !cursor.take("\n") {
            break;
        }
    }
    cursor.start = cursor.at;
    match cursor.peek() {
        None => Ok(None),
        Some(b'#') => comment(cursor).map(Some),
        Some(_) => sample(cursor, kind).map(|sample| Some(Entry::Sample(sample))),
    }
}

fn comment<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, Fault> {
    let start = cursor.at;
    cursor.take("#");
    let has_blank = !cursor.take_while(is_blank).is_empty();
    let keyword = cursor.at;
    for (word, fault) in [("HELP", "expected metric name after HELP"), ("TYPE", "expected metric name after TYPE")] {
        if has_blank && cursor.take(word) {
            if cursor.take_while(is_blank).is_empty() {
                // Another word that only begins like this one.
                cursor.at = keyword;
                break;
            }
            let name = cursor.family_name(fault)?;
            let rest = cursor.rest_of_line();
            // One separator of whatever kind, as in Prometheus; what follows is taken to the letter, unless it is all blank.
            let is_blank_line = rest.bytes().all(is_blank);
            let text = if is_blank_line { "" } else { rest.get(1..).ok_or(Fault::Expected(fault))? };
            return match word {
                "HELP" => Ok(Entry::Help { name, text }),
                _ => kind_of(cursor, text).map(|kind| Entry::Type { name, kind }),
            };
        }
    }
    cursor.rest_of_line();
    Ok(Entry::Comment(cursor.since(start)))
}

fn kind_of(cursor: &Cursor<'_>, text: &str) -> Result<MetricKind, Fault> {
    match text {
        "counter" => Ok(MetricKind::Counter),
        "gauge" => Ok(MetricKind::Gauge),
        "histogram" => Ok(MetricKind::Histogram),
        "summary" => Ok(MetricKind::Summary),
        "untyped" => Ok(MetricKind::Unknown),
        other => Err(cursor.unknown_kind(other)),
    }
}

fn sample<'a>(cursor: &mut Cursor<'a>, kind: MetricKind) -> Result<ParsedSample<'a>, Fault> {
    let start = cursor.at;
    series::walk(cursor, Format::Text)?;
    let series = cursor.since(start);
    cursor.skip_blanks();
    let text = cursor.take_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n'));
    if text.is_empty() {
        return Err(Fault::Expected("expected value after metric"));
    }
    let value = cursor.value_of(text)?;
    cursor.skip_blanks();
    let digits = cursor.take_while(|byte| byte.is_ascii_digit());
    let t_ms = match digits {
        "" => None,
        digits => Some(digits.parse().map_err(|_| cursor.invalid("timestamp is out of range"))?),
    };
    cursor.skip_blanks();
    if !(cursor.is_at_end() || cursor.take("\n")) {
        return Err(Fault::Expected(match t_ms {
            None => "expected timestamp or new record",
            Some(_) => "expected next entry after timestamp",
        }));
    }
    Ok(ParsedSample { series, kind, t_ms, created_ms: None, value, exemplar: None })
}
