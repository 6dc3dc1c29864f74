//! Why something could not be opened: the errors of the modules that take part, as one.

use super::spec;
use crate::error_kind::ErrorKind;
use crate::{crypt, disk, guestfs, image, lock, registry, volume};

/// A failure to find or to open a disk.
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
    /// Opening a chain of images.
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
    /// A chain spec.
    #[error(transparent)]
    Spec(Box<spec::Error>),
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
            Self::Spec(e) => e.kind(),
        }
    }
}

macro_rules! from_modules {
    ($($variant:ident($module:ident),)*) => {
        $(impl From<$module::Error> for Error {
            fn from(error: $module::Error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

from_modules! {
    Registry(registry),
    Lock(lock),
    Image(image),
    Disk(disk),
    Crypt(crypt),
    Volume(volume),
    GuestFs(guestfs),
    Spec(spec),
}

/// The result of opening something.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
