//! Names. On the volume they are decomposed UTF-16 as defined by Apple's TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#UnicodeSubtleties>); programs on other
//! systems use composed characters (NFC). A `/` in a name is shown as `:`, which cannot occur in the volume's names,
//! and a zero character as its symbol, `␀`.

use crate::ondisk::utf16;
use unicode_normalization::UnicodeNormalization;

/// Characters that Apple does not decompose, although Unicode decomposes some of them.
fn is_fixed(c: char) -> bool {
    matches!(c, '\u{2000}'..='\u{2FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FAFF}')
}

/// Applies `change` to the text between fixed characters.
fn between_fixed(name: &str, change: impl Fn(&str, &mut String)) -> String {
    let mut out = String::with_capacity(name.len());
    for segment in name.split_inclusive(is_fixed) {
        let end = segment.char_indices().next_back().filter(|(_, c)| is_fixed(*c)).map_or(segment.len(), |(at, _)| at);
        change(&segment[..end], &mut out);
        out.push_str(&segment[end..]);
    }
    out
}

fn decomposed(name: &str) -> String {
    between_fixed(name, |segment, out| out.extend(segment.nfd()))
}

/// Converts a name to the form that is shown. A name that is not stored in Apple's form stays unchanged, so that no two
/// names look the same.
pub(super) fn shown(name: &[u16]) -> Vec<u8> {
    let mut text = String::new();
    let mut whole = Vec::with_capacity(name.len());
    let flush = |text: &mut String, whole: &mut Vec<u8>| {
        let composed = between_fixed(text, |segment, out| out.extend(segment.nfc()));
        let shown = if decomposed(&composed) == *text { &composed } else { &*text };
        whole.extend_from_slice(shown.as_bytes());
        text.clear();
    };
    for decoded in char::decode_utf16(name.iter().copied()) {
        match decoded {
            Ok('/') => text.push(':'),
            Ok('\0') => text.push('\u{2400}'),
            Ok(c) => text.push(c),
            Err(lone) => {
                // Half of a surrogate pair.
                flush(&mut text, &mut whole);
                whole.extend(utf16::to_utf8(&[lone.unpaired_surrogate()]));
            }
        }
    }
    flush(&mut text, &mut whole);
    whole
}

/// The folded form that all spellings of a name share, used for lookup when no name matches exactly.
pub(super) fn folded(shown: &[u8], case_sensitive: bool) -> Vec<u8> {
    let Ok(text) = str::from_utf8(shown) else { return shown.to_vec() };
    let text = decomposed(text);
    if case_sensitive { text.into_bytes() } else { text.to_lowercase().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> String {
        String::from_utf8(shown(&name.encode_utf16().collect::<Vec<_>>())).unwrap()
    }

    #[test]
    fn composes_names_unless_ambiguous() {
        assert_eq!(of("e\u{301}te\u{301}"), "été");
        assert_eq!(of("한"), "한");
        assert_eq!(of("a/b\0"), "a:b␀");
        // Not decomposed by Apple: the Ångström sign, "not equal".
        assert_eq!(of("\u{212B}e\u{301}"), "\u{212B}é");
        assert_eq!(of("\u{2260}"), "\u{2260}");
        assert_eq!(of("=\u{338}"), "=\u{338}");
        // Stored composed by a program that ignores the rule.
        assert_eq!(of("é"), "é");
        assert_eq!(of(""), "");
        assert_eq!(shown(&[0xD800, 0x65, 0x301]), b"\xED\xA0\x80\xC3\xA9");
    }

    #[test]
    fn folds_all_spellings_to_the_same_name() {
        assert_eq!(folded("ÉTÉ".as_bytes(), false), folded("e\u{301}te\u{301}".as_bytes(), false));
        assert_ne!(folded(b"A", true), folded(b"a", true));
        assert_eq!(folded("é".as_bytes(), true), "e\u{301}".as_bytes());
    }
}
