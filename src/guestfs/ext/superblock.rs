//! The superblock, 1024 bytes at byte 1024. Field names and offsets are those of the kernel's
//! `struct ext4_super_block` (<https://docs.kernel.org/filesystems/ext4/super.html>); all numbers are little-endian.

use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// Where the superblock is, and how large.
pub(super) const AT: u64 = 1024;
pub(super) const SIZE: usize = 1024;
const MAGIC: u16 = 0xEF53;

/// Bits of `s_feature_incompat` that this reader knows.
mod incompat {
    pub(super) const FILETYPE: u32 = 0x2;
    pub(super) const RECOVER: u32 = 0x4;
    pub(super) const JOURNAL_DEV: u32 = 0x8;
    pub(super) const META_BG: u32 = 0x10;
    pub(super) const EXTENTS: u32 = 0x40;
    pub(super) const BITS_64: u32 = 0x80;
    pub(super) const MMP: u32 = 0x100;
    pub(super) const FLEX_BG: u32 = 0x200;
    pub(super) const EA_INODE: u32 = 0x400;
    pub(super) const CSUM_SEED: u32 = 0x2000;
    pub(super) const LARGEDIR: u32 = 0x4000;
    pub(super) const INLINE_DATA: u32 = 0x8000;
    pub(super) const ENCRYPT: u32 = 0x1_0000;
    pub(super) const CASEFOLD: u32 = 0x2_0000;
    pub(super) const KNOWN: u32 = FILETYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | BITS_64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;
}

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const RO_COMPAT_HUGE_FILE: u32 = 0x8;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// `s_state`: cleanly unmounted; errors were seen.
const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

/// A superblock whose numbers were checked against each other.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_size: u32,
    /// Bytes that are allocated at once: a block, or with BIGALLOC several.
    pub(super) cluster_size: u64,
    /// `s_blocks_count`.
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    /// Blocks that the file system itself takes, as far as it states (`s_overhead_clusters`).
    pub(super) overhead: u64,
    pub(super) first_data_block: u32,
    pub(super) blocks_per_group: u32,
    pub(super) inodes_per_group: u32,
    /// `s_inodes_count`.
    pub(super) inodes: u32,
    pub(super) free_inodes: u32,
    pub(super) inode_size: u16,
    pub(super) descriptor_size: u16,
    /// `s_first_meta_bg`, with META_BG.
    pub(super) first_meta_group: Option<u32>,
    pub(super) journal_inode: Option<u32>,
    pub(super) needs_recovery: bool,
    pub(super) clean: bool,
    pub(super) has_errors: bool,
    pub(super) file_types: bool,
    pub(super) huge_files: bool,
    /// Whether group descriptors have the older checksum.
    pub(super) group_checksums: bool,
    /// `s_checksum_seed` or the UUID's checksum, with METADATA_CSUM.
    pub(super) checksum_seed: Option<u32>,
    pub(super) uuid: Uuid,
    pub(super) label: String,
    pub(super) type_name: &'static str,
}

/// Which version has these features.
pub(super) fn type_name(compat: u32, features: u32) -> &'static str {
    if features & (incompat::EXTENTS | incompat::BITS_64 | incompat::FLEX_BG) != 0 {
        "ext4"
    } else if compat & COMPAT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

fn bad(what: &str, at: u64, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
    Error::from(ParseError::corrupt(AT + at, what, expected, found))
}

impl Superblock {
    /// Parses the [`SIZE`] bytes at [`AT`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let f = Fields::new("superblock", bytes, AT);
        let magic = f.u16_le(0x38)?;
        if magic != MAGIC {
            return Err(bad("magic number", 0x38, format_args!("{MAGIC:#x}"), format_args!("{magic:#x}")));
        }
        let compat = f.u32_le(0x5C)?;
        let features = f.u32_le(0x60)?;
        let ro_compat = f.u32_le(0x64)?;
        unknown_features(features)?;
        let checksum_seed = checksum_seed(&f, bytes, features, ro_compat)?;

