//! Numbers for people: four digits with a prefix, a duration in days and hours, a moment.

use super::format::float_g;
use super::time::GoTime;

const SMALLER: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Four digits and a metric prefix.
pub(super) fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return float_g(value, Some(4));
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for larger in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            (prefix, value) = (larger, value / 1000.0);
        }
    } else {
        (prefix, value) = shrink(value);
    }
    format!("{}{prefix}", float_g(value, Some(4)))
}

/// A value below one in the largest unit that makes it at least one.
fn shrink(mut value: f64) -> (&'static str, f64) {
    let mut prefix = "";
    for smaller in SMALLER {
        if value.abs() >= 1.0 {
            break;
        }
        (prefix, value) = (smaller, value * 1000.0);
    }
    (prefix, value)
}

/// Four digits and a binary prefix.
pub(super) fn humanize_1024(mut value: f64) -> String {
    let mut prefix = "";
    if value.abs() > 1.0 && value.is_finite() {
        for larger in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
            if value.abs() < 1024.0 {
                break;
            }
            (prefix, value) = (larger, value / 1024.0);
        }
    }
    format!("{}{prefix}", float_g(value, Some(4)))
}

/// Seconds as days, hours, minutes and seconds, or as a part of a second.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return float_g(value, Some(4));
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        let (prefix, value) = shrink(value);
        return format!("{}{prefix}s", float_g(value, Some(4)));
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    let whole = value as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", float_g(value, Some(4)))
    }
}

/// A moment in UTC, to the millisecond, as Go prints it.
pub(super) fn humanize_timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(float_g(seconds, Some(4)));
    }
    GoTime::of(seconds).map(|time| time.to_string())
}
