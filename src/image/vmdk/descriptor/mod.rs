//! The descriptor: the text that lists what a VMDK consists of, in a separate file or within a sparse extent.
//!
//! VMware's "Virtual Disk Format 5.0" gives the grammar; as in VMware itself, the sections may come in any order.
//! VirtualBox's keys are those of `src/VBox/Storage/VMDK.cpp`
//! (<https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VMDK.cpp>).

mod line;
mod name;
#[cfg(test)]
mod tests;

use crate::ondisk::ParseError;
pub(super) use line::{Access, ExtentKind, ExtentLine};
use line::{Line, Lines, UTF_8_BOM};
pub(super) use name::{Declared, VmdkName};
use std::collections::HashSet;
use std::ops::Range;
use uuid::Uuid;

/// Descriptors with more text are refused; those of the largest disks have a tenth of it.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Descriptors with more extents are refused: each takes an open file.
const MAX_EXTENTS: usize = 4096;
/// A `parentCID` that says "no parent" (`CID_NOPARENT`).
const NO_PARENT: u32 = 0xFFFF_FFFF;

/// A value and where its text is, in bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: Range<u64>,
}

/// What a descriptor says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// `version`.
    pub(super) version: u32,
    /// `encoding`: that of the names and the comment.
    pub(super) encoding: Declared,
    /// `CID`: changes when the disk is written.
    pub(super) cid: Option<Placed<u32>>,
    /// `parentCID`; none for "no parent".
    pub(super) parent_cid: Option<u32>,
    /// `createType`; empty where it is missing.
    pub(super) create_type: String,
    /// `parentFileNameHint`.
    pub(super) parent_hint: Option<VmdkName>,
    /// The hint alone says that there is a parent: no `parentCID` contradicts it.
    pub(super) hint_decides: bool,
    /// `changeTrackPath`: a file that records which blocks were written.
    pub(super) change_track: Option<String>,
    /// The extents in the order of the disk.
    pub(super) extents: Vec<ExtentLine>,
    /// `ddb.uuid.image`.
    pub(super) uuid: Option<Uuid>,
    /// `ddb.uuid.modification`, with its offset also where it is nil.
    pub(super) modification: Option<Placed<Uuid>>,
    /// `ddb.uuid.parent`.
    pub(super) parent: Option<Uuid>,
    /// `ddb.uuid.parentmodification`.
    pub(super) parent_modification: Option<Uuid>,
    /// `ddb.longContentID`: 32 hexadecimal digits, the last 8 of them the CID.
    pub(super) long_content_id: Option<Placed<String>>,
    /// `ddb.comment`.
    pub(super) comment: String,
}

/// Whether text is a descriptor: it has the comment that all programs put into the first line, or its first line that
/// is no comment gives a `version`, which is what VMware itself looks for.
pub(super) fn is_descriptor(head: &[u8]) -> bool {
    let head = head.strip_prefix(UTF_8_BOM).unwrap_or(head);
    let mut lines = head.split(|b| matches!(b, b'\n' | b'\r'));
    let plain = |line: &[u8]| -> Vec<u8> {
        line.iter().filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect()
    };
    let first = lines.next().map(plain).unwrap_or_default();
    if first == b"#diskdescriptorfile" {
        return true;
    }
    let mut texts = std::iter::once(first).chain(lines.map(plain)).filter(|line| !line.is_empty());
    let version = texts.find(|line| line[0] != b'#').unwrap_or_default();
    version.strip_prefix(b"version=").is_some_and(|number| number.first().is_some_and(u8::is_ascii_digit))
}

