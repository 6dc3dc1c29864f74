//! The error that leaves the library: one enum per room, joined here, with one errno and one exit code per kind.

use crate::{crypt, disk, guestfs, image, listing, lock, mount, registry, volume};

/// What kind of failure an error is; decides the exit code and the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system failed to read, write or mount.
    Io,
    /// The command line asks for something that makes no sense.
    Usage,
    /// A machine, medium, file or parent is not there.
    NotFound,
    /// A file breaks the rules of its format, or two files contradict each other.
    Corrupt,
    /// A file uses a format or a feature that this program does not know.
    Unsupported,
    /// The operation would endanger data: a read-only or shared medium, a saved state.
    Refused,
    /// Another process holds the lock.
    Locked,
    /// A password is missing or wrong.
    Password,
}

impl ErrorKind {
    /// The exit code of the program for this kind. Documented in the manual page's EXIT STATUS; 7 is also what
    /// Oracle's tool returns for a locked medium.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Io => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Corrupt => 4,
            Self::Unsupported => 5,
            Self::Refused => 6,
            Self::Locked => 7,
            Self::Password => 8,
        }
    }

    /// The errno that a file system operation failing with this kind answers.
    #[must_use]
    pub fn errno(self) -> nix::errno::Errno {
        use nix::errno::Errno;
        match self {
            Self::Io | Self::Corrupt => Errno::EIO,
            Self::Usage => Errno::EINVAL,
            Self::NotFound => Errno::ENOENT,
            Self::Unsupported => Errno::EOPNOTSUPP,
            Self::Refused => Errno::EROFS,
            Self::Locked => Errno::EBUSY,
            Self::Password => Errno::EACCES,
        }
    }
}

/// Any failure of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Finding or reading VirtualBox's settings.
    #[error(transparent)]
    Registry(Box<registry::Error>),
    /// Locking an image.
    #[error(transparent)]
    Lock(Box<lock::Error>),
    /// Reading an image file's structures.
    #[error(transparent)]
    Image(Box<image::Error>),
    /// Opening, reading or writing a chain of images.
    #[error(transparent)]
    Disk(Box<disk::Error>),
    /// Opening an encrypted disk or machine.
    #[error(transparent)]
    Crypt(Box<crypt::Error>),
    /// Reading a partition table.
    #[error(transparent)]
    Volume(Box<volume::Error>),
    /// Reading a guest's file system.
    #[error(transparent)]
    GuestFs(Box<guestfs::Error>),
    /// Writing a listing.
    #[error(transparent)]
    Listing(Box<listing::Error>),
    /// Mounting or unmounting.
    #[error(transparent)]
    Mount(Box<mount::Error>),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Lock(e) => e.kind(),
            Self::Image(e) => e.kind(),
            Self::Disk(e) => e.kind(),
            Self::Crypt(e) => e.kind(),
            Self::Volume(e) => e.kind(),
            Self::GuestFs(e) => e.kind(),
            Self::Listing(e) => e.kind(),
            Self::Mount(e) => e.kind(),
        }
    }
}

macro_rules! from_rooms {
    ($($variant:ident($room:ident),)*) => {
        $(impl From<$room::Error> for Error {
            fn from(error: $room::Error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

from_rooms! {
    Registry(registry),
    Lock(lock),
    Image(image),
    Disk(disk),
    Crypt(crypt),
    Volume(volume),
    GuestFs(guestfs),
    Listing(listing),
    Mount(mount),
}

/// The message of an error and of all that caused it, joined by `: `, each said once.
#[must_use]
pub fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
