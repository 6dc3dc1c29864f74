//! File records and their attributes (`struct MFT_REC` and `struct ATTRIB` of the Linux kernel's `fs/ntfs3/ntfs.h`).

use super::runs::{Runs, decode};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Types of attributes.
pub(super) mod kind {
    pub(crate) const STANDARD_INFORMATION: u32 = 0x10;
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const FILE_NAME: u32 = 0x30;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(crate) const BITMAP: u32 = 0xB0;
    pub(crate) const REPARSE_POINT: u32 = 0xC0;
    pub(crate) const EA: u32 = 0xE0;
    pub(crate) const END: u32 = 0xFFFF_FFFF;
}

/// The namespace of short names for DOS, which a long one always goes with.
pub(super) const DOS_NAME: u8 = 2;
/// Bits of an attribute's `flags`.
pub(super) const COMPRESSED: u16 = 0x0001;
pub(super) const ENCRYPTED: u16 = 0x4000;

/// Distance in bytes between the positions that an update sequence protects, whatever the sector size.
const STRIDE: usize = 512;

/// The value of an attribute.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Stored in the record itself.
    Resident(Vec<u8>),
    /// Stored in clusters.
    Runs { runs: Runs, lowest: u64, sizes: Sizes, unit: u8 },
}

/// Sizes in bytes of a value stored in clusters. Of a value split over several records, only the first has them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) data: u64,
    /// Bytes past this size read as zeros.
    pub(super) valid: u64,
    /// Bytes that a compressed or sparse value occupies.
    pub(super) total: u64,
}

/// One attribute, or the range of it that one record holds.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    /// UTF-16.
    pub(super) name: Vec<u16>,
    pub(super) flags: u16,
    pub(super) value: Value,
}

/// A file record whose update sequence was verified and reversed.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Incremented each time that the record is reused for another file.
    pub(super) sequence: u16,
    pub(super) in_use: bool,
    pub(super) directory: bool,
    /// The base record whose further attributes this one holds; 0 for none.
    pub(super) base: u64,
    pub(super) attributes: Vec<Attribute>,
}

impl Record {
    /// Parses the bytes of a record, which is at byte `at` of the volume.
    pub(super) fn parse(mut bytes: Vec<u8>, at: u64) -> Result<Self, ParseError> {
        apply_fixups(&mut bytes, at, b"FILE")?;
        let f = Fields::new("file record", &bytes, at);
        let flags = f.u16_le(0x16)?;
        let used = usize::try_from(f.u32_le(0x18)?).unwrap_or(usize::MAX);
        let first = usize::from(f.u16_le(0x14)?);
        if used > bytes.len() || first > used {
            return Err(ParseError::corrupt(
                f.offset(0x18),
                "used bytes of a file record",
                format_args!("{first} to {}", bytes.len()),
                used,
            ));
        }
        let mut attributes = Vec::new();
        let mut offset = first;
        while offset + 4 <= used && f.u32_le(offset)? != kind::END {
            let len = usize::try_from(f.u32_le(offset + 4)?).unwrap_or(usize::MAX);
            if len < 24 || !len.is_multiple_of(8) || len > used - offset {
                let expected = format!("a multiple of 8 from 24 to {}", used - offset);
                return Err(ParseError::corrupt(f.offset(offset + 4), "length of an attribute", expected, len));
            }
            let raw = Fields::new("attribute", f.bytes(offset, len)?, f.offset(offset));
            attributes.push(attribute(&raw)?);
            offset += len;
        }
        Ok(Self {
            sequence: f.u16_le(0x10)?,
            in_use: flags & 1 != 0,
            directory: flags & 2 != 0,
            base: f.u64_le(0x20)? & 0xFFFF_FFFF_FFFF,
            attributes,
        })
    }
}

fn attribute(f: &Fields<'_>) -> Result<Attribute, ParseError> {
    let name = f.bytes(usize::from(f.u16_le(10)?), 2 * usize::from(f.u8(9)?))?;
    let value = if f.u8(8)? == 0 {
        let len = usize::try_from(f.u32_le(16)?).unwrap_or(usize::MAX);
        Value::Resident(f.bytes(usize::from(f.u16_le(20)?), len)?.to_vec())
    } else {
        let lowest = f.u64_le(16)?;
        let start = usize::from(f.u16_le(32)?);
        let compressed = f.bytes(start, f.len().saturating_sub(start))?;
        let unit = f.u8(34)?;
        let sizes = if lowest == 0 {
            Sizes {
                data: f.u64_le(48)?,
                valid: f.u64_le(56)?,
                total: if f.len() >= 72 && unit > 0 { f.u64_le(64)? } else { f.u64_le(40)? },
            }
        } else {
            Sizes::default()
        };
        Value::Runs { runs: decode(compressed, lowest, f.offset(start))?, lowest, sizes, unit }
    };
    Ok(Attribute { kind: f.u32_le(0)?, name: utf16(name), flags: f.u16_le(12)?, value })
}

/// Decodes little-endian UTF-16 units; a trailing single byte is ignored.
pub(super) fn utf16(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks::<2>().0.iter().map(|raw| u16::from_le_bytes(*raw)).collect()
}

/// Verifies and reverses the update sequence of a record or index block. The last two bytes of every 512 hold a number
/// that is the same in all of them unless the write was torn; the original bytes are in an array at the start.
pub(super) fn apply_fixups(bytes: &mut [u8], at: u64, signature: &[u8; 4]) -> Result<(), ParseError> {
    let f = Fields::new("protected block", bytes, at);
    let found = f.bytes(0, 4)?;
    if found != signature {
        let (expected, found) = (String::from_utf8_lossy(signature).into_owned(), format!("{found:02x?}"));
        return Err(ParseError::corrupt(at, "signature of a record", expected, found));
    }
    let array = usize::from(f.u16_le(4)?);
    let count = usize::from(f.u16_le(6)?);
    if count != bytes.len() / STRIDE + 1 {
        return Err(ParseError::corrupt(f.offset(6), "length of an update sequence", bytes.len() / STRIDE + 1, count));
    }
    let sequence = f.bytes(array, 2 * count)?.to_vec();
    let (number, originals) = sequence.split_at(2);
    for (i, (block, original)) in bytes.chunks_exact_mut(STRIDE).zip(originals.chunks_exact(2)).enumerate() {
        let end = &mut block[STRIDE - 2..];
        if end != number {
            let end_at = at + (i * STRIDE + STRIDE - 2) as u64;
            let (expected, found) = (format!("{number:02x?}"), format!("{end:02x?}"));
            return Err(ParseError::corrupt(
                end_at,
                "update sequence of a block that was not written whole",
                expected,
                found,
            ));
        }
        end.copy_from_slice(original);
    }
    Ok(())
}
