//! A body of the text format as client libraries and `promtool` read it: family by family, and stricter than a scraper.
//!
//! A scraper takes each line for itself. The reader here knows what belongs together, so it can refuse a `TYPE` behind the samples
//! it is for, or a second `HELP`. Verdicts and texts are those of Prometheus' own client library; where that one takes a line
//! for part of the line before it (labels in braces without any name), the body is refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use thiserror::Error;

use super::cursor::{is_blank, parse_float};
use crate::text::{quote, quote_bytes};

/// What the format calls a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
    /// Counts in buckets that go up and down.
    GaugeHistogram,
    /// Quantiles of a stream.
    Summary,
    /// Nobody said.
    Untyped,
}

impl ClientKind {
    /// The word in lower case, as messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientKind::Counter => "counter",
            ClientKind::Gauge => "gauge",
            ClientKind::Histogram => "histogram",
            ClientKind::GaugeHistogram => "gauge_histogram",
            ClientKind::Summary => "summary",
            ClientKind::Untyped => "untyped",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "counter" => ClientKind::Counter,
            "gauge" => ClientKind::Gauge,
            "histogram" => ClientKind::Histogram,
            "gaugehistogram" | "gauge_histogram" => ClientKind::GaugeHistogram,
            "summary" => ClientKind::Summary,
            "untyped" => ClientKind::Untyped,
            _ => return None,
        })
    }

    /// The label that tells the parts of one metric apart.
    fn part_label(self) -> Option<&'static str> {
        match self {
            ClientKind::Histogram | ClientKind::GaugeHistogram => Some("le"),
            ClientKind::Summary => Some("quantile"),
            _ => None,
        }
    }
}

/// All metrics of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFamily {
    /// The name, without the suffixes of histograms and summaries.
    pub name: String,
    /// The text of its `HELP` line, escapes resolved.
    pub help: Option<String>,
    /// What its `TYPE` line says.
    pub kind: ClientKind,
    /// The metrics in the order of their first lines.
    pub metrics: Vec<ClientMetric>,
}

/// The samples of one label set: one, or all parts of a histogram or summary.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMetric {
    /// The labels in the order written, without the one that tells parts apart.
    pub labels: Vec<(String, String)>,
    /// How many buckets or quantiles there are.
    pub n_parts: usize,
}

