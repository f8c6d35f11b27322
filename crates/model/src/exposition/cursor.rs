//! A place in a body, and the small steps both formats share.

use super::ParseError;
use crate::sample::normal_nan;
use crate::text::quote;

/// How much of the body an error quotes, in bytes: enough to find the place, little enough for a status page.
const QUOTED_BYTES_MAX: usize = 200;

/// Why the body cannot be read at the cursor's place.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something else stands there.
    Expected(&'static str),
    /// What stands there means nothing; the whole reason.
    Invalid(String),
}

#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    /// Where the entry begins that is being read.
    pub(super) start: usize,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor { text, start: 0, at: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Takes `text` if it comes next.
    #[inline]
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        if found {
            self.at += text.len();
        }
        found
    }

    /// Takes the bytes for which `belongs` holds. They must be ASCII, or belong together with all that is not.
    #[inline]
    pub(super) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let from = self.at;
        let rest = &self.text.as_bytes()[from..];
        self.at += rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
        &self.text[from..self.at]
    }

    /// Takes spaces and tabs.
    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Takes the rest of the line without its end.
    pub(super) fn rest_of_line(&mut self) -> &'a str {
        self.take_while(|byte| byte != b'\n')
    }

    /// Takes a name that needs no quotes; `None` if none is here.
    #[inline]
    pub(super) fn plain_name(&mut self, with_colons: bool) -> Option<&'a str> {
        let (first, others) =
            if with_colons { (LETTER | COLON, LETTER | COLON | DIGIT) } else { (LETTER, LETTER | DIGIT) };
        if CLASSES[usize::from(self.peek()?)] & first == 0 {
            return None;
        }
        Some(self.take_while(|byte| CLASSES[usize::from(byte)] & others != 0))
    }

    /// Takes a quoted text and gives what is between the quotes; `None`, without moving, if there is none.
    #[inline]
    pub(super) fn quoted(&mut self, with_newlines: bool) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if self.peek() != Some(b'"') {
            return None;
        }
        let from = self.at + 1;
        let mut at = from;
        loop {
            at += bytes[at..].iter().position(|byte| CLASSES[usize::from(*byte)] & QUOTED_END != 0)?;
            match bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    return Some(&self.text[from..at]);
                }
                b'\\' if matches!(bytes.get(at + 1), None | Some(b'\n')) => return None,
                b'\\' => at += 2,
                _ if !with_newlines => return None,
                _ => at += 1,
            }
        }
    }

    /// The name behind a `TYPE`, `HELP` or `UNIT`.
    pub(super) fn family_name(&mut self, fault: &'static str) -> Result<&'a str, Fault> {
        let name = if self.peek() == Some(b'"') { self.quoted(true) } else { self.plain_name(true) };
        name.ok_or(Fault::Expected(fault))
    }

    /// The body from `from` up to here.
    pub(super) fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// The body up to `end`.
    pub(super) fn text_before(&self, end: usize) -> &'a str {
        &self.text[..end]
    }

    /// Reads a value.
    pub(super) fn value_of(&self, text: &str) -> Result<f64, Fault> {
        parse_float(text).map_err(|reason| self.invalid(&reason))
    }

    /// A fault whose reason quotes what was read of the entry.
    pub(super) fn invalid(&self, reason: &str) -> Fault {
        Fault::Invalid(format!("{reason} while parsing: {}", quote(shortened(self.since(self.start)))))
    }

    /// The fault of a word that names no kind of metric.
    pub(super) fn unknown_kind(&self, word: &str) -> Fault {
        Fault::Invalid(format!("invalid metric type {}", quote(shortened(word))))
    }

    /// The number of the line that `at` is in, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The error that `fault` is at this place; it names the line on which the entry begins.
    pub(super) fn error(&self, fault: &Fault) -> ParseError {
        let line = self.line_of(self.start);
        let reason = match fault {
            Fault::Invalid(reason) => reason.clone(),
            Fault::Expected(what) => {
                let got = self.text[self.at..].chars().next().map(String::from).unwrap_or_default();
                let seen = &self.text[self.start..self.at + got.len()];
                format!("{what}, got {} while parsing: {}", quote(&got), quote(shortened(seen)))
            }
        };
        ParseError { line, reason }
    }
}

/// Reads a number as Go's `ParseFloat` does, without the forms that are younger than the formats.
pub(super) fn parse_float(text: &str) -> Result<f64, String> {
    if text.bytes().any(|byte| matches!(byte, b'p' | b'P' | b'_')) {
        return Err("unsupported character in float".to_owned());
    }
    let problem = |what: &str| format!("strconv.ParseFloat: parsing {}: {what}", quote(shortened(text)));
    let value: f64 = text.parse().map_err(|_| problem("invalid syntax"))?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if value.is_nan() {
        // Go knows no signed NaN.
        if unsigned.len() < text.len() { Err(problem("invalid syntax")) } else { Ok(normal_nan()) }
    } else if value.is_infinite() && !unsigned.starts_with(['i', 'I']) {
        Err(problem("value out of range"))
    } else {
        Ok(value)
    }
}

// What a byte may be, one bit for each: a name is walked over byte by byte, and a look into a table is the fastest test.
const LETTER: u8 = 1;
const COLON: u8 = 2;
const DIGIT: u8 = 4;
/// The end of a quoted text, or something in it to stop at.
const QUOTED_END: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => LETTER,
            b':' => COLON,
            b'0'..=b'9' => DIGIT,
            b'"' | b'\\' | b'\n' => QUOTED_END,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(QUOTED_BYTES_MAX)]
}
