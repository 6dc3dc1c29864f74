//! The text of a settings file in any encoding.
//!
//! VirtualBox writes UTF-8 without declaring it. libvirt writes ISO-8859-1, and editors save in any encoding, with or
//! without a byte order mark, and leave the declaration unchanged. The crate `encoding_rs` decodes, with the labels of
//! the [Encoding Standard](https://encoding.spec.whatwg.org/), where ISO-8859-1 is windows-1252. quick-xml's own
//! decoding does not accept UTF-16 without a byte order mark, and its errors have no position.

use super::{ParseError, Result};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// How far a file is searched for the end of its XML declaration, in bytes.
const DECLARATION: usize = 1024;

/// The text of a file, without a byte order mark.
///
/// # Errors
/// [`ParseError::Broken`] where the bytes are not of their encoding; [`ParseError::Unsupported`] for one that is not
/// known.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    let (encoding, bytes) = choose(bytes)?;
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
            let at = error.valid_up_to();
            broken(&bytes[..at], encoding, format!("the byte {:#04x}", bytes[at]))
        });
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let capacity = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    let mut text = String::with_capacity(capacity.unwrap_or(bytes.len()));
    match decoder.decode_to_string_without_replacement(bytes, &mut text, true) {
        (DecoderResult::InputEmpty, _) => Ok(Cow::Owned(text)),
        (_, read) => {
            let found = format!("other bytes before offset {read}");
            Err(broken(text.as_bytes(), encoding, found))
        }
    }
}

fn broken(before: &[u8], encoding: &'static Encoding, found: String) -> ParseError {
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    ParseError::Broken { line, expected: encoding.name().to_owned(), found }
}

/// The encoding of a file, and its bytes without a byte order mark. What the bytes show goes before what they declare.
fn choose(bytes: &[u8]) -> Result<(&'static Encoding, &[u8])> {
    if let Some((encoding, bom_len)) = Encoding::for_bom(bytes) {
        return Ok((encoding, &bytes[bom_len..]));
    }
    match *bytes {
        [b'<', 0, next, 0, ..] if next != 0 => return Ok((UTF_16LE, bytes)),
        [0, b'<', 0, next, ..] if next != 0 => return Ok((UTF_16BE, bytes)),
        _ => {}
    }
    match declared(bytes) {
        Some(label) => match Encoding::for_label_no_replacement(label) {
            // Its first bytes are not in UTF-16, so it was saved anew since.
            Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Ok((guess(bytes), bytes)),
            Some(encoding) => Ok((encoding, bytes)),
            None => {
                let label = String::from_utf8_lossy(label);
                Err(ParseError::Unsupported(format!(
                    "it declares the encoding {label}, which is not known; save it as UTF-8"
                )))
            }
        },
        None => Ok((guess(bytes), bytes)),
    }
}

/// The encoding of bytes that do not declare one: windows-1252 where they are not UTF-8, unless some of them only make
/// sense as UTF-8, so that the others are corrupt.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let is_text = |chunk: std::str::Utf8Chunk<'_>| chunk.valid().is_ascii();
    if std::str::from_utf8(bytes).is_err() && bytes.utf8_chunks().all(is_text) { WINDOWS_1252 } else { UTF_8 }
}

/// The encoding that the XML declaration names.
fn declared(bytes: &[u8]) -> Option<&[u8]> {
    let start = Some(bytes.trim_ascii_start()).filter(|bytes| bytes.starts_with(b"<?xml"))?;
    let start = &start[..start.len().min(DECLARATION)];
    let end = start.windows(2).position(|two| two == b"?>")?;
    let name = b"encoding";
    let at = start[..end].windows(name.len()).position(|word| word == name)?;
    let value = start[at + name.len()..end].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let quote = *value.first().filter(|quote| matches!(quote, b'"' | b'\''))?;
    value[1..].split(|byte| *byte == quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &str = "<?xml version=\"1.0\" encoding='LABEL'?>\n<a>J\u{fc}rgen \u{20ac}</a>";

    /// The text as it is with a label in it, in an encoding.
    fn encoded(label: &str, encoding: &'static Encoding) -> (String, Vec<u8>) {
        let text = DECLARED.replace("LABEL", label);
        let bytes = encoding.encode(&text).0.into_owned();
        (text, bytes)
    }

    /// The text in UTF-16, which the Encoding Standard only decodes.
    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn reads_declared_encodings() {
        for (label, encoding) in [
            ("utf-8", UTF_8),
            ("ISO-8859-1", WINDOWS_1252),
            ("Windows-1252", WINDOWS_1252),
            ("ISO-8859-15", encoding_rs::ISO_8859_15),
            ("windows-1250", encoding_rs::WINDOWS_1250),
            ("GB18030", encoding_rs::GB18030),
        ] {
            let (text, bytes) = encoded(label, encoding);
            assert_eq!(decode(&bytes).unwrap(), text, "{label}");
        }
    }

    #[test]
    fn reads_utf16_whatever_is_declared() {
        for label in ["UTF-16", "utf-8", "ISO-8859-1"] {
            let text = DECLARED.replace("LABEL", label);
            for bytes in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
                assert_eq!(decode(&utf16(&text, bytes)).unwrap(), text, "{label}");
                let with_bom = [&bytes(0xFEFF), &*utf16(&text, bytes)].concat();
                assert_eq!(decode(&with_bom).unwrap(), text, "{label}");
            }
        }
    }

    #[test]
    fn takes_undeclared_bytes_as_utf8_or_else_windows_1252() {
        for text in ["<a>J\u{fc}rgen \u{20ac}</a>", "<?xml version='1.0'?><a>\u{e9}</a>", "<a>plain</a>", ""] {
            assert_eq!(decode(text.as_bytes()).unwrap(), text);
            assert_eq!(decode(&WINDOWS_1252.encode(text).0).unwrap(), text);
            assert_eq!(decode(&[b"\xef\xbb\xbf", text.as_bytes()].concat()).unwrap(), text);
        }
        // Saved anew by an editor that knows no declarations.
        let (text, bytes) = encoded("UTF-16", WINDOWS_1252);
        assert_eq!(decode(&bytes).unwrap(), text);
        assert_eq!(decode(text.as_bytes()).unwrap(), text);
    }

    #[test]
    fn reports_what_is_not_of_the_encoding() {
        let fails = |bytes: &[u8]| match decode(bytes).unwrap_err() {
            ParseError::Broken { line, expected, found } => (line, expected, found),
            other => panic!("{other:?}"),
        };
        let utf8 = |line, byte: &str| (line, "UTF-8".to_owned(), format!("the byte {byte}"));
        assert_eq!(fails(b"<?xml encoding=\"utf-8\"?>\n\xfc"), utf8(2, "0xfc"));
        assert_eq!(
            fails("<a>\u{fc}\n\n".as_bytes().iter().chain(b"\xfc").copied().collect::<Vec<_>>().as_slice()),
            utf8(3, "0xfc")
        );
        let mut cut = utf16("<a>\n", u16::to_le_bytes);
        cut.push(b'x');
        assert_eq!(fails(&cut), (2, "UTF-16LE".to_owned(), "other bytes before offset 9".to_owned()));
        let mut half = utf16("<a>\n", u16::to_be_bytes);
        half.extend([0xD8, 0, 0, b'x']);
        assert_eq!(fails(&half).1, "UTF-16BE");
        let unknown = decode(b"<?xml version='1.0' encoding='EBCDIC'?>").unwrap_err();
        assert!(matches!(unknown, ParseError::Unsupported(reason) if reason.contains("EBCDIC")));
    }
}
