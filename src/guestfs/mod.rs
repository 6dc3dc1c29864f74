//! File systems inside a volume, read-only, behind one trait. A directory per file system.
//!
//! A file is a sequence of runs: a reader returns where a file's bytes are on the volume, and [`read`] gets them from
//! the disk. Only data without an extent on the volume (inline, compressed) is decoded by its reader.

pub(crate) mod apfs;
pub(crate) mod btrfs;
mod content;
pub(crate) mod copies;
pub(crate) mod detect;
mod dos;
pub(crate) mod error;
pub(crate) mod exfat;
pub(crate) mod ext;
pub(crate) mod fat;
mod file_disk;
pub(crate) mod foreign;
mod gaps;
pub(crate) mod hfsplus;
pub(crate) mod iso;
mod names;
pub(crate) mod ntfs;
pub(crate) mod optical;
mod overlay;
pub(crate) mod read;
mod signatures;
pub(crate) mod squashfs;
pub(crate) mod udf;
pub(crate) mod xfs;

pub(crate) use content::Content;
pub(crate) use detect::identify;
pub(crate) use error::{Error, Result};
pub(crate) use file_disk::FileDisk;

use crate::ondisk::Time;
use std::ops::ControlFlow;

/// A reader's id of a file or directory, such as an inode number. Stable as long as the volume is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node(pub u64);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NodeKind {
    /// A file with bytes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    /// The kind in the upper bits of a POSIX mode, of which nothing else may be above the permission bits.
    fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode >> 12 {
            0x1 => Self::Fifo,
            0x2 => Self::CharDevice,
            0x4 => Self::Directory,
            0x6 => Self::BlockDevice,
            0x8 => Self::File,
            0xA => Self::Symlink,
            0xC => Self::Socket,
            _ => return None,
        })
    }

    /// The kind in an entry of a directory, with the values of Linux' `FT_REG_FILE` and so on, as ext, XFS and btrfs
    /// do.
    fn of_entry(file_type: u8) -> Option<Self> {
        Some(match file_type {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }
}

/// Major and minor number of a device of which Linux keeps 32 bits: 12 of the major number between the lower 8 and the
/// upper 12 of the minor one.
fn device_numbers(raw: u32) -> (u32, u32) {
    (raw >> 8 & 0xFFF, raw & 0xFF | raw >> 12 & 0xF_FF00)
}

/// What `stat` shows of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    pub mode: u32,
    /// The owner in the guest.
    pub uid: u32,
    /// The group in the guest.
    pub gid: u32,
    /// Names of the node.
    pub links: u32,
    /// Bytes of a file or of a link's target.
    pub size: u64,
    /// Bytes that it takes on the volume.
    pub allocated: u64,
    /// Last read; the epoch where the file system keeps none.
    pub accessed: Time,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of the attributes.
    pub changed: Time,
    /// Creation, where the file system keeps it.
    pub created: Option<Time>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Attributes {
    /// Those of a directory of which nothing is stored.
    const BARE_DIRECTORY: Self = Self {
        kind: NodeKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        links: 1,
        size: 0,
        allocated: 0,
        accessed: Time { seconds: 0, nanoseconds: 0 },
        modified: Time { seconds: 0, nanoseconds: 0 },
        changed: Time { seconds: 0, nanoseconds: 0 },
        created: None,
        device: (0, 0),
    };
}

/// A name in a directory. `.` and `..` are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name's bytes: UTF-8 where the file system knows the encoding, else as stored. Never empty, never with `/`
    /// or a zero byte.
    pub name: Vec<u8>,
    /// What it names.
    pub node: Node,
    /// What that is.
    pub kind: NodeKind,
    /// The position after this entry: given to [`GuestFs::read_directory`], the listing goes on with the next one.
    /// Larger than 0, and the same in every listing.
    pub next: u64,
}

/// What holds a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileExtent {
    /// The bytes as they are, from this byte of the volume on.
    Stored(u64),
    /// Zeros: a hole, or space that was never written.
    Zero,
    /// Bytes that the reader makes: [`GuestFs::decode`].
    Decoded,
}

