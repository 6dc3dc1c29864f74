//! DOS dates and times: local time in an unrecorded zone, from 1980 to 2107, in steps of two seconds.

use crate::ondisk::Time;

/// Days before each month in a common year.
const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// Days from 1970-01-01 to 1980-01-01.
const DAYS_1980: i64 = 3652;

/// Whether a date was recorded: 0 stands for none.
pub(in crate::guestfs) fn has_date(date: u16) -> bool {
    date != 0
}

/// Converts a date (years since 1980 in the upper 7 bits, month in 4, day in 5), a time (hours in 5 bits, minutes in 6,
/// double seconds in 5) and hundredths of a second (0 to 199), taking the zone to be UTC. Values outside the calendar
/// overflow into the next unit as in the kernel; month 0 and day 0 count as 1.
pub(in crate::guestfs) fn date_and_time(date: u16, time: u16, hundredths: u8) -> Time {
    let (date, time) = (i64::from(date), i64::from(time));
    let year = date >> 9;
    let month = (date >> 5 & 15).clamp(1, 12);
    let day = (date & 31).max(1) - 1;
    // 1980 was a leap year; 2100 will not be one.
    let leap = year % 4 == 0 && year != 120;
    let leap_days = (year + 3) / 4 - i64::from(year > 120) + i64::from(leap && month > 2);
    let before = usize::try_from(month - 1).ok().and_then(|month| BEFORE.get(month)).copied().unwrap_or(0);
    let days = DAYS_1980 + year * 365 + leap_days + before + day;
    let seconds = (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2 + i64::from(hundredths / 100);
    Time { seconds: days * 86400 + seconds, nanoseconds: u32::from(hundredths % 100) * 10_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(year: u16, month: u16, day: u16, clock: (u16, u16, u16)) -> i64 {
        let date = (year - 1980) << 9 | month << 5 | day;
        date_and_time(date, clock.0 << 11 | clock.1 << 5 | clock.2 >> 1, 0).seconds
    }

    #[test]
    fn converts_dates_and_times() {
        // By `date -u -d ... +%s`.
        assert_eq!(of(1980, 1, 1, (0, 0, 0)), 315_532_800);
        assert_eq!(of(1980, 2, 29, (0, 0, 0)), 320_630_400);
        assert_eq!(of(1980, 3, 1, (0, 0, 0)), 320_716_800);
        assert_eq!(of(1999, 12, 31, (23, 59, 58)), 946_684_798);
        assert_eq!(of(2000, 3, 1, (0, 0, 0)), 951_868_800);
        assert_eq!(of(2026, 11, 26, (16, 57, 12)), 1_795_712_232);
        assert_eq!(of(2100, 2, 28, (0, 0, 0)), 4_107_456_000);
        assert_eq!(of(2100, 3, 1, (0, 0, 0)), 4_107_542_400);
        assert_eq!(of(2101, 1, 1, (0, 0, 0)), 4_133_980_800);
        assert_eq!(of(2107, 12, 31, (23, 59, 58)), 4_354_819_198);
        let half = date_and_time(33, 0, 150);
        assert_eq!((half.seconds, half.nanoseconds), (315_532_801, 500_000_000));
    }

    #[test]
    fn accepts_values_outside_the_calendar() {
        assert_eq!(date_and_time(0, 0, 0).seconds, 315_532_800);
        for date in 0..=u16::MAX {
            let time = date_and_time(date, u16::MAX, u8::MAX);
            assert!(time.nanoseconds < 1_000_000_000 && time.seconds < 1 << 33);
        }
    }
}
