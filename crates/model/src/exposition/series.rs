//! The series of a sample: its name and labels as text, and the label set they make.

use std::borrow::Cow;

use thiserror::Error;

use super::cursor::{Cursor, Fault};
use super::family::format_bound;
use super::{Format, MetricKind};
use crate::labels::{Labels, METRIC_NAME};
use crate::text::quote;

/// Why the text of a series makes no label set. The texts are Prometheus'.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SeriesError {
    /// Two labels have the same name.
    #[error("label name {} is not unique: invalid sample", quote(.0))]
    RepeatedLabel(String),
    /// A label has the empty name.
    #[error("invalid metric name or label names: {0}")]
    EmptyName(String),
    /// The text was not made by [`super::parse`].
    #[error("not a series: {0}")]
    NotASeries(String),
}

/// The label set of a series or an exemplar, as [`super::parse`] gave its text.
///
/// `kind` is the kind the sample came with: bounds of a histogram's buckets and quantiles of a summary are written one way
/// whatever their exposer wrote (`1` becomes `1.0`), as Prometheus does.
pub fn labels_of(series: &str, kind: MetricKind) -> Result<Labels, SeriesError> {
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(8);
    let mut cursor = Cursor::new(series);
    let walked = parts(&mut cursor, Format::Text, |part| match part {
        Part::Name(name) => pairs.push((Cow::Borrowed(METRIC_NAME), unescape(name))),
        Part::Label(name, value) => pairs.push((unescape(name), unescape(value))),
    });
    if walked.is_err() || !cursor.is_at_end() {
        return Err(SeriesError::NotASeries(series.to_owned()));
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(SeriesError::EmptyName(series.to_owned()));
    }
    let bound = match kind {
        MetricKind::Histogram => Some("le"),
        MetricKind::Summary => Some("quantile"),
        _ => None,
    };
    for (name, value) in &mut pairs {
        if bound == Some(name)
            && let Ok(number) = value.parse()
        {
            *value = Cow::Owned(format_bound(number));
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(repeated) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(SeriesError::RepeatedLabel(repeated[0].0.to_string()));
    }
    let kept = pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (&**name, &**value));
    Ok(Labels::from_sorted(kept).expect("pairs are sorted, unique and not empty"))
}

/// A help text with its escapes resolved.
pub fn help_text(text: &str) -> Cow<'_, str> {
    unescape(text)
}

/// A part of a series, escapes not resolved.
pub(super) enum Part<'a> {
    /// The name of the metric.
    Name(&'a str),
    /// The name and value of a label.
    Label(&'a str, &'a str),
}

/// Walks over a series. Stops behind it.
pub(super) fn walk(cursor: &mut Cursor<'_>, format: Format) -> Result<(), Fault> {
    if parts(cursor, format, |_| {})? { Ok(()) } else { Err(cursor.invalid("metric name not set")) }
}

/// Hands out the parts of a series in order and tells whether one of them was a name.
pub(super) fn parts<'a>(cursor: &mut Cursor<'a>, format: Format, mut on: impl FnMut(Part<'a>)) -> Result<bool, Fault> {
    let mut is_named = false;
    if let Some(name) = cursor.plain_name(true) {
        on(Part::Name(name));
        is_named = true;
        let after_name = cursor.at;
        if format == Format::Text {
            cursor.skip_blanks();
        }
        if cursor.peek() != Some(b'{') {
            cursor.at = after_name;
            return Ok(true);
        }
    }
    if !cursor.take("{") {
        return Err(Fault::Expected("expected a valid start token"));
    }
    labels(cursor, format, Some(&mut is_named), on)?;
    Ok(is_named)
}

/// Walks over the labels behind an opening brace and the closing one.
///
/// A quoted text that stands alone is the name of the metric. `is_named` tells whether it is known already; without it, as in an
/// exemplar, there may be none.
pub(super) fn labels<'a>(
    cursor: &mut Cursor<'a>,
    format: Format,
    mut is_named: Option<&mut bool>,
    mut on: impl FnMut(Part<'a>),
) -> Result<(), Fault> {
    let is_text = format == Format::Text;
    let is_strict = format == Format::OpenMetricsStrict;
    let is_exemplar = is_named.is_none();
    let skip = |cursor: &mut Cursor<'a>| {
        if is_text {
            cursor.skip_blanks();
        }
    };
    loop {
        skip(cursor);
        if cursor.take("}") {
            return Ok(());
        }
        let is_quoted = cursor.peek() == Some(b'"');
        if is_quoted && is_strict {
            return Err(Fault::Expected("expected label name"));
        }
        let name = if is_quoted { cursor.quoted(!is_exemplar) } else { cursor.plain_name(false) };
        let name = name.ok_or(Fault::Expected("expected label name"))?;
        skip(cursor);
        if is_quoted && matches!(cursor.peek(), Some(b',' | b'}')) {
            match &mut is_named {
                None => return Err(Fault::Expected("expected label name")),
                Some(true) => return Err(cursor.invalid("metric name already set")),
                Some(is_named) => **is_named = true,
            }
            on(Part::Name(name));
            cursor.take(",");
            continue;
        }
        if !cursor.take("=") {
            return Err(Fault::Expected("expected equal"));
        }
        skip(cursor);
        let value = cursor.quoted(is_text).ok_or(Fault::Expected("expected label value"))?;
        on(Part::Label(name, value));
        skip(cursor);
        // The text format has always let a comma be missing, so exposers exist that leave it out.
        let has_comma = cursor.take(",");
        if !has_comma && !is_text && cursor.peek() != Some(b'}') {
            return Err(Fault::Expected("expected comma or brace close"));
        }
        if has_comma && is_strict && cursor.peek() == Some(b'}') {
            return Err(Fault::Expected("expected label name"));
        }
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stays, as in Prometheus.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('\\') else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut chars = text[first..].chars();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.as_str().chars().next()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('"')) => '"',
            ('\\', Some('n')) => '\n',
            _ => {
                out.push(c);
                continue;
            }
        };
        out.push(escaped);
        chars.next();
    }
    Cow::Owned(out)
}
