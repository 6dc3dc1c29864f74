//! Inodes. Field names and offsets are those of <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>
//! (`INODE_ITEM`); numbers are little-endian.

use crate::guestfs::{Attributes, NodeKind};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;

/// Bit of `flags`: its data has no checksums.
const NODATASUM: u64 = 1 << 0;

/// One inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) attributes: Attributes,
    /// Whether its data has checksums.
    pub(super) has_sums: bool,
}

impl Inode {
    /// Parses the inode with this number.
    pub(super) fn parse(f: &Fields<'_>, number: u64) -> Result<Self, ParseError> {
        let mode = f.u32_le(52)?;
        let kind = NodeKind::of_mode(mode).ok_or_else(|| {
            let what = format!("type of inode {number}");
            ParseError::corrupt(f.offset(52), what, "a file, directory or device", format_args!("{mode:#o}"))
        })?;
        let size = f.u64_le(16)?;
        if i64::try_from(size).is_err() {
            return Err(ParseError::corrupt(f.offset(16), format!("size of inode {number}"), "below 2^63", size));
        }
        let device = matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        let rdev = if device { f.u64_le(56)? } else { 0 };
        let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let attributes = Attributes {
            kind,
            mode: mode & 0o7777,
            uid: f.u32_le(44)?,
            gid: f.u32_le(48)?,
            links: f.u32_le(40)?,
            size,
            allocated: f.u64_le(24)?,
            accessed: time(f, 112)?,
            changed: time(f, 124)?,
            modified: time(f, 136)?,
            created: Some(time(f, 148)?),
            // As the kernel has it in memory: 20 bits of minor number below the major one.
            device: (part(rdev >> 20), part(rdev & 0xF_FFFF)),
        };
        Ok(Self { attributes, has_sums: f.u64_le(64)? & NODATASUM == 0 })
    }
}

fn time(f: &Fields<'_>, at: usize) -> Result<Time, ParseError> {
    Ok(Time { seconds: f.u64_le(at)?.cast_signed(), nanoseconds: f.u32_le(at + 8)?.min(999_999_999) })
}
