//! The parent locator of a differencing disk. [MS-VHDX] section 2.6.2.6.

use crate::image::ParentLink;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::{Uuid, uuid};

/// `LocatorType` for a parent that is a VHDX; the specification has no other.
const VHDX: Uuid = uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913");
/// Keys with names of the parent's file, in the order in which the specification wants them tried.
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];

/// What a differencing disk says of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locator {
    /// `parent_linkage`: the parent's `DataWriteGuid` when this disk was made.
    linkage: Uuid,
    /// `parent_linkage2`: another value that the parent's `DataWriteGuid` may have.
    linkage2: Option<Uuid>,
    /// Names of the parent's file as written, best first.
    paths: Vec<String>,
}

impl Locator {
    /// Parses the item that begins at `base` of the file.
    pub(super) fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHDX parent locator", bytes, base);
        let kind = f.uuid_le(0)?;
        if kind != VHDX {
            return Err(ParseError::unsupported(base, "VHDX parent locator type", format_args!("{VHDX} (VHDX)"), kind));
        }
        let count = f.u16_le(18)?;
        let mut pairs = Vec::new();
        for entry in 0..usize::from(count) {
            let at = 20 + 12 * entry;
            let key = text(&f, f.u32_le(at)?, f.u16_le(at + 8)?)?;
            let value = text(&f, f.u32_le(at + 4)?, f.u16_le(at + 10)?)?;
            pairs.push((key, value));
        }
        let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let guid = |key: &str| {
            let Some(text) = value(key) else { return Ok(None) };
            let parsed = Uuid::parse_str(&text);
            let what = format!("{key} of the VHDX parent locator");
            parsed.map(Some).map_err(|_| ParseError::corrupt(base, what, "a GUID", format_args!("{text:?}")))
        };
        let linkage = guid("parent_linkage")?
            .ok_or_else(|| ParseError::corrupt(base, "VHDX parent locator", "the key parent_linkage", "none"))?;
        let paths = PATHS.iter().filter_map(|key| value(key)).filter(|path| !path.is_empty()).collect();
        Ok(Self { linkage, linkage2: guid("parent_linkage2")?, paths })
    }

    /// The parent in the words of all formats: a VHDX is known by its data alone, it has no creation UUID.
    pub(super) fn link(&self) -> ParentLink {
        ParentLink {
            modification: Some(self.linkage),
            modification2: self.linkage2,
            hints: self.paths.clone(),
            ..ParentLink::default()
        }
    }
}

/// The UTF-16 text of `len` bytes that begins `at` bytes after the start of the locator.
fn text(f: &Fields<'_>, at: u32, len: u16) -> Result<String, ParseError> {
    let bytes = f.bytes(at as usize, usize::from(len))?;
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    Ok(String::from_utf16_lossy(&units[..end]))
}
