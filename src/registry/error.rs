//! What can go wrong with the registry.

use crate::error_kind::ErrorKind;
use crate::{crypt, image};
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
    #[error(
        "{} is broken in line {line}: expected {expected}, found {found}; correct it, or restore it from a backup",
        path.display()
    )]
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
    /// The file is right but of a kind that cannot be read here, such as an iSCSI disk.
    #[error("{} cannot be read: {reason}", path.display())]
    Unsupported {
        /// The settings file, or the location of the medium.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// What was asked for is not known, and the settings of some machines could not be opened.
    #[error("{what} is not known; it may belong to {machines}: give the password with --password-file FILE")]
    Hidden {
        /// What was asked for.
        what: String,
        /// The encrypted machines and their keys.
        machines: String,
    },
    /// The settings of a machine are encrypted and could not be opened.
    #[error(transparent)]
    Crypt(#[from] crypt::Error),
    /// A file that the registry names is not there.
    #[error("{} is not there: {hint}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// Nothing in the registry has this name, UUID or path.
    #[error("{what} is not known: {hint}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// Where it was looked for and what to do next.
        hint: String,
    },
    /// A settings file that had machines before its last change, and has none now.
    #[error(
        "{} has no machines, but its previous copy had {machines}; to see them give {} with --settings",
        path.display(),
        copy.display()
    )]
    Emptied {
        /// The settings file.
        path: PathBuf,
        /// The previous copy.
        copy: PathBuf,
        /// How many machines the copy has.
        machines: usize,
    },
    /// A folder with too many folders in it to look for machines in all of them.
    #[error("{} has so many folders that not all were looked into; give one of them with --settings", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// Only an outdated copy of the settings could be read, so nobody knows what depends on an image.
    #[error(
        "{image} is not mounted for writing: {} may not know of images that need it; restore the settings file that \
         it is a copy of",
        path.display()
    )]
    Outdated {
        /// What was to be written to.
        image: String,
        /// The copy.
        path: PathBuf,
    },
    /// A name that several machines have.
    #[error("{what} means more than one: {candidates}; give the UUID, or the .vbox file with --settings")]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// What it could mean.
        candidates: String,
    },
    /// A UUID that is registered for two different things.
    #[error("{what} is registered twice: as {kept}, which is used, and as {ignored}, which is not")]
    Duplicate {
        /// The machine or medium.
        what: String,
        /// The first entry.
        kept: String,
        /// The later entry.
        ignored: String,
    },
    /// The settings file is lost, but a copy that VirtualBox made is not.
    #[error("{} is used and may lack the last changes", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What is wrong with the file itself.
        source: Box<Error>,
    },
    /// A machine or medium is not where it is registered, and was found by its UUID.
    #[error("{what} is registered at {}, where it is not; {} has its UUID and is used", registered.display(), found.display())]
    Moved {
        /// The machine or medium.
        what: String,
        /// Where it should be.
        registered: PathBuf,
        /// Where it is.
        found: PathBuf,
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
            Self::Settings { .. } | Self::Chain { .. } | Self::Duplicate { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Hidden { .. } => ErrorKind::Password,
            Self::Crypt(e) => e.kind(),
            Self::NotFound { .. } | Self::Missing { .. } | Self::Moved { .. } | Self::Emptied { .. } => {
                ErrorKind::NotFound
            }
            Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::TooMany { .. } => ErrorKind::Unsupported,
            Self::Outdated { .. } => ErrorKind::Refused,
            Self::Copy { source, .. } => source.kind(),
            Self::Image(e) => e.kind(),
        }
    }
}

/// The result of an operation on the registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;
