//! Errors of files: of images, and of others that are read like them.

use crate::error_kind::{ErrorKind, IoError};
use crate::ondisk::{ParseError, ParseErrorKind};
use crate::storage::gate;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

impl ParseError {
    /// The error that names the file too.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Error {
        let path = path.to_path_buf();
        let cause = Box::new(self);
        match cause.kind {
            ParseErrorKind::Corrupt => Error::Corrupt { path, cause, rescue: Rescue::Backup },
            ParseErrorKind::Unsupported => Error::Unsupported { path, cause },
        }
    }
}

/// Adds the file to what a parser of bytes returns.
pub(crate) trait InFile<T> {
    /// The value, or the error that names the file too.
    fn in_file(self, path: &Path) -> Result<T>;
}

impl<T> InFile<T> for Result<T, ParseError> {
    fn in_file(self, path: &Path) -> Result<T> {
        self.map_err(|cause| cause.in_file(path))
    }
}

/// What helps with a corrupt file, besides a backup. It completes the message of [`Error::Corrupt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescue {
    /// Nothing: the error was met although `--force` was given, or would be met with it too.
    Backup,
    /// `--force` opens the file.
    Force,
    /// The file was to be written, and `--force` opens it for reading.
    ReadOnly,
}

impl fmt::Display for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "",
            Self::Force => ", or use --force to read what is left",
            Self::ReadOnly => ", or mount it without --rw to read what is left",
        })
    }
}

/// A failure of one file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
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
        /// What a program that writes receives: `EFBIG`.
        source: io::Error,
    },
    /// The file is corrupt.
    #[error("{} is corrupt: {cause}; restore it from a backup{rescue}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<ParseError>,
        /// What else helps.
        rescue: Rescue,
    },
    /// The file is known, and is not the image of a disk.
    #[error("{} is not a disk image but {what}; {advice}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file is.
        what: String,
        /// What to do with it.
        advice: String,
    },
    /// The file asks for something this program cannot do.
    #[error("{} cannot be used: {cause}; convert it with the program that wrote it", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        cause: Box<ParseError>,
    },
    /// A file or directory is used in a way that is not allowed, such as a device that an image names.
    #[error("{} is refused: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The image has no internal snapshot of the name that was asked for.
    #[error("The snapshot of {} is not known: {reason}", path.display())]
    NoSnapshot {
        /// The file.
        path: PathBuf,
        /// What it has instead, and what to do about it.
        reason: String,
    },
    /// A name in the file leads out of its directory.
    #[error(transparent)]
    Elsewhere(gate::Error),
}

impl From<gate::Error> for Error {
    fn from(error: gate::Error) -> Self {
        match error {
            gate::Error::Io(e) => Self::Io(e),
            gate::Error::Refused { path, reason } => Self::Refused { path, reason },
            elsewhere @ gate::Error::Elsewhere { .. } => Self::Elsewhere(elsewhere),
        }
    }
}

impl Error {
    /// An operating system error on `path`; `action` completes "Cannot ... FILE".
    pub fn io(path: &Path, action: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        IoError::new(path, action, source).into()
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
            Self::Io(e) => e.kind(),
            Self::Unsynced { .. } | Self::Full { .. } => ErrorKind::Io,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } | Self::Foreign { .. } => ErrorKind::Unsupported,
            Self::Refused { .. } | Self::Elsewhere(_) => ErrorKind::Refused,
            Self::NoSnapshot { .. } => ErrorKind::NotFound,
        }
    }
}

/// The result of an operation on an image file.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
