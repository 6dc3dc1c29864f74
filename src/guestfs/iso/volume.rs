//! Volume descriptors (ECMA-119, 8), from sector 16 on.

use super::record::SECTOR;
use crate::disk::Disk;
use crate::guestfs::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Offset of the first descriptor.
const DESCRIPTORS_AT: u64 = 16 * SECTOR;
/// The most descriptors read; real disks have a handful.
const MAX_DESCRIPTORS: u64 = 64;
/// Follows the type of each descriptor.
const STANDARD_IDENTIFIER: &[u8] = b"CD001";
/// `Volume Descriptor Type`.
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;
/// `Escape Sequences` of Joliet: UCS-2 level 1, 2 and 3.
const JOLIET: [&[u8]; 3] = [b"%/@", b"%/C", b"%/E"];

/// The information in the descriptors.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    /// `Logical Block Size` in bytes.
    pub(super) block_size: u32,
    /// `Volume Space Size` in blocks.
    pub(super) blocks: u64,
    /// `Volume Identifier`.
    pub(super) label: String,
    /// The time of modification or creation, which blkid shows as the UUID.
    pub(super) uuid: String,
    /// Offset of the first record of the root directory in bytes.
    pub(super) root: u64,
    /// The same for the tree with Joliet names, if there is one.
    pub(super) joliet_root: Option<u64>,
}

/// Whether a volume has ISO 9660 descriptors.
///
/// # Errors
/// Any error of the disk.
pub(crate) fn probe(disk: &dyn Disk) -> Result<bool> {
    let mut bytes = [0; 6];
    if disk.size() < DESCRIPTORS_AT + SECTOR {
        return Ok(false);
    }
    disk.read_at(DESCRIPTORS_AT, &mut bytes)?;
    Ok(&bytes[1..] == STANDARD_IDENTIFIER)
}

impl Volume {
    /// Reads the descriptors.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self> {
        let (mut volume, mut joliet) = (None, None);
        let mut label = [0; 32];
        for index in 0..MAX_DESCRIPTORS {
            let at = DESCRIPTORS_AT + index * SECTOR;
            if at + SECTOR > disk.size() {
                break;
            }
            let mut bytes = [0; 2048];
            disk.read_at(at, &mut bytes)?;
            if !bytes[1..].starts_with(STANDARD_IDENTIFIER) {
                break;
            }
            match bytes[0] {
                PRIMARY if volume.is_none() => {
                    volume = Some(Self::parse(&bytes, at)?);
                    label.copy_from_slice(&bytes[40..72]);
                }
                SUPPLEMENTARY if joliet.is_none() && is_joliet(&bytes) => {
                    let label = joined_label(&label, &utf16(&bytes[40..72]));
                    joliet = Some((label, root(&bytes, at)?));
                }
                TERMINATOR => break,
                _ => {}
            }
        }
        let Some(mut volume) = volume else {
            let cause = ParseError::corrupt(DESCRIPTORS_AT, "volume descriptors", "a primary one", "none");
            return Err(cause.into());
        };
        if let Some((label, root)) = joliet {
            volume.joliet_root = Some(root);
            if !label.is_empty() {
                volume.label = label;
            }
        }
        Ok(volume)
    }

    fn parse(bytes: &[u8], at: u64) -> Result<Self, ParseError> {
        let f = Fields::new("primary volume descriptor", bytes, at);
        let block_size = u32::from(f.u16_le(128)?);
        if !matches!(block_size, 512 | 1024 | 2048) {
            let expected = "512, 1024 or 2048";
            return Err(ParseError::corrupt(f.offset(128), "logical block size", expected, block_size));
        }
        let date = |at: usize| f.bytes(at, 17);
        let uuid = [date(830)?, date(813)?].into_iter().find_map(as_uuid).unwrap_or_default();
        Ok(Self {
            block_size,
            blocks: u64::from(f.u32_le(80)?),
            label: f.text(40, 32)?.trim_end().to_owned(),
            uuid,
            root: root(bytes, at)?,
            joliet_root: None,
        })
    }
}

/// Combines the two forms of the label like blkid: Joliet has 16 characters, and the primary descriptor has 32 with `_`
/// for unsupported ones. When they do not match, Joliet's counts.
fn joined_label(primary: &[u8; 32], joliet: &str) -> String {
    let pairs = || joliet.chars().zip(primary.iter().map(|byte| char::from(*byte)));
    let label = if pairs().all(|(wide, narrow)| narrow == '_' || narrow == wide) {
        let rest = primary.get(joliet.chars().count()..).unwrap_or_default();
        let start = pairs().map(|(wide, narrow)| if narrow == '_' { wide } else { narrow });
        start.chain(rest.iter().map(|byte| char::from(*byte))).collect()
    } else {
        joliet.to_owned()
    };
    label.trim_end_matches([' ', '\0']).to_owned()
}

/// The offset of the root directory in bytes.
fn root(bytes: &[u8], at: u64) -> Result<u64, ParseError> {
    let f = Fields::new("volume descriptor", bytes, at);
    let (extended, location) = (f.u8(157)?, f.u32_le(158)?);
    Ok((u64::from(location) + u64::from(extended)) * u64::from(f.u16_le(128)?))
}

fn is_joliet(bytes: &[u8]) -> bool {
    bytes.get(88..).is_some_and(|escapes| JOLIET.iter().any(|joliet| escapes.starts_with(joliet)))
}

/// Formats a date as the UUID that blkid shows; `None` when it is not set.
fn as_uuid(date: &[u8]) -> Option<String> {
    let digits = date.get(..16).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    if date.iter().all(|byte| matches!(byte, b'0' | 0)) {
        return None;
    }
    let text = str::from_utf8(digits).ok()?;
    let parts = [(0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 16)];
    Some(parts.map(|(from, to)| &text[from..to]).join("-"))
}

/// Decodes big-endian UTF-16, replacing what is invalid.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}
