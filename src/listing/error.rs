//! Errors of listings.

use crate::error_kind::ErrorKind;
use crate::registry;
use std::io;

/// A failure. A problem of a machine or medium is not a failure of its listing: it is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output cannot be written. A [`io::ErrorKind::BrokenPipe`] means that the reader has seen enough.
    #[error("Cannot write the listing")]
    Write(#[from] io::Error),
    /// No machine, or more than one, is called what was asked for.
    #[error(transparent)]
    Registry(Box<registry::Error>),
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Write(_) => ErrorKind::Io,
            Self::Registry(e) => e.kind(),
        }
    }

    /// Whether it only means that the reader has closed the pipe.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
