//! The superblock: 4 KiB at 64 KiB of the volume, with copies further on. Field names and offsets are those of
//! <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>; numbers are little-endian.

use super::checksum::{Checksum, Sum};
use super::node::{Pointer, Tree};
use super::objectid;
use crate::disk::Disk;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// Where the superblock and its copies are.
pub(super) const OFFSETS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Where `magic` is in it.
pub(super) const MAGIC_AT: usize = 64;
/// `_BHRfS_M`.
pub(super) const MAGIC: &[u8] = b"_BHRfS_M";
const SIZE: usize = 4096;
/// Room for `sys_chunk_array`.
const SYSTEM_CHUNKS: usize = 2048;
/// Levels of a tree are below this.
pub(super) const MAX_LEVEL: u8 = 8;

/// The bits of `incompat_flags`: their name, and whether they can be read.
const FEATURES: [(u32, &str, bool); 17] = [
    (0, "mixed-backref", true),
    (1, "default-subvol", true),
    (2, "mixed-bg", true),
    (3, "compress-lzo", true),
    (4, "compress-zstd", true),
    (5, "big-metadata", true),
    (6, "extended-iref", true),
    // A profile that some chunk may have; chunks are looked at one by one.
    (7, "raid56", true),
    (8, "skinny-metadata", true),
    (9, "no-holes", true),
    (10, "metadata-uuid", true),
    (11, "raid1c34", true),
    (12, "zoned", false),
    (13, "extent-tree-v2", false),
    (14, "raid-stripe-tree", false),
    // Tells more of who owns an extent, in a tree that is not read.
    (16, "simple-quota", true),
    (17, "remap-tree", false),
];
const METADATA_UUID: u64 = 1 << 10;
/// Bit of `compat_ro_flags`.
const BLOCK_GROUP_TREE: u64 = 1 << 3;

/// Bits of `flags`.
mod state {
    pub(super) const ERROR: u64 = 1 << 2;
    pub(super) const METADUMP: u64 = 1 << 33 | 1 << 34;
    /// A change of the UUID, of a tree or of the checksums that was not finished.
    pub(super) const CHANGING: u64 = 1 << 35 | 1 << 36 | 1 << 38 | 1 << 39 | 1 << 40;
}

/// A superblock whose numbers were checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Where on the volume it is.
    pub(super) at: u64,
    pub(super) generation: u64,
    /// The tree of trees.
    pub(super) root: Tree,
    pub(super) chunk_root: Tree,
    /// The tree of logs; none when nothing is logged.
    pub(super) log_root: Option<Tree>,
    pub(super) total_bytes: u64,
    pub(super) bytes_used: u64,
    pub(super) num_devices: u64,
    /// `devid` of this volume, and its size as the file system knows it.
    pub(super) device: u64,
    pub(super) device_size: u64,
    /// Bytes of a sector, the unit of data.
    pub(super) sector_size: u32,
    /// Bytes of a node of a tree.
    pub(super) node_size: u32,
    pub(super) checksum: Checksum,
    pub(super) has_block_group_tree: bool,
    pub(super) has_errors: bool,
    pub(super) uuid: Uuid,
    /// The UUID in every node.
    pub(super) node_uuid: [u8; 16],
    pub(super) label: String,
    /// Keys and chunks, for the beginning.
    pub(super) system_chunks: Vec<u8>,
}

fn bad(
    f: &Fields<'_>,
    at: usize,
    what: &str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Error {
    Error::from(ParseError::corrupt(f.offset(at), format!("{what} in the superblock"), expected, found))
}

/// The superblock at its first offset, or when that is corrupt the newest of its copies.
pub(super) fn find(volume: &dyn Disk) -> Result<Superblock> {
    let mut first = None;
    let mut newest: Option<Superblock> = None;
    for offset in OFFSETS {
        if offset + SIZE as u64 > volume.size() {
            break;
        }
        match read(volume, offset) {
            Ok(found) if offset == OFFSETS[0] => return Ok(found),
            Ok(found) if newest.as_ref().is_none_or(|known| known.generation < found.generation) => {
                newest = Some(found)
            }
            // The first one decides: a feature that is not known is no corruption.
            Err(error @ Error::Unsupported(_)) if offset == OFFSETS[0] => return Err(error),
            Err(error) => first = first.or(Some(error)),
            Ok(_) => {}
        }
    }
    match (newest, first) {
        (Some(newest), _) => Ok(newest),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let expected = format!("at least {} bytes", OFFSETS[0] + SIZE as u64);
            Err(ParseError::corrupt(0, "size of the volume", expected, volume.size()).into())
        }
    }
}

fn read(volume: &dyn Disk, offset: u64) -> Result<Superblock> {
    let mut bytes = vec![0; SIZE];
    volume.read_at(offset, &mut bytes)?;
    Superblock::parse(&bytes, offset)
}

