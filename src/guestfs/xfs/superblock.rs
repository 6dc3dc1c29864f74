//! The superblock, in the first sector of the volume. Field names and offsets are those of the kernel's
//! `struct xfs_dsb` (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>); numbers are
//! big-endian.

use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// The longest sector that a superblock can fill.
pub(super) const MAX_SIZE: u64 = 32 << 10;
/// `XFSB`.
const MAGIC: u32 = 0x5846_5342;
/// Bits of `sb_versionnum` above the version, which is the lower four.
const VERSION_DIRV2: u16 = 0x2000;
const VERSION_MOREBITS: u16 = 0x8000;
/// Bit of `sb_features2`, in version 4.
const FEATURE2_FTYPE: u32 = 0x200;
/// Where `sb_crc` is, which is little-endian as all checksums are.
const CRC: usize = 224;

/// Bits of `sb_features_incompat`.
mod incompat {
    pub(super) const FTYPE: u32 = 0x1;
    pub(super) const META_UUID: u32 = 0x4;
    pub(super) const NEEDS_REPAIR: u32 = 0x10;
    /// Those above, sparse inodes, large times, large extent counts, exchanged ranges, parent pointers, the directory
    /// of metadata, zoned realtime volumes and gaps in zones.
    pub(super) const KNOWN: u32 = 0x7FF;
}

/// A superblock whose numbers were checked against each other.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Whether this is version 5, with checksums.
    pub(super) v5: bool,
    /// `sb_blocksize`, in bytes.
    pub(super) block_size: u32,
    /// `sb_dblocks`.
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    /// `sb_agblocks`: blocks of each allocation group but the last.
    pub(super) group_blocks: u32,
    pub(super) groups: u32,
    /// `sb_agblklog`: bits of a block's number within its group.
    pub(super) group_bits: u32,
    /// `sb_inopblog`: bits of an inode's number within its block.
    pub(super) inode_bits: u32,
    pub(super) inode_size: u32,
    /// Inodes that exist, and how many of them are free.
    pub(super) inodes: u64,
    pub(super) free_inodes: u64,
    /// `sb_imax_pct`: the most space that inodes may take, in percent; 0 for no limit.
    pub(super) inode_percent: u8,
    pub(super) root: u64,
    /// Bytes of a block of a directory.
    pub(super) directory_block: u32,
    /// `sb_logstart` as a block of the volume; none when the journal is on another device.
    pub(super) log_start: Option<u64>,
    pub(super) log_blocks: u32,
    /// `sb_features_log_incompat`: what a replay must know of.
    pub(super) log_features: u32,
    /// Whether directories store the type of what they name.
    pub(super) file_types: bool,
    pub(super) needs_repair: bool,
    pub(super) uuid: Uuid,
    /// The UUID in every block of metadata of version 5.
    pub(super) meta_uuid: [u8; 16],
    pub(super) label: String,
}

