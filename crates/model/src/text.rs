//! Small pieces of Prometheus' and Go's text conventions that several formats share.

use std::sync::LazyLock;

use ::regex::Regex;

/// Quotes `text` as Go's `strconv.Quote` does: the notation of label values in PromQL and in every message.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// The same for bytes; those that are no UTF-8 become `\xNN`.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in bytes.utf8_chunks() {
        let quoted = quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

/// Go's idea of a printable character: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    static PRINTABLE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[\pL\pM\pN\pP\pS]").expect("the expression is valid"));
    if c.is_ascii() { !c.is_ascii_control() } else { PRINTABLE.is_match(c.encode_utf8(&mut [0; 4])) }
}

/// `text` in lower case as Go's `strings.ToLower` gives it: character by character.
pub fn to_lower(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            // The one character that Rust maps to two and Go to one.
            '\u{130}' => 'i',
            c => only(c.to_lowercase()).unwrap_or(c),
        })
        .collect()
}

/// `text` in upper case as Go's `strings.ToUpper` gives it: character by character, so `ß` stays.
pub fn to_upper(text: &str) -> String {
    text.chars().map(|c| only(c.to_uppercase()).unwrap_or_else(|| title_case(c))).collect()
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

/// The Greek letters with a subscript iota become two letters in Rust; Go takes the one that Unicode has for them.
fn title_case(c: char) -> char {
    let distance = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(c as u32 + distance).unwrap_or(c)
}

/// Whether `name` is a metric name of the legacy alphabet, `[a-zA-Z_:][a-zA-Z0-9_:]*`, which needs no quotes.
pub fn is_legacy_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Whether `name` is a label name of the legacy alphabet, `[a-zA-Z_][a-zA-Z0-9_]*`, which needs no quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Writes a sample's value as Prometheus' HTTP API does: the shortest digits that read back the same, with an exponent only
/// below 1e-6 and from 1e21 on.
pub fn format_value(value: f64) -> String {
    let magnitude = value.abs();
    format(value, magnitude == 0.0 || (1e-6..1e21).contains(&magnitude))
}

/// Writes a value as Go's `%g` and the exposition formats do: the shortest digits that read back the same, with an exponent
/// below 1e-4 and from 1e6 on.
pub fn format_value_short(value: f64) -> String {
    let magnitude = value.abs();
    format(value, magnitude == 0.0 || (1e-4..1e6).contains(&magnitude))
}

/// Writes a value as Go's `%e` does: always with an exponent.
pub fn format_value_exponential(value: f64) -> String {
    format(value, false)
}

/// Writes a value as Go writes numbers into JSON: as [`format_value`], but with exponents as short as they can be. What is no finite
/// number has no text.
pub fn format_json_number(value: f64) -> Option<String> {
    let text = value.is_finite().then(|| format_value(value))?;
    // One of two digits that begins with a zero; below zero only, as none above is so small.
    Some(text.replace("e-0", "e-"))
}

/// Writes a value as Python's `repr` does: always with a point or an exponent, the latter below 1e-4 and from 1e16 on.
pub fn format_python_float(value: f64) -> String {
    let magnitude = value.abs();
    let mut text = format(value, magnitude == 0.0 || (1e-4..1e16).contains(&magnitude));
    if !text.contains(['.', 'e', 'N', 'I']) {
        text.push_str(".0");
    }
    text
}

/// Writes a value with all its places, as Go's `'f'` format does: PromQL has no exponents in numbers, and labels that are made of values
/// have none.
pub fn format_value_plain(value: f64) -> String {
    format(value, true)
}

/// Writes a value with no more than so many significant digits, as Go's `%.<digits>g` does: with an exponent below 1e-4, and where the
/// digits do not reach up to the point.
pub fn format_value_rounded(value: f64, digits: usize) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let digits_max = digits.max(1);
    let scientific = format!("{:.*e}", digits_max - 1, value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("the notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    let digits = mantissa.replace('.', "");
    // Zeros at the end say nothing.
    let digits = Some(digits.trim_end_matches('0')).filter(|digits| !digits.is_empty()).unwrap_or("0");
    let is_plain = exponent >= -4 && i64::from(exponent) < digits_max as i64;
    write(value.is_sign_negative(), digits, exponent, is_plain)
}

/// With six places behind the point, as Go's `%f`: `2.000000`, `+Inf`.
pub fn format_six_places(value: f64) -> String {
    word(value).map_or_else(|| format!("{value:.6}"), str::to_owned)
}

/// With all places written out, or with an exponent.
fn format(value: f64, is_plain: bool) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let (digits, exponent) = shortest(value.abs());
    write(value.is_sign_negative(), &digits, exponent, is_plain)
}

/// What is written for a value that is no number.
fn word(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Writes digits, of which the first one counts ten to the power of `exponent`.
fn write(is_negative: bool, digits: &str, exponent: i32, is_plain: bool) -> String {
    let sign = if is_negative { "-" } else { "" };
    // How many digits stand in front of the point.
    let whole = exponent + 1;
    match usize::try_from(whole) {
        _ if !is_plain => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let exponent_sign = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs())
        }
        Ok(whole) if whole >= digits.len() => format!("{sign}{digits:0<whole$}"),
        Ok(whole @ 1..) => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
        _ => format!("{sign}0.{:0<width$}{digits}", "", width = whole.unsigned_abs() as usize),
    }
}

