//! Sizes in bytes as Prometheus writes them: `512MB`, `1.5GiB`.

use crate::yaml::Cursor;

/// Reads a size; `key` is its whole path in the file, for the message about a negative one.
pub(super) fn read_size(cursor: Cursor<'_>, key: &str) -> Option<u64> {
    if cursor.is_null() {
        return Some(0);
    }
    let text = cursor.string()?;
    match parse_size(&text) {
        Ok(size) if size < 0 => {
            cursor.invalid(format!("'{key}' must be greater than or equal to 0, got {text}"));
            None
        }
        Ok(size) => Some(size as u64),
        Err(message) => {
            cursor.invalid(message);
            None
        }
    }
}

/// One or more numbers, each with its unit, added up. `KB` and `KiB` both are 1024 bytes.
fn parse_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("units: invalid {text}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let (number, after) = rest.split_at(rest.bytes().take_while(is_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(|byte| !is_digit(byte)).count());
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let factor = unit_bytes(unit).ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
        total += number * factor;
        rest = after;
    }
    if total >= i64::MAX as f64 {
        return Err("units: overflow parsing unit".to_owned());
    }
    Ok(if negative { -(total as i64) } else { total as i64 })
}

fn unit_bytes(unit: &str) -> Option<f64> {
    let prefix = unit.strip_suffix("iB").filter(|prefix| !prefix.is_empty()).or_else(|| unit.strip_suffix('B'))?;
    let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|known| *known == prefix)?;
    Some(1024f64.powi(power as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let kib = 1024;
        for (text, expected) in [
            ("0", Ok(0)),
            ("15B", Ok(15)),
            ("10KB", Ok(10 * kib)),
            ("1.5MiB", Ok(1536 * kib)),
            ("1GB512MB", Ok(1536 * kib * kib)),
            ("-1KB", Ok(-kib)),
            ("100", Err("units: unknown unit  in 100")),
            ("iB", Err("units: invalid iB")),
            ("1kB", Err("units: unknown unit kB in 1kB")),
            ("9EB", Err("units: overflow parsing unit")),
            ("", Err("units: invalid ")),
            ("1é", Err("units: unknown unit é in 1é")),
        ] {
            assert_eq!(parse_size(text), expected.map_err(str::to_owned), "input {text:?}");
        }
    }
}
