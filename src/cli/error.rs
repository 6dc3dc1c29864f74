//! The error of the program: one variant for each module of the library.

use crate::error_kind::ErrorKind;
use crate::{crypt, disk, guestfs, image, listing, lock, mount, registry, volume};

/// Any failure of this library.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
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
    pub(super) fn kind(&self) -> ErrorKind {
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