/// The fewest digits that read back as `value`, without zeros at their end, and the power of ten of the first one. Of two that are
/// equally near it is the one that ends in an even digit, as in Go; the standard library takes the upper one.
fn shortest(value: f64) -> (String, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let all = [whole, part].concat();
    let significant = all.trim_start_matches('0');
    let n_leading = (all.len() - significant.len()) as i32;
    match significant.trim_end_matches('0') {
        "" => ("0".to_owned(), 0),
        digits => (digits.to_owned(), exponent + whole.len() as i32 - 1 - n_leading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_go() {
        // As `strconv.FormatFloat` gives with -1 digits.
        for (value, plain, exponent, short) in [
            (0.0, "0", "0e+00", "0"),
            (-0.0, "-0", "-0e+00", "-0"),
            (1.0, "1", "1e+00", "1"),
            (0.25, "0.25", "2.5e-01", "0.25"),
            (1e-7, "0.0000001", "1e-07", "1e-07"),
            (0.0001, "0.0001", "1e-04", "0.0001"),
            (-123_456.0, "-123456", "-1.23456e+05", "-123456"),
            (1e6, "1000000", "1e+06", "1e+06"),
            (1.5e21, "1500000000000000000000", "1.5e+21", "1.5e+21"),
            (1e120, &format!("1{:0<120}", ""), "1e+120", "1e+120"),
            // Two texts are equally near.
            (26_818_201_253_895.562, "26818201253895.562", "2.6818201253895562e+13", "2.6818201253895562e+13"),
            (f64::NAN, "NaN", "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
        ] {
            assert_eq!(format_value_plain(value), plain);
            assert_eq!(format_value_exponential(value), exponent);
            assert_eq!(format_value_short(value), short);
        }
        for (value, digits, text) in [
            (1234.0, 2, "1.2e+03"),
            (1234.0, 4, "1234"),
            (0.995, 2, "0.99"),
            (3.0, 2, "3"),
            (0.0, 4, "0"),
            (-0.00012345, 3, "-0.000123"),
            (0.000012345, 3, "1.23e-05"),
            (99.99, 3, "100"),
            (999.9, 3, "1e+03"),
            // Halves go to the even digit.
            (2.5, 1, "2"),
            (3.5, 1, "4"),
            (0.125, 2, "0.12"),
            (1.0, 0, "1"),
            (0.1, 20, "0.10000000000000000555"),
            (f64::NEG_INFINITY, 4, "-Inf"),
        ] {
            assert_eq!(format_value_rounded(value, digits), text, "{value} in {digits}");
        }
    }

    #[test]
    fn values() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-120.0, "-120"),
            (100.25, "100.25"),
            (0.0105, "0.0105"),
            // Two texts are equally near.
            (26_818_201_253_895.562, "26818201253895.562"),
            (-1_172_442_968_800_055.2, "-1172442968800055.2"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (1.5e300, "1.5e+300"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }

    #[test]
    fn short_values() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (12_345_678.5, "1.23456785e+07"),
            (1e-4, "0.0001"),
            (9.9e-5, "9.9e-05"),
            (1.5e300, "1.5e+300"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_value_short(value), text);
        }
    }

    #[test]
    fn values_elsewhere() {
        // Each by Go's `%e` and `encoding/json`, and by Python's `repr`.
        for (value, exponential, json, python) in [
            (0.0, "0e+00", Some("0"), "0.0"),
            (-0.0, "-0e+00", Some("-0"), "-0.0"),
            (0.25, "2.5e-01", Some("0.25"), "0.25"),
            (2.0, "2e+00", Some("2"), "2.0"),
            (1e-7, "1e-07", Some("1e-7"), "1e-07"),
            (1.5e-10, "1.5e-10", Some("1.5e-10"), "1.5e-10"),
            (1e16, "1e+16", Some("10000000000000000"), "1e+16"),
            (1e21, "1e+21", Some("1e+21"), "1e+21"),
            (1e120, "1e+120", Some("1e+120"), "1e+120"),
            (26_818_201_253_895.562, "2.6818201253895562e+13", Some("26818201253895.562"), "26818201253895.562"),
            (f64::NAN, "NaN", None, "NaN"),
            (f64::INFINITY, "+Inf", None, "+Inf"),
        ] {
            assert_eq!(format_value_exponential(value), exponential);
            assert_eq!(format_json_number(value).as_deref(), json);
            assert_eq!(format_python_float(value), python);
        }
    }

    #[test]
    fn cases() {
        for (text, lower, upper) in [
            ("aB1-é", "ab1-é", "AB1-É"),
            ("ßŉ\u{130}", "ßŉi", "ßŉ\u{130}"),
            ("\u{1f80}\u{1fb3}ς", "\u{1f80}\u{1fb3}ς", "\u{1f88}\u{1fbc}Σ"),
        ] {
            assert_eq!((to_lower(text).as_str(), to_upper(text).as_str()), (lower, upper), "text {text:?}");
        }
    }

    #[test]
    fn quotes() {
        assert_eq!(quote("\u{a0}\u{378}\u{e000}\u{e01ef}\u{301}"), "\"\\u00a0\\u0378\\ue000\u{e01ef}\u{301}\"");
        assert_eq!(quote("a\"b\\c\n\u{1}é\u{feff}\u{1f600}"), "\"a\\\"b\\\\c\\n\\x01é\\ufeff\u{1f600}\"");
    }
}
