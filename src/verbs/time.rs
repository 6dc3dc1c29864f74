//! Times as text, in UTC: what a guest's local time was is not known. The crate `humantime` does not write times before
//! 1970, which files may have; `jiff` does, but brings time zones and a calendar for three lines of arithmetic.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i128 = 86_400;

/// A time taken apart: `2024-01-31`, `12:34`, `56.123456789`.
pub(super) struct Moment {
    pub(super) date: String,
    pub(super) minute: String,
    pub(super) second: String,
}

/// Takes a time apart.
pub(super) fn moment(time: SystemTime) -> Moment {
    let (seconds, nanoseconds) = since_epoch(time);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(days);
    Moment {
        date: format!("{year:04}-{month:02}-{day:02}"),
        minute: format!("{:02}:{:02}", second / 3600, second / 60 % 60),
        second: format!("{:02}.{nanoseconds:09}", second % 60),
    }
}

/// A time as JSON has it: RFC 3339.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let Moment { date, minute, second } = moment(time);
    format!("{date}T{minute}:{second}Z")
}

/// Whole seconds since 1970, and the nanoseconds after them.
fn since_epoch(time: SystemTime) -> (i128, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (i128::from(since.as_secs()), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-i128::from(before.as_secs()), 0),
                part => (-i128::from(before.as_secs()) - 1, 1_000_000_000 - part),
            }
        }
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the
/// day that comes and goes is the last.
fn date(days: i128) -> (i128, i128, i128) {
    /// Days from 0000-03-01 to 1970-01-01, and those of 400 years.
    const BEFORE: i128 = 719_468;
    const ERA: i128 = 146_097;
    let (era, day) = ((days + BEFORE).div_euclid(ERA), (days + BEFORE).rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i128::from(month_of_year <= 2), month_of_year, day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_date() {
        // date -u -d @N +%FT%T
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
            (-2_208_988_800, "1900-01-01T00:00:00"),
            (253_402_300_800, "10000-01-01T00:00:00"),
        ] {
            let part = Duration::from_secs(i64::unsigned_abs(seconds));
            let time = if seconds < 0 { UNIX_EPOCH - part } else { UNIX_EPOCH + part };
            assert_eq!(rfc3339(time), format!("{text}.000000000Z"));
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_nanos(1)), "1969-12-31T23:59:59.999999999Z");
    }
}
