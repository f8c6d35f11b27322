//! The clock of the machine, and how moments are written for others.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The time of the machine, milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 is not set; nothing sensible can be said.
        Err(_) => 0,
    }
}

/// RFC 3339 with milliseconds. A time that no calendar has becomes the nearest one that it has.
pub(crate) fn rfc3339(t_ms: i64) -> String {
    let nearest = if t_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let timestamp = Timestamp::from_millisecond(t_ms).unwrap_or(nearest);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert!(rfc3339(i64::MIN).ends_with('Z') && rfc3339(i64::MAX).ends_with('Z'));
    }
}
