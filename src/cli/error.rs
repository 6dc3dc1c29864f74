//! The error of the program: what could not be opened, listed or mounted.

use crate::error_kind::ErrorKind;
use crate::{browse, copy, listing, mount, open, registry, verbs};

/// Any failure of the program.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Finding or opening what was asked for.
    #[error(transparent)]
    Open(Box<open::Error>),
    /// Writing a listing.
    #[error(transparent)]
    Listing(Box<listing::Error>),
    /// Mounting or unmounting.
    #[error(transparent)]
    Mount(Box<mount::Error>),
    /// A verb as a whole.
    #[error(transparent)]
    Verb(Box<verbs::Error>),
    /// The browser as a whole.
    #[error(transparent)]
    Browse(#[from] browse::Error),
    /// Copying as a whole.
    #[error(transparent)]
    Copy(Box<copy::Error>),
}

impl Error {
    /// The kind of this failure.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Open(e) => e.kind(),
            Self::Listing(e) => e.kind(),
            Self::Mount(e) => e.kind(),
            Self::Verb(e) => e.kind(),
            Self::Browse(e) => e.kind(),
            Self::Copy(e) => e.kind(),
        }
    }
}

impl From<open::Error> for Error {
    fn from(error: open::Error) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        open::Error::from(error).into()
    }
}

impl From<listing::Error> for Error {
    fn from(error: listing::Error) -> Self {
        Self::Listing(Box::new(error))
    }
}

impl From<mount::Error> for Error {
    fn from(error: mount::Error) -> Self {
        Self::Mount(Box::new(error))
    }
}

impl From<verbs::Error> for Error {
    fn from(error: verbs::Error) -> Self {
        Self::Verb(Box::new(error))
    }
}

impl From<copy::Error> for Error {
    fn from(error: copy::Error) -> Self {
        Self::Copy(Box::new(error))
    }
}
