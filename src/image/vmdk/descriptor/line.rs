//! The lines of a descriptor: `key = "value"` and `RW 4192256 SPARSE "disk-s001.vmdk"`.

use super::name::VmdkName;
use crate::ondisk::ParseError;
use std::ops::Range;
use uuid::Uuid;

/// The byte order mark in UTF-8.
pub(super) const UTF_8_BOM: &[u8] = b"\xef\xbb\xbf";

/// What may be done with an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `RW`
    ReadWrite,
    /// `RDONLY`
    ReadOnly,
    /// `NOACCESS`
    None,
}

/// How an extent stores its part of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtentKind {
    /// `SPARSE`: grains in a hosted sparse extent.
    Sparse,
    /// `FLAT`: the bytes as they are.
    Flat,
    /// `VMFS`: the same on VMware's file system.
    Vmfs,
    /// `ZERO`: nothing stored.
    Zero,
    /// `VMFSSPARSE`: grains in a copy-on-write disk (COWD).
    VmfsSparse,
    /// `SESPARSE`: grains in a space-efficient sparse extent.
    SeSparse,
}

impl ExtentKind {
    /// The word that descriptors have for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sparse => "SPARSE",
            Self::Flat => "FLAT",
            Self::Vmfs => "VMFS",
            Self::Zero => "ZERO",
            Self::VmfsSparse => "VMFSSPARSE",
            Self::SeSparse => "SESPARSE",
        }
    }
}

/// The line of one extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtentLine {
    pub(crate) access: Access,
    /// Sectors of 512 bytes.
    pub(crate) sectors: u64,
    pub(crate) kind: ExtentKind,
    /// The file; none for [`ExtentKind::Zero`].
    pub(crate) name: Option<VmdkName>,
    /// Sectors of the file before the extent's.
    pub(crate) offset: u64,
    /// Where the line begins in the descriptor's file, in bytes.
    pub(crate) at: u64,
}

/// A parsed line.
pub(super) enum Line<'a> {
    Entry(Entry<'a>),
    Extent(ExtentLine),
}

/// `key = value`.
pub(super) struct Entry<'a> {
    /// In lower case.
    pub(super) key: String,
    value: &'a [u8],
    at: u64,
}

/// A line that is neither empty nor a comment, without the spaces around it.
pub(super) struct RawLine<'a> {
    text: &'a [u8],
    /// Where the text begins in its file, in bytes.
    at: u64,
}

/// The lines of a text up to its first zero byte, without the byte order mark that editors put before UTF-8.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8], base: u64) -> Self {
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let text = &text[..end];
        let rest = text.strip_prefix(UTF_8_BOM).unwrap_or(text);
        Self { rest, at: base + (text.len() - rest.len()) as u64 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = RawLine<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(self.rest.len());
            let (text, at) = trim(&self.rest[..end], self.at);
            let next = (end + 1).min(self.rest.len());
            self.rest = &self.rest[next..];
            self.at += next as u64;
            if !text.is_empty() && text[0] != b'#' {
                return Some(RawLine { text, at });
            }
        }
        None
    }
}

