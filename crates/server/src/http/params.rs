//! Parameters of the API: from the form in a POST body and from the URL, where the form comes first.

use std::hash::Hash;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use jiff::Unit;
use jiff::civil::Date;
use relatum_model::Matcher;
use relatum_model::regex::CompileBudget;
use relatum_model::time::parse_duration;
use relatum_promql::syntax::parse_selector_within;

use super::envelope::ApiError;

/// All parameters of one request, in order: the form's, then the URL's.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// The earliest and latest moments of the API, which Prometheus also accepts by their literal names.
pub(crate) const MIN_TIME_MS: i64 = i64::MIN / 1000;
pub(crate) const MAX_TIME_MS: i64 = i64::MAX / 1000;
const NANOS_PER_MS: i64 = 1_000_000;
const EPOCH: Date = Date::constant(1970, 1, 1);
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "+292277025-08-18T07:12:54.999999999Z";

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        });
        let mut pairs = Vec::new();
        if request.method() == Method::POST && is_form {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|error| ApiError::bad_data(format!("error parsing form values: {error}")))?;
            pairs.extend(decoded(&body));
        }
        pairs.extend(decoded(query.as_bytes()));
        Ok(Params(pairs))
    }
}

impl Params {
    /// The first value of `name`; `""` if there is none, as in Go's form values.
    pub(crate) fn first(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All but the moments, which are others whenever the same is asked again.
    pub(crate) fn lasting(&self) -> impl Hash {
        let is_moment = |name: &str| ["time", "start", "end"].contains(&name);
        self.0.iter().filter(|(name, _)| !is_moment(name)).collect::<Vec<_>>()
    }

    /// A moment that must be there.
    pub(crate) fn time_ms(&self, name: &str) -> Result<i64, ApiError> {
        self.moment(name).map_err(|cause| ApiError::parameter(name, cause))
    }

    /// A moment, or `default` where it is missing.
    pub(crate) fn time_ms_or(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        self.moment_or(name, default).map_err(|cause| ApiError::parameter(name, cause))
    }

    /// The same, with what is wrong in words that name the parameter.
    pub(crate) fn moment_or(&self, name: &str, default: i64) -> Result<i64, String> {
        if self.first(name).is_empty() {
            return Ok(default);
        }
        self.moment(name).map_err(|cause| format!("invalid time value for '{name}': {cause}"))
    }

    fn moment(&self, name: &str) -> Result<i64, String> {
        let text = self.first(name);
        parse_time_ms(text).ok_or_else(|| format!("cannot parse {} to a valid timestamp", quoted(text)))
    }

    /// A length of time in nanoseconds; `None` where it is missing.
    pub(crate) fn duration_ns(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.first(name) {
            "" => Ok(None),
            text => parse_duration_ns(text).map(Some).map_err(|cause| ApiError::parameter(name, cause)),
        }
    }

    /// A limit: 0 means none.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        match self.first("limit") {
            "" => Ok(0),
            text => text.parse::<i64>().map_err(|_| ApiError::parameter("limit", not_a_number("Atoi", text))).and_then(
                |n| usize::try_from(n).map_err(|_| ApiError::parameter("limit", "limit must be non-negative")),
            ),
        }
    }

    /// The selectors of `match[]`, each of which must demand something. The text says what is wrong with the first bad one.
    pub(crate) fn matcher_sets(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let mut regexes = CompileBudget::new();
        self.all("match[]")
            .map(|text| {
                let selector = parse_selector_within(text, &mut regexes).map_err(|error| error.to_string())?;
                let matchers = selector.all_matchers();
                if matchers.iter().all(Matcher::matches_empty) {
                    return Err("match[] must contain at least one non-empty matcher".to_owned());
                }
                Ok(matchers)
            })
            .collect()
    }
}

/// The pairs of a query string or form. A pair that Go's `url.ParseQuery` refuses, with a semicolon or a broken escape, is left out.
fn decoded(text: &[u8]) -> Vec<(String, String)> {
    let is_sound = |pair: &&[u8]| {
        let escapes_are_whole = pair
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'%')
            .all(|(at, _)| pair.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
        escapes_are_whole && !pair.contains(&b';')
    };
    text.split(|byte| *byte == b'&')
        .filter(is_sound)
        .flat_map(|pair| form_urlencoded::parse(pair).into_owned())
        .collect()
}

/// What Go's `strconv` says of `text`, which clients know from Prometheus.
pub(crate) fn not_a_number(function: &str, text: &str) -> String {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let cause = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {}: {cause}", quoted(text))
}

fn quoted(text: &str) -> String {
    relatum_model::text::quote(text)
}

/// Float seconds or RFC 3339, in milliseconds since 1970.
fn parse_time_ms(text: &str) -> Option<i64> {
    if let Some(seconds) = parse_float(text) {
        // Go rounds the fraction alone, and what is no number becomes the least that it can count in nanoseconds.
        let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        return Some(if ms.is_finite() {
            (ms as i64).clamp(MIN_TIME_MS, MAX_TIME_MS)
        } else {
            i64::MIN / NANOS_PER_MS
        });
    }
    match text {
        MIN_TIME_TEXT => Some(MIN_TIME_MS),
        MAX_TIME_TEXT => Some(MAX_TIME_MS),
        _ => parse_rfc3339_ms(text),
    }
}