impl Superblock {
    /// Parses the 4 KiB at byte `at` of the volume.
    fn parse(bytes: &[u8], at: u64) -> Result<Self> {
        let f = Fields::new("superblock", bytes, at);
        if f.bytes(MAGIC_AT, 8)? != MAGIC {
            return Err(bad(&f, MAGIC_AT, "magic number", "_BHRfS_M", "other bytes"));
        }
        let number = f.u16_le(0xC4)?;
        let checksum = Checksum::of_type(number)
            .ok_or_else(|| Error::Unsupported(format!("its checksums are of type {number}")))?;
        let (stated, found) = (Sum::stored(&bytes[..checksum.size()]), checksum.of(&bytes[0x20..SIZE]));
        if stated != found {
            return Err(bad(&f, 0, "checksum", found, stated));
        }
        if f.u64_le(0x30)? != at {
            return Err(bad(&f, 0x30, "own offset", at, f.u64_le(0x30)?));
        }
        check_features(&f)?;
        let sb = Self::fields(&f, checksum)?;
        sb.check(&f)?;
        Ok(sb)
    }

    fn fields(f: &Fields<'_>, checksum: Checksum) -> Result<Self, ParseError> {
        let incompat = f.u64_le(0xBC)?;
        let tree = |id, at: usize, generation, level: usize| -> Result<Tree, ParseError> {
            Ok(Tree { id, root: Pointer { logical: f.u64_le(at)?, generation, level: f.u8(level)? } })
        };
        let generation = f.u64_le(0x48)?;
        // The log is written ahead of the next transaction.
        let log = tree(objectid::TREE_LOG, 0x60, generation.saturating_add(1), 0xC8)?;
        let chunks = f.bytes(0x32B, SYSTEM_CHUNKS)?;
        let chunks_len = usize::try_from(f.u32_le(0xA0)?).unwrap_or(usize::MAX);
        let chunks = chunks.get(..chunks_len).ok_or_else(|| {
            let what = "length of the system chunks in the superblock";
            ParseError::corrupt(f.offset(0xA0), what, format_args!("at most {SYSTEM_CHUNKS}"), chunks_len)
        })?;
        Ok(Self {
            at: f.offset(0),
            generation,
            root: tree(objectid::ROOT_TREE, 0x50, generation, 0xC6)?,
            chunk_root: tree(objectid::CHUNK_TREE, 0x58, f.u64_le(0xA4)?, 0xC7)?,
            log_root: (log.root.logical != 0).then_some(log),
            total_bytes: f.u64_le(0x70)?,
            bytes_used: f.u64_le(0x78)?,
            num_devices: f.u64_le(0x88)?,
            device: f.u64_le(0xC9)?,
            device_size: f.u64_le(0xC9 + 8)?,
            sector_size: f.u32_le(0x90)?,
            node_size: f.u32_le(0x94)?,
            checksum,
            has_block_group_tree: f.u64_le(0xB4)? & BLOCK_GROUP_TREE != 0,
            has_errors: f.u64_le(0x38)? & state::ERROR != 0,
            uuid: Uuid::from_bytes(raw_uuid(f, 0x20)?),
            node_uuid: raw_uuid(f, if incompat & METADATA_UUID != 0 { 0x23B } else { 0x20 })?,
            label: f.text(0x12B, 256)?,
            system_chunks: chunks.to_vec(),
        })
    }

    fn check(&self, f: &Fields<'_>) -> Result<()> {
        let power = |at, what: &str, value: u32, low: u32| {
            if value.is_power_of_two() && (low..=65536).contains(&value) {
                return Ok(());
            }
            Err(bad(f, at, what, format_args!("a power of two from {low} to 65536"), value))
        };
        power(0x90, "sector size", self.sector_size, 512)?;
        power(0x94, "node size", self.node_size, self.sector_size.max(4096))?;
        for (at, tree) in [(0xC6, Some(&self.root)), (0xC7, Some(&self.chunk_root)), (0xC8, self.log_root.as_ref())] {
            if let Some(level) = tree.map(|tree| tree.root.level).filter(|level| *level >= MAX_LEVEL) {
                return Err(bad(f, at, "level of a tree", format_args!("below {MAX_LEVEL}"), level));
            }
        }
        Ok(())
    }
}

/// Refuses what cannot be read, by name.
fn check_features(f: &Fields<'_>) -> Result<()> {
    let flags = f.u64_le(0x38)?;
    if flags & state::METADUMP != 0 {
        return Err(Error::Unsupported("it is a dump of metadata without data (btrfs-image)".to_owned()));
    }
    if flags & state::CHANGING != 0 {
        return Err(Error::Unsupported("btrfstune did not finish a change of it".to_owned()));
    }
    let mut incompat = f.u64_le(0xBC)?;
    for (bit, name, readable) in FEATURES {
        if incompat & 1 << bit != 0 && !readable {
            return Err(Error::Unsupported(format!("it uses the feature {name}")));
        }
        incompat &= !(1 << bit);
    }
    if incompat != 0 {
        return Err(Error::Unsupported(format!("incompatible features {incompat:#x} are not known")));
    }
    Ok(())
}

fn raw_uuid(f: &Fields<'_>, at: usize) -> Result<[u8; 16], ParseError> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(at, 16)?);
    Ok(raw)
}
