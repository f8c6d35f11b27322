//! Reading a body that looks like the one before.
//!
//! Most scrapes of a target differ from the one before in nothing but values. A [`Layout`] remembers the text of a body and
//! where its values stand; as long as the next one has the same text in between, its samples are known by their place, and only
//! a value that changed is read. From the first line on that differs the body is read as any other, and remembered anew.

use super::cursor::Cursor;
use super::{Entries, Entry, Exemplar, Format, MetricKind, ParseError, ParsedSample, open_metrics, parse, text};

/// The longest text of a value that is remembered; Prometheus' clients write at most 24 characters.
const VALUE_BYTES_MAX: usize = 24;

/// What a body looked like. It holds that body and 48 bytes for each of its lines.
#[derive(Debug, Clone)]
pub struct Layout {
    format: Format,
    text: String,
    lines: Vec<Line>,
}

/// A line that is the same in both bodies, or one that is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placed<'a> {
    /// The sample of the series that was at the same place in the body before.
    Known {
        /// How many samples come before it in the body.
        place: usize,
        /// Milliseconds since 1970, if the body gives a time.
        t_ms: Option<i64>,
        /// The value, as in [`ParsedSample`].
        value: f64,
        /// The exemplar.
        exemplar: Option<Exemplar<'a>>,
    },
    /// Something that was not at this place before. Once one came, all that follow are new.
    New {
        /// How many samples come before it in the body.
        place: usize,
        /// What it is.
        entry: Entry<'a>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Where the line, and what is skipped before it, begins in the text.
    start: u32,
    /// Where its value begins, or for what is no sample, where the next line begins.
    value_start: u32,
    value: f64,
    /// The text of the value, if nothing but a newline follows it and it is not too long.
    value_text: [u8; VALUE_BYTES_MAX],
    /// 0 if it is not known.
    value_bytes: u8,
    kind: MetricKind,
    is_sample: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Layout::new()
    }
}

impl Layout {
    /// Knows no body yet.
    pub fn new() -> Self {
        Layout { format: Format::Text, text: String::new(), lines: Vec::new() }
    }

