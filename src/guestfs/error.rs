//! What can go wrong with a guest's file system.

use crate::disk;
use crate::error_kind::ErrorKind;
use crate::ondisk::{ParseError, ParseErrorKind};
use std::sync::Arc;

/// A failure of a guest's file system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk below.
    #[error(transparent)]
    Disk(Box<disk::Error>),
    /// The file system breaks its own rules: what is wrong, with offsets from the start of the volume. Callers name the
    /// file system.
    #[error("The file system is corrupt: {0}; check it from within the guest")]
    Corrupt(Box<ParseError>),
    /// The file system uses a feature that cannot be read here, given by name.
    #[error("The file system cannot be read: {0}; use the guest itself")]
    Unsupported(String),
    /// Entries of a directory cannot be read. All others were returned.
    #[error("Entries of a directory are missing from its listing. {0}")]
    Incomplete(Arc<Self>),
    /// The node is no directory.
    #[error("This is not a directory; list the directory it is in")]
    NotDirectory,
    /// The node is a directory or has no bytes.
    #[error("This is not a file; read a file in it")]
    NotFile,
    /// The node is no symbolic link.
    #[error("This is not a symbolic link; read it as a file")]
    NotSymlink,
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Incomplete(first) => first.kind(),
            Self::NotDirectory | Self::NotFile | Self::NotSymlink => ErrorKind::Usage,
        }
    }
}

impl Error {
    /// Whether the same will fail again: corruption, not a disk that may answer later.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Incomplete(first) => first.is_lasting(),
            Self::Corrupt(_) | Self::Unsupported(_) => true,
            _ => false,
        }
    }
}

impl From<ParseError> for Error {
    fn from(cause: ParseError) -> Self {
        match cause.kind {
            ParseErrorKind::Corrupt => Self::Corrupt(Box::new(cause)),
            ParseErrorKind::Unsupported => Self::Unsupported(cause.to_string()),
        }
    }
}

impl From<disk::Error> for Error {
    /// What lies past the volume's end is missing, as on a copy that was cut short: a cause of the file system, which
    /// readers pass over where they can.
    fn from(error: disk::Error) -> Self {
        match error {
            disk::Error::PastEnd { offset, end, size } => {
                let what = "end of a volume that is cut short";
                ParseError::corrupt(offset, what, format_args!("{end} bytes at least"), size).into()
            }
            other => Self::Disk(Box::new(other)),
        }
    }
}

/// The result of an operation on a guest's file system.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