fn bad(at: usize, what: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> ParseError {
    ParseError::corrupt(at as u64, format!("{what} in the superblock"), expected, found)
}

impl Superblock {
    /// Parses the first bytes of a volume: [`MAX_SIZE`] of them, or all.
    pub(super) fn parse(bytes: &[u8], check_crc: bool) -> Result<Self> {
        let f = Fields::new("superblock", bytes, 0);
        let version = f.u16_be(100)?;
        let magic = f.u32_be(0)?;
        if magic != MAGIC {
            return Err(bad(0, "magic number", format_args!("{MAGIC:#x}"), format_args!("{magic:#x}")).into());
        }
        let v5 = match version & 0xF {
            5 => true,
            4 if version & VERSION_DIRV2 != 0 => false,
            4 => return Err(Error::Unsupported("its directories are of version 1".to_owned())),
            other => return Err(Error::Unsupported(format!("it is of version {other}, not 4 or 5"))),
        };
        let features = if v5 { f.u32_be(216)? } else { 0 };
        if v5 && check_crc {
            check(&f, bytes)?;
        }
        let unknown = features & !incompat::KNOWN;
        if unknown != 0 {
            return Err(Error::Unsupported(format!("incompatible features {unknown:#x} are not known")));
        }
        Self::fields(&f, v5, version, features).map_err(Error::from)
    }

    fn fields(f: &Fields<'_>, v5: bool, version: u16, features: u32) -> Result<Self, ParseError> {
        let block_size = power(f, "block size", 4, f.u32_be(4)?, 512, 65536)?;
        let smallest = if v5 { 512 } else { 256 };
        let inode_size = power(f, "inode size", 104, f.u16_be(104)?.into(), smallest, 2048.min(block_size))?;
        let directory_bits = u32::from(f.u8(192)?);
        let directory_block =
            block_size.checked_shl(directory_bits).filter(|size| directory_bits < 8 && *size <= 65536);
        let directory_block =
            directory_block.ok_or_else(|| bad(192, "size of directory blocks", "at most 64 KiB", directory_bits))?;
        let feature2 = if version & VERSION_MOREBITS != 0 { f.u32_be(200)? } else { 0 };
        if f.u8(126)? != 0 {
            return Err(bad(126, "flag of an unfinished mkfs", 0, f.u8(126)?));
        }
        let log_blocks = f.u32_be(96)?;
        let mut sb = Self {
            v5,
            block_size,
            blocks: f.u64_be(8)?,
            free_blocks: f.u64_be(144)?,
            group_blocks: f.u32_be(84)?,
            groups: f.u32_be(88)?,
            group_bits: u32::from(f.u8(124)?),
            inode_bits: (block_size / inode_size).trailing_zeros(),
            inode_size,
            inodes: f.u64_be(128)?,
            free_inodes: f.u64_be(136)?,
            inode_percent: f.u8(127)?.min(100),
            root: f.u64_be(56)?,
            directory_block,
            log_start: None,
            log_blocks,
            log_features: if v5 { f.u32_be(220)? } else { 0 },
            file_types: if v5 { features & incompat::FTYPE != 0 } else { feature2 & FEATURE2_FTYPE != 0 },
            needs_repair: features & incompat::NEEDS_REPAIR != 0,
            uuid: Uuid::from_bytes(raw_uuid(f, 32)?),
            meta_uuid: raw_uuid(f, if features & incompat::META_UUID != 0 { 248 } else { 32 })?,
            label: f.text(108, 12)?,
        };
        sb.check_groups()?;
        let log = f.u64_be(48)?;
        if log != 0 {
            let run = sb.offset_of(log, u64::from(log_blocks)).filter(|_| log_blocks > 0);
            let run = run.ok_or_else(|| bad(48, "block of the journal", "within a group", format_args!("{log:#x}")))?;
            sb.log_start = Some(run);
        }
        Ok(sb)
    }

    /// Groups of any size, the last of which may be shorter, make up the whole.
    fn check_groups(&self) -> Result<(), ParseError> {
        if self.blocks.checked_mul(u64::from(self.block_size)).is_none() {
            let found = format!("{} blocks of {} bytes", self.blocks, self.block_size);
            return Err(bad(8, "number of blocks", "less than 2^64 bytes", found));
        }
        if self.group_bits > 31 || self.group_blocks > 1 << self.group_bits || self.group_blocks == 0 {
            let expected = format!("1 to 2^{}", self.group_bits);
            return Err(bad(84, "blocks of an allocation group", expected, self.group_blocks));
        }
        let expected = self.blocks.div_ceil(u64::from(self.group_blocks));
        if u64::from(self.groups) != expected || self.groups == 0 {
            return Err(bad(88, "number of allocation groups", expected, self.groups));
        }
        Ok(())
    }

    /// Where on the volume the `count` blocks from block number `number` on are, counted in blocks; none when they are
    /// not all in one group. In a block's number the group is above [`group_bits`](Self::group_bits), so with groups
    /// that are no power of two numbers have gaps.
    pub(super) fn offset_of(&self, number: u64, count: u64) -> Option<u64> {
        let group = number >> self.group_bits;
        let within = number & ((1 << self.group_bits) - 1);
        let end = within.checked_add(count)?;
        if group >= u64::from(self.groups) || end > u64::from(self.group_blocks) {
            return None;
        }
        let first = group * u64::from(self.group_blocks) + within;
        (first + count <= self.blocks).then_some(first)
    }

    /// The byte of the volume that an inode begins at; none when no group has such a number.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let block = self.offset_of(number >> self.inode_bits, 1)?;
        let index = number & ((1 << self.inode_bits) - 1);
        Some(block * u64::from(self.block_size) + index * u64::from(self.inode_size))
    }
}

/// Checks the first sector against its checksum.
fn check(f: &Fields<'_>, bytes: &[u8]) -> Result<(), ParseError> {
    let sector = power(f, "sector size", 102, f.u16_be(102)?.into(), 512, 32768)?;
    let whole = f.bytes(0, usize::try_from(sector).unwrap_or(bytes.len()))?;
    super::same_checksum("checksum of the superblock", whole, 0, CRC)
}

fn power(f: &Fields<'_>, what: &str, at: usize, value: u32, low: u32, high: u32) -> Result<u32, ParseError> {
    if value.is_power_of_two() && (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(ParseError::corrupt(
        f.offset(at),
        format!("{what} in the superblock"),
        format_args!("a power of two from {low} to {high}"),
        value,
    ))
}

fn raw_uuid(f: &Fields<'_>, at: usize) -> Result<[u8; 16], ParseError> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(at, 16)?);
    Ok(raw)
}
