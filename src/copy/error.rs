//! What can go wrong with copying.

use crate::error_kind::ErrorKind;
use crate::verbs::{self, shown};
use std::io;
use std::path::PathBuf;

/// A failure, mostly of one file; the others are gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Finding or reading what is copied.
    #[error(transparent)]
    Source(Box<verbs::Error>),
    /// Writing the copy.
    #[error("Cannot write {}", shown(path))]
    Host {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host cannot have a file of this name.
    #[error("{} is skipped: this host cannot have a file of that name; copy it by itself to another name", shown(path))]
    Name {
        /// The file in the view.
        path: PathBuf,
    },
    /// Another file was copied to the same name.
    #[error(
        "{} is skipped: another file was already copied to {}; copy it to another directory",
        shown(path),
        shown(to)
    )]
    Taken {
        /// The file in the view.
        path: PathBuf,
        /// Where it would be.
        to: PathBuf,
    },
    /// A directory without `-r`.
    #[error("{} is a directory, and is skipped; give -r to copy it", shown(path))]
    IsDirectory {
        /// The directory in the view.
        path: PathBuf,
    },
    /// A device, pipe or socket.
    #[error("{} is a device, pipe or socket, and is skipped; only root can copy it, with -p", shown(path))]
    Special {
        /// The file in the view.
        path: PathBuf,
    },
    /// More directories within each other than a path can name.
    #[error("{} is skipped: it is too many directories deep; copy it by itself", shown(path))]
    TooDeep {
        /// The directory in the view.
        path: PathBuf,
    },
    /// It was asked to stop.
    #[error("Interrupted: not everything was copied; what was is complete")]
    Interrupted,
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(e) => e.kind(),
            Self::Host { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Host { .. } | Self::Interrupted => ErrorKind::Io,
            Self::Name { .. } | Self::TooDeep { .. } => ErrorKind::Unsupported,
            Self::Taken { .. } | Self::Special { .. } => ErrorKind::Refused,
            Self::IsDirectory { .. } => ErrorKind::Usage,
        }
    }
}

impl From<verbs::Error> for Error {
    fn from(error: verbs::Error) -> Self {
        Self::Source(Box::new(error))
    }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
