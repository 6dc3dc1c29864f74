//! What can be wrong with an image file.

use crate::error_kind::ErrorKind;
use crate::storage::gate;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Whether a [`ParseError`] is damage or a feature we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The bytes break the rules of their format.
    Corrupt,
    /// The bytes may be right, but ask for something this program cannot do.
    Unsupported,
}

/// What a parser found wrong, before it is known in which file: parsers take bytes, not files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Damage or unknown feature.
    pub kind: ParseErrorKind,
    /// The structure or field, in the words of its specification.
    pub what: String,
    /// Where it is, in bytes from the start of the file.
    pub offset: u64,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl ParseError {
    /// Damage: `what` at `offset` should be `expected` and is `found`.
    pub fn corrupt(
        offset: u64,
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self {
            kind: ParseErrorKind::Corrupt,
            what: what.into(),
            offset,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// A feature that is not known here: `what` at `offset` is `found`, only `expected` is supported.
    pub fn unsupported(
        offset: u64,
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self { kind: ParseErrorKind::Unsupported, ..Self::corrupt(offset, what, expected, found) }
    }

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

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {} ({:#x}): expected {}, found {}",
            self.what, self.offset, self.offset, self.expected, self.found
        )
    }
}

impl std::error::Error for ParseError {}

/// A failure of one image file.
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
    /// A name in the file leads out of its directory.
    #[error(transparent)]
    Elsewhere(gate::Error),
}

impl From<gate::Error> for Error {
    fn from(error: gate::Error) -> Self {
        match error {
            gate::Error::Io { path, action, source } => Self::Io { path, action: action.to_owned(), source },
            gate::Error::Refused { path, reason } => Self::Refused { path, reason },
            elsewhere @ gate::Error::Elsewhere { .. } => Self::Elsewhere(elsewhere),
        }
    }
}

impl Error {
    /// An operating system error on `path`; `action` completes "Cannot ... FILE".
    pub fn io(path: &Path, action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), action: action.into(), source }
    }

    /// For a call that only an image opened for writing can take.
    pub(super) fn read_only(path: &Path) -> Self {
        Self::Refused { path: path.to_path_buf(), reason: "it was opened read-only".to_owned() }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Refused { .. } | Self::Elsewhere(_) => ErrorKind::Refused,
        }
    }
}

/// The result of an operation on an image file.
pub type Result<T, E = Error> = std::result::Result<T, E>;
