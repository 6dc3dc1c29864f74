//! The superblock, the first 96 bytes of the volume. Field names and offsets are those of the kernel's
//! `struct squashfs_super_block` (<https://docs.kernel.org/filesystems/squashfs.html>); all numbers are little-endian.

use super::decompress::Compressor;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

pub(super) const SIZE: usize = 96;
/// `hsqs`; the other byte order has it the other way around.
const MAGIC: [u8; 4] = *b"hsqs";
const MAGIC_BIG_ENDIAN: [u8; 4] = *b"sqsh";
/// In place of the offset of an absent table.
pub(super) const NO_TABLE: u64 = u64::MAX;
/// The block sizes that there are, as powers of two.
const BLOCK_LOGS: std::ops::RangeInclusive<u16> = 12..=20;

/// A superblock whose numbers were checked against each other.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compressor: Compressor,
    pub(super) ids: u16,
    /// `root_inode`: a reference.
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    /// `xattr_id_table_start`, if present.
    pub(super) xattr_table: Option<u64>,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
}

impl Superblock {
    /// Parses the first [`SIZE`] bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.starts_with(&MAGIC_BIG_ENDIAN) {
            let what = "it has big-endian numbers, as versions before 4 may have".to_owned();
            return Err(Error::Unsupported(what));
        }
        let f = Fields::new("superblock", bytes, 0);
        if !f.bytes(0, SIZE)?.starts_with(&MAGIC) {
            return Err(ParseError::corrupt(0, "magic number", "hsqs", "another").into());
        }
        let version = (f.u16_le(28)?, f.u16_le(30)?);
        if version != (4, 0) {
            let what = format!("it is of version {}.{}, only 4.0 is known", version.0, version.1);
            return Err(Error::Unsupported(what));
        }
        let compression = f.u16_le(20)?;
        let compressor = Compressor::of(compression).ok_or_else(|| {
            let what = format!("it is compressed by the unknown method {compression}");
            Error::Unsupported(what)
        })?;
        Self::fields(&f, compressor).map_err(Error::from)
    }

    fn fields(f: &Fields<'_>, compressor: Compressor) -> Result<Self, ParseError> {
        let (block_size, block_log) = (f.u32_le(12)?, f.u16_le(22)?);
        if !BLOCK_LOGS.contains(&block_log) || block_size != 1 << block_log {
            let expected = "a power of two from 4096 to 1048576";
            let found = format!("{block_size} and the logarithm {block_log}");
            return Err(ParseError::corrupt(12, "block size", expected, found));
        }
        let bytes_used = f.u64_le(40)?;
        if bytes_used < SIZE as u64 {
            return Err(ParseError::corrupt(40, "bytes used", format_args!("{SIZE} at least"), bytes_used));
        }
        let table = |name: &str, at: usize| -> Result<u64, ParseError> {
            let offset = f.u64_le(at)?;
            if offset < SIZE as u64 || offset >= bytes_used {
                let expected = format!("{SIZE} to {bytes_used}");
                return Err(ParseError::corrupt(at as u64, format!("offset of the {name} table"), expected, offset));
            }
            Ok(offset)
        };
        let maybe = |name: &str, at: usize| match f.u64_le(at)? {
            NO_TABLE => Ok(None),
            _ => table(name, at).map(Some),
        };
        let (inode_table, directory_table) = (table("inode", 64)?, table("directory", 72)?);
        if inode_table >= directory_table {
            let expected = format!("above the inode table at {inode_table}");
            return Err(ParseError::corrupt(72, "offset of the directory table", expected, directory_table));
        }
        let fragments = f.u32_le(16)?;
        Ok(Self {
            inodes: f.u32_le(4)?,
            block_size,
            fragments,
            compressor,
            ids: f.u16_le(26)?,
            root: f.u64_le(32)?,
            bytes_used,
            id_table: table("id", 48)?,
            xattr_table: maybe("xattr", 56)?,
            inode_table,
            directory_table,
            fragment_table: if fragments == 0 { NO_TABLE } else { table("fragment", 80)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        for (at, value) in [(12_usize, 4096_u64), (20, 1), (22, 12), (28, 4), (40, 5000)] {
            let size = if matches!(at, 20 | 22 | 28) { 2 } else { 4 };
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        for (at, value) in
            [(48_usize, 4000_u64), (56, NO_TABLE), (64, 1000), (72, 2000), (80, NO_TABLE), (88, NO_TABLE)]
        {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn error(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut bytes = valid();
        change(&mut bytes);
        Superblock::parse(&bytes).unwrap_err().to_string()
    }

    #[test]
    fn numbers_are_held_against_each_other() {
        assert!(Superblock::parse(&valid()).is_ok());
        assert!(error(|b| b[28] = 3).contains("version 3.0, only 4.0 is known"));
        assert!(error(|b| b[..4].copy_from_slice(b"sqsh")).contains("big-endian"));
        assert!(error(|b| b[20] = 7).contains("unknown method 7"));
        assert!(error(|b| b[22] = 13).contains("block size at offset 12"));
        assert!(error(|b| b[50] = 1).contains("offset of the id table at offset 48"));
        assert!(error(|b| b[16] = 1).contains("offset of the fragment table"));
        assert!(error(|b| b[65] = 12).contains("above the inode table"));
        assert!(Superblock::parse(&valid()[..95]).is_err());
    }
}
