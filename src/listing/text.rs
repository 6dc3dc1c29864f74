//! Text as a terminal shows it: sanitized, measured, cut, and wrapped.

use std::borrow::Cow;
use std::mem;
use std::path::Path;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Words of up to so many columns are never broken: a UUID in braces has that many, and a broken one cannot
/// be copied.
const UNBROKEN: usize = 38;
/// Stands for what was cut off.
const CUT: &str = "…";

/// The text without anything that a terminal interprets: control characters, and those that turn the direction of the
/// text around, are shown as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_interpreted) {
        return Cow::Borrowed(text);
    }
    let mut sanitized = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_interpreted(c) {
            sanitized.extend(c.escape_default());
        } else {
            sanitized.push(c);
        }
    }
    Cow::Owned(sanitized)
}

/// A path of a view in a message; the top has no name.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".into() } else { printable(&path.to_string_lossy()).into_owned() }
}

/// Whether a terminal acts on a character instead of showing it. Line and paragraph separators, and overrides,
/// embeddings and isolates of text direction count, joiners within emoji and scripts do not.
pub(super) fn is_interpreted(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    // Most texts are that simple, and thousands are measured.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) { text.len() } else { text.width() }
}

/// The text, cut to at most `columns` of a terminal.
pub(super) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut end = 0;
    for (start, grapheme) in text.grapheme_indices(true) {
        let next = start + grapheme.len();
        if text[..next].width() + CUT.width() > columns {
            break;
        }
        end = next;
    }
    Cow::Owned(format!("{}{CUT}", text[..end].trim_end()))
}

/// The text in lines of at most `columns`, broken between words, or within one that is longer than a UUID.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.width() > columns {
            lines.push(mem::take(&mut line));
            used = 0;
        } else if used > 0 {
            line.push(' ');
            used += 1;
        }
        let may_break = word.width() > UNBROKEN;
        for grapheme in word.graphemes(true) {
            if may_break && used > 0 && used + grapheme.width() > columns {
                lines.push(mem::take(&mut line));
                used = 0;
            }
            line.push_str(grapheme);
            used += grapheme.width();
        }
    }
    lines.push(line);
    lines
}

/// A size in bytes as upstream writes it: in the largest unit that gives at least 1, with one digit after the point,
/// not rounded. The unit of bytes is a blank, so that digits stay below digits.
pub(super) fn scaled(bytes: u64) -> String {
    const UNITS: [char; 7] = [' ', 'K', 'M', 'G', 'T', 'P', 'E'];
    let exponent = bytes.checked_ilog2().unwrap_or(0) / 10;
    let unit = 1_u64 << (10 * exponent);
    format!("{}.{}{}", bytes / unit, bytes % unit * 10 / unit, UNITS[exponent as usize])
}

/// [`scaled`], or `-` for a size that is not known.
pub(super) fn scaled_or_none(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "- ".to_owned(), scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_upstream() {
        let cases = [
            (0, "0.0 "),
            (512, "512.0 "),
            (1023, "1023.0 "),
            (1024, "1.0K"),
            (2560, "2.5K"),
            (65536, "64.0K"),
            ((1 << 20) - 1, "1023.9K"),
            (2 << 20, "2.0M"),
            (13_614_592, "12.9M"),
            (1 << 50, "1.0P"),
            (u64::MAX, "15.9E"),
        ];
        for (bytes, text) in cases {
            assert_eq!(scaled(bytes), text);
        }
    }

    #[test]
    fn escapes_what_a_terminal_interprets() {
        assert_eq!(printable("a\x1b[31mb\x07\u{9b}c\nd\te"), r"a\u{1b}[31mb\u{7}\u{9b}c\nd\te");
        assert_eq!(printable("x\u{202e}gpj.exe"), r"x\u{202e}gpj.exe");
        let sanitized = "ünï 日本 👩‍👩‍👧 e\u{301} \u{200e}";
        assert!(matches!(printable(sanitized), Cow::Borrowed(_)));
    }

    #[test]
    fn cutting_counts_columns_and_keeps_graphemes_whole() {
        assert_eq!(fit("plain", 5), "plain");
        assert_eq!(fit("plain!", 5), "plai…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("ab cd", 4), "ab…");
        assert_eq!(fit("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(fit("👩‍👩‍👧👩‍👩‍👧", 3), "👩‍👩‍👧…");
        for columns in 0..12 {
            assert!(width(&fit("a日👩‍👩‍👧e\u{301}本語", columns)) <= columns.max(1));
        }
    }

    #[test]
    fn wrapping_breaks_between_words_but_not_within_uuids() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 4), [""]);
        let uuid = "{5bd1e995-77a6-4c08-9f3e-000000000001}";
        assert_eq!(wrap(&format!("see {uuid} here"), 10), ["see", uuid, "here"]);
        let long = "日".repeat(30);
        assert_eq!(wrap(&format!("a {long} b"), 32), ["a", &long[..48], &format!("{} b", &long[48..])]);
        assert_eq!(wrap(&long, 1).len(), 30);
    }
}