impl Descriptor {
    /// Parses the text, which begins `base` bytes into its file and ends at its first zero byte.
    ///
    /// # Errors
    /// [`ParseError`] with the offset of the line or value.
    pub(super) fn parse(text: &[u8], base: u64) -> Result<Self, ParseError> {
        let mut new = Self { version: 1, ..Self::default() };
        let mut seen: HashSet<String> = HashSet::new();
        let (mut encoding, mut comment) = (None, None);
        for line in Lines::new(text, base) {
            match line.parse()? {
                // VirtualBox writes empty ones where two partitions meet.
                Line::Extent(extent) if extent.sectors == 0 => {}
                Line::Extent(extent) => new.extents.push(extent),
                Line::Entry(entry) => {
                    // The first one counts, as in VirtualBox.
                    if seen.contains(&entry.key) {
                        continue;
                    }
                    match entry.key.as_str() {
                        "encoding" => encoding = Some(entry.text()),
                        "ddb.comment" => comment = Some(entry.bytes().to_vec()),
                        _ => {}
                    }
                    new.set(&entry)?;
                    seen.insert(entry.key);
                }
            }
            if new.extents.len() > MAX_EXTENTS || seen.len() > MAX_EXTENTS {
                return Err(ParseError::unsupported(
                    base,
                    "number of lines of the VMDK descriptor",
                    format_args!("at most {MAX_EXTENTS} extents and values"),
                    "more",
                ));
            }
        }
        new.hint_decides = new.parent_hint.is_some() && !seen.contains("parentcid");
        new.encoding = Declared::new(encoding);
        let names = new.extents.iter_mut().filter_map(|extent| extent.name.as_mut());
        names.chain(&mut new.parent_hint).for_each(|name| name.decode(&new.encoding));
        if let Some(bytes) = comment {
            let text = new.encoding.decode(&bytes);
            new.comment = unescape(&text.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(new)
    }

    fn set(&mut self, entry: &line::Entry<'_>) -> Result<(), ParseError> {
        match entry.key.as_str() {
            "version" => {
                self.version = entry.number()?;
                if !(1..=3).contains(&self.version) {
                    return Err(ParseError::unsupported(entry.at(), "VMDK descriptor version", "1 to 3", self.version));
                }
            }
            "cid" => self.cid = Some(Placed { value: entry.hexadecimal()?, at: entry.range() }),
            "parentcid" => self.parent_cid = Some(entry.hexadecimal()?).filter(|cid| *cid != NO_PARENT),
            "createtype" => self.create_type = entry.text(),
            "parentfilenamehint" => self.parent_hint = entry.name(),
            "changetrackpath" => self.change_track = Some(entry.text()).filter(|name| !name.is_empty()),
            "ddb.uuid.image" => self.uuid = entry.uuid()?.filter(|uuid| !uuid.is_nil()),
            "ddb.uuid.parent" => self.parent = entry.uuid()?.filter(|uuid| !uuid.is_nil()),
            "ddb.uuid.parentmodification" => self.parent_modification = entry.uuid()?.filter(|uuid| !uuid.is_nil()),
            "ddb.uuid.modification" => {
                self.modification = entry.uuid()?.map(|value| Placed { value, at: entry.range() });
            }
            "ddb.longcontentid" => {
                let value = entry.text();
                let whole = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
                self.long_content_id = whole.then(|| Placed { value, at: entry.range() });
            }
            key if key.starts_with("encryption") => {
                return Err(ParseError::unsupported(
                    entry.at(),
                    "VMDK encryption",
                    "a disk that is not encrypted",
                    key,
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// The disk's size in bytes.
    ///
    /// # Errors
    /// [`ParseError`] for a disk without extents, or of 2^63 bytes and more.
    pub(super) fn size(&self, base: u64) -> Result<u64, ParseError> {
        let what = "extents of the VMDK descriptor";
        if self.extents.is_empty() {
            return Err(ParseError::corrupt(base, what, "at least 1", "none"));
        }
        let sectors = self.extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.sectors));
        sectors
            .and_then(|sectors| sectors.checked_mul(512))
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| ParseError::corrupt(base, what, "less than 2^63 bytes together", "more"))
    }

    /// Whether the disk is a difference: VirtualBox's (by UUID), VMware's (by content id), or one without either.
    pub(super) fn has_parent(&self) -> bool {
        self.parent.is_some() || self.parent_cid.is_some() || self.hint_decides
    }

    /// What to write, and where in the descriptor's file, so that it says that the disk has changed: VMware's content
    /// ids and VirtualBox's modification UUID, where it has them. No text changes its length.
    pub(super) fn changes(&self) -> Vec<(u64, Vec<u8>)> {
        let mut changes = Vec::new();
        if let Some(cid) = &self.cid {
            let digits = usize::try_from(cid.at.end - cid.at.start).unwrap_or(8);
            let new = new_cid(cid.value, digits);
            changes.push((cid.at.start, format!("{new:0digits$x}").into_bytes()));
            if let Some(long) = &self.long_content_id {
                let random = Uuid::new_v4().simple().to_string();
                changes.push((long.at.start, format!("{}{new:08x}", &random[..24]).into_bytes()));
            }
        }
        if let Some(modification) = self.modification.as_ref().filter(|uuid| uuid.at.end - uuid.at.start == 36) {
            changes.push((modification.at.start, Uuid::new_v4().to_string().into_bytes()));
        }
        changes
    }
}

/// A content id of at most so many digits that differs from `old`. The two highest numbers have meanings of their own.
fn new_cid(old: u32, digits: usize) -> u32 {
    let mask = u32::MAX.checked_shr(32 - 4 * u32::try_from(digits.min(8)).unwrap_or(8)).unwrap_or(0);
    loop {
        let new = Uuid::new_v4().as_fields().0 & mask;
        if new != old && new < NO_PARENT - 1 {
            return new;
        }
    }
}

/// A comment as VirtualBox writes it: `\n`, `\r` and `\\` stand for a line feed, a carriage return and a backslash.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => c,
            },
            _ => c,
        });
    }
    out
}
