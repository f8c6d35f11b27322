//! Small pieces of Prometheus' and Go's text conventions that several formats share.

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

/// Go's idea of a printable character, as far as it can be told without Unicode tables: no controls, no spaces but the
/// ASCII one, no byte-order marks, no private use.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
            || matches!(c as u32, 0xe000..=0xf8ff | 0xf0000.. ))
}

/// Whether `name` is a metric name of the legacy alphabet, `[a-zA-Z_:][a-zA-Z0-9_:]*`, which needs no quotes.
pub fn is_legacy_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Whether `name` is a label name of the legacy alphabet, `[a-zA-Z_][a-zA-Z0-9_]*`, which needs no quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    !name.contains(':') && is_legacy_metric_name(name)
}

/// Writes a sample's value as Prometheus' HTTP API does: the shortest digits that read back the same, with an exponent only
/// below 1e-6 and from 1e21 on.
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
            // Rust prints the shortest digits that read back the same, never with an exponent.
            value.to_string()
        } else {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').expect("{:e} always has an exponent");
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
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
    fn quotes() {
        assert_eq!(quote("a\"b\\c\n\u{1}é\u{feff}\u{1f600}"), "\"a\\\"b\\\\c\\n\\x01é\\ufeff\u{1f600}\"");
    }
}
