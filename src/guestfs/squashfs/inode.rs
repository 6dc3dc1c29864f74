//! Inodes. Field names and offsets are those of the kernel's `struct squashfs_*_inode`
//! (<https://docs.kernel.org/filesystems/squashfs.html>). A node's number is its inode's reference, by which
//! directories name it.

use super::Squashfs;
use super::metadata::{BLOCK, Position};
use crate::guestfs::{Attributes, Error, NodeKind, Result, device_numbers};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;
use std::sync::Mutex;

/// Bytes that all inodes begin with.
const HEADER: usize = 16;
/// In place of a number of a fragment or of extended attributes.
const NONE: u32 = u32::MAX;
/// The longest target of a symbolic link, as the kernel has it.
const MAX_LINK: u32 = 4096;
/// Types of inodes: from this one on they are the longer forms of those before.
const LONG: u16 = 7;

/// What an inode has beyond its attributes.
pub(super) enum Content {
    Directory(Directory),
    File(File),
    Symlink(Vec<u8>),
    Other,
}

/// Where a directory's entries are.
pub(super) struct Directory {
    pub(super) first: Position,
    /// Bytes of entries.
    pub(super) size: u64,
    /// How many entries its index has, and where that is.
    pub(super) index: (u16, Position),
}

/// Where a file's blocks are.
pub(super) struct File {
    pub(super) size: u64,
    /// Blocks of its own; what is after them is in the fragment.
    pub(super) blocks: u64,
    /// `start_block`: the byte of the volume where they begin.
    pub(super) start: u64,
    /// The number of the fragment's block, and the byte in it once it is decompressed.
    pub(super) fragment: Option<(u32, u32)>,
    /// Where the list of the blocks' sizes is.
    pub(super) sizes: Position,
    /// Of some blocks, from the first on, where their size is listed and where they are: see `blocks.rs`.
    pub(super) known: Mutex<Vec<(Position, u64)>>,
}

/// A parsed inode.
pub(super) struct Inode {
    /// Where it is, for messages.
    pub(super) at: u64,
    pub(super) attributes: Attributes,
    pub(super) xattr: Option<u32>,
    pub(super) content: Content,
}

/// The kind of a directory's entry or of an inode of the short form.
pub(super) fn kind(number: u16) -> Option<NodeKind> {
    Some(match number {
        1 => NodeKind::Directory,
        2 => NodeKind::File,
        3 => NodeKind::Symlink,
        4 => NodeKind::BlockDevice,
        5 => NodeKind::CharDevice,
        6 => NodeKind::Fifo,
        7 => NodeKind::Socket,
        _ => return None,
    })
}

/// What differs between the kinds.
struct Rest {
    links: u32,
    size: u64,
    /// Bytes in holes.
    sparse: u64,
    device: (u32, u32),
    xattr: Option<u32>,
    content: Content,
}

impl Squashfs {
    pub(super) fn parse_inode(&self, reference: u64) -> Result<Inode> {
        let mut position = self.position(self.sb.inode_table, reference, "reference of an inode")?;
        let at = position.block;
        let header = self.read_metadata(&mut position, HEADER, "inodes")?;
        let f = Fields::new("inode", &header, at);
        let number = f.u16_le(0)?;
        let long = number > LONG;
        let kind = kind(if long { number - LONG } else { number });
        let kind = kind.ok_or_else(|| ParseError::corrupt(at, "type of an inode", "1 to 14", number))?;
        let rest = match kind {
            NodeKind::Directory => self.directory(&mut position, at, long)?,
            NodeKind::File => self.file(&mut position, at, long)?,
            NodeKind::Symlink => self.symlink(&mut position, at, long)?,
            NodeKind::BlockDevice | NodeKind::CharDevice => self.small(&mut position, at, long, true)?,
            NodeKind::Fifo | NodeKind::Socket => self.small(&mut position, at, long, false)?,
        };
        let moment = Time { seconds: f.u32_le(8)?.into(), nanoseconds: 0 };
        let owner = |at: usize| self.id(f.u16_le(at)?, f.offset(at));
        let attributes = Attributes {
            kind,
            mode: u32::from(f.u16_le(2)?) & 0o7777,
            uid: owner(4)?,
            gid: owner(6)?,
            links: rest.links,
            size: rest.size,
            allocated: rest.size.saturating_sub(rest.sparse),
            accessed: moment,
            modified: moment,
            changed: moment,
            created: None,
            device: rest.device,
        };
        Ok(Inode { at, attributes, xattr: rest.xattr, content: rest.content })
    }

