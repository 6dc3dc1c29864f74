//! The files that images lie in: local files and devices, files in memory, cached metadata.
//!
//! Formats know files only through [`Storage`]; this module knows no formats.

mod access;
pub(crate) mod archive;
pub(crate) mod error;
pub(crate) mod gate;
pub(crate) mod local;
pub(crate) mod meta;
pub(crate) mod near;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use access::{
    File, Segment, Storage, clear, length, read_exact, read_up_to, set_len, sync, write_all, zero,
};
pub(crate) use error::InFile;
pub(crate) use error::{Error, Rescue, Result};
pub(crate) use gate::{Allowed, Policy};

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What makes two names or descriptors the same file: the device and inode, or the number of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FileIdentity {
    /// A file of a file system.
    File {
        /// The number of the file system's device (`st_dev`).
        device: u64,
        /// The inode (`st_ino`).
        inode: u64,
    },
    /// A block device, which may have several nodes.
    BlockDevice {
        /// The device's number (`st_rdev`).
        number: u64,
    },
}

impl FileIdentity {
    /// The identity that attributes state.
    #[must_use]
    pub(crate) fn of(attributes: &Metadata) -> Self {
        if attributes.file_type().is_block_device() {
            Self::BlockDevice { number: attributes.rdev() }
        } else {
            Self::File { device: attributes.dev(), inode: attributes.ino() }
        }
    }
}

/// The identity of what a path leads to; none where that cannot be seen.
#[must_use]
pub(crate) fn file_identity(path: &Path) -> Option<FileIdentity> {
    fs::metadata(path).ok().map(|attributes| FileIdentity::of(&attributes))
}
