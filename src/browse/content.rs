//! Bytes of files as text or hexadecimal digits, and names as a terminal may show them.

use crate::listing::printable;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Columns from one tabulator to the next.
const TAB: usize = 8;
/// Of so many characters one may be a control character in a text.
const CONTROLS: usize = 50;

/// What a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Text: the name of its encoding and its lines, without anything that a terminal interprets.
    Text(&'static str, Vec<String>),
    /// Anything else.
    Binary(Vec<u8>),
}

/// A name or path as it is shown: bytes that are no UTF-8 as `\xFF`, what a terminal would interpret escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&crate::verbs::harmless(bytes)).into_owned()
}

/// A path as it is shown; the top has none.
pub(crate) fn shown_path(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

/// Decodes what a file begins with, or all of it. Without a byte order mark, what is valid UTF-8 is that; UTF-16 is
/// known by the zero bytes of its first characters, and the rest is one of the single-byte encodings, which differ too
/// little to tell them apart.
pub(crate) fn decode(bytes: Vec<u8>, is_whole: bool) -> Content {
    let marked = encoding_rs::Encoding::for_bom(&bytes);
    if let Some((encoding, mark)) = marked {
        return text(encoding.name(), &encoding.decode_without_bom_handling(&bytes[mark..]).0);
    }
    let valid = match std::str::from_utf8(&bytes) {
        Ok(valid) => Some(valid),
        // The last character was cut.
        Err(e) if !is_whole && e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok(),
        Err(_) => None,
    };
    if let Some(valid) = valid.filter(|valid| is_text(valid)) {
        return text("UTF-8", valid);
    }
    let encoding = match zeros(&bytes) {
        (0, 0) => encoding_rs::WINDOWS_1252,
        (even, odd) if odd > even * 4 && bytes.len() >= 4 => encoding_rs::UTF_16LE,
        (even, odd) if even > odd * 4 && bytes.len() >= 4 => encoding_rs::UTF_16BE,
        _ => return Content::Binary(bytes),
    };
    let (decoded, wrong) = encoding.decode_without_bom_handling(&bytes);
    if (wrong && is_whole) || !is_text(&decoded) {
        return Content::Binary(bytes);
    }
    let name = if encoding == encoding_rs::WINDOWS_1252 { "windows-1252 (a guess)" } else { encoding.name() };
    text(name, &decoded)
}

/// How many zero bytes there are at even and odd offsets.
fn zeros(bytes: &[u8]) -> (usize, usize) {
    let zeros = |skip: usize| bytes.iter().skip(skip).step_by(2).filter(|byte| **byte == 0).count();
    (zeros(0), zeros(1))
}

fn is_text(text: &str) -> bool {
    let is_control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b' | '\x08');
    !text.contains('\0') && text.chars().filter(is_control).count() * CONTROLS <= text.chars().count()
}

fn text(encoding: &'static str, text: &str) -> Content {
    Content::Text(encoding, text.lines().map(line).collect())
}

/// A line without tabulators and what a terminal interprets.
fn line(text: &str) -> String {
    if !text.contains('\t') {
        return printable(text).into_owned();
    }
    let mut line = String::new();
    for (at, part) in text.split('\t').enumerate() {
        if at > 0 {
            let used = crate::listing::width(&line);
            line.extend(std::iter::repeat_n(' ', TAB - used % TAB));
        }
        line.push_str(&printable(part));
    }
    line
}

/// A line of hexadecimal digits as hexdump(1) has them, of at most `columns` bytes from an offset on.
pub(crate) fn hex_line(offset: u64, bytes: &[u8], columns: usize) -> String {
    let mut line = format!("{offset:08x} ");
    for at in 0..columns {
        let gap = if at % 8 == 0 { " " } else { "" };
        let _ = match bytes.get(at) {
            Some(byte) => write!(line, "{gap}{byte:02x} "),
            None => write!(line, "{gap}   "),
        };
    }
    line.push(' ');
    line.extend(
        bytes.iter().take(columns).map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' }),
    );
    line
}

/// How many bytes a line of hexadecimal digits has that is so wide.
pub(crate) fn hex_columns(width: usize) -> usize {
    let width_of = |columns: usize| 10 + columns * 4 + columns.div_ceil(8);
    [32, 16, 8].into_iter().find(|columns| width_of(*columns) <= width).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(bytes: &[u8]) -> Option<&'static str> {
        match decode(bytes.to_vec(), false) {
            Content::Text(encoding, _) => Some(encoding),
            Content::Binary(_) => None,
        }
    }

    #[test]
    fn knows_encodings() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let swapped = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        assert_eq!(encoding(b"plain\n"), Some("UTF-8"));
        assert_eq!(encoding("日本".as_bytes()), Some("UTF-8"));
        assert_eq!(encoding(&"日本".as_bytes()[..5]), Some("UTF-8"), "cut within a character");
        assert_eq!(encoding(b"\xef\xbb\xbfmarked"), Some("UTF-8"));
        assert_eq!(encoding(b"\xff\xfea\0"), Some("UTF-16LE"));
        assert_eq!(encoding(&utf16("[Settings]\r\nname=x\r\n")), Some("UTF-16LE"));
        assert_eq!(encoding(&swapped("[Settings]\r\nname=x\r\n")), Some("UTF-16BE"));
        assert_eq!(encoding(b"na\xefve caf\xe9\n"), Some("windows-1252 (a guess)"));
        assert_eq!(encoding(b"\x7fELF\x02\x01\x01\0\0\0\0\0"), None);
        assert_eq!(encoding(&[0; 512]), None);
    }

    #[test]
    fn lines_are_harmless() {
        let Content::Text(_, lines) = decode(b"a\tb\r\n\x1b[31mred\n12345678\tc".to_vec(), true) else { panic!() };
        assert_eq!(lines, ["a       b", r"\u{1b}[31mred", "12345678        c"]);
    }

    #[test]
    fn digits_are_in_columns() {
        assert_eq!(hex_line(16, b"AB\n", 8), "00000010  41 42 0a                 AB.");
        assert_eq!(hex_line(0, &[0xFF; 16], 16).len(), 10 + 3 * 16 + 2 + 16);
        for width in [10, 50, 52, 60, 79, 80, 158] {
            let columns = hex_columns(width);
            assert!(columns == 4 || hex_line(0, &[0; 32], columns).len() <= width, "{columns} in {width}");
        }
    }

    #[test]
    fn names_are_harmless() {
        assert_eq!(shown(b"a\xffb\x1b[2J"), r"a\xFFb\u{1b}[2J");
        assert_eq!(shown("日本".as_bytes()), "日本");
    }
}
