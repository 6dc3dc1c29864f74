//! Why the browser cannot run.

use crate::error_kind::ErrorKind;
use std::io;

/// A failure of the browser as a whole. What is wrong with a disk or file is shown in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Input or output is no terminal, or one that cannot draw.
    #[error("The browser needs a terminal; the verbs ls, cat and cp do without")]
    NoTerminal,
    /// The terminal failed.
    #[error("Cannot use the terminal")]
    Terminal(#[from] io::Error),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTerminal => ErrorKind::Usage,
            Self::Terminal(_) => ErrorKind::Io,
        }
    }
}

/// The result of running the browser.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