/// Why a body was refused, worded as the client library words it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("text format parsing error in line {line}: {reason}")]
pub struct ClientError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a whole body; families without samples are left out, the others stand in the order of their first lines.
pub fn read_families(body: &[u8]) -> Result<Vec<ClientFamily>, ClientError> {
    let mut reader = Reader { bytes: body, at: 0, line: 0, families: Vec::new(), by_name: HashMap::new() };
    reader.lines()?;
    let with_samples = reader.families.into_iter().filter(|family| !family.metrics.is_empty());
    Ok(with_samples
        .map(|family| ClientFamily {
            name: family.name,
            help: family.help,
            kind: family.kind.unwrap_or(ClientKind::Untyped),
            metrics: family.metrics,
        })
        .collect())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

struct Family {
    name: String,
    help: Option<String>,
    kind: Option<ClientKind>,
    metrics: Vec<ClientMetric>,
    // Where the metric of each label set is, for kinds of several parts.
    by_labels: HashMap<Vec<(String, String)>, usize>,
}

/// The family a line is for, and what it is within that family.
#[derive(Debug, Clone, Copy)]
struct Place {
    family: usize,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Part,
    Sum,
    Count,
}

impl Reader<'_> {
    fn lines(&mut self) -> Result<(), ClientError> {
        loop {
            self.line += 1;
            self.skip_blanks();
            match self.bytes.get(self.at) {
                None => return Ok(()),
                Some(b'\n') => self.at += 1,
                Some(b'#') => {
                    self.at += 1;
                    self.comment()?;
                }
                Some(_) => self.sample()?,
            }
        }
    }

    fn comment(&mut self) -> Result<(), ClientError> {
        self.skip_blanks();
        let keyword = self.until(|byte| is_blank(byte) || byte == b'\n')?;
        if self.peek()? == b'\n' || !matches!(keyword, b"HELP" | b"TYPE") {
            self.until(|byte| byte == b'\n')?;
            self.at += 1;
            return Ok(());
        }
        self.skip_blanks();
        let name = self.name("metric", true)?;
        match self.peek()? {
            b'\n' => {
                self.at += 1;
                return Ok(());
            }
            byte if !is_blank(byte) => return Err(self.error("invalid metric name in comment")),
            _ => {}
        }
        let place = self.place(&name)?;
        self.skip_blanks();
        if self.peek()? == b'\n' {
            self.at += 1;
            return Ok(());
        }
        let family = &self.families[place.family];
        if keyword == b"HELP" {
            if family.help.is_some() {
                return Err(self.error(format!("second HELP line for metric name {}", quote(&family.name))));
            }
            let text = self.escaped_until(b'\n', "help text")?;
            self.families[place.family].help = Some(String::from_utf8_lossy(&text).into_owned());
            return Ok(());
        }
        if family.kind.is_some() {
            let name = quote(&family.name);
            return Err(self.error(format!("second TYPE line for metric name {name}, or TYPE reported after samples")));
        }
        let word = self.until(|byte| byte == b'\n')?;
        let Some(kind) = std::str::from_utf8(word).ok().and_then(ClientKind::from_word) else {
            return Err(self.error(format!("unknown metric type {}", quote_bytes(word))));
        };
        self.at += 1;
        self.families[place.family].kind = Some(kind);
        Ok(())
    }

    fn sample(&mut self) -> Result<(), ClientError> {
        let mut place = None;
        if self.peek()? != b'{' {
            let name = self.name("metric", true)?;
            if name.is_empty() {
                return Err(self.error("invalid metric name"));
            }
            place = Some(self.named(&name)?);
            self.skip_blanks();
        }
        let mut labels = Vec::new();
        if self.peek()? == b'{' {
            self.at += 1;
            place = self.labels(place, &mut labels)?;
            self.skip_blanks();
        }
        let place = place.ok_or_else(|| self.error("invalid metric name"))?;
        let part = self.take_part(place, &mut labels)?;
        let metric = self.metric(place, labels);
        let value = self.value()?;
        let family = &mut self.families[place.family];
        let is_histogram = matches!(family.kind, Some(ClientKind::Histogram | ClientKind::GaugeHistogram));
        let (name, is_negative) = (quote(&family.name), is_histogram && value < 0.0);
        match (place.role, part) {
            (Role::Count, _) if is_negative => return Err(self.error(format!("negative count for histogram {name}"))),
            (Role::Part, Some(_)) if is_negative => {
                return Err(self.error(format!("negative bucket population for histogram {name}")));
            }
            (Role::Part, Some(bound)) if !bound.is_nan() => family.metrics[metric].n_parts += 1,
            _ => {}
        }
        self.time()
    }

    /// Reads labels up to the closing brace, and the name if it stands among them; gives where the sample belongs.
    fn labels(
        &mut self,
        mut place: Option<Place>,
        labels: &mut Vec<(String, String)>,
    ) -> Result<Option<Place>, ClientError> {
        let is_name_inside = place.is_none();
        loop {
            self.skip_blanks();
            if self.peek()? == b'}' {
                self.at += 1;
                return Ok(place);
            }
            let name = self.name("label", false)?;
            let metric = quote(place.map_or("", |place| &self.families[place.family].name));
            if name.is_empty() {
                return Err(self.error(format!("invalid label name for metric {metric}")));
            }
            self.skip_blanks();
            match self.peek()? {
                b'=' => self.at += 1,
                byte if !is_name_inside => {
                    return Err(self.error(format!("expected '=' after label name, found {}", quote_byte(byte))));
                }
                _ if place.is_some() => return Err(self.error(format!("multiple metric names for metric {metric}"))),
                byte @ (b',' | b'}') => {
                    place = Some(self.named(&name)?);
                    self.at += usize::from(byte == b',');
                    continue;
                }
                byte => return Err(self.error(format!("unexpected end of metric name {}", quote_byte(byte)))),
            }
            let name = match String::from_utf8(name) {
                Ok(name) if name == crate::labels::METRIC_NAME => {
                    return Err(self.error("label name \"__name__\" is reserved"));
                }
                Ok(name) => name,
                Err(error) => {
                    return Err(self.error(format!("invalid label name {}", quote_bytes(error.as_bytes()))));
                }
            };
            if labels.iter().any(|(known, _)| *known == name) {
                return Err(self.error(format!("duplicate label names for metric {metric}")));
            }
            let value = self.label_value()?;
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {}
                _ => return Err(self.error(format!("unexpected end of label value {}", quote(&value)))),
            }
            labels.push((name, value));
        }
    }

    fn label_value(&mut self) -> Result<String, ClientError> {
        self.skip_blanks();
        match self.peek()? {
            b'"' => self.at += 1,
            byte => {
                let found = quote_byte(byte);
                return Err(self.error(format!("expected '\"' at start of label value, found {found}")));
            }
        }
        let value = self.escaped_until(b'"', "label value")?;
        String::from_utf8(value)
            .map_err(|error| self.error(format!("invalid label value {}", quote_bytes(error.as_bytes()))))
    }

    /// Takes the label away that tells the parts of a metric apart, and gives the number it holds.
    fn take_part(&self, place: Place, labels: &mut Vec<(String, String)>) -> Result<Option<f64>, ClientError> {
        let Some(label) = self.families[place.family].kind.and_then(ClientKind::part_label) else { return Ok(None) };
        let Some(at) = labels.iter().position(|(name, _)| name == label) else { return Ok(None) };
        let (_, text) = labels.remove(at);
        let bound = parse_float(&text);
        bound
            .map(Some)
            .map_err(|_| self.error(format!("expected float as value for '{label}' label, got {}", quote(&text))))
    }

    /// The metric that a sample with these labels is of, made if it is new.
    fn metric(&mut self, place: Place, labels: Vec<(String, String)>) -> usize {
        let family = &mut self.families[place.family];
        let new = family.metrics.len();
        if family.kind.and_then(ClientKind::part_label).is_some() {
            let mut key = labels.clone();
            key.sort();
            match family.by_labels.entry(key) {
                Entry::Occupied(known) => return *known.get(),
                Entry::Vacant(free) => free.insert(new),
            };
        }
        family.metrics.push(ClientMetric { labels, n_parts: 0 });
        new
    }

    fn value(&mut self) -> Result<f64, ClientError> {
        let word = self.until(|byte| is_blank(byte) || byte == b'\n')?;
        let value = std::str::from_utf8(word).ok().and_then(|word| parse_float(word).ok());
        value.ok_or_else(|| self.error(format!("expected float as value, got {}", quote_bytes(word))))
    }

    /// Reads the time behind a value, if there is one, and the end of the line.
    fn time(&mut self) -> Result<(), ClientError> {
        if self.peek()? != b'\n' {
            self.skip_blanks();
            let word = self.until(|byte| is_blank(byte) || byte == b'\n')?;
            if std::str::from_utf8(word).ok().and_then(|word| word.parse::<i64>().ok()).is_none() {
                return Err(self.error(format!("expected integer as timestamp, got {}", quote_bytes(word))));
            }
            let rest = self.until(|byte| byte == b'\n')?;
            if !rest.is_empty() {
                return Err(self.error(format!("spurious string after timestamp: {}", quote_bytes(rest))));
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a name with or without quotes; empty where none begins. `what` it names is for messages.
    fn name(&mut self, what: &str, with_colons: bool) -> Result<Vec<u8>, ClientError> {
        if self.peek()? == b'"' {
            self.at += 1;
            return self.escaped_until(b'"', &format!("{what} name"));
        }
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (with_colons && byte == b':');
        if !is_first(self.peek()?) {
            return Ok(Vec::new());
        }
        self.until(|byte| !is_first(byte) && !byte.is_ascii_digit()).map(<[u8]>::to_vec)
    }

    /// Where a sample of this name belongs; from its first sample on, the kind of a family stays.
    fn named(&mut self, name: &[u8]) -> Result<Place, ClientError> {
        let place = self.place(name)?;
        self.families[place.family].kind.get_or_insert(ClientKind::Untyped);
        Ok(place)
    }

    fn place(&mut self, name: &[u8]) -> Result<Place, ClientError> {
        let name = match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => name,
            _ => return Err(self.error(format!("invalid metric name {}", quote_bytes(name)))),
        };
        if let Some(family) = self.by_name.get(name) {
            return Ok(Place { family: *family, role: Role::Part });
        }
        for (suffix, role) in [("_count", Role::Count), ("_sum", Role::Sum), ("_bucket", Role::Part)] {
            let before = name.strip_suffix(suffix).filter(|before| !before.is_empty());
            let Some(family) = before.and_then(|before| self.by_name.get(before)) else { continue };
            let takes = match self.families[*family].kind {
                Some(ClientKind::Histogram | ClientKind::GaugeHistogram) => true,
                Some(ClientKind::Summary) => suffix != "_bucket",
                _ => false,
            };
            if takes {
                return Ok(Place { family: *family, role });
            }
        }
        let family = self.families.len();
        self.by_name.insert(name.to_owned(), family);
        self.families.push(Family {
            name: name.to_owned(),
            help: None,
            kind: None,
            metrics: Vec::new(),
            by_labels: HashMap::new(),
        });
        Ok(Place { family, role: Role::Part })
    }

    fn peek(&self) -> Result<u8, ClientError> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.error("unexpected end of input stream"))
    }

    fn skip_blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| is_blank(*byte)) {
            self.at += 1;
        }
    }
}

