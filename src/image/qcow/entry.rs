//! Entries of level 1 and level 2 tables.

use super::header::{MAX_OFFSET, QcowHeader};
use crate::image::Extent;
use crate::ondisk::ParseError;

/// Bit 63: the refcount is 1, so the cluster may be overwritten in place.
const COPIED: u64 = 1 << 63;
/// Bit 62 of a level 2 entry.
const COMPRESSED: u64 = 1 << 62;
/// Bits 9 to 55: an offset in the file.
const OFFSET: u64 = MAX_OFFSET & !511;
/// Bit 0 of a level 2 entry since version 3, where there are no subclusters.
const ZERO: u64 = 1;
/// Subclusters of a cluster in images that have them.
const SUBCLUSTERS: u64 = 32;

/// Bytes and position of a cluster's compressed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compressed {
    pub(super) offset: u64,
    /// An upper bound: data is counted in sectors of 512 bytes.
    pub(super) len: u64,
}

impl Compressed {
    /// What a compressed cluster descriptor says; its offset has `62 - (cluster_bits - 8)` bits, the rest counts
    /// sectors after the first.
    pub(super) fn decode(descriptor: u64, cluster_bits: u32) -> Self {
        let offset_bits = 62 - (cluster_bits - 8);
        let offset = descriptor & ((1 << offset_bits) - 1);
        let sectors = ((descriptor & (COMPRESSED - 1)) >> offset_bits) + 1;
        Self { offset, len: sectors * 512 - offset % 512 }
    }
}

/// What a level 2 entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QcowEntry {
    /// The descriptor without flags, for [`Compressed::decode`].
    Compressed(u64),
    Plain(Plain),
}

/// An entry that is not compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain {
    /// Where the cluster is in the file of the data, if it is stored.
    pub(super) host: Option<u64>,
    /// No other entry points to the cluster.
    pub(super) exclusive: bool,
    /// A bit per subcluster that is stored; all or none where there are no subclusters.
    allocated: u32,
    /// A bit per subcluster that reads as zeros.
    zero: u32,
}

impl QcowEntry {
    pub(super) const ABSENT: Self = Self::Plain(Plain { host: None, exclusive: false, allocated: 0, zero: 0 });
    pub(super) const ALL_ZERO: Self = Self::Plain(Plain { host: None, exclusive: false, allocated: 0, zero: u32::MAX });

    /// All of the cluster is stored at `host`, which nothing else uses.
    pub(super) fn stored(host: u64) -> Self {
        Self::Plain(Plain { host: Some(host), exclusive: true, allocated: u32::MAX, zero: 0 })
    }

    /// Parses the entry whose bytes, 8 or 16, are at `at` in the file.
    pub(super) fn decode(bytes: &[u8], header: &QcowHeader, at: u64) -> Result<Self, ParseError> {
        let (words, _) = bytes.as_chunks::<8>();
        let raw = words.first().map_or(0, |raw| u64::from_be_bytes(*raw));
        let bitmap = words.get(1).map_or(0, |raw| u64::from_be_bytes(*raw));
        let broken = |expected: &str, found: u64| {
            ParseError::corrupt(at, "QCOW2 level 2 entry", expected, format_args!("{found:#018x}"))
        };
        if raw & COMPRESSED != 0 {
            return match (raw & COPIED, bitmap) {
                (0, 0) if header.has_data_file() => Err(broken("no compressed cluster next to a data file", raw)),
                (0, 0) => Ok(Self::Compressed(raw & !COMPRESSED)),
                (0, _) => Err(broken("no subclusters in a compressed cluster", bitmap)),
                _ => Err(broken("no flag 63 on a compressed cluster", raw)),
            };
        }
        let has_zero_flag = header.version >= 3 && !header.extended();
        let flags = COPIED | if has_zero_flag { ZERO } else { 0 };
        if raw & !(OFFSET | flags) != 0 {
            return Err(broken("its reserved bits to be 0", raw));
        }
        let offset = raw & OFFSET;
        if !offset.is_multiple_of(header.cluster_size()) {
            return Err(broken("an offset that is a multiple of the cluster size", raw));
        }
        // In an external data file a cluster may begin at 0: the flag distinguishes it from one that is not stored.
        let at_zero = header.has_data_file() && raw & COPIED != 0;
        let host = (offset != 0 || at_zero).then_some(offset);
        let (allocated, zero) = if header.extended() {
            halves(bitmap)
        } else {
            let zero = has_zero_flag && raw & ZERO != 0;
            (all_if(host.is_some() && !zero), all_if(zero))
        };
        if allocated & zero != 0 || host.is_none() && allocated != 0 {
            return Err(broken("subclusters that are stored or zeros, not both", bitmap));
        }
        Ok(Self::Plain(Plain { host, exclusive: raw & COPIED != 0, allocated, zero }))
    }

    /// The bytes of a plain entry for the file: 16, of which 8 are used where there are no subclusters.
    pub(super) fn encode(self, header: &QcowHeader) -> [u8; 16] {
        let (raw, bitmap) = match self {
            Self::Compressed(descriptor) => (descriptor | COMPRESSED, 0),
            Self::Plain(plain) => {
                let flag = if header.extended() || plain.zero == 0 { 0 } else { ZERO };
                let copied = if plain.host.is_some() && plain.exclusive { COPIED } else { 0 };
                (plain.host.unwrap_or(0) | copied | flag, u64::from(plain.zero) << 32 | u64::from(plain.allocated))
            }
        };
        let mut out = [0; 16];
        out[..8].copy_from_slice(&raw.to_be_bytes());
        out[8..].copy_from_slice(&bitmap.to_be_bytes());
        out
    }
}

fn all_if(all: bool) -> u32 {
    if all { u32::MAX } else { 0 }
}

/// The lower half of the bitmap says which subclusters are stored, the upper one which are zeros.
fn halves(bitmap: u64) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
    (half(bitmap), half(bitmap >> 32))
}

impl Plain {
    /// What holds the bytes from `skip` bytes after the cluster's start on, and up to which byte of the cluster that
    /// is the answer at least. The file of the data has the index `file`.
    pub(super) fn extent(&self, header: &QcowHeader, skip: u64, file: usize) -> (Extent, u64) {
        let size = if header.extended() { header.cluster_size() / SUBCLUSTERS } else { header.cluster_size() };
        let bit = 1 << (skip / size % SUBCLUSTERS);
        let extent = match self.host {
            Some(host) if self.allocated & bit != 0 => Extent::Stored { file, offset: host + skip },
            _ if self.zero & bit != 0 => Extent::Zero,
            _ => Extent::Absent,
        };
        (extent, skip - skip % size + size)
    }
}

/// A level 1 entry: where a level 2 table is, and whether it is used here only. None where there is no table.
pub(super) fn table(raw: u64, header: &QcowHeader, at: u64) -> Result<Option<(u64, bool)>, ParseError> {
    let offset = raw & OFFSET;
    if raw & !(OFFSET | COPIED) != 0 || !offset.is_multiple_of(header.cluster_size()) {
        let expected = format_args!("a multiple of {} with flag 63 or without", header.cluster_size());
        return Err(ParseError::corrupt(at, "QCOW2 level 1 entry", expected, format_args!("{raw:#018x}")));
    }
    Ok((offset != 0).then_some((offset, raw & COPIED != 0)))
}

/// The level 1 entry for a table at `offset` that is used here only.
pub(super) fn own_table(offset: u64) -> u64 {
    offset | COPIED
}
