//! What a comparison finds.

use crate::view::Attributes;
use std::path::PathBuf;

/// A change from the old state to the new one.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Of a file, directory, link or special file.
    File(FileChange),
    /// Of a volume and its file system.
    Volume(VolumeChange),
    /// Of a disk: a machine has it in one state only, or its size changed. In bytes.
    Disk {
        /// The directory of its slot; empty for the only disk.
        path: PathBuf,
        /// Its size in the old state; none where that does not have it.
        old: Option<u64>,
        /// Its size in the new state; none where that does not have it.
        new: Option<u64>,
    },
}

/// In what a file or volume changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    /// What kind of file it is; of a volume, its file system's type.
    Kind,
    /// Bytes.
    Size,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// When it was modified.
    Time,
    /// The bytes of a file; of a directory that is compared as one, anything in it.
    Content,
    /// Names or values of extended attributes.
    Xattrs,
    /// Where a symbolic link leads.
    Target,
    /// The numbers of a device.
    Device,
    /// Where on the disk a volume begins.
    Offset,
    /// The number of a volume, and so its name.
    Number,
    /// The UUID or serial number of a file system.
    Uuid,
    /// The label of a file system.
    Label,
}

impl Aspect {
    /// Its name in tables and JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Size => "size",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Content => "content",
            Self::Xattrs => "xattrs",
            Self::Target => "target",
            Self::Device => "device",
            Self::Offset => "offset",
            Self::Number => "number",
            Self::Uuid => "uuid",
            Self::Label => "label",
        }
    }
}

/// A file in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// Its attributes.
    pub attributes: Attributes,
    /// Where it leads, for a symbolic link that can be read.
    pub target: Option<PathBuf>,
}

/// A file that was added, removed or changed. At least one state has it.
#[derive(Debug, Clone)]
pub(crate) struct FileChange {
    /// Its path from the top, in the new state; of a removed one in the old state.
    pub path: PathBuf,
    /// In the old state; none for an added one.
    pub old: Option<Side>,
    /// In the new state; none for a removed one.
    pub new: Option<Side>,
    /// In what it changed, when both have it.
    pub aspects: Vec<Aspect>,
}

/// A file system on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Its type, such as `ext4`.
    pub type_name: &'static str,
    /// Its UUID or serial number; empty when it has none.
    pub uuid: String,
    /// Its label; empty when it has none.
    pub label: String,
}

/// A volume in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeSide {
    /// `fs<N>` where its file system can be read, else `vol<N>`, or `vhdd` for a whole disk without volumes.
    pub path: PathBuf,
    /// Where on the disk it begins, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its file system, where that can be read.
    pub file_system: Option<FileSystem>,
}

/// A volume that was added, removed or changed. What only one state has is not gone through: its files are all added or
/// removed. At least one state has it.
#[derive(Debug, Clone)]
pub(crate) struct VolumeChange {
    /// In the old state; none for an added one.
    pub old: Option<VolumeSide>,
    /// In the new state; none for a removed one.
    pub new: Option<VolumeSide>,
    /// In what it changed, when both have it.
    pub aspects: Vec<Aspect>,
}