impl<'a> Reader<'a> {
    /// The bytes up to the first for which `is_end` holds. There must be one: a body ends with a newline.
    fn until(&mut self, is_end: impl Fn(u8) -> bool) -> Result<&'a [u8], ClientError> {
        let rest = &self.bytes[self.at..];
        let n = rest.iter().position(|byte| is_end(*byte));
        let n = n.ok_or_else(|| self.error("unexpected end of input stream"))?;
        self.at += n;
        Ok(&rest[..n])
    }

    /// The bytes up to `end`, which is taken too, escapes resolved.
    fn escaped_until(&mut self, end: u8, what: &str) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                byte if byte == end => return Ok(out),
                b'\n' => {
                    return Err(self.error(format!("{what} {} contains unescaped new-line", quote_bytes(&out))));
                }
                b'\\' => {
                    let escaped = self.peek()?;
                    self.at += 1;
                    out.push(match escaped {
                        b'\\' | b'"' => escaped,
                        b'n' => b'\n',
                        other => {
                            return Err(self.error(format!("invalid escape sequence '\\{}'", char::from(other))));
                        }
                    });
                }
                byte => out.push(byte),
            }
        }
    }

    fn error(&self, reason: impl Into<String>) -> ClientError {
        ClientError { line: self.line, reason: reason.into() }
    }
}

