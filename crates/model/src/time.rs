//! Durations and moments as Prometheus writes them.

use std::time::Duration;

use thiserror::Error;

/// Why a text is not a duration. The text is Prometheus'.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// There is nothing to read.
    #[error("empty duration string")]
    Empty,
    /// Not of the form `1h30m`.
    #[error("not a valid duration string: {}", crate::text::quote(.0))]
    Invalid(String),
    /// A number is followed by what is no unit.
    #[error("unknown unit {} in duration {}", crate::text::quote(.unit), crate::text::quote(.text))]
    UnknownUnit {
        /// What follows the number.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 2^63 nanoseconds.
    #[error("duration out of range")]
    OutOfRange,
}

// Units from the largest to the smallest: a duration names each at most once, in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration such as `15s`, `1h30m` or `0`. A year has 365 days, a day 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let (mut rest, mut total_ms, mut next_unit) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(invalid());
        }
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let letters = after.bytes().position(|b| b.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(invalid());
        }
        let unknown = || DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() };
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(unknown)?;
        if at < next_unit {
            return Err(invalid());
        }
        total_ms = number
            .checked_mul(UNITS[at].1)
            .and_then(|ms| total_ms.checked_add(ms))
            // Go counts nanoseconds in an int64.
            .filter(|ms| *ms <= i64::MAX as u64 / 1_000_000)
            .ok_or(DurationError::OutOfRange)?;
        (rest, next_unit) = (after, at + 1);
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration as Prometheus does: `1h30m`, `15s`, `0s`. Less than a millisecond is cut off.
///
/// Years and weeks appear only when what is left is a whole number of them, as `90d` reads better than `12w6d`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, unit_ms) in UNITS {
        let whole_only = matches!(unit, "y" | "w");
        if whole_only && !rest_ms.is_multiple_of(unit_ms) {
            continue;
        }
        let n = rest_ms / unit_ms;
        if n > 0 {
            out.push_str(&format!("{n}{unit}"));
            rest_ms -= n * unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected_ms: Option<u64>) {
        assert_eq!(parse_duration(text).ok(), expected_ms.map(Duration::from_millis), "input {text:?}");
    }

    #[test]
    fn durations() {
        check("15s", Some(15_000));
        check("1h30m", Some(5_400_000));
        check("0", Some(0));
        check("1y2w3d4h5m6s7ms", Some(365 * 86_400_000 + 17 * 86_400_000 + 14_706_007));
        check("", None);
        // A bare number has no unit, so it says nothing.
        check("15", None);
        check("1m1h", None);
        check("1.5h", None);
        check("-1s", None);
        check("18446744073709551615m", None);
    }

    #[test]
    fn errors_are_prometheus() {
        for (text, error) in [
            ("", "empty duration string"),
            ("15", "not a valid duration string: \"15\""),
            ("1h1h", "not a valid duration string: \"1h1h\""),
            ("1.5h", "unknown unit \".\" in duration \"1.5h\""),
            ("1é", "unknown unit \"é\" in duration \"1é\""),
            ("106752d", "duration out of range"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn formats() {
        for text in ["0s", "15s", "1h30m", "1d", "1d12h", "90d", "2w", "1y", "250ms", "1m1ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
