//! What can go wrong with a view.

use crate::error_kind::ErrorKind;
use crate::open::Guest;
use crate::{disk, guestfs};
use std::io;
use std::path::PathBuf;

/// A failure of an operation on a view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No file has this name, or no file this inode number.
    #[error("There is no such file; list the directory to see its names")]
    NotFound,
    /// The node is not a directory.
    #[error("This is not a directory; list the directory it is in")]
    NotDirectory,
    /// The node is a directory.
    #[error("This is a directory; read a file in it")]
    IsDirectory,
    /// The node is a device, a link or something else without bytes of its own.
    #[error("This is not a file; read a file next to it")]
    NotFile,
    /// The node is not a symbolic link.
    #[error("This is not a symbolic link; read it as a file")]
    NotLink,
    /// The file has no extended attribute of this name.
    #[error("The file has no such attribute; list its attributes to see their names")]
    NoAttribute,
    /// There is neither data nor a hole to find at the offset or after it.
    #[error("There is nothing to find at this offset or after it; seek before the end of the file")]
    PastEnd,
    /// It stands for the entries of a directory that cannot be read.
    #[error("The entries of this directory are not complete; check the file system from within the guest")]
    Missing,
    /// The leaf image cannot be opened for its times.
    #[error("Cannot look at {}", path.display())]
    Image {
        /// The leaf image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk.
    #[error(transparent)]
    Disk(Box<disk::Error>),
    /// A guest's file system.
    #[error("{name} ({type_name}): {error}")]
    GuestFs {
        /// The name of its directory, such as `fs0`.
        name: String,
        /// Its type, such as `ext4`.
        type_name: &'static str,
        /// What failed in it.
        error: Box<guestfs::Error>,
    },
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound | Self::NoAttribute => ErrorKind::NotFound,
            Self::NotDirectory | Self::IsDirectory | Self::NotFile | Self::NotLink | Self::PastEnd => ErrorKind::Usage,
            Self::Image { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Image { .. } => ErrorKind::Io,
            Self::Missing => ErrorKind::Corrupt,
            Self::Disk(e) => e.kind(),
            Self::GuestFs { error, .. } => error.kind(),
        }
    }
}

impl From<disk::Error> for Error {
    fn from(error: disk::Error) -> Self {
        Self::Disk(Box::new(error))
    }
}

impl Error {
    /// What a failure in a guest's file system means for the view.
    pub(super) fn of_guest(guest: &Guest, error: guestfs::Error) -> Self {
        match error {
            guestfs::Error::NotDirectory => Self::NotDirectory,
            guestfs::Error::NotFile => Self::NotFile,
            guestfs::Error::NotSymlink => Self::NotLink,
            guestfs::Error::Disk(e) => Self::Disk(e),
            other => {
                let type_name = guest.fs.facts().type_name;
                Self::GuestFs { name: guest.name.clone(), type_name, error: Box::new(other) }
            }
        }
    }
}

/// The result of an operation on a view.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
