//! Chunks: where on this device the logical addresses of the file system are
//! (<https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>, `CHUNK_ITEM`). One device is read, so every chunk
//! must be whole on it, once or more often.

use super::kind;
use super::node::{KEY, Key};
use super::superblock::Superblock;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::collections::BTreeMap;

/// Bytes of a chunk before its stripes, and of a stripe.
const HEAD: usize = 48;
const STRIPE: usize = 32;
/// More chunks than 256 TiB of them have.
const MAX_CHUNKS: usize = 1 << 20;

/// The bits of `type` that encode how a chunk is spread over devices.
const PROFILES: [(u64, &str); 8] = [
    (1 << 3, "RAID0"),
    (1 << 4, "RAID1"),
    (1 << 5, "DUP"),
    (1 << 6, "RAID10"),
    (1 << 7, "RAID5"),
    (1 << 8, "RAID6"),
    (1 << 9, "RAID1C3"),
    (1 << 10, "RAID1C4"),
];
const STRIPED: u64 = 1 << 3 | 1 << 6;
const PARITY: u64 = 1 << 7 | 1 << 8;
/// `REMAPPED` and `METADATA_REMAP`, of the feature remap-tree.
const REMAPPED: u64 = 1 << 11 | 1 << 12;

/// A range of logical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) logical: u64,
    pub(super) length: u64,
    profile: &'static str,
    /// Where on this device copies of it begin; none when it cannot be read from this device.
    copies: Vec<u64>,
}

impl Chunk {
    /// Parses a chunk and returns how many bytes it takes.
    fn parse(f: &Fields<'_>, at: usize, key: Key, sb: &Superblock) -> Result<(Self, usize), ParseError> {
        let bad = |at: usize, what: &str, expected: String, found: String| {
            ParseError::corrupt(f.offset(at), format!("{what} of the chunk at {}", key.offset), expected, found)
        };
        let (length, flags) = (f.u64_le(at)?, f.u64_le(at + 24)?);
        let sector = u64::from(sb.sector_size);
        if length == 0 || !length.is_multiple_of(sector) || key.offset.checked_add(length).is_none() {
            return Err(bad(at, "length", format!("a multiple of {sector}"), length.to_string()));
        }
        let (stripes, sub_stripes) = (usize::from(f.u16_le(at + 44)?), usize::from(f.u16_le(at + 46)?));
        if stripes == 0 {
            return Err(bad(at + 44, "number of stripes", "at least 1".to_owned(), "0".to_owned()));
        }
        // A stripe set of one stripe, alone or mirrored, is whole.
        let spread = flags & PARITY != 0
            || flags & REMAPPED != 0
            || flags & STRIPED != 0 && stripes != if flags & 1 << 6 != 0 { sub_stripes.max(1) } else { 1 };
        let mut copies = Vec::new();
        for stripe in 0..stripes {
            let stripe = at + HEAD + stripe * STRIPE;
            let (device, offset) = (f.u64_le(stripe)?, f.u64_le(stripe + 8)?);
            if device != sb.device || spread {
                continue;
            }
            if offset.checked_add(length).is_none_or(|end| end > sb.device_size) {
                let expected = format!("within {} bytes", sb.device_size);
                return Err(bad(stripe + 8, "offset", expected, format!("{length} bytes at {offset}")));
            }
            copies.push(offset);
        }
        let profile = PROFILES.iter().find(|(bit, _)| flags & bit != 0).map_or("single", |(_, name)| name);
        let chunk = Self { logical: key.offset, length, profile, copies };
        Ok((chunk, HEAD + stripes * STRIPE))
    }

    /// Whether this device has all of it.
    pub(super) fn readable(&self) -> bool {
        !self.copies.is_empty()
    }
}

/// All chunks, by logical address.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    map: BTreeMap<u64, Chunk>,
    devices: u64,
}

impl Chunks {
    /// The chunks that the superblock lists, which the tree of chunks is in.
    pub(super) fn of_superblock(sb: &Superblock) -> Result<Self> {
        let f = Fields::new("system chunks in the superblock", &sb.system_chunks, sb.at + 0x32B);
        let mut chunks = Self { map: BTreeMap::new(), devices: sb.num_devices };
        let mut at = 0;
        while at < f.len() {
            let key = Key::parse(&f, at)?;
            at += KEY + chunks.add(&f, at + KEY, key, sb)?;
        }
        Ok(chunks)
    }

    /// Adds the chunk whose item has this key and begins at byte `at` of `f`; returns how many bytes the item has.
    pub(super) fn add(&mut self, f: &Fields<'_>, at: usize, key: Key, sb: &Superblock) -> Result<usize> {
        if key.kind != kind::CHUNK_ITEM {
            return Err(ParseError::corrupt(f.offset(at), "key of a chunk", kind::CHUNK_ITEM, key).into());
        }
        let (chunk, size) = Chunk::parse(f, at, key, sb)?;
        if self.map.len() >= MAX_CHUNKS {
            let expected = format!("at most {MAX_CHUNKS}");
            return Err(ParseError::corrupt(f.offset(at), "number of chunks", expected, "more").into());
        }
        self.map.insert(chunk.logical, chunk);
        Ok(size)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.map.values()
    }

    /// Why a chunk cannot be read from this device.
    pub(super) fn elsewhere(&self, chunk: &Chunk) -> Error {
        Error::Unsupported(format!(
            "it is spread over {} devices, of which this is one: data with the profile {} is not all here",
            self.devices, chunk.profile
        ))
    }

    /// Where on the volume the copies of `len` bytes at a logical address are, of which there is one at least.
    pub(super) fn copies(&self, logical: u64, len: u64) -> Result<impl Iterator<Item = u64> + '_> {
        let chunk = self.map.range(..=logical).next_back().map(|(_, chunk)| chunk);
        let inside = chunk.and_then(|chunk| {
            let skip = logical - chunk.logical;
            (skip.checked_add(len)? <= chunk.length).then_some((chunk, skip))
        });
        let (chunk, skip) = inside.ok_or_else(|| {
            ParseError::corrupt(0, "logical address", "within a chunk", format_args!("{len} bytes at {logical}"))
        })?;
        if !chunk.readable() {
            return Err(self.elsewhere(chunk));
        }
        Ok(chunk.copies.iter().map(move |copy| copy + skip))
    }
}
