//! Dates of the calendar as seconds, for file systems that store them field by field.

/// A moment: seconds since 1970-01-01 00:00 UTC, negative before, and nanoseconds after it (below 1,000,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

/// A date and a time of day, as some file systems store it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Date {
    /// The year, such as 2024.
    pub(crate) year: i32,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
    /// 0 to 23.
    pub(crate) hour: u8,
    /// 0 to 59.
    pub(crate) minute: u8,
    /// 0 to 60.
    pub(crate) second: u8,
    /// Below 1,000,000,000.
    pub(crate) nanosecond: u32,
    /// Minutes that the clock was ahead of UTC.
    pub(crate) offset: i32,
}

impl Date {
    /// The moment; `None` when a field is out of its range.
    pub(crate) fn time(&self) -> Option<Time> {
        let sane = (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
            && self.nanosecond < 1_000_000_000;
        if !sane {
            return None;
        }
        // Years that begin in March have their leap day last.
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days =
            year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute) - i64::from(self.offset);
        Some(Time { seconds: days * 86400 + minutes * 60 + i64::from(self.second), nanoseconds: self.nanosecond })
    }
}

#[cfg(test)]
mod tests {
    use crate::ondisk::calendar::*;

    #[test]
    fn dates_are_what_the_system_s_date_program_says() {
        // date -u -d '...' +%s
        for (year, month, day, hour, minute, second, offset, seconds) in [
            (1970, 1, 1, 0, 0, 0, 0, 0),
            (2000, 2, 29, 23, 59, 59, 0, 951_868_799),
            (2024, 3, 1, 0, 0, 0, 0, 1_709_251_200),
            (1900, 3, 1, 0, 0, 0, 0, -2_203_891_200),
            (1601, 1, 1, 0, 0, 0, 0, -11_644_473_600),
            (2024, 1, 2, 3, 4, 5, 330, 1_704_144_845),
        ] {
            let date = Date { year, month, day, hour, minute, second, offset, ..Date::default() };
            assert_eq!(date.time().unwrap().seconds, seconds, "{date:?}");
        }
        assert!(Date { year: 2024, month: 13, day: 1, ..Date::default() }.time().is_none());
        assert!(Date { year: 2024, month: 0, day: 0, ..Date::default() }.time().is_none());
    }
}