/// A [`FileExtent`] and for how many bytes of the file it is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRun {
    /// What holds the bytes.
    pub extent: FileExtent,
    /// How many bytes of the file; at least 1.
    pub len: u64,
}

/// What decides the bytes of a [`FileExtent::Decoded`] run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodedFrom {
    /// How they are decoded, and which of the decoded bytes they are; empty for bytes that are only checked.
    pub how: Vec<u64>,
    /// The ranges of the volume that they are decoded from: offsets and lengths in bytes.
    pub ranges: Vec<(u64, u64)>,
}

/// What the file system reports of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// Its type, such as `ext4`.
    pub type_name: &'static str,
    /// Its label; empty when it has none.
    pub label: String,
    /// Its UUID or serial number as its own tools write it; empty when it has none.
    pub uuid: String,
    /// Whether files have stored owners and modes; else those shown are made up.
    pub has_owners: bool,
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Files that it can have; 0 where that has no limit.
    pub files: u64,
    /// Files that can still be made.
    pub free_files: u64,
    /// The longest name in bytes.
    pub name_max: u32,
    /// What a user should know, a sentence each: not cleanly unmounted, journal replayed in memory.
    pub notes: Vec<String>,
}

/// The note on a volume of `size` bytes that is shorter than the `stated` ones of its file system, as a copy that broke
/// off is. What lies past the end cannot be read; all else is shown.
fn shortage(stated: u64, size: u64) -> Option<String> {
    let missing = stated.checked_sub(size).filter(|missing| *missing > 0)?;
    Some(format!("Its volume is {missing} bytes shorter than it says: files may be cut short"))
}

/// A file system opened on a volume. All methods may be called from several threads at once, with any node that a
/// directory or [`root`](GuestFs::root) gave. Corruption is an error, never a panic, a hang or unbounded memory.
pub(crate) trait GuestFs: Send + Sync {
    /// What it reports of itself.
    fn facts(&self) -> &Facts;

    /// The top directory.
    fn root(&self) -> Node;

    /// The node that has a name in a directory; `None` when there is none. Callers do not pass `.` or `..`.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; corruption; [`Error::Incomplete`] for a name that may be among those that cannot be
    /// read.
    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>>;

    /// The attributes of a node.
    ///
    /// # Errors
    /// Corruption.
    fn attributes(&self, node: Node) -> Result<Attributes>;

    /// Lists the entries of a directory from a position on (0 is the start) until `each` breaks off or there are no
    /// more.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; corruption; [`Error::Incomplete`] once all entries were listed that can be read.
    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()>;

    /// What holds a file's bytes from `offset` on, for at most `len` bytes. `offset` is below the file's size. A run
    /// may go past the size.
    ///
    /// # Errors
    /// [`Error::NotFile`]; corruption.
    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun>;

    /// Fills `buf` with a file's bytes from `offset` on, all of them within a [`FileExtent::Decoded`] run. File systems
    /// whose files all have extents need not implement it.
    ///
    /// # Errors
    /// [`Error::NotFile`]; corruption.
    fn decode(&self, _file: Node, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        Err(Error::NotFile)
    }

    /// What decides `len` bytes of a file from `offset` on, all of them within a [`FileExtent::Decoded`] run, so that
    /// they need not be read to be known as equal to others; `None` where that is not known.
    fn decoded_from(&self, _file: Node, _offset: u64, _len: u64) -> Option<DecodedFrom> {
        None
    }

    /// The target of a symbolic link as stored, or as a POSIX path for file systems that have other ones. File systems
    /// without links need not implement it.
    ///
    /// # Errors
    /// [`Error::NotSymlink`]; corruption.
    fn read_link(&self, _link: Node) -> Result<Vec<u8>> {
        Err(Error::NotSymlink)
    }

    /// The names of a node's extended attributes, with their namespace (`user.`, `security.`, `system.`…). None in file
    /// systems without any.
    ///
    /// # Errors
    /// Corruption.
    fn xattr_names(&self, _node: Node) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// The value of an extended attribute; `None` when there is none of that name.
    ///
    /// # Errors
    /// Corruption.
    fn xattr(&self, _node: Node, _name: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
