//! What can go wrong with a comparison.

use crate::error_kind::ErrorKind;
use crate::listing::{printable, shown};
use crate::{disk, view};
use std::fmt;
use std::path::PathBuf;

/// Which of the two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The first one.
    Old,
    /// The second one.
    New,
}

/// A failure, mostly of one file; the others are compared all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of one state.
    #[error("Cannot read {} in the state {}", shown(path), Name(state))]
    View {
        /// Its path in the state.
        path: PathBuf,
        /// The name of the state.
        state: String,
        /// Why.
        source: view::Error,
    },
    /// A directory of one state whose entries cannot all be read: what only the other state has may be among them.
    #[error(
        "Entries of {} in the state {} cannot be read, so nothing is reported as missing there; check the file system \
         from within the guest",
        shown(path),
        Name(state)
    )]
    Incomplete {
        /// Its path.
        path: PathBuf,
        /// The name of the state.
        state: String,
    },
    /// A directory that was met before: it contains itself, or has two names.
    #[error(
        "{} is a directory that was met before, and is skipped; check the file system from within the guest",
        shown(path)
    )]
    MetBefore {
        /// The second path.
        path: PathBuf,
    },
    /// The bytes of a disk or volume.
    #[error("Cannot read {} in the state {}", shown(path), Name(state))]
    Disk {
        /// The name of the disk or volume.
        path: PathBuf,
        /// The name of the state.
        state: String,
        /// Why.
        source: Box<disk::Error>,
    },
    /// It was asked to stop.
    #[error("Interrupted: not everything was compared")]
    Interrupted,
}

/// The name of a state in a message.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", printable(self.0))
    }
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::View { source, .. } => source.kind(),
            Self::Disk { source, .. } => source.kind(),
            Self::Incomplete { .. } | Self::MetBefore { .. } => ErrorKind::Corrupt,
            Self::Interrupted => ErrorKind::Io,
        }
    }

    /// The path that could not be compared.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::View { path, .. }
            | Self::Disk { path, .. }
            | Self::Incomplete { path, .. }
            | Self::MetBefore { path } => Some(path),
            Self::Interrupted => None,
        }
    }
}

/// The result of a comparison.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