    fn directory(&self, position: &mut Position, at: u64, long: bool) -> Result<Rest> {
        let bytes = self.read_metadata(position, if long { 24 } else { 16 }, "inodes")?;
        let f = Fields::new("inode of a directory", &bytes, at);
        let read = || -> Result<_, ParseError> {
            Ok(if long {
                (f.u32_le(0)?, f.u32_le(4)?, f.u32_le(8)?, f.u16_le(18)?, f.u16_le(16)?, f.u32_le(20)?)
            } else {
                (f.u32_le(4)?, f.u16_le(8)?.into(), f.u32_le(0)?, f.u16_le(10)?, 0, NONE)
            })
        };
        let (links, size, block, offset, index, xattr) = read()?;
        let reference = u64::from(block) << 16 | u64::from(offset);
        let first = self.position(self.sb.directory_table, reference, "position of a directory")?;
        // `file_size` counts `.` and `..` as 3 bytes.
        let content =
            Content::Directory(Directory { first, size: u64::from(size).saturating_sub(3), index: (index, *position) });
        Ok(Rest { links, size: size.into(), sparse: 0, device: (0, 0), xattr: some(xattr), content })
    }

    fn file(&self, position: &mut Position, at: u64, long: bool) -> Result<Rest> {
        let bytes = self.read_metadata(position, if long { 40 } else { 16 }, "inodes")?;
        let f = Fields::new("inode of a file", &bytes, at);
        let read = || -> Result<_, ParseError> {
            Ok(if long {
                let start = (f.u64_le(0)?, f.u64_le(8)?, f.u64_le(16)?, f.u32_le(24)?);
                (start, f.u32_le(28)?, f.u32_le(32)?, f.u32_le(36)?)
            } else {
                let start = (f.u32_le(0)?.into(), f.u32_le(12)?.into(), 0, 1);
                (start, f.u32_le(4)?, f.u32_le(8)?, NONE)
            })
        };
        let ((start, size, sparse, links), fragment, offset, xattr) = read()?;
        let block_size = u64::from(self.sb.block_size);
        let fragment = some(fragment).map(|number| (number, offset));
        let blocks = if fragment.is_some() { size / block_size } else { size.div_ceil(block_size) };
        // A metadata block takes at least 3 bytes of the inode table and lists as many blocks as fit.
        let room = ((self.sb.directory_table - self.sb.inode_table) / 3).saturating_mul((BLOCK / 4) as u64);
        if blocks > room {
            let expected = format!("one of at most {room} blocks, which the inode table can list");
            return Err(ParseError::corrupt(at, "size of a file", expected, size).into());
        }
        let content =
            Content::File(File { size, blocks, start, fragment, sizes: *position, known: Mutex::new(Vec::new()) });
        Ok(Rest { links, size, sparse, device: (0, 0), xattr: some(xattr), content })
    }

    fn symlink(&self, position: &mut Position, at: u64, long: bool) -> Result<Rest> {
        let bytes = self.read_metadata(position, 8, "inodes")?;
        let f = Fields::new("inode of a symbolic link", &bytes, at);
        let (links, size) = (f.u32_le(0)?, f.u32_le(4)?);
        if size > MAX_LINK {
            let expected = format!("at most {MAX_LINK}");
            return Err(ParseError::corrupt(at, "length of a symbolic link", expected, size).into());
        }
        let target = self.read_metadata(position, usize::try_from(size).unwrap_or(0), "inodes")?;
        let xattr = if long { self.number(position, at)? } else { NONE };
        Ok(Rest {
            links,
            size: size.into(),
            sparse: 0,
            device: (0, 0),
            xattr: some(xattr),
            content: Content::Symlink(target),
        })
    }

    /// A device, pipe or socket.
    fn small(&self, position: &mut Position, at: u64, long: bool, device: bool) -> Result<Rest> {
        let links = self.number(position, at)?;
        let raw = if device { self.number(position, at)? } else { 0 };
        let xattr = if long { self.number(position, at)? } else { NONE };
        let device = device_numbers(raw);
        Ok(Rest { links, size: 0, sparse: 0, device, xattr: some(xattr), content: Content::Other })
    }

    fn number(&self, position: &mut Position, at: u64) -> Result<u32> {
        let bytes = self.read_metadata(position, 4, "inodes")?;
        Fields::new("inode", &bytes, at).u32_le(0).map_err(Error::from)
    }

    /// A user or group by its number in the id table.
    fn id(&self, index: u16, at: u64) -> Result<u32> {
        let id = self.ids.get(usize::from(index)).copied();
        id.ok_or_else(|| {
            Error::from(ParseError::corrupt(at, "number of an owner", format_args!("below {}", self.ids.len()), index))
        })
    }
}

fn some(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}
