//! What can be wrong with a file: an image, or another that is read like one.

use crate::error_kind::ErrorKind;
use crate::ondisk::{ParseError, ParseErrorKind};
use std::io;
use std::path::{Path, PathBuf};

impl ParseError {
    /// The error that names the file too.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Error {
        let path = path.to_path_buf();
        let cause = Box::new(self);
        match cause.kind {
            ParseErrorKind::Corrupt => Error::Corrupt { path, cause },
            ParseErrorKind::Unsupported => Error::Unsupported { path, cause },
        }
    }
}

/// A failure of one file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. `action` completes "Cannot ... FILE".
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, such as `read 512 bytes at offset 0 of`.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file's changes could not be brought to the disk. The system may have dropped them: another try would succeed
    /// without them.
    #[error("Cannot flush {}", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The format's limit is reached.
    #[error("{} is full: {reason}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Which limit, and what to do about it.
        reason: String,
        /// What a program that writes is to be told: `EFBIG`.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{} is damaged: {cause}; restore it from a backup, or use --force to read what is left", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<ParseError>,
    },
    /// The file asks for something this program cannot do.
    #[error("{} cannot be used: {cause}; convert it with the program that wrote it", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        cause: Box<ParseError>,
    },
    /// A file or folder is used in a way that is not allowed, such as a device that an image names.
    #[error("{} is refused: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
}

impl Error {
    /// An operating system error on `path`; `action` completes "Cannot ... FILE".
    pub fn io(path: &Path, action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), action: action.into(), source }
    }

    /// For a file that cannot grow further.
    pub(crate) fn full(path: &Path, reason: impl Into<String>) -> Self {
        let source = nix::errno::Errno::EFBIG.into();
        Self::Full { path: path.to_path_buf(), reason: reason.into(), source }
    }

    /// For a call that only an image opened for writing can take.
    pub(crate) fn read_only(path: &Path) -> Self {
        Self::Refused { path: path.to_path_buf(), reason: "it was opened read-only".to_owned() }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } | Self::Unsynced { .. } | Self::Full { .. } => ErrorKind::Io,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Refused { .. } => ErrorKind::Refused,
        }
    }
}

/// The result of an operation on an image file.
pub type Result<T, E = Error> = std::result::Result<T, E>;
