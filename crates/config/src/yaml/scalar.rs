//! What the text of a scalar means, by the rules of YAML 1.1 as Go reads it.

use base64::Engine as _;
use relatum_model::text::quote;

/// Every spelling of a boolean.
pub(super) fn bool_of(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero; underscores are ignored.
pub(super) fn integer_of(text: &str) -> Option<i128> {
    let text = text.replace('_', "");
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `u64::from_str_radix` would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    Some(if negative { -number } else { number })
}

pub(super) fn float_of(text: &str) -> Option<f64> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let text = text.replace('_', "");
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if numeric { text.parse().ok() } else { None }
}

/// Standard base64 with padding; line breaks do not count.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    base64::engine::general_purpose::STANDARD.decode(digits).ok()
}

/// Quotes bytes that are not all UTF-8, as Go does.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        out.push_str(quote(chunk.valid()).trim_matches('"'));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, integer, float) in [
            ("0", Some(0), Some(0.0)),
            ("-1_000", Some(-1000), Some(-1000.0)),
            ("0x1F", Some(31), None),
            ("017", Some(15), Some(17.0)),
            ("08", None, Some(8.0)),
            ("18446744073709551615", Some(u64::MAX.into()), Some(1.8446744073709552e19)),
            ("18446744073709551616", None, Some(1.8446744073709552e19)),
            ("1.5e3", None, Some(1500.0)),
            ("-.inf", None, Some(f64::NEG_INFINITY)),
            // What Rust would read and YAML does not.
            ("inf", None, None),
            ("+-1", None, None),
            ("", None, None),
            ("0x", None, None),
            ("1:30", None, None),
        ] {
            assert_eq!((integer_of(text), float_of(text)), (integer, float), "input {text:?}");
        }
    }
}
