//! What can go wrong with a verb.

use crate::error_kind::ErrorKind;
use crate::listing::shown;
use crate::{diff, listing, view};
use std::io;
use std::path::{Path, PathBuf};

/// A failure, mostly of one file; the others are gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the view.
    #[error("Cannot read {}", shown(path))]
    View {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: view::Error,
    },
    /// A symbolic link that would be followed belongs to the host, not to a guest.
    #[error("{} leads out of the disk, to a file of this host; use that file itself", shown(path))]
    Outside {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Symbolic links lead to each other.
    #[error("{} leads through too many symbolic links; give the path of the file itself", shown(path))]
    TooManyLinks {
        /// The path that was asked for.
        path: PathBuf,
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
    /// Comparing.
    #[error(transparent)]
    Diff(Box<diff::Error>),
    /// The output cannot be written. A [`io::ErrorKind::BrokenPipe`] means that the reader has seen enough.
    #[error("Cannot write the output")]
    Write(#[from] io::Error),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::View { source, .. } => source.kind(),
            Self::Outside { .. } | Self::TooManyLinks { .. } => ErrorKind::Usage,
            Self::MetBefore { .. } => ErrorKind::Corrupt,
            Self::Diff(e) => e.kind(),
            Self::Write(_) => ErrorKind::Io,
        }
    }

    /// Whether it only says that the reader of the output has gone.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// For `map_err`: what went wrong with a path of the view.
    pub fn at(path: &Path) -> impl Fn(view::Error) -> Self {
        move |source| Self::View { path: path.to_owned(), source }
    }
}

impl From<diff::Error> for Error {
    fn from(error: diff::Error) -> Self {
        Self::Diff(Box::new(error))
    }
}

impl From<listing::Error> for Error {
    fn from(error: listing::Error) -> Self {
        match error {
            listing::Error::Write(e) => Self::Write(e),
            other => Self::Write(io::Error::other(other)),
        }
    }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
