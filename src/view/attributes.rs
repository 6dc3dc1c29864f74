//! What `stat` shows of a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with a disk's bytes.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device of the guest.
    CharDevice,
    /// A block device of the guest.
    BlockDevice,
    /// A named pipe of the guest.
    Fifo,
    /// A socket of the guest.
    Socket,
}

/// What `stat` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The inode number.
    pub inode: u64,
    /// What kind of file.
    pub kind: Kind,
    /// The size in bytes.
    pub size: u64,
    /// The 512-byte blocks that it takes up.
    pub blocks: u64,
    /// The permission bits.
    pub mode: u16,
    /// How many names it has.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The numbers of a device.
    pub device: (u32, u32),
    /// The times: of the leaf image for our own files.
    pub times: Times,
}

/// When a file was last read, written and changed in its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// `st_atime`
    pub accessed: SystemTime,
    /// `st_mtime`
    pub modified: SystemTime,
    /// `st_ctime`
    pub changed: SystemTime,
}

impl Times {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            accessed: moment(metadata.atime(), metadata.atime_nsec()),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Seconds since 1970, which may be negative, and nanoseconds after them. What no clock can show is 1970.
pub(super) fn moment(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let part = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    second.and_then(|second| second.checked_add(part)).unwrap_or(UNIX_EPOCH)
}
