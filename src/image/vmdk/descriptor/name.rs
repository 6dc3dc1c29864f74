//! Names of files in a descriptor. VMware writes them in the encoding of its host and says which in `encoding`; others
//! write the bytes of their file names. (The crate encoding_rs knows all encodings that VMware on Windows has.)

use encoding_rs::Encoding;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The name of a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct VmdkName {
    bytes: Vec<u8>,
    /// The name in the encoding that the descriptor declares, or in UTF-8 where it declares none.
    text: Option<String>,
}

impl VmdkName {
    /// The name of an existing file.
    pub(crate) fn of_file(name: &OsStr) -> Self {
        Self { bytes: name.as_bytes().to_vec(), text: name.to_str().map(str::to_owned) }
    }

    /// A name whose encoding is not known yet.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), text: None }
    }

    /// Decodes it. A quotation mark within it may have a backslash in front.
    pub(super) fn decode(&mut self, encoding: &Declared) {
        self.text = encoding.decode(&self.bytes).map(|text| text.replace("\\\"", "\""));
    }

    /// What the file may be called here, best first: at least one name.
    pub(crate) fn candidates(&self) -> Vec<OsString> {
        let bytes = OsString::from_vec(self.bytes.clone());
        let text = self.text.as_ref().map(OsString::from);
        // ASCII is the same in all encodings.
        if self.bytes.is_ascii() {
            text.or(Some(bytes)).into_iter().collect()
        } else {
            let bytes = Some(bytes).filter(|bytes| text.as_ref() != Some(bytes));
            text.into_iter().chain(bytes).collect()
        }
    }

    /// Whether the encoding that was declared, or UTF-8, has these bytes.
    pub(crate) fn is_text(&self) -> bool {
        self.text.is_some()
    }
}

impl fmt::Debug for VmdkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text:?}"),
            None => write!(f, "\"{}\"", self.bytes.escape_ascii()),
        }
    }
}

/// The value of `encoding`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Declared(Option<String>);

impl Declared {
    pub(super) fn new(value: Option<String>) -> Self {
        Self(value)
    }

    /// The bytes as text; none where they are none in this encoding, or it is not known.
    pub(super) fn decode(&self, bytes: &[u8]) -> Option<String> {
        let encoding = self.0.as_deref().map_or(Some(encoding_rs::UTF_8), encoding)?;
        encoding.decode_without_bom_handling_and_without_replacement(bytes).map(Into::into)
    }
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None => f.write_str("UTF-8, for no encoding is declared"),
            Some(label) if encoding(label).is_none() => write!(f, "the encoding {label:?}, which is not known here"),
            Some(label) => write!(f, "the encoding {label:?}"),
        }
    }
}

/// The encoding of a label, such as `Shift_JIS`, or of the number of a code page of Windows, such as `windows-936`.
fn encoding(label: &str) -> Option<&'static Encoding> {
    let label = label.trim().to_ascii_lowercase();
    let by_number = || match label.trim_start_matches(|c: char| !c.is_ascii_digit()) {
        "932" | "943" => Some(encoding_rs::SHIFT_JIS),
        "936" => Some(encoding_rs::GBK),
        "949" => Some(encoding_rs::EUC_KR),
        "950" => Some(encoding_rs::BIG5),
        "20932" | "51932" => Some(encoding_rs::EUC_JP),
        "54936" => Some(encoding_rs::GB18030),
        "65001" => Some(encoding_rs::UTF_8),
        number => Encoding::for_label(format!("windows-{number}").as_bytes()),
    };
    // Quotation marks and line feeds are found before anything is decoded.
    Encoding::for_label(label.as_bytes()).or_else(by_number).filter(|encoding| encoding.is_ascii_compatible())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(encoding: Option<&str>, bytes: &[u8]) -> Vec<OsString> {
        let mut name = VmdkName::new(bytes);
        name.decode(&Declared::new(encoding.map(str::to_owned)));
        name.candidates()
    }

    #[test]
    fn declared_encodings_are_decoded_and_the_bytes_are_tried_next() {
        for (label, bytes, text) in [
            ("windows-1252", &b"B\xFCro"[..], "Büro"),
            ("ISO-8859-1", b"B\xFCro", "Büro"),
            ("GBK", b"\xD0\xE9\xC4\xE2\xBB\xFA", "虚拟机"),
            ("windows-936", b"\xD0\xE9\xC4\xE2\xBB\xFA", "虚拟机"),
            ("Shift_JIS", b"\x95\\\x8E\xA6", "表示"),
            ("cp932", b"\x95\\\x8E\xA6", "表示"),
            ("Big5", b"\xB5\xEA\xC0\xC0", "虛擬"),
            ("EUC-KR", b"\xB0\xA1\xBB\xF3", "가상"),
            ("EUC-JP", b"\xC9\xBD", "表"),
            ("windows-1251", b"\xC4\xE8\xF1\xEA", "Диск"),
            ("utf8", "Büro".as_bytes(), "Büro"),
        ] {
            let found = candidates(Some(label), bytes);
            assert_eq!(found[0], text, "{label}");
            assert_eq!(
                found.get(1).map(|name| name.as_bytes()),
                (bytes != text.as_bytes()).then_some(bytes),
                "{label}"
            );
        }
    }

    #[test]
    fn bytes_of_no_known_encoding_are_a_name_themselves() {
        for label in [None, Some("UTF-8"), Some("IBM437"), Some("UTF-16"), Some("")] {
            assert_eq!(candidates(label, b"B\xFCro"), [OsString::from_vec(b"B\xFCro".to_vec())], "{label:?}");
            assert_eq!(candidates(label, b"plain"), ["plain"], "{label:?}");
        }
        assert_eq!(candidates(None, b"a \\\"b\\\""), ["a \"b\""]);
    }
}
