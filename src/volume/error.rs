//! What can go wrong in this room.

use crate::ErrorKind;
use std::io;
use std::path::PathBuf;

/// A failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Completes "Cannot ... PATH".
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
        }
    }
}

/// The result of an operation here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
