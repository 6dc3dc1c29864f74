//! The values of the verbs' options.

use crate::verbs::{ByteRange, SizeTest};
use crate::view::Kind;
use globset::{GlobBuilder, GlobMatcher};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A number of bytes: `4096`, `4k`, `1M`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().trim_end_matches("ib") {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("its unit is none of K, M, G, T".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "it is not a number of bytes, such as 4096 or 1M")?;
    count.checked_mul(1 << shift).ok_or_else(|| "it is too large".into())
}

/// A range of bytes: `OFFSET+LENGTH` or `OFFSET-END`; none for what does not look like one, such as a path.
fn range(word: &Path) -> Option<Result<ByteRange, String>> {
    let text = word.to_str().filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))?;
    let at = text.find(['+', '-'])?;
    let parse = || {
        let (offset, rest) = (bytes(&text[..at])?, bytes(&text[at + 1..])?);
        let end = if text[at..].starts_with('+') { offset.checked_add(rest).ok_or("it is too large")? } else { rest };
        if end < offset {
            Err("its end is before its start".to_owned())
        } else {
            Ok(ByteRange { offset, end: Some(end) })
        }
    };
    Some(parse())
}

/// The words of `map` that [`check_path_and_range`] accepts: what to map, the whole disk without, and which bytes.
pub(super) fn path_and_range(words: &[PathBuf]) -> (PathBuf, ByteRange) {
    let path = words.iter().find(|word| range(word).is_none()).cloned().unwrap_or_else(|| "vhdd".into());
    let span = words.iter().find_map(|word| range(word)?.ok());
    (path, span.unwrap_or(ByteRange { offset: 0, end: None }))
}

/// Whether words are at most a path and a range.
pub(super) fn check_path_and_range(words: &[PathBuf]) -> Result<(), String> {
    let mut seen = [false; 2];
    for word in words {
        let range = range(word);
        if std::mem::replace(&mut seen[usize::from(range.is_some())], true) {
            let what = if range.is_some() { "ranges" } else { "paths" };
            return Err(format!("two {what} are given; map takes one path and one range: vol0 0+64K"));
        }
        if let Some(Err(why)) = range {
            return Err(format!(
                "{} is no range: {why}; give OFFSET+LENGTH or OFFSET-END, such as 1M+64K",
                word.display()
            ));
        }
    }
    Ok(())
}

/// A pattern for names.
pub(super) fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|e| e.kind().to_string())
}

/// The letter of a kind.
pub(super) fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "f" => Kind::File,
        "d" => Kind::Directory,
        "l" => Kind::Symlink,
        "b" => Kind::BlockDevice,
        "c" => Kind::CharDevice,
        "p" => Kind::Fifo,
        "s" => Kind::Socket,
        _ => return Err("it is none of f, d, l, b, c, p, s".into()),
    })
}

/// A date, a date with a time in UTC, or how long ago.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let at =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")));
    if let Ok(time) = at {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.ok_or_else(|| {
        "it is neither a time, such as 2024-01-31 or \"2024-01-31 12:00:00\", nor a duration, such as 2days".into()
    })
}

/// A condition on sizes, as find(1) has them.
pub(super) fn size(text: &str) -> Result<SizeTest, String> {
    let (is, rest) = match text.as_bytes().first() {
        Some(b'+') => (Ordering::Greater, &text[1..]),
        Some(b'-') => (Ordering::Less, &text[1..]),
        _ => (Ordering::Equal, text),
    };
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &rest[digits.len()..] {
        "c" => 1,
        "w" => 2,
        "" | "b" => 512,
        "k" | "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("its unit is none of c, w, b, k, M, G".into()),
    };
    let count = digits.parse().map_err(|_| "it is not a number, such as +100k")?;
    Ok(SizeTest { is, count, unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_have_units() {
        for (text, value) in [("0", 0), ("4096", 4096), ("4k", 4096), ("1M", 1 << 20), ("2GiB", 2 << 30), ("7b", 7)] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "k", "-1", "1x", "1.5M", "99999999999T", "é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_told_from_paths() {
        let parse = |text: &str| path_and_range(&text.split(' ').map(PathBuf::from).collect::<Vec<_>>());
        let span = |offset, end| ByteRange { offset, end };
        assert_eq!(parse("vol0 1M+64K"), ("vol0".into(), span(1 << 20, Some((1 << 20) + (64 << 10)))));
        assert_eq!(parse("512-1024"), ("vhdd".into(), span(512, Some(1024))));
        assert_eq!(parse("fs0/0-1"), ("fs0/0-1".into(), span(0, None)));
        for (text, why) in [
            ("2-1", "its end is before its start"),
            ("1x+2", "its unit"),
            ("0+", "not a number"),
            ("1-2 3-4", "two ranges"),
            ("vol0 vol1", "two paths"),
            ("1T+18446744073709551615", "too large"),
        ] {
            let words: Vec<_> = text.split(' ').map(PathBuf::from).collect();
            assert!(check_path_and_range(&words).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_find() {
        let test = |is, count, unit| Ok(SizeTest { is, count, unit });
        assert_eq!(size("3"), test(Ordering::Equal, 3, 512));
        assert_eq!(size("+3k"), test(Ordering::Greater, 3, 1024));
        assert_eq!(size("-1M"), test(Ordering::Less, 1, 1 << 20));
        for text in ["", "+", "k", "+-3", "3x"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_dates_or_durations() {
        let seconds = |text: &str| time(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds("1970-01-02"), 86_400);
        assert_eq!(seconds("1970-01-02 00:00:01"), 86_401);
        assert_eq!(seconds("1970-01-02T00:00:01Z"), 86_401);
        let then = time("2days").unwrap();
        assert!(SystemTime::now().duration_since(then).unwrap().as_secs() >= 172_800);
        assert!(time("yesterday").is_err());
    }
}
