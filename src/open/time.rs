//! The times that the user writes: of the calendar, or so long ago. The crate `humantime` reads both; `jiff` would add
//! offsets, which are read here, and time zones, which are not wanted: snapshots have their times in UTC.

use std::time::{Duration, SystemTime};

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Reads a time: as RFC 3339 has it, with a space in place of the `T`, and in UTC where it names no offset; a date,
/// which is the end of that day; or how long ago, as `2 days ago` or `1h 30min ago`.
///
/// # Errors
/// What would have been right, to follow the text and `is no time: `.
pub(crate) fn parse_time(text: &str) -> Result<SystemTime, String> {
    parse(text.trim(), SystemTime::now())
        .ok_or_else(|| "write 2026-11-23, 2026-11-23T13:49:19Z, 2026-11-23T13:49:19+02:00 or \"2 days ago\"".to_owned())
}

fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Some(ago) = text.strip_suffix("ago") {
        return now.checked_sub(humantime::parse_duration(ago.trim()).ok()?);
    }
    if text.len() == "2026-11-23".len() {
        let day = humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")).ok()?;
        return day.checked_add(Duration::from_secs(DAY) - Duration::from_nanos(1));
    }
    let (local, offset) = match text.len().checked_sub("+02:00".len()).and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) && offset.as_bytes()[3] == b':' => (local, offset),
        _ => (text, "+00:00"),
    };
    let part = |digits: &str, below: u64| {
        let number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
        (number < below).then_some(number)
    };
    let ahead = Duration::from_secs(part(offset.get(1..3)?, 24)? * 3600 + part(offset.get(4..)?, 60)? * 60);
    let time = humantime::parse_rfc3339_weak(&local.to_ascii_uppercase()).ok()?;
    if offset.starts_with('-') { time.checked_add(ahead) } else { time.checked_sub(ahead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_times_and_how_long_ago() {
        let now = humantime::parse_rfc3339("2026-12-01T10:00:00Z").unwrap();
        for (text, expected) in [
            ("2026-11-23T13:49:19Z", "2026-11-23T13:49:19Z"),
            ("2026-11-23t13:49:19.5z", "2026-11-23T13:49:19.5Z"),
            ("2026-11-23 13:49:19", "2026-11-23T13:49:19Z"),
            ("2026-11-23T13:49:19+02:30", "2026-11-23T11:19:19Z"),
            ("2026-11-23T23:49:19-01:00", "2026-11-24T00:49:19Z"),
            ("2026-11-23", "2026-11-23T23:59:59.999999999Z"),
            ("2 days ago", "2026-11-29T10:00:00Z"),
            ("1h 30min ago", "2026-12-01T08:30:00Z"),
        ] {
            assert_eq!(parse(text, now), humantime::parse_rfc3339(expected).ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        let now = SystemTime::now();
        for text in [
            "",
            "ago",
            "yesterday",
            "2 days",
            "2026-13-01",
            "2026-11-23T25:00:00Z",
            "2026-11-23T13:49:19+2:00",
            "2026-11-23T13:49:19+24:00",
            "2026-11-23T13:49:19+aä00",
            "99999999999999999999 years ago",
            "2026-11-2ä",
            "+00:00",
            "2026-11-23T13:49:19++1:00",
            "2026-11-23T13:49:19Z+01:00x",
        ] {
            assert_eq!(parse(text, now), None, "{text}");
        }
    }
}