/// A byte as Go quotes a character.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        byte => {
            let quoted = quote(&char::from(byte).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        let shown = match read_families(body) {
            Err(error) => error.to_string(),
            Ok(families) => {
                let show = |family: &ClientFamily| {
                    let metrics =
                        family.metrics.iter().map(|metric| format!(" {:?} {}", metric.labels, metric.n_parts));
                    format!("{} {}{}", family.name, family.kind.as_str(), metrics.collect::<String>())
                };
                families.iter().map(show).collect::<Vec<_>>().join("\n")
            }
        };
        assert_eq!(shown, expected, "{}", String::from_utf8_lossy(body));
    }

    #[test]
    fn families() {
        check(b"a 1\na{b=\"c\"} 2 3\n", "a untyped [] 0 [(\"b\", \"c\")] 0");
        check(
            b"# TYPE a histogram\na_bucket{b=\"c\",le=\"1\"} 1\na_bucket{le=\"2\",b=\"c\"} 1\na_sum{b=\"c\"} 1\n",
            "a histogram [(\"b\", \"c\")] 2",
        );
        check(b"# TYPE a summary\na_bucket 1\n{\"a\",quantile=\"1\"} 1\n", "a summary [] 1\na_bucket untyped [] 0");
    }

    #[test]
    fn places() {
        check(
            b"a 1\n# HELP b c\n# HELP b c\n",
            "text format parsing error in line 3: second HELP line for metric name \"b\"",
        );
        check(b"a 1", "text format parsing error in line 1: unexpected end of input stream");
        check(b"a{b=\"\xff\"} 1\n", "text format parsing error in line 1: invalid label value \"\\xff\"");
        check(b"\n{b=\"c\"} 1\n", "text format parsing error in line 2: invalid metric name");
        check(b"a{b=\"1\",b=\"2\"} 1\n", "text format parsing error in line 1: duplicate label names for metric \"a\"");
    }
}
