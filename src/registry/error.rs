//! What can go wrong with the registry.

use crate::{ErrorKind, image};
use std::io;
use std::path::PathBuf;

/// A failure to find, read or resolve VirtualBox's settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Completes "Cannot ... PATH".
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The XML is not well-formed, or an attribute has a value that is not allowed.
    #[error("{} is broken in line {line}: expected {expected}, found {found}; correct it, or restore its -prev copy", path.display())]
    Settings {
        /// The settings file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file is right but of a kind that cannot be read here, such as an encrypted machine.
    #[error("{} cannot be read: {reason}", path.display())]
    Unsupported {
        /// The settings file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// Nothing in the registry has this name, UUID or path.
    #[error("{what} is not known: {hint}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// Where it was looked for and what to do next.
        hint: String,
    },
    /// A name that several machines have.
    #[error("{what} means more than one: {candidates}; give the UUID")]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// The UUIDs that it could mean.
        candidates: String,
    },
    /// The media contradict each other: a cycle, too deep a chain.
    #[error("The chain of {what} is broken: {reason}")]
    Chain {
        /// The medium.
        what: String,
        /// What is wrong and what to do about it.
        reason: String,
    },
    /// An image's header could not be read while its chain was followed.
    #[error(transparent)]
    Image(#[from] image::Error),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Io,
            Self::Settings { .. } | Self::Chain { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::Image(e) => e.kind(),
        }
    }
}

/// The result of an operation on the registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;