/// Text without the spaces around it, and where it begins.
fn trim(text: &[u8], at: u64) -> (&[u8], u64) {
    let start = text.trim_ascii_start();
    (start.trim_ascii_end(), at + (text.len() - start.len()) as u64)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

impl<'a> RawLine<'a> {
    pub(super) fn parse(&self) -> Result<Line<'a>, ParseError> {
        let mut words = self.text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        for (word, access) in [("RW", Access::ReadWrite), ("RDONLY", Access::ReadOnly), ("NOACCESS", Access::None)] {
            if first.eq_ignore_ascii_case(word.as_bytes()) {
                return Ok(Line::Extent(self.extent(access, first.len())?));
            }
        }
        let Some(equals) = self.text.iter().position(|b| *b == b'=') else {
            return Err(self.malformed("a value, an extent or a comment"));
        };
        let key = lossy(self.text[..equals].trim_ascii()).to_ascii_lowercase();
        let (value, at) = trim(&self.text[equals + 1..], self.at + equals as u64 + 1);
        let Some(quoted) = value.strip_prefix(b"\"") else { return Ok(Line::Entry(Entry { key, value, at })) };
        let Some(end) = quoted.iter().rposition(|b| *b == b'"') else {
            return Err(self.malformed("a value that ends with a quotation mark"));
        };
        Ok(Line::Entry(Entry { key, value: &quoted[..end], at: at + 1 }))
    }

    fn malformed(&self, expected: &str) -> ParseError {
        ParseError::corrupt(self.at, "line of the VMDK descriptor", expected, format_args!("{:?}", lossy(self.text)))
    }

    /// What follows the access: sectors, type, and for all but `ZERO` the file's name in quotation marks and perhaps
    /// where the extent begins in it.
    fn extent(&self, access: Access, skip: usize) -> Result<ExtentLine, ParseError> {
        let (sectors, rest) = word(&self.text[skip..]);
        let (kind, rest) = word(rest);
        let sectors = number(sectors).ok_or_else(|| self.malformed("an extent with a number of sectors"))?;
        let kind = self.kind(kind)?;
        let mut extent = ExtentLine { access, sectors, kind, name: None, offset: 0, at: self.at };
        if kind == ExtentKind::Zero {
            return if rest.is_empty() { Ok(extent) } else { Err(self.malformed("a ZERO extent without a file")) };
        }
        let (name, rest) =
            quoted(rest).ok_or_else(|| self.malformed("an extent with a file name in quotation marks"))?;
        extent.name = Some(VmdkName::new(name));
        let (offset, rest) = word(rest);
        if !offset.is_empty() {
            extent.offset =
                number(offset).ok_or_else(|| self.malformed("an extent with a sector number as its offset"))?;
        }
        // VMware Player adds the partition's identity to parts of a physical disk.
        if !rest.is_empty() && !word(rest).0.eq_ignore_ascii_case(b"partitionUUID") {
            return Err(self.malformed("nothing after an extent's offset"));
        }
        let begins_at_0 = !matches!(kind, ExtentKind::Flat | ExtentKind::Vmfs);
        if begins_at_0 && extent.offset != 0 {
            return Err(self.malformed("a sparse extent without an offset"));
        }
        Ok(extent)
    }

    fn kind(&self, word: &[u8]) -> Result<ExtentKind, ParseError> {
        const KINDS: [ExtentKind; 6] = [
            ExtentKind::Sparse,
            ExtentKind::Flat,
            ExtentKind::Vmfs,
            ExtentKind::Zero,
            ExtentKind::VmfsSparse,
            ExtentKind::SeSparse,
        ];
        if let Some(kind) = KINDS.into_iter().find(|kind| word.eq_ignore_ascii_case(kind.name().as_bytes())) {
            return Ok(kind);
        }
        let known = KINDS.map(ExtentKind::name).join(", ");
        Err(ParseError::unsupported(self.at, "VMDK extent type", known, lossy(word)))
    }
}

/// The first word of a text and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii())
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The text in quotation marks that another begins with, and what follows it. VirtualBox writes names as they are, also
/// with quotation marks in them: the one that ends the name has a number or nothing after it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let marks = inner.iter().enumerate().filter(|(_, b)| **b == b'"').map(|(at, _)| at);
    for at in marks {
        let rest = &inner[at + 1..];
        let after = word(rest).0;
        let ends = rest.first().is_none_or(u8::is_ascii_whitespace) && after.iter().all(u8::is_ascii_digit);
        if ends {
            return Some((&inner[..at], rest.trim_ascii()));
        }
    }
    None
}

impl Entry<'_> {
    /// Where the value begins in its file, in bytes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Where the value is in its file, in bytes.
    pub(super) fn range(&self) -> Range<u64> {
        self.at..self.at + self.value.len() as u64
    }

    pub(super) fn text(&self) -> String {
        lossy(self.value)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.value
    }

    /// A file's name; none where the value is empty.
    pub(super) fn name(&self) -> Option<VmdkName> {
        (!self.value.is_empty()).then(|| VmdkName::new(self.value))
    }

    fn malformed(&self, expected: &str) -> ParseError {
        let what = format!("value of {} in the VMDK descriptor", self.key);
        ParseError::corrupt(self.at, what, expected, format_args!("{:?}", self.text()))
    }

    pub(super) fn number(&self) -> Result<u32, ParseError> {
        self.text().parse().map_err(|_| self.malformed("a number"))
    }

    /// A number of 1 to 8 hexadecimal digits.
    pub(super) fn hexadecimal(&self) -> Result<u32, ParseError> {
        let text = self.text();
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
        u32::from_str_radix(&text, 16).ok().filter(|_| digits).ok_or_else(|| self.malformed("a hexadecimal number"))
    }

    /// A UUID; none where the value is empty.
    pub(super) fn uuid(&self) -> Result<Option<Uuid>, ParseError> {
        let text = self.text();
        if text.is_empty() {
            return Ok(None);
        }
        Uuid::try_parse(&text).map(Some).map_err(|_| self.malformed("a UUID"))
    }
}
