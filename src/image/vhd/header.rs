//! The dynamic disk header of dynamic and differencing VHDs.
//!
//! Field names and offsets are those of Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0,
//! section "Dynamic Disk Header Format"; all numbers are big-endian.

use super::footer::check_sum;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// Bytes of the header.
pub(super) const SIZE: usize = 1024;
/// `Header Version`, at 24: 1.0 is the only one there is.
const VERSION: u32 = 0x0001_0000;
/// Bytes of a sector. Never another in this format.
pub(super) const SECTOR: u64 = 512;
/// The smallest block: eight sectors, so that a bitmap is whole bytes.
const MIN_BLOCK: u32 = 4096;

/// An entry of `Parent Locator Entry`: where a name of the parent is. Not checked against the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locator {
    /// `Platform Code`, at 0 of the entry; zeros for an unused entry.
    pub(super) code: [u8; 4],
    /// `Platform Data Length`, at 8: bytes of the name.
    pub(super) length: u32,
    /// `Platform Data Offset`, at 16: where the name begins in the file, in bytes.
    pub(super) offset: u64,
}

/// A dynamic disk header whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VhdHeader {
    /// Where the header itself is in the file, in bytes.
    pub(super) offset: u64,
    /// `Table Offset`, at 16: where the block allocation table begins, in bytes.
    pub(super) table_offset: u64,
    /// `Max Table Entries`, at 28.
    pub(super) max_table_entries: u32,
    /// `Block Size`, at 32: bytes of data in a block; a power of two, at least 4096.
    pub(super) block_size: u32,
    /// `Parent Unique ID`, at 40, in the byte order of VirtualBox; nil in dynamic disks.
    pub(super) parent_unique_id: Uuid,
    /// `Parent Time Stamp`, at 56: when the parent's file was last written to, in seconds since 2000-01-01 00:00 UTC.
    pub(super) parent_time_stamp: u32,
    /// `Parent Unicode Name`, at 64: UTF-16, big-endian.
    pub(super) parent_name: String,
    /// `Parent Locator Entry` 1 to 8, at 576.
    pub(super) locators: [Locator; 8],
}

impl VhdHeader {
    /// Parses a header of [`SIZE`] bytes that begins at `base` of its file.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that is wrong or not supported.
    pub(super) fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHD dynamic disk header", bytes, base);
        let cookie = f.bytes(0, 8)?;
        if cookie != b"cxsparse" {
            let found = String::from_utf8_lossy(cookie);
            return Err(ParseError::corrupt(
                base,
                "VHD dynamic disk header cookie",
                "\"cxsparse\"",
                format_args!("{found:?}"),
            ));
        }
        check_sum(&f, f.bytes(0, SIZE)?, 36, "VHD dynamic disk header checksum")?;
        let version = f.u32_be(24)?;
        if version != VERSION {
            return Err(ParseError::unsupported(
                f.offset(24),
                "VHD dynamic disk header version",
                format_args!("{VERSION:#010x}"),
                format_args!("{version:#010x}"),
            ));
        }
        let block_size = f.u32_be(32)?;
        if !block_size.is_power_of_two() || block_size < MIN_BLOCK {
            return Err(ParseError::corrupt(
                f.offset(32),
                "VHD block size",
                format_args!("a power of two from {MIN_BLOCK} bytes on"),
                block_size,
            ));
        }
        let mut locators = [Locator { code: [0; 4], length: 0, offset: 0 }; 8];
        for (i, locator) in locators.iter_mut().enumerate() {
            let at = 576 + 24 * i;
            locator.code.copy_from_slice(f.bytes(at, 4)?);
            locator.length = f.u32_be(at + 8)?;
            locator.offset = f.u64_be(at + 16)?;
        }
        let name: Vec<u16> =
            f.bytes(64, 512)?.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        Ok(Self {
            offset: base,
            table_offset: f.u64_be(16)?,
            max_table_entries: f.u32_be(28)?,
            block_size,
            parent_unique_id: f.uuid_le(40)?,
            parent_time_stamp: f.u32_be(56)?,
            parent_name: text(&name),
            locators,
        })
    }

    /// Bytes of a block's sector bitmap: a bit for each sector, filled up to whole sectors.
    #[must_use]
    pub(super) fn bitmap_size(&self) -> u64 {
        (u64::from(self.block_size) / SECTOR / 8).next_multiple_of(SECTOR)
    }

    /// Bytes that a block takes in the file: its bitmap, then its data.
    #[must_use]
    pub(super) fn stride(&self) -> u64 {
        self.bitmap_size() + u64::from(self.block_size)
    }

    /// Where the table has the entry of a block. The table lies in the file, so this cannot overflow.
    #[must_use]
    pub(super) fn entry_at(&self, block: u64) -> u64 {
        self.table_offset + 4 * block
    }
}

/// UTF-16 text up to its first zero.
pub(super) fn text(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}
