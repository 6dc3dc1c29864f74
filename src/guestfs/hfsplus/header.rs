//! The volume header, 512 bytes at byte 1024, and the forks that it describes. Field names and offsets are from `struct
//! HFSPlusVolumeHeader` and `HFSPlusForkData` in Apple's Technical Note TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html>); numbers are big-endian.

use crate::disk::Disk;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::{Uuid, uuid};

/// Offset and size of the header.
pub(super) const AT: u64 = 1024;
pub(super) const SIZE: usize = 512;
/// `H+` of HFS+ and `HX` of HFSX; `BD` of the old HFS.
const HFS_PLUS: u16 = 0x482B;
const HFSX: u16 = 0x4858;
const HFS: u16 = 0x4244;
/// Bits of `attributes`: cleanly unmounted; found inconsistent; journaled.
const UNMOUNTED: u32 = 1 << 8;
const INCONSISTENT: u32 = 1 << 11;
const JOURNALED: u32 = 1 << 13;

/// A run of allocation blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HfsExtent {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// A fork: its size and its first eight extents.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fork {
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) blocks: u32,
    pub(super) extents: [HfsExtent; 8],
}

impl Fork {
    pub(super) fn parse(f: &Fields<'_>, at: usize) -> Result<Self, ParseError> {
        Ok(Self { size: f.u64_be(at)?, blocks: f.u32_be(at + 12)?, extents: extents(f, at + 16)? })
    }
}

/// Parses eight extents.
pub(super) fn extents(f: &Fields<'_>, at: usize) -> Result<[HfsExtent; 8], ParseError> {
    let mut all = [HfsExtent::default(); 8];
    for (extent, at) in all.iter_mut().zip((at..).step_by(8)) {
        *extent = HfsExtent { start: f.u32_be(at)?, count: f.u32_be(at + 4)? };
    }
    Ok(all)
}

/// The range of the volume that holds the file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: u64,
    pub(super) size: u64,
}

/// A validated volume header.
#[derive(Debug, Clone)]
pub(super) struct VolumeHeader {
    /// Whether names may be case-sensitive: see the catalog's `keyCompareType`.
    pub(super) is_hfsx: bool,
    pub(super) unmounted: bool,
    pub(super) inconsistent: bool,
    /// `journalInfoBlock`, if there is a journal.
    pub(super) journal: Option<u32>,
    /// `createDate`.
    pub(super) created: u32,
    pub(super) block_size: u32,
    pub(super) blocks: u32,
    pub(super) free_blocks: u32,
    /// The last two words of `finderInfo`: the volume's ID.
    pub(super) id: u64,
    pub(super) extents: Fork,
    pub(super) catalog: Fork,
    pub(super) attributes: Fork,
}

/// Whether a volume starts like this file system, possibly embedded in a volume of the old HFS; `head` is its first 4
/// KiB.
pub(super) fn probe(head: &[u8]) -> bool {
    let f = Fields::new("volume header", head, 0);
    match f.u16_be(1024) {
        Ok(HFS_PLUS | HFSX) => true,
        Ok(HFS) => is_wrapped(&f),
        _ => false,
    }
}

/// Whether a volume is the old HFS without an embedded HFS+.
pub(super) fn probe_classic(head: &[u8]) -> bool {
    let f = Fields::new("master directory block", head, 0);
    // `drSigWord`, and the size of allocation blocks, a multiple of 512.
    matches!(f.u16_be(1024), Ok(HFS))
        && f.u32_be(1024 + 20).is_ok_and(|size| size != 0 && size % 512 == 0)
        && !is_wrapped(&f)
}

/// The namespace in which macOS and blkid derive a UUID from a volume's ID.
const NAMESPACE: Uuid = uuid!("b3e20f39-f292-11d6-97a4-00306543ecac");

/// The UUID of a volume with this ID in its `finderInfo`; empty for 0.
pub(super) fn uuid_of_id(id: u64) -> String {
    if id == 0 { String::new() } else { Uuid::new_v3(&NAMESPACE, &id.to_be_bytes()).to_string() }
}

/// The UUID of a volume that starts with a header; empty for an embedded one, whose header is elsewhere.
pub(super) fn uuid_of(head: &[u8]) -> String {
    let f = Fields::new("volume header", head, 0);
    let id = if matches!(f.u16_be(1024), Ok(HFS)) { Ok(0) } else { f.u64_be(1024 + 80 + 24) };
    uuid_of_id(id.unwrap_or(0))
}

