//! The few kinds of failure, each with one exit code and one errno, and the failure that all modules share: what the
//! operating system refused.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// What kind of failure an error is; decides the exit code and the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system failed to read, write or mount.
    Io,
    /// The command line asks for something that makes no sense.
    Usage,
    /// A machine, medium, file or parent is not there.
    NotFound,
    /// A file breaks the rules of its format, or two files contradict each other.
    Corrupt,
    /// A file uses a format or a feature that this program does not know.
    Unsupported,
    /// The operation would endanger data: a read-only or shared medium, a saved state.
    Refused,
    /// Another process holds the lock.
    Locked,
    /// A password is missing or wrong.
    Password,
}

impl ErrorKind {
    /// The exit code of the program for this kind. Documented in the manual page's EXIT STATUS; 7 is also what
    /// Oracle's tool returns for a locked medium.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Io => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Corrupt => 4,
            Self::Unsupported => 5,
            Self::Refused => 6,
            Self::Locked => 7,
            Self::Password => 8,
        }
    }

    /// The errno that a file system operation failing with this kind answers.
    #[must_use]
    pub(crate) fn errno(self) -> nix::errno::Errno {
        use nix::errno::Errno;
        match self {
            Self::Io | Self::Corrupt => Errno::EIO,
            Self::Usage => Errno::EINVAL,
            Self::NotFound => Errno::ENOENT,
            Self::Unsupported => Errno::EOPNOTSUPP,
            Self::Refused => Errno::EROFS,
            Self::Locked => Errno::EBUSY,
            Self::Password => Errno::EACCES,
        }
    }
}

/// The operating system refused to do something with a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("Cannot {action} {}", path.display())]
pub struct IoError {
    /// The file or directory.
    pub path: PathBuf,
    /// Completes "Cannot ... PATH", such as `read 512 bytes at offset 0 of`.
    pub action: Cow<'static, str>,
    /// Why.
    pub source: io::Error,
}

impl IoError {
    /// That `action`, which completes "Cannot ... PATH", failed.
    pub fn new(path: &Path, action: impl Into<Cow<'static, str>>, source: impl Into<io::Error>) -> Self {
        Self { path: path.to_path_buf(), action: action.into(), source: source.into() }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        if self.source.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io }
    }
}

/// The message of an error and of all that caused it, joined by `: `, each said once.
#[must_use]
pub(crate) fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
