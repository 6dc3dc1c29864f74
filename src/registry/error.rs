//! Errors of the registry.

use crate::error_kind::{ErrorKind, IoError};
use crate::{crypt, image};
use std::path::PathBuf;

/// A failure to find, read or resolve VirtualBox's settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
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
    /// A directory with too many directories in it to look for machines in all of them.
    #[error("{} has so many directories that not all were looked into; give one of them with --settings", path.display())]
    TooMany {
        /// The directory.
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
    #[error("{what} means more than one: {candidates}; give {how}")]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// What it could mean.
        candidates: String,
        /// What distinguishes them; completes "give ...".
        how: &'static str,
    },
    /// A UUID that is registered for two different things.
    #[error("{what} is registered twice: as {cached}, which is used, and as {ignored}, which is not")]
    Duplicate {
        /// The machine or medium.
        what: String,
        /// The first entry.
        cached: String,
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
    #[error("{what} is registered at {}, where it is not; {} has its {by} and is used", registered.display(), found.display())]
    Moved {
        /// The machine or medium.
        what: String,
        /// Where it should be.
        registered: PathBuf,
        /// Where it is.
        found: PathBuf,
        /// What it was known by: its UUID, or its name where the format has no UUIDs.
        by: &'static str,
    },
    /// A medium that is attached and that no settings file has, found by its UUID.
    #[error("{what} is not registered; {} has its UUID and is used", found.display())]
    Unregistered {
        /// The medium.
        what: String,
        /// Where it is.
        found: PathBuf,
    },
    /// A machine or medium that was found only outside of what the user gave.
    #[error(
        "{what} was found only at {}, outside of {}: it may be of another copy, and is only read",
        path.display(),
        given.display()
    )]
    Outside {
        /// The machine or medium.
        what: String,
        /// Where it is.
        path: PathBuf,
        /// What the user gave.
        given: PathBuf,
    },
    /// An image outside of what the user gave, which was to be written to.
    #[error(
        "{} is not mounted for writing: it lies outside of {}, so it may be of another copy; give its own path to write \
         to it",
        path.display(),
        given.display()
    )]
    NotWrittenOutside {
        /// The image.
        path: PathBuf,
        /// What the user gave.
        given: PathBuf,
    },
    /// A machine that is there twice: a copy.
    #[error("{what} is there more than once: {} and {}; use these paths to distinguish them", first.display(), second.display())]
    Copies {
        /// The machine.
        what: String,
        /// The settings file of the first.
        first: PathBuf,
        /// The settings file of another.
        second: PathBuf,
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
    /// Writing to the medium would break something else.
    #[error("{} is not mounted for writing: {reason}", image.display())]
    NotWritten {
        /// The leaf image.
        image: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(e) => e.kind(),
            Self::Settings { .. } | Self::Chain { .. } | Self::Duplicate { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Hidden { .. } => ErrorKind::Password,
            Self::Crypt(e) => e.kind(),
            Self::NotFound { .. }
            | Self::Missing { .. }
            | Self::Moved { .. }
            | Self::Unregistered { .. }
            | Self::Outside { .. }
            | Self::Emptied { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Copies { .. } => ErrorKind::Usage,
            Self::TooMany { .. } => ErrorKind::Unsupported,
            Self::Outdated { .. } | Self::NotWritten { .. } | Self::NotWrittenOutside { .. } => ErrorKind::Refused,
            Self::Copy { source, .. } => source.kind(),
            Self::Image(e) => e.kind(),
        }
    }
}

/// The result of an operation on the registry.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
