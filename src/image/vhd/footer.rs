//! The hard disk footer: the last sector of every VHD, and for those with a block table also the first one.
//!
//! Field names and offsets are those of Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0
//! (October 11, 2006), section "Hard Disk Footer Format"; all numbers are big-endian.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// `Cookie`, at 0.
pub(super) const COOKIE: &[u8; 8] = b"conectix";
/// Bytes of a footer.
pub(super) const SIZE: usize = 512;
/// Bytes of a footer that Virtual PC wrote before Virtual PC 2004; the specification's remark on `Reserved`.
pub(super) const OLD_SIZE: usize = 511;
/// `File Format Version`, at 12: 1.0 is the only one there is.
const VERSION: u32 = 0x0001_0000;
/// Where `Checksum` is.
const CHECKSUM: usize = 64;

/// `Disk Type`, at 60.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 2: the disk's bytes, then the footer.
    Fixed,
    /// 3: grows.
    Dynamic,
    /// 4: holds what differs from a parent.
    Differencing,
}

/// A footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// The bytes as they are, for writing them elsewhere.
    pub(super) raw: [u8; SIZE],
    /// `Data Offset`, at 16: where the dynamic disk header is, in bytes.
    pub(super) data_offset: u64,
    /// `Creator Application`, at 28, such as `vbox`, `win ` or `qemu`.
    pub(super) creator: [u8; 4],
    /// `Creator Version`, at 32: major in the upper half, minor in the lower.
    pub(super) creator_version: u32,
    /// `Current Size`, at 48: bytes of the disk, here rounded down to whole sectors.
    pub(super) current_size: u64,
    /// `Disk Geometry`, at 56: cylinders.
    pub(super) cylinders: u16,
    /// Heads.
    pub(super) heads: u8,
    /// Sectors per track.
    pub(super) sectors: u8,
    /// `Disk Type`.
    pub(super) kind: Kind,
    /// `Unique Id`, at 68, as VirtualBox prints it: it stores the memory of its `RTUUID`, whose first fields are
    /// little-endian. Hyper-V prints the same bytes in another order; only VirtualBox's registry is compared with it.
    pub(super) unique_id: Uuid,
    /// `Saved State`, at 84.
    pub(super) saved_state: bool,
}

impl Footer {
    /// Parses a footer of [`SIZE`] or [`OLD_SIZE`] bytes that begins at `base` of its file.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that is wrong or not supported.
    pub(super) fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHD footer", bytes, base);
        check_cookie(&f)?;
        check_sum(&f, &whole(&f)?, CHECKSUM, "VHD footer checksum")?;
        Self::parse_unsummed(bytes, base)
    }

    /// As [`parse`](Self::parse), without looking at the checksum.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(super) fn parse_unsummed(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHD footer", bytes, base);
        check_cookie(&f)?;
        let version = f.u32_be(12)?;
        if version != VERSION {
            return Err(ParseError::unsupported(
                f.offset(12),
                "VHD file format version",
                format_args!("{VERSION:#010x}"),
                format_args!("{version:#010x}"),
            ));
        }
        let kind = match f.u32_be(60)? {
            2 => Kind::Fixed,
            3 => Kind::Dynamic,
            4 => Kind::Differencing,
            other => {
                let expected = "2 (fixed), 3 (dynamic) or 4 (differencing)";
                return Err(ParseError::unsupported(f.offset(60), "VHD disk type", expected, other));
            }
        };
        let current_size = f.u64_be(48)? & !511;
        if current_size == 0 || i64::try_from(current_size).is_err() {
            return Err(ParseError::corrupt(f.offset(48), "VHD current size", "512 to 2^63 bytes", current_size));
        }
        let mut creator = [0; 4];
        creator.copy_from_slice(f.bytes(28, 4)?);
        Ok(Self {
            raw: whole(&f)?,
            data_offset: f.u64_be(16)?,
            creator,
            creator_version: f.u32_be(32)?,
            current_size,
            cylinders: f.u16_be(56)?,
            heads: f.u8(58)?,
            sectors: f.u8(59)?,
            kind,
            unique_id: f.uuid_le(68)?,
            saved_state: f.u8(84)? != 0,
        })
    }
}

/// The bytes of a footer, with a zero at the end of a short one.
fn whole(f: &Fields<'_>) -> Result<[u8; SIZE], ParseError> {
    let mut raw = [0; SIZE];
    raw[..OLD_SIZE].copy_from_slice(f.bytes(0, OLD_SIZE)?);
    if let Ok(last) = f.u8(OLD_SIZE) {
        raw[OLD_SIZE] = last;
    }
    Ok(raw)
}

fn check_cookie(f: &Fields<'_>) -> Result<(), ParseError> {
    let cookie = f.bytes(0, 8)?;
    if cookie == COOKIE {
        return Ok(());
    }
    let found = String::from_utf8_lossy(cookie);
    Err(ParseError::corrupt(f.offset(0), "VHD footer cookie", "\"conectix\"", format_args!("{found:?}")))
}

/// Checks the checksum at `at` of a structure: the one's complement of the sum of all other bytes.
///
/// # Errors
/// [`ParseError`] called `what` when it is another.
pub(super) fn check_sum(f: &Fields<'_>, bytes: &[u8], at: usize, what: &str) -> Result<(), ParseError> {
    let stored = f.u32_be(at)?;
    let field = f.bytes(at, 4)?;
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let right = !sum(bytes).wrapping_sub(sum(field));
    if stored == right {
        return Ok(());
    }
    Err(ParseError::corrupt(f.offset(at), what, format_args!("{right:#010x}"), format_args!("{stored:#010x}")))
}
