//! What the calendar says of a moment, in UTC: `year`, `day_of_week` and the like.

/// The part of a moment that a function asks for; `None` if the function is not of this family.
pub(crate) fn part(function: &str) -> Option<fn(i128) -> f64> {
    Some(match function {
        "minute" => |seconds| (seconds.rem_euclid(3600) / 60) as f64,
        "hour" => |seconds| (seconds.rem_euclid(86_400) / 3600) as f64,
        // 1970 began on a Thursday; Sunday is 0.
        "day_of_week" => |seconds| (days(seconds) + 4).rem_euclid(7) as f64,
        "day_of_month" => |seconds| date(seconds).day as f64,
        "day_of_year" => |seconds| {
            let date = date(seconds);
            (days(seconds) - first_day(date.year, 1) + 1) as f64
        },
        "days_in_month" => |seconds| {
            let date = date(seconds);
            let next =
                if date.month == 12 { first_day(date.year + 1, 1) } else { first_day(date.year, date.month + 1) };
            (next - first_day(date.year, date.month)) as f64
        },
        "month" => |seconds| date(seconds).month as f64,
        "year" => |seconds| date(seconds).year as f64,
        _ => return None,
    })
}

/// Seconds since 1970 as a whole number.
///
/// What an int64 cannot hold, NaN included, is a moment 292 billion years ahead, as in Go, where it becomes the smallest int64
/// and then overflows.
pub(crate) fn whole_seconds(seconds: f64) -> i128 {
    if seconds > i64::MIN as f64 && seconds < i64::MAX as f64 { seconds as i128 } else { 1 << 63 }
}

struct Date {
    year: i64,
    month: i64,
    day: i64,
}

fn days(seconds: i128) -> i64 {
    // At most 2^63 seconds in either direction.
    seconds.div_euclid(86_400) as i64
}

// Both directions count years from March, so that the leap day is the last of its year, in eras of 400 years.
const ERA_DAYS: i64 = 146_097;
// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

fn date(seconds: i128) -> Date {
    let day = days(seconds) + DAYS_TO_1970;
    let (era, of_era) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day: of_year - (153 * from_march + 2) / 5 + 1 }
}

/// The number of the first day of a month, counted from 1970.
fn first_day(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: f64, expected: [f64; 8]) {
        let names = ["year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"];
        assert_eq!(names.map(|name| part(name).expect("the function exists")(whole_seconds(seconds))), expected);
    }

    #[test]
    fn parts() {
        check(0.0, [1970.0, 1.0, 1.0, 4.0, 1.0, 31.0, 0.0, 0.0]);
        check(-1.0, [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]);
        // A leap day.
        check(1_709_208_000.5, [2024.0, 2.0, 29.0, 4.0, 60.0, 29.0, 12.0, 0.0]);
        check(4_107_542_400.0, [2100.0, 3.0, 1.0, 1.0, 60.0, 31.0, 0.0, 0.0]);
        check(f64::NAN, [292_277_026_596.0, 12.0, 4.0, 0.0, 339.0, 31.0, 15.0, 30.0]);
    }
}