    /// Reads `body` and hands out its lines in order: of those that are known, only the samples. Stops at the first error,
    /// which may be one of `on`.
    pub fn read<E: From<ParseError>>(
        &mut self,
        body: &[u8],
        format: Format,
        mut on: impl FnMut(Placed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Strict reading looks at whole families, so it cannot begin in the middle. Places are kept in 32 bits.
        if format != self.format || format == Format::OpenMetricsStrict || u32::try_from(body.len()).is_err() {
            self.forget_from(0);
            self.format = format;
        }
        let (mut at, mut n_lines, mut place) = (0, 0, 0);
        for line in &mut self.lines {
            let known = &self.text.as_bytes()[line.start as usize..line.value_start as usize];
            let Some(rest) = body[at..].strip_prefix(known) else { break };
            if line.is_sample {
                let Some((used, t_ms, exemplar)) = line.read(known, rest, &body[at..], format) else { break };
                on(Placed::Known { place, t_ms, value: line.value, exemplar })?;
                at += known.len() + used;
                place += 1;
            } else {
                at += known.len();
            }
            n_lines += 1;
        }
        self.forget_from(n_lines);
        self.learn(body, at, place, on)
    }

    fn forget_from(&mut self, n_lines: usize) {
        if let Some(line) = self.lines.get(n_lines) {
            self.text.truncate(line.start as usize);
            self.lines.truncate(n_lines);
        }
    }

    /// Reads and remembers what stands in `body` from `at` on.
    fn learn<E: From<ParseError>>(
        &mut self,
        body: &[u8],
        at: usize,
        mut place: usize,
        mut on: impl FnMut(Placed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let further_down = |error: ParseError| {
            let before = body[..at].iter().filter(|byte| **byte == b'\n').count();
            ParseError { line: before + error.line, ..error }
        };
        let mut entries = parse(&body[at..], self.format).map_err(further_down)?;
        entries.kind = self.lines.last().map_or(MetricKind::Unknown, |line| line.kind);
        let shift = self.text.len();
        let (mut end, mut learned, mut is_learning) = (0, 0, true);
        let outcome = loop {
            let entry = match entries.next() {
                None => break Ok(()),
                Some(Err(error)) => break Err(further_down(error).into()),
                Some(Ok(entry)) => entry,
            };
            let line = Line::of(&entry, &entries, shift, end);
            end = entries.cursor.at;
            is_learning = is_learning && line.is_some();
            if is_learning {
                self.lines.extend(line);
                learned = end;
            }
            if let Err(error) = on(Placed::New { place, entry }) {
                break Err(error);
            }
            place += usize::from(matches!(entry, Entry::Sample(_)));
        };
        if u32::try_from(shift + learned).is_ok() {
            self.text.push_str(entries.cursor.text_before(learned));
        } else {
            self.forget_from(0);
        }
        outcome
    }
}

impl Line {
    /// The line that `entry` was read from, which `entries` is behind; `from` is where the line before ended.
    ///
    /// `None` if nothing tells name and value apart but what they are, as in `a+1`: one cannot be known without the other.
    fn of(entry: &Entry<'_>, entries: &Entries<'_>, shift: usize, from: usize) -> Option<Line> {
        let cursor = &entries.cursor;
        let mut line = Line {
            start: (shift + from) as u32,
            value_start: (shift + cursor.at) as u32,
            value: 0.0,
            value_text: [0; VALUE_BYTES_MAX],
            value_bytes: 0,
            kind: entries.kind,
            is_sample: false,
        };
        if let Entry::Sample(sample) = entry {
            let written = cursor.since(cursor.start);
            let after_series = &written[sample.series.len()..];
            let tail = after_series.trim_start_matches([' ', '\t']);
            if tail.len() == after_series.len() && !sample.series.ends_with('}') {
                return None;
            }
            line.value_start = (shift + cursor.at - tail.len()) as u32;
            line.is_sample = true;
            line.value = sample.value;
            line.remember(tail.as_bytes());
        }
        Some(line)
    }

    /// Remembers the text of the value if `tail` is that and a newline.
    fn remember(&mut self, tail: &[u8]) {
        self.value_bytes = 0;
        if let Some((b'\n', value)) = tail.split_last()
            && value.len() <= VALUE_BYTES_MAX
            && !value.iter().any(|byte| matches!(byte, b' ' | b'\t'))
        {
            self.value_text[..value.len()].copy_from_slice(value);
            self.value_bytes = value.len() as u8;
        }
    }

    /// Reads the value from `rest`, which follows what is `known` of `line`: how many bytes it takes up to the end of the line, and
    /// what else stands there. `None` if it must be read with all that follows.
    fn read<'a>(
        &mut self,
        known: &[u8],
        rest: &'a [u8],
        line: &'a [u8],
        format: Format,
    ) -> Option<(usize, Option<i64>, Option<Exemplar<'a>>)> {
        let n = usize::from(self.value_bytes);
        if n > 0 && rest.get(n) == Some(&b'\n') && rest[..n] == self.value_text[..n] {
            return Some((n + 1, None, None));
        }
        let n = rest.iter().take(VALUE_BYTES_MAX + 1).position(|byte| *byte <= b' ').unwrap_or(0);
        if n > 0 && rest[n] == b'\n' {
            let value = std::str::from_utf8(&rest[..n]).ok()?;
            self.value = Cursor::new(value).value_of(value).ok()?;
            self.remember(&rest[..=n]);
            return Some((n + 1, None, None));
        }
        // A time or an exemplar follows.
        let n = 1 + rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&line[..line.len() - rest.len() + n]).ok()?;
        let mut cursor = Cursor::new(line);
        let entry = match format {
            Format::Text => text::next(&mut cursor, self.kind),
            Format::OpenMetrics | Format::OpenMetricsStrict => open_metrics::next(&mut cursor, self.kind, format),
        };
        let Ok(Some(Entry::Sample(ParsedSample { series, t_ms, value, exemplar, .. }))) = entry else { return None };
        // What looked like blanks before a value may now stand before labels.
        if series.as_bytes() != known.trim_ascii() {
            return None;
        }
        self.value = value;
        self.value_bytes = 0;
        cursor.is_at_end().then_some((n, t_ms, exemplar))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of `body`, known or not, with series looked up by place; errors last.
    fn shown(layout: &mut Layout, series: &mut Vec<String>, body: &str, format: Format) -> (Vec<String>, usize) {
        let (mut lines, mut n_known) = (Vec::new(), 0);
        let result: Result<(), ParseError> = layout.read(body.as_bytes(), format, |placed| {
            match placed {
                Placed::Known { place, t_ms, value, exemplar } => {
                    n_known += 1;
                    lines.push(format!("{} {t_ms:?} {value:?} {exemplar:?}", series[place]));
                }
                Placed::New { place, entry: Entry::Sample(sample) } => {
                    series.truncate(place);
                    series.push(sample.series.to_owned());
                    lines.push(format!("{} {:?} {:?} {:?}", sample.series, sample.t_ms, sample.value, sample.exemplar));
                }
                Placed::New { .. } => {}
            }
            Ok(())
        });
        lines.extend(result.err().map(|error| error.to_string()));
        (lines, n_known)
    }

    /// The same without a layout.
    fn plain(body: &str, format: Format) -> Vec<String> {
        parse(body.as_bytes(), format)
            .unwrap()
            .filter_map(|entry| match entry {
                Ok(Entry::Sample(sample)) => {
                    Some(format!("{} {:?} {:?} {:?}", sample.series, sample.t_ms, sample.value, sample.exemplar))
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            })
            .collect()
    }

    /// Each body with the number of samples in it that must be known.
    #[track_caller]
    fn check(format: Format, bodies: &[(&str, usize)]) {
        let (mut layout, mut series) = (Layout::new(), Vec::new());
        for (body, n_known) in bodies {
            let read = shown(&mut layout, &mut series, body, format);
            assert_eq!(read, (plain(body, format), *n_known), "body {body:?}");
        }
    }

    #[test]
    fn samples_are_known_by_their_place() {
        check(
            Format::Text,
            &[
                ("# TYPE a gauge\na{b=\"1\"} 1\n\n  a{b=\"2\"} \t2\nc 3 4\nd 5", 0),
                ("# TYPE a gauge\na{b=\"1\"} 1\n\n  a{b=\"2\"} \t-2.5e3\nc 4 5\nd 5", 3),
                ("# TYPE a gauge\na{b=\"1\"} 1 9\n\n  a{b=\"2\"} \t-2.5e3\nc 4\nd 5\n", 4),
                // Values of other lengths, then one that is no number.
                ("# TYPE a gauge\na{b=\"1\"} 123456789.125\n\n  a{b=\"2\"} \tNaN\nc 4\nd 5\n", 4),
                ("# TYPE a gauge\na{b=\"1\"} x\n\n  a{b=\"2\"} \tNaN\nc 4\nd 5\n", 0),
                ("# TYPE a gauge\na{b=\"1\"} 1\n\n  a{b=\"2\"} \tNaN\nc 4\nd 5\n", 0),
                // A series less, one more, another kind.
                ("# TYPE a gauge\na{b=\"1\"} 1\nc 4\nd 5\n", 1),
                ("# TYPE a gauge\na{b=\"1\"} 1\nc 4\nd 5\ne 6\n", 3),
                ("# TYPE a counter\na{b=\"1\"} 1\nc 4\nd 5\ne 6\n", 0),
                // A value that is cut off is not taken for what is left of it.
                ("# TYPE a counter\na{b=\"1\"} 12\nc 4\nd 5\ne 65", 3),
                ("# TYPE a counter\na{b=\"1\"} 12\nc 4\nd 5\ne", 3),
                ("", 0),
                ("a 1\nb+1\nc 1\n", 0),
                // What stands behind `b` is no value any more.
                ("a 1\nb5\nc 1\n", 1),
                ("a 1\nb 5\nc 1\n", 1),
                ("a 1\nb {d=\"e\"} 5\nc 1\n", 1),
            ],
        );
        check(
            Format::OpenMetrics,
            &[
                ("a 1\na 1 1.5 # {b=\"c\"} 2\n# EOF\n", 0),
                ("a 1\na 1 2.5 # {b=\"d\"} 3 4\n# EOF\n", 2),
                ("a 1\na 1 2.5 # {b=\"d\"} 3 4\n", 2),
                ("a 2\na 1\n# EOF\na 3", 2),
                ("a 2 \na 1\n# EOF", 0),
            ],
        );
        check(Format::OpenMetricsStrict, &[("a 1\n# EOF\n", 0), ("a 1\n# EOF\n", 0), ("a 1\na 1\n# EOF\n", 0)]);
    }

    proptest! {
        #[test]
        fn nothing_is_read_differently(
            bodies in prop::collection::vec(
                prop::collection::vec("(a|b|# TYPE a counter|a\\{b=\"é\"\\}| )[ \t]{0,2}(1|2.5|-3e5|NaN|x|) ?[0-9]{0,2}( # \\{\\} 1)?", 0..6),
                2..5,
            ),
            repeated in any::<bool>(),
            is_text in any::<bool>(),
        ) {
            let format = if is_text { Format::Text } else { Format::OpenMetrics };
            let (mut layout, mut series) = (Layout::new(), Vec::new());
            for lines in &bodies {
                let mut body = lines.join("\n");
                if repeated {
                    // The beginning of the first one, so that much is the same.
                    body = format!("a 1\n{}\n{body}\n", bodies[0].join("\n"));
                }
                if !is_text {
                    body.push_str("\n# EOF\n");
                }
                prop_assert_eq!(shown(&mut layout, &mut series, &body, format).0, plain(&body, format));
            }
        }
    }
}