/// The label of an old HFS (`drVN`, up to 27 bytes after their length), and the UUID from `drFndrInfo`.
pub(super) fn classic_names(head: &[u8]) -> (String, String) {
    let f = Fields::new("master directory block", head, 0);
    let label = f.u8(1024 + 36).and_then(|len| f.text(1024 + 37, usize::from(len.min(27))));
    (label.unwrap_or_default(), uuid_of_id(f.u64_be(1024 + 92 + 24).unwrap_or(0)))
}

/// `drEmbedSigWord` of the old HFS.
fn is_wrapped(f: &Fields<'_>) -> bool {
    matches!(f.u16_be(1024 + 124), Ok(HFS_PLUS | HFSX))
}

/// Finds the file system on a volume: the whole volume, or the range embedded in an old HFS.
pub(super) fn bounds(volume: &dyn Disk) -> Result<Bounds> {
    let mut raw = [0; SIZE];
    volume.read_at(AT, &mut raw)?;
    let f = Fields::new("master directory block", &raw, AT);
    let all = Bounds { start: 0, size: volume.size() };
    if f.u16_be(0)? != HFS {
        return Ok(all);
    }
    if !matches!(f.u16_be(124)?, HFS_PLUS | HFSX) {
        let what = "it is the old HFS, not HFS+".to_owned();
        return Err(Error::Unsupported(what));
    }
    // `drAlBlkSiz`, `drAlBlSt` in 512 bytes, and `drEmbedExtent`.
    let block = u64::from(f.u32_be(20)?);
    let start = u64::from(f.u16_be(28)?) * 512 + u64::from(f.u16_be(126)?) * block;
    let size = u64::from(f.u16_be(128)?) * block;
    // It may be truncated, but not before the end of its header.
    let left = volume.size().saturating_sub(start).min(size);
    if left < AT + SIZE as u64 {
        let expected = format!("a range within the volume of {} bytes", volume.size());
        let found = format!("{size} bytes from {start} on");
        return Err(ParseError::corrupt(f.offset(126), "embedded volume", expected, found).into());
    }
    Ok(Bounds { start, size: left })
}

impl VolumeHeader {
    /// Parses the [`SIZE`] bytes at [`AT`] of the file system.
    pub(super) fn parse(bytes: &[u8], bounds: Bounds) -> Result<Self> {
        let f = Fields::new("volume header", bytes, bounds.start + AT);
        let signature = f.u16_be(0)?;
        if !matches!(signature, HFS_PLUS | HFSX) {
            let found = format!("{signature:#x}");
            return Err(ParseError::corrupt(f.offset(0), "signature", "0x482b or 0x4858", found).into());
        }
        let version = f.u16_be(2)?;
        if !matches!(version, 4 | 5) {
            let what = format!("it is of version {version}, only 4 and 5 are known");
            return Err(Error::Unsupported(what));
        }
        Self::fields(&f, signature == HFSX).map_err(Error::from)
    }

    /// The minimum size of the volume in bytes. The last block may be truncated, as it has no data: a copy of the
    /// header is 1024 bytes before the end.
    pub(super) fn least_size(&self) -> u64 {
        u64::from(self.blocks).saturating_sub(1) * u64::from(self.block_size)
    }

    fn fields(f: &Fields<'_>, is_hfsx: bool) -> Result<Self, ParseError> {
        let attributes = f.u32_be(4)?;
        let block_size = f.u32_be(40)?;
        if !block_size.is_power_of_two() || block_size < 512 {
            let expected = "a power of two from 512 on";
            return Err(ParseError::corrupt(f.offset(40), "allocation block size", expected, block_size));
        }
        let blocks = f.u32_be(44)?;
        if blocks == 0 {
            return Err(ParseError::corrupt(f.offset(44), "number of allocation blocks", "at least 1", blocks));
        }
        let journal = f.u32_be(12)?;
        Ok(Self {
            is_hfsx,
            unmounted: attributes & UNMOUNTED != 0,
            inconsistent: attributes & INCONSISTENT != 0,
            journal: (attributes & JOURNALED != 0 && journal != 0).then_some(journal),
            created: f.u32_be(16)?,
            block_size,
            blocks,
            free_blocks: f.u32_be(48)?,
            id: f.u64_be(80 + 24)?,
            extents: Fork::parse(f, 192)?,
            catalog: Fork::parse(f, 272)?,
            attributes: Fork::parse(f, 352)?,
        })
    }
}
