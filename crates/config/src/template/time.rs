//! Moments and spans of time, as Go prints and names their parts.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::value::Value;

/// A moment in UTC, to the millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoTime(Timestamp);

/// A span, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoDuration(pub(super) i64);

impl GoTime {
    /// The moment `seconds` after the epoch, if Go can hold it. The error is Go's.
    pub(super) fn of(seconds: f64) -> Result<Self, String> {
        if !seconds.is_finite() {
            return Err("value is NaN or Inf".to_owned());
        }
        let nanoseconds = seconds * 1e9;
        let out_of_range = || {
            let seconds = super::format::float_g(seconds, None);
            format!("{seconds} cannot be represented as a nanoseconds timestamp since it overflows int64")
        };
        if nanoseconds.abs() > i64::MAX as f64 {
            return Err(out_of_range());
        }
        Timestamp::from_millisecond(nanoseconds as i64 / 1_000_000).map(GoTime).map_err(|_| out_of_range())
    }

    /// A method that templates can call on it; `None` if there is no such method here.
    pub(super) fn method(self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let at = self.0.to_zoned(TimeZone::UTC);
        let integer = |number: i64| Some(Ok(Value::Integer(number)));
        match (name, arguments) {
            ("Unix", []) => integer(self.0.as_second()),
            ("UnixMilli", []) => integer(self.0.as_millisecond()),
            ("UnixMicro", []) => integer(self.0.as_microsecond()),
            ("UnixNano", []) => integer(self.0.as_nanosecond() as i64),
            ("Year", []) => integer(at.year().into()),
            ("Day", []) => integer(at.day().into()),
            ("YearDay", []) => integer(at.day_of_year().into()),
            ("Hour", []) => integer(at.hour().into()),
            ("Minute", []) => integer(at.minute().into()),
            ("Second", []) => integer(at.second().into()),
            ("Nanosecond", []) => integer(at.subsec_nanosecond().into()),
            ("Month", []) => Some(Ok(Value::string(MONTHS[usize::from(at.month().unsigned_abs()) - 1]))),
            ("Weekday", []) => Some(Ok(Value::string(weekday(at.weekday())))),
            ("String", []) => Some(Ok(Value::string(self.to_string()))),
            ("UTC" | "Local", []) => Some(Ok(Value::Time(self))),
            ("Format", [Value::String(layout)]) => Some(Ok(Value::string(self.format(layout)))),
            _ => None,
        }
    }

    /// Fills a layout, which shows how Go would write the second of January 2006, 15:04:05.
    fn format(self, layout: &str) -> String {
        let at = self.0.to_zoned(TimeZone::UTC);
        let month = MONTHS[usize::from(at.month().unsigned_abs()) - 1];
        let (hour, day) = (at.hour(), weekday(at.weekday()));
        let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let mut out = String::new();
        let mut rest = layout;
        'text: while let Some(first) = rest.chars().next() {
            // Longer marks first, so that none hides behind a shorter one.
            for (mark, text) in [
                ("January", month.to_owned()),
                ("Jan", month[..3].to_owned()),
                ("Monday", day.to_owned()),
                ("Mon", day[..3].to_owned()),
                ("MST", "UTC".to_owned()),
                ("2006", format!("{:04}", at.year())),
                ("-07:00", "+00:00".to_owned()),
                ("-0700", "+0000".to_owned()),
                ("Z07:00", "Z".to_owned()),
                ("Z0700", "Z".to_owned()),
                ("01", format!("{:02}", at.month())),
                ("002", format!("{:03}", at.day_of_year())),
                ("02", format!("{:02}", at.day())),
                ("03", format!("{hour12:02}")),
                ("04", format!("{:02}", at.minute())),
                ("05", format!("{:02}", at.second())),
                ("06", format!("{:02}", at.year().rem_euclid(100))),
                ("15", format!("{hour:02}")),
                ("_2", format!("{:2}", at.day())),
                ("PM", if hour < 12 { "AM" } else { "PM" }.to_owned()),
                ("pm", if hour < 12 { "am" } else { "pm" }.to_owned()),
                ("1", at.month().to_string()),
                ("2", at.day().to_string()),
                ("3", hour12.to_string()),
                ("4", at.minute().to_string()),
                ("5", at.second().to_string()),
            ] {
                // The short names of months and days stand only where no longer word begins.
                let Some(after) = rest.strip_prefix(mark) else { continue };
                if !(matches!(mark, "Jan" | "Mon") && after.starts_with(|c: char| c.is_ascii_lowercase())) {
                    out.push_str(&text);
                    rest = after;
                    continue 'text;
                }
            }
            if let Some((text, length)) = fraction(rest, at.subsec_nanosecond()) {
                out.push_str(&text);
                rest = &rest[length..];
                continue;
            }
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
        out
    }
}

/// `.000` and `.999` behind the seconds: that many digits, the latter without trailing zeros.
fn fraction(layout: &str, nanoseconds: i32) -> Option<(String, usize)> {
    let point = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = layout[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let n = layout[1..].bytes().take_while(|byte| char::from(*byte) == digit).count().min(9);
    if layout[1 + n..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let all = format!("{nanoseconds:09}");
    let digits = if digit == '0' { &all[..n] } else { all[..n].trim_end_matches('0') };
    let text = if digits.is_empty() { String::new() } else { format!("{point}{digits}") };
    Some((text, 1 + n))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// `2006-01-02 15:04:05.999 +0000 UTC`
impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

impl GoDuration {
    /// A method that templates can call on it; `None` if there is no such method here.
    pub(super) fn method(self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let float = |unit: f64| Some(Ok(Value::Float(self.0 as f64 / unit)));
        match (name, arguments) {
            ("Hours", []) => float(3.6e12),
            ("Minutes", []) => float(6e10),
            ("Seconds", []) => float(1e9),
            ("Milliseconds", []) => Some(Ok(Value::Integer(self.0 / 1_000_000))),
            ("Microseconds", []) => Some(Ok(Value::Integer(self.0 / 1000))),
            ("Nanoseconds", []) => Some(Ok(Value::Integer(self.0))),
            ("Abs", []) => Some(Ok(Value::Duration(GoDuration(self.0.saturating_abs())))),
            ("String", []) => Some(Ok(Value::string(self.to_string()))),
            _ => None,
        }
    }
}

/// `1h2m3.5s`, or one unit for less than a second.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (sign, total) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let fraction = |whole: u64, part: u64, digits: usize| {
            let text = format!("{whole}.{part:0digits$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        f.write_str(sign)?;
        match total {
            0..1000 => return write!(f, "{total}ns"),
            1000..1_000_000 => return write!(f, "{}µs", fraction(total / 1000, total % 1000, 3)),
            1_000_000..1_000_000_000 => {
                return write!(f, "{}ms", fraction(total / 1_000_000, total % 1_000_000, 6));
            }
            _ => {}
        }
        let seconds = total / 1_000_000_000;
        let shown = fraction(seconds % 60, total % 1_000_000_000, 9);
        match (seconds / 3600, seconds / 60 % 60) {
            (0, 0) => write!(f, "{shown}s"),
            (0, minutes) => write!(f, "{minutes}m{shown}s"),
            (hours, minutes) => write!(f, "{hours}h{minutes}m{shown}s"),
        }
    }
}
