//! The values of numbers, durations and quoted texts. What they may look like was decided when words were cut.

use relatum_model::text::quote;
use relatum_model::time::{DurationError, parse_duration};

/// The value of a number: decimal, octal (`0755`), hexadecimal (`0x1f`), `Inf`, `NaN`. The error is Go's.
pub(super) fn number(word: &str) -> Result<f64, String> {
    let error = |reason| Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {reason}", quote(word)));
    if !underscores_separate_digits(word) {
        return error("invalid syntax");
    }
    let digits = word.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return match i64::from_str_radix(hex, 16) {
            Ok(value) => Ok(value as f64),
            // A hexadecimal float would need the exponent `p`, which is not cut as part of a number.
            Err(_) => error("invalid syntax"),
        };
    }
    if lower.len() > 1
        && lower.starts_with('0')
        && let Ok(value) = i64::from_str_radix(&lower, 8)
    {
        return Ok(value as f64);
    }
    match lower.parse::<f64>() {
        Ok(value) if value.is_infinite() && lower != "inf" => error("value out of range"),
        // Rust's own NaN may carry a sign, which Go's does not.
        Ok(value) if value.is_nan() => Ok(f64::NAN),
        Ok(value) => Ok(value),
        Err(_) => error("invalid syntax"),
    }
}

fn underscores_separate_digits(word: &str) -> bool {
    let is_hex = word.len() > 2 && matches!(&word.as_bytes()[..2], b"0x" | b"0X");
    // The prefix counts as a digit.
    let mut rest = if is_hex { &word.as_bytes()[1..] } else { word.as_bytes() };
    let is_digit = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_digit() || (is_hex && b.is_ascii_alphabetic()));
    while let Some(at) = rest.iter().position(|b| *b == b'_') {
        if at == 0 || !is_digit(rest.get(at - 1)) || !is_digit(rest.get(at + 1)) {
            return false;
        }
        rest = &rest[at + 1..];
    }
    true
}

/// The seconds of a duration such as `1h30m`. The error is Prometheus'.
pub(super) fn duration_seconds(word: &str) -> Result<f64, String> {
    match parse_duration(word) {
        Ok(duration) => Ok(duration.as_millis() as f64 / 1000.0),
        Err(DurationError::Invalid(_)) if let Some(unit) = unknown_unit(word) => {
            Err(format!("unknown unit {} in duration {}", quote(unit), quote(word)))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The first unit that does not exist, unless something else is wrong before it.
fn unknown_unit(word: &str) -> Option<&str> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    const UNITS: [&str; 7] = ["y", "w", "d", "h", "m", "s", "ms"];
    let mut next = 0;
    for unit in word.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty()) {
        match UNITS.iter().position(|known| *known == unit) {
            None => return Some(unit),
            Some(at) if at < next => return None,
            Some(at) => next = at + 1,
        }
    }
    None
}

/// The text between the quotes of `word`, without escapes.
///
/// Bytes that escapes make and that are not UTF-8 become U+FFFD, because labels are UTF-8 here.
pub(super) fn unquote(word: &str) -> String {
    match String::from_utf8(unquoted_bytes(word)) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// `word` with its quotes as Go would write it, if the bytes that it stands for are not UTF-8.
pub(super) fn quoted_bytes(word: &str) -> Option<String> {
    let bytes = unquoted_bytes(word);
    if std::str::from_utf8(&bytes).is_ok() {
        return None;
    }
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid());
        quoted.push_str(&valid[1..valid.len() - 1]);
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    Some(quoted)
}

fn unquoted_bytes(word: &str) -> Vec<u8> {
    let quote = word.as_bytes()[0];
    let inner = &word[1..word.len() - 1];
    if quote == b'`' || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes()[at + 1];
        let (value, is_char, length) = match escape {
            b'a' => (0x07, false, 2),
            b'b' => (0x08, false, 2),
            b'f' => (0x0c, false, 2),
            b'n' => (0x0a, false, 2),
            b'r' => (0x0d, false, 2),
            b't' => (0x09, false, 2),
            b'v' => (0x0b, false, 2),
            b'0'..=b'7' => (number_at(rest, at + 1, 3, 8), false, 4),
            b'x' => (number_at(rest, at + 2, 2, 16), false, 4),
            b'u' => (number_at(rest, at + 2, 4, 16), true, 6),
            b'U' => (number_at(rest, at + 2, 8, 16), true, 10),
            // A backslash or the quote.
            other => (u32::from(other), false, 2),
        };
        if is_char {
            let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.push(value as u8);
        }
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn number_at(text: &str, start: usize, digits: usize, radix: u32) -> u32 {
    u32::from_str_radix(&text[start..start + digits], radix).expect("escapes were checked when words were cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_number(word: &str, expected: Option<f64>) {
        assert_eq!(number(word).ok(), expected, "number {word:?}");
    }

    #[test]
    fn numbers() {
        check_number("1_000", Some(1000.0));
        check_number("0x1F", Some(31.0));
        check_number("0X_1f", Some(31.0));
        check_number("0755", Some(493.0));
        // Not octal after all.
        check_number("08", Some(8.0));
        check_number("00.5", Some(0.5));
        check_number("1e6", Some(1e6));
        check_number("3.", Some(3.0));
        check_number(".5", Some(0.5));
        check_number("iNf", Some(f64::INFINITY));
        check_number("1e400", None);
        check_number("1_", None);
        check_number("0x", None);
        check_number("0xffffffffffffffff", None);
    }

    #[test]
    fn quoted_texts() {
        for (word, expected) in [
            (r#""a\"b""#, "a\"b"),
            (r"'a\'b'", "a'b"),
            (r"`a\n`", r"a\n"),
            (r#""\a\x41\101\u00e9\U0001F600\\""#, "\u{7}AAé\u{1f600}\\"),
            (r#""\xc3\xa9\xff""#, "é\u{fffd}"),
        ] {
            assert_eq!(unquote(word), expected, "word {word}");
        }
    }
}