        let log_block_size = f.u32_le(0x18)?;
        if log_block_size > 6 {
            return Err(bad("block size", 0x18, "1 KiB to 64 KiB", format_args!("2^{log_block_size} KiB")));
        }
        let block_size: u32 = 1024 << log_block_size;
        let wide = features & incompat::BITS_64 != 0;
        let high = |at: usize| if wide { f.u32_le(at) } else { Ok(0) };
        let blocks = u64::from(f.u32_le(0x4)?) | u64::from(high(0x150)?) << 32;
        let free_blocks = u64::from(f.u32_le(0xC)?) | u64::from(high(0x158)?) << 32;
        if blocks.checked_mul(u64::from(block_size)).is_none() {
            let found = format_args!("{blocks} blocks of {block_size} bytes").to_string();
            return Err(bad("number of blocks", 0x4, "less than 2^64 bytes", found));
        }
        // A group's bitmap is a block, with a bit per block or (BIGALLOC) per cluster of several.
        let log_cluster = if ro_compat & RO_COMPAT_BIGALLOC != 0 { f.u32_le(0x1C)? } else { log_block_size };
        let ratio = 1_u32.checked_shl(log_cluster.saturating_sub(log_block_size)).unwrap_or(u32::MAX);
        let most = (block_size * 8).saturating_mul(ratio);
        let blocks_per_group = in_range(&f, "blocks per group", 0x20, 8, most)?;
        let inodes_per_group = in_range(&f, "inodes per group", 0x28, 1, block_size * 8)?;
        let first_data_block = in_range(&f, "first data block", 0x14, 0, 1)?;
        let inodes = f.u32_le(0)?;
        let revision = f.u32_le(0x4C)?;
        let inode_size = if revision == 0 { 128 } else { f.u16_le(0x58)? };
        if !inode_size.is_power_of_two() || inode_size < 128 || u32::from(inode_size) > block_size {
            return Err(bad("inode size", 0x58, "a power of two from 128 to a block", inode_size));
        }
        let descriptor_size = if wide { f.u16_le(0xFE)? } else { 32 };
        if !descriptor_size.is_power_of_two() || !(32..=1024).contains(&descriptor_size) {
            return Err(bad("group descriptor size", 0xFE, "a power of two from 32 to 1024", descriptor_size));
        }
        let state = f.u16_le(0x3A)?;
        let journal = compat & COMPAT_HAS_JOURNAL != 0;
        Ok(Self {
            block_size,
            cluster_size: u64::from(block_size) * u64::from(ratio),
            blocks,
            free_blocks,
            overhead: u64::from(f.u32_le(0x248)?).saturating_mul(ratio.into()),
            first_data_block,
            blocks_per_group,
            inodes_per_group,
            inodes,
            free_inodes: f.u32_le(0x10)?,
            inode_size,
            descriptor_size,
            first_meta_group: if features & incompat::META_BG != 0 { Some(f.u32_le(0x104)?) } else { None },
            journal_inode: Some(f.u32_le(0xE0)?).filter(|inode| journal && *inode != 0),
            needs_recovery: features & incompat::RECOVER != 0,
            clean: state & STATE_VALID != 0,
            has_errors: state & STATE_ERRORS != 0,
            file_types: features & incompat::FILETYPE != 0,
            huge_files: ro_compat & RO_COMPAT_HUGE_FILE != 0,
            group_checksums: ro_compat & RO_COMPAT_GDT_CSUM != 0,
            checksum_seed,
            uuid: uuid(&f)?,
            label: f.text(0x78, 16)?,
            type_name: type_name(compat, features),
        })
    }

    /// Block groups.
    pub(super) fn groups(&self) -> u64 {
        self.blocks.saturating_sub(u64::from(self.first_data_block)).div_ceil(u64::from(self.blocks_per_group))
    }
}

fn unknown_features(features: u32) -> Result<()> {
    if features & incompat::JOURNAL_DEV != 0 {
        return Err(Error::Unsupported("it is the external journal of another one".to_owned()));
    }
    let unknown = features & !incompat::KNOWN;
    if unknown == 0 {
        return Ok(());
    }
    Err(Error::Unsupported(format!("incompatible features {unknown:#x} are not known")))
}

fn checksum_seed(f: &Fields<'_>, bytes: &[u8], features: u32, ro_compat: u32) -> Result<Option<u32>> {
    if ro_compat & RO_COMPAT_METADATA_CSUM == 0 {
        return Ok(None);
    }
    let stated = f.u32_le(0x3FC)?;
    let found = super::checksum(!0, bytes.get(..0x3FC).unwrap_or_default());
    if stated != found {
        return Err(bad("superblock checksum", 0x3FC, format_args!("{found:#010x}"), format_args!("{stated:#010x}")));
    }
    Ok(Some(if features & incompat::CSUM_SEED != 0 {
        f.u32_le(0x270)?
    } else {
        super::checksum(!0, f.bytes(0x68, 16)?)
    }))
}

fn in_range(f: &Fields<'_>, what: &str, at: usize, low: u32, high: u32) -> Result<u32> {
    let value = f.u32_le(at)?;
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(bad(what, at as u64, format_args!("{low} to {high}"), value))
}

/// `s_uuid`, whose bytes are in the order of its text.
fn uuid(f: &Fields<'_>) -> Result<Uuid> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(0x68, 16)?);
    Ok(Uuid::from_bytes(raw))
}
