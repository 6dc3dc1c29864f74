//! Inodes. Field names and offsets are those of the kernel's `struct ext4_inode`
//! (<https://docs.kernel.org/filesystems/ext4/inodes.html>).

use super::superblock::Superblock;
use crate::guestfs::{Attributes, Error, NodeKind, device_numbers};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;

/// Bits of `i_flags`.
pub(super) mod flags {
    pub(crate) const ENCRYPT: u32 = 0x800;
    pub(crate) const INDEX: u32 = 0x1000;
    pub(crate) const HUGE_FILE: u32 = 0x4_0000;
    pub(crate) const EXTENTS: u32 = 0x8_0000;
    pub(crate) const EA_INODE: u32 = 0x20_0000;
    pub(crate) const INLINE_DATA: u32 = 0x1000_0000;
    pub(crate) const CASEFOLD: u32 = 0x4000_0000;
}

/// Bytes of `i_block`: the map, an extent tree's root, inline data or a link's target.
pub(super) const BLOCK_BYTES: usize = 60;

/// One inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) number: u32,
    /// `i_generation`, a seed of the checksums of what belongs to the inode.
    pub(super) generation: u32,
    pub(super) flags: u32,
    pub(super) attributes: Attributes,
    pub(super) block: [u8; BLOCK_BYTES],
    /// `i_file_acl`: the block with extended attributes; 0 for none.
    pub(super) file_acl: u64,
    /// What follows the fields in a large inode: extended attributes.
    pub(super) rest: Vec<u8>,
}

impl Inode {
    /// Parses one inode's bytes, which begin at byte `at` of the volume, and holds them against their checksum.
    pub(super) fn parse(bytes: &[u8], at: u64, number: u32, sb: &Superblock) -> Result<Self, ParseError> {
        let f = Fields::new("inode", bytes, at);
        check(&f, bytes, number, f.u32_le(0x64)?, extra(&f)?, sb)?;
        Self::parse_changed(bytes, at, number, sb)
    }

    /// Parses one inode's bytes, which were changed in memory without their checksum.
    pub(super) fn parse_changed(bytes: &[u8], at: u64, number: u32, sb: &Superblock) -> Result<Self, ParseError> {
        let f = Fields::new("inode", bytes, at);
        let generation = f.u32_le(0x64)?;
        let extra = extra(&f)?;
        let has = |end: usize| 128 + extra >= end;

        let raw_mode = f.u16_le(0)?;
        let inode_flags = f.u32_le(0x20)?;
        let mut block = [0; BLOCK_BYTES];
        block.copy_from_slice(f.bytes(0x28, BLOCK_BYTES)?);
        let kind = NodeKind::of_mode(raw_mode.into()).ok_or_else(|| {
            ParseError::corrupt(
                at,
                format!("type of inode {number}"),
                "a file, directory or device",
                format_args!("{raw_mode:#o}"),
            )
        })?;
        let high_size = if matches!(kind, NodeKind::File | NodeKind::Directory) { f.u32_le(0x6C)? } else { 0 };
        let allocated = u64::from(f.u32_le(0x1C)?) | u64::from(f.u16_le(0x74)?) << 32;
        let unit = if sb.huge_files && inode_flags & flags::HUGE_FILE != 0 { u64::from(sb.block_size) } else { 512 };
        let time = |at: usize, extra_at: usize| -> Result<Time, ParseError> {
            let extra = if has(extra_at + 4) { f.u32_le(extra_at)? } else { 0 };
            Ok(time(f.u32_le(at)?, extra))
        };
        let attributes = Attributes {
            kind,
            mode: u32::from(raw_mode & 0o7777),
            uid: u32::from(f.u16_le(2)?) | u32::from(f.u16_le(0x78)?) << 16,
            gid: u32::from(f.u16_le(0x18)?) | u32::from(f.u16_le(0x7A)?) << 16,
            links: u32::from(f.u16_le(0x1A)?),
            size: u64::from(f.u32_le(4)?) | u64::from(high_size) << 32,
            allocated: allocated.saturating_mul(unit),
            accessed: time(0x8, 0x8C)?,
            modified: time(0x10, 0x88)?,
            changed: time(0xC, 0x84)?,
            created: if has(0x98) { Some(time(0x90, 0x94)?) } else { None },
            device: device(&block),
        };
        Ok(Self {
            number,
            generation,
            flags: inode_flags,
            attributes,
            block,
            file_acl: u64::from(f.u32_le(0x68)?) | u64::from(f.u16_le(0x76)?) << 32,
            rest: bytes.get(128 + extra..).unwrap_or_default().to_vec(),
        })
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether its names, target or bytes, by its `kind`, are not encrypted by the guest, whose keys are not here.
    pub(super) fn readable(&self, kind: &str) -> Result<(), Error> {
        if !self.has(flags::ENCRYPT) {
            return Ok(());
        }
        let what = format!("the {kind} with inode {} is encrypted by the guest", self.number);
        Err(Error::Unsupported(what))
    }

    /// The seed of the checksums of what belongs to this inode.
    pub(super) fn checksum_seed(&self, sb: &Superblock) -> Option<u32> {
        Some(seed(sb.checksum_seed?, self.number, self.generation))
    }
}

/// `i_extra_isize`: bytes of fields after the first 128.
fn extra(f: &Fields<'_>) -> Result<usize, ParseError> {
    let extra = if f.len() > 128 { usize::from(f.u16_le(0x80)?) } else { 0 };
    if extra > f.len().saturating_sub(128) || !extra.is_multiple_of(4) {
        return Err(ParseError::corrupt(f.offset(0x80), "extra size of an inode", "no more than the inode has", extra));
    }
    Ok(extra)
}

fn seed(seed: u32, number: u32, generation: u32) -> u32 {
    super::checksum(super::checksum(seed, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// Checks the inode against `i_checksum`, which counts as zero in its own sum.
fn check(
    f: &Fields<'_>,
    bytes: &[u8],
    number: u32,
    generation: u32,
    extra: usize,
    sb: &Superblock,
) -> Result<(), ParseError> {
    let Some(start) = sb.checksum_seed else { return Ok(()) };
    let mut plain = bytes.to_vec();
    let mut stated = u32::from(f.u16_le(0x7C)?);
    plain[0x7C..0x7E].fill(0);
    let mut mask = 0xFFFF;
    if extra >= 4 {
        stated |= u32::from(f.u16_le(0x82)?) << 16;
        plain[0x82..0x84].fill(0);
        mask = u32::MAX;
    }
    let found = super::checksum(seed(start, number, generation), &plain) & mask;
    if found == stated {
        return Ok(());
    }
    let what = format!("checksum of inode {number}");
    Err(ParseError::corrupt(f.offset(0x7C), what, format_args!("{found:#x}"), format_args!("{stated:#x}")))
}

/// Seconds as a signed 32-bit number; of the extra word the lower two bits extend them and the others are nanoseconds.
fn time(seconds: u32, extra: u32) -> Time {
    let signed = i64::from(seconds.cast_signed());
    Time { seconds: signed + (i64::from(extra & 3) << 32), nanoseconds: (extra >> 2).min(999_999_999) }
}

/// Device numbers: the old encoding in the first word of the map, or else the new one in the second.
fn device(block: &[u8; BLOCK_BYTES]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    match word(0) {
        0 => device_numbers(word(4)),
        old => (old >> 8 & 0xFF, old & 0xFF),
    }
}
