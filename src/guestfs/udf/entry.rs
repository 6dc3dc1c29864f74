//! File entries and extended file entries (ECMA-167, 4/14.9 and 4/14.17).

use super::tag::{self, Expected, id};
use super::text;
use crate::guestfs::{Attributes, NodeKind};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;

/// `StrategyType` of single entries.
const DIRECT: u16 = 4;
/// `ICBTag.Flags`: the form of allocation descriptors, set-user-id, set-group-id, sticky.
const FORM: u16 = 7;
const SETUID: u16 = 0x40;
const SETGID: u16 = 0x80;
const STICKY: u16 = 0x100;
/// No owner.
pub(super) const NO_OWNER: u32 = u32::MAX;
/// The ID that the kernel shows for no owner.
const NOBODY: u32 = 65534;
/// `AttributeType` of extended attributes: file times, and device numbers.
const FILE_TIMES: u32 = 5;
const DEVICE: u32 = 12;
/// Bytes in an extended attribute's header, and in the descriptor before the first one, and the identifier of that.
const ATTRIBUTE: usize = 12;
const ATTRIBUTES: usize = 24;
const ATTRIBUTES_ID: [u8; 2] = 262_u16.to_le_bytes();

/// `FileType`.
pub(super) mod file_type {
    pub(crate) const UNSPECIFIED: u8 = 0;
    pub(crate) const VIRTUAL_TABLE: u8 = 248;
    pub(crate) const METADATA: u8 = 250;
    pub(crate) const METADATA_MIRROR: u8 = 251;
}

/// The form of allocation descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Short,
    Long,
    Extended,
    /// The file's bytes replace the descriptors.
    Embedded,
}

/// A parsed file entry.
#[derive(Debug, Clone)]
pub(super) struct FileEntry {
    pub(super) file_type: u8,
    pub(super) attributes: Attributes,
    /// Whether it has an owner.
    pub(super) owned: bool,
    pub(super) form: Form,
    /// The allocation descriptors.
    pub(super) descriptors: Vec<u8>,
    /// Offset of the descriptors on the volume in bytes.
    pub(super) descriptors_at: u64,
}

impl FileEntry {
    /// Parses a block at byte `at` of the volume, whose number in its partition is `location`. The inner error
    /// describes an entry that is not supported.
    pub(super) fn parse(bytes: &[u8], at: u64, location: u32) -> Result<Result<Self, String>, ParseError> {
        let ids = [id::FILE_ENTRY, id::EXTENDED_FILE_ENTRY];
        let tag = tag::check(bytes, at, &Expected { what: "file entry", ids: &ids, location: Some(location) })?;
        let f = Fields::new("file entry", bytes, at);
        let strategy = f.u16_le(20)?;
        if strategy != DIRECT {
            return Ok(Err(format!(
                "the file entry at byte {at} has the strategy {strategy}, and only {DIRECT} is read"
            )));
        }
        // The extended entry has two more fields before the times and one between them.
        let extended = tag == id::EXTENDED_FILE_ENTRY;
        let (recorded, times, attributes_len, fixed) =
            if extended { (72, [80, 92, 116], 208, 216) } else { (64, [72, 84, 96], 168, 176) };
        let attributes_size = usize::try_from(f.u32_le(attributes_len)?).unwrap_or(usize::MAX);
        let descriptors_size = usize::try_from(f.u32_le(attributes_len + 4)?).unwrap_or(usize::MAX);
        let extra = f.bytes(fixed, attributes_size)?;
        let descriptors = f.bytes(fixed + attributes_size, descriptors_size)?;
        let (device, created) = extended_attributes(extra);
        let flags = f.u16_le(34)?;
        let form = match flags & FORM {
            0 => Form::Short,
            1 => Form::Long,
            2 => Form::Extended,
            3 => Form::Embedded,
            other => return Err(ParseError::corrupt(f.offset(34), "form of allocation descriptors", "0 to 3", other)),
        };
        let file_type = f.u8(27)?;
        let (uid, gid) = (f.u32_le(36)?, f.u32_le(40)?);
        let owner = |id: u32| if id == NO_OWNER { NOBODY } else { id };
        let time = |at: usize| -> Result<Time, ParseError> { Ok(text::time(f.bytes(at, 12)?).unwrap_or_default()) };
        let created = if extended { text::time(f.bytes(104, 12)?) } else { created };
        let kind = kind(file_type);
        let attributes = Attributes {
            kind,
            // The permissions of a symbolic link are meaningless.
            mode: if kind == NodeKind::Symlink { 0o777 } else { mode(f.u32_le(44)?, flags) },
            uid: owner(uid),
            gid: owner(gid),
            links: u32::from(f.u16_le(48)?),
            size: f.u64_le(56)?,
            // Still in blocks here.
            allocated: f.u64_le(recorded)?,
            accessed: time(times[0])?,
            modified: time(times[1])?,
            changed: time(times[2])?,
            created,
            device,
        };
        Ok(Ok(Self {
            file_type,
            attributes,
            owned: uid != NO_OWNER,
            form,
            descriptors: descriptors.to_vec(),
            descriptors_at: f.offset(fixed + attributes_size),
        }))
    }
}

/// The kind for a file type. Types for internal use are shown as files.
fn kind(file_type: u8) -> NodeKind {
    match file_type {
        4 => NodeKind::Directory,
        6 => NodeKind::BlockDevice,
        7 => NodeKind::CharDevice,
        9 => NodeKind::Fifo,
        10 => NodeKind::Socket,
        12 => NodeKind::Symlink,
        _ => NodeKind::File,
    }
}

/// Converts permissions: five bits each for others, group and owner, of which the lower three are those of POSIX.
fn mode(permissions: u32, flags: u16) -> u32 {
    let mut mode = permissions & 7 | permissions >> 2 & 0o70 | permissions >> 4 & 0o700;
    for (flag, bit) in [(SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000)] {
        if flags & flag != 0 {
            mode |= bit;
        }
    }
    mode
}

/// Device numbers and creation time from the extended attributes before the first invalid one.
fn extended_attributes(bytes: &[u8]) -> ((u32, u32), Option<Time>) {
    let (mut device, mut created) = ((0, 0), None);
    let mut at = if bytes.starts_with(&ATTRIBUTES_ID) { ATTRIBUTES } else { bytes.len() };
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= ATTRIBUTE) {
        let f = Fields::new("extended attribute", rest, 0);
        let (Ok(kind), Ok(len)) = (f.u32_le(0), f.u32_le(8)) else { break };
        match kind {
            DEVICE => device = (f.u32_le(16).unwrap_or(0), f.u32_le(20).unwrap_or(0)),
            // The creation time comes first, if its bit is set.
            FILE_TIMES if f.u32_le(16).is_ok_and(|exists| exists & 1 != 0) => {
                created = f.bytes(20, 12).ok().and_then(text::time);
            }
            _ => {}
        }
        match usize::try_from(len) {
            Ok(len) if len >= ATTRIBUTE => at += len,
            _ => break,
        }
    }
    (device, created)
}
