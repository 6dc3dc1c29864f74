//! Errors of reading partition tables.

use crate::disk;
use crate::error_kind::ErrorKind;

/// A failure. An error in a table is not a failure but a note in [`Table`](super::Table).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk cannot be read where its table is.
    #[error(transparent)]
    Disk(Box<disk::Error>),
}

impl From<disk::Error> for Error {
    fn from(error: disk::Error) -> Self {
        Self::Disk(Box::new(error))
    }
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
        }
    }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