/// `2015-07-01T20:10:51.781Z` and with `+02:00`, but nothing that only looks alike.
fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10).filter(|(day, _)| day.starts_with(|c: char| c.is_ascii_digit()))?;
    let (clock, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let days = Date::strptime("%Y-%m-%d", day).ok()?.since((Unit::Day, EPOCH)).ok()?.get_days();
    let seconds = i64::from(days) * 86_400 + two_digits(clock, [24, 60, 60])?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let ms = match fraction.strip_prefix(['.', ',']) {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            format!("{digits:0<3}")[..3].parse::<i64>().ok()?
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let offset = match zone.strip_prefix(['+', '-']) {
        Some(length) => two_digits(length, [25, 60])?,
        None if zone == "Z" => 0,
        None => return None,
    };
    let east = if zone.starts_with('-') { -offset } else { offset };
    let east = if zone.len() == "+00:00".len() { east * 60 } else { east };
    Some((seconds - east) * 1000 + ms)
}

/// Numbers of two digits each with colons in between, each below its bound, as one number with the base 60.
fn two_digits<const N: usize>(text: &str, bounds: [i64; N]) -> Option<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() != N {
        return None;
    }
    parts.iter().zip(bounds).try_fold(0, |sum, (part, bound)| {
        let is_number = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
        let number = part.parse::<i64>().ok().filter(|number| is_number && *number < bound)?;
        Some(sum * 60 + number)
    })
}

/// Float seconds or a duration such as `1h30m`, in nanoseconds, of which there are as many as fit.
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let ns = seconds * 1e9;
        // NaN is no overflow, in Go it becomes the smallest number.
        if ns.is_nan() {
            return Ok(i64::MIN);
        }
        if ns.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted(text)));
        }
        return Ok(ns as i64);
    }
    parse_duration(text)
        .map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
        .map_err(|_| format!("cannot parse {} to a valid duration", quoted(text)))
}

/// The same in milliseconds.
pub(crate) fn parse_duration_ms(text: &str) -> Result<i64, String> {
    parse_duration_ns(text).map(|ns| ns / NANOS_PER_MS)
}

/// A float as Go's `ParseFloat` reads it: underscores between digits are allowed, and what is beyond floats is none.
fn parse_float(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let is_named = digits.starts_with(['i', 'I']);
    text.replace('_', "").parse().ok().filter(|float: &f64| is_named || !float.is_infinite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, expected) in [
            ("1.5", Some(1500)),
            ("1_000", Some(1_000_000)),
            ("1e3", Some(1_000_000)),
            ("2015-07-01T20:10:51.781Z", Some(1_435_781_451_781)),
            ("2015-07-01T22:10:51.781+02:00", Some(1_435_781_451_781)),
            ("2015-07-01T20:10:51,78912Z", Some(1_435_781_451_789)),
            ("2015-07-01T20:10:51.5-00:30", Some(1_435_783_251_500)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000)),
            ("NaN", Some(-9_223_372_036_854)),
            ("-inf", Some(-9_223_372_036_854)),
            ("Infinity", Some(-9_223_372_036_854)),
            ("1e400", None),
            // What only looks like RFC 3339.
            ("2015-07-01t20:10:51Z", None),
            ("2015-07-01T20:10:51z", None),
            ("2015-07-01 20:10:51Z", None),
            ("2015-07-01T20:10:51", None),
            ("2015-07-01T20:10Z", None),
            ("2015-07-01T20:10:60Z", None),
            ("2015-07-01T24:00:00Z", None),
            ("2015-02-30T00:00:00Z", None),
            ("2015-07-01T20:10:51+0200", None),
            ("2015-07-01T20:10:51+02:60", None),
            ("2015-07-01T20:10:51.Z", None),
            ("2015-07-01T20:10:51+02:00[Europe/Paris]", None),
            ("20150701T201051Z", None),
            ("-015-07-01T20:10:51Z", None),
            ("2015-7-01T20:10:51Z0", None),
            ("\u{e9}015-07-0T20:10:51Z", None),
            (MAX_TIME_TEXT, Some(MAX_TIME_MS)),
            ("", None),
            ("0x10", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_time_ms(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lengths() {
        for (text, expected) in [("15", Ok(15_000)), ("1h30m", Ok(5_400_000)), ("0.5", Ok(500)), ("1e-9", Ok(0))] {
            assert_eq!(parse_duration_ms(text), expected);
        }
        assert_eq!(parse_duration_ns("1e-9"), Ok(1));
        assert!(parse_duration_ms("1e300").unwrap_err().contains("overflows"));
        assert!(!parse_duration_ms("1e400").unwrap_err().contains("overflows"));
        assert!(parse_duration_ms("soon").is_err());
    }
}
