//! Inodes. Field names and offsets are those of the kernel's `struct xfs_dinode`
//! (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>).

use super::superblock::Superblock;
use crate::guestfs::{Attributes, NodeKind};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;

/// `di_magic`: `IN`.
const MAGIC: u16 = 0x494E;
/// Where `di_crc` is.
const CRC: usize = 100;
/// Bit of `di_flags`: the data is on the realtime volume.
const REALTIME: u16 = 1;
/// Bits of `di_flags2`.
const BIGTIME: u64 = 1 << 3;
const NREXT64: u64 = 1 << 4;
/// Where the seconds of large times begin: the earliest that 32 bits can hold.
const BIGTIME_START: i64 = -(1 << 31);

/// How a fork holds its content (`di_format`, `di_aformat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A device's number.
    Device,
    /// The bytes themselves.
    Local,
    /// A list of extents.
    Extents,
    /// The root of a B+tree of extents.
    Tree,
}

/// One of an inode's two forks: its data or its attributes.
#[derive(Debug, Clone)]
pub(super) struct Fork {
    pub(super) format: Format,
    /// Extents in all.
    pub(super) extents: u64,
    /// What the inode itself holds of it.
    pub(super) bytes: Vec<u8>,
    /// Where on the volume those bytes begin.
    pub(super) at: u64,
}

/// One inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) realtime: bool,
    pub(super) attributes: Attributes,
    pub(super) data: Fork,
    pub(super) attrs: Option<Fork>,
}

/// Where the forks begin in an inode of this version.
pub(super) fn core_size(version: u8) -> usize {
    if version >= 3 { 176 } else { 100 }
}

impl Inode {
    /// Parses one inode's bytes, which begin at byte `at` of the volume. `check_crc` is for those that are as the
    /// guest wrote them.
    pub(super) fn parse(
        bytes: &[u8],
        at: u64,
        number: u64,
        sb: &Superblock,
        check_crc: bool,
    ) -> Result<Self, ParseError> {
        let f = Fields::new("inode", bytes, at);
        let bad = |offset: usize, what: &str, expected: &str, found: String| {
            ParseError::corrupt(f.offset(offset), format!("{what} of inode {number}"), expected, found)
        };
        if f.u16_be(0)? != MAGIC {
            return Err(bad(0, "magic number", "0x494e", format!("{:#x}", f.u16_be(0)?)));
        }
        let version = f.u8(4)?;
        if !(if sb.v5 { 3..=3 } else { 1..=2 }).contains(&version) {
            return Err(bad(4, "version", if sb.v5 { "3" } else { "1 or 2" }, version.to_string()));
        }
        if sb.v5 {
            if check_crc {
                super::same_checksum(&format!("checksum of inode {number}"), bytes, at, CRC)?;
            }
            if f.u64_be(152)? != number {
                return Err(bad(152, "number", "its own", f.u64_be(152)?.to_string()));
            }
        }
        let flags2 = if sb.v5 { f.u64_be(120)? } else { 0 };
        let raw_mode = f.u16_be(2)?;
        let kind = NodeKind::of_mode(raw_mode.into())
            .ok_or_else(|| bad(2, "type", "a file, directory or device", format!("{raw_mode:#o}")))?;
        let (extents, attr_extents) = if flags2 & NREXT64 != 0 {
            (f.u64_be(24)?, f.u32_be(76)?)
        } else {
            (f.u32_be(76)?.into(), f.u16_be(80)?.into())
        };
        let core = core_size(version);
        let fork_at = usize::from(f.u8(82)?) * 8;
        let room = bytes.len().saturating_sub(core);
        if fork_at >= room {
            return Err(bad(82, "offset of the attributes", "within the inode", fork_at.to_string()));
        }
        let end = if fork_at == 0 { room } else { fork_at };
        let data = fork(&f, 5, core, end, extents, number)?;
        let has_attrs = fork_at != 0 && (f.u8(83)? != 2 || attr_extents != 0);
        let attrs = if has_attrs {
            Some(fork(&f, 83, core + fork_at, room - fork_at, attr_extents.into(), number)?)
        } else {
            None
        };
        let size = f.u64_be(56)?;
        if i64::try_from(size).is_err() {
            return Err(bad(56, "size", "below 2^63", size.to_string()));
        }
        let links = if version == 1 { f.u16_be(6)?.into() } else { f.u32_be(16)? };
        let time = |at: usize| time(&f, at, flags2 & BIGTIME != 0);
        let attributes = Attributes {
            kind,
            mode: u32::from(raw_mode & 0o7777),
            uid: f.u32_be(8)?,
            gid: f.u32_be(12)?,
            links,
            size,
            allocated: f.u64_be(64)?.saturating_mul(sb.block_size.into()),
            accessed: time(32)?,
            modified: time(40)?,
            changed: time(48)?,
            created: if sb.v5 { Some(time(144)?) } else { None },
            device: device(&data)?,
        };
        let realtime = kind == NodeKind::File && f.u16_be(90)? & REALTIME != 0;
        Ok(Self { number, realtime, attributes, data, attrs })
    }
}

/// The fork of `len` bytes from `start` of the inode on, whose format is at `format_at`.
fn fork(
    f: &Fields<'_>,
    format_at: usize,
    start: usize,
    len: usize,
    extents: u64,
    number: u64,
) -> Result<Fork, ParseError> {
    let format = match f.u8(format_at)? {
        0 => Format::Device,
        1 => Format::Local,
        2 => Format::Extents,
        3 => Format::Tree,
        other => {
            let what = format!("format of inode {number}");
            return Err(ParseError::corrupt(f.offset(format_at), what, "0 to 3", other));
        }
    };
    if format == Format::Extents && extents > len as u64 / 16 {
        let what = format!("number of extents in inode {number}");
        return Err(ParseError::corrupt(f.offset(76), what, format_args!("at most {}", len / 16), extents));
    }
    Ok(Fork { format, extents, bytes: f.bytes(start, len)?.to_vec(), at: f.offset(start) })
}

/// Seconds and nanoseconds, 32 bits each, or nanoseconds in 64 bits.
fn time(f: &Fields<'_>, at: usize, big: bool) -> Result<Time, ParseError> {
    const SECOND: u64 = 1_000_000_000;
    if big {
        let raw = f.u64_be(at)?;
        let seconds = i64::try_from(raw / SECOND).unwrap_or(i64::MAX).saturating_add(BIGTIME_START);
        return Ok(Time { seconds, nanoseconds: u32::try_from(raw % SECOND).unwrap_or(0) });
    }
    let seconds = i64::from(f.u32_be(at)?.cast_signed());
    Ok(Time { seconds, nanoseconds: f.u32_be(at + 4)?.min(999_999_999) })
}

/// A device's number as System V writes it: 14 bits of major and 18 bits of minor number.
fn device(data: &Fork) -> Result<(u32, u32), ParseError> {
    if data.format != Format::Device {
        return Ok((0, 0));
    }
    let raw = Fields::new("device number", &data.bytes, data.at).u32_be(0)?;
    Ok((raw >> 18, raw & 0x3_FFFF))
}
