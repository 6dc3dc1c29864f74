//! What can be wrong with a chain spec, and where in it.

use crate::error_kind::ErrorKind;
use crate::open;
use std::fmt;

/// The most characters of a spec that a message repeats.
const SHOWN: usize = 40;

/// A part of a spec, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The character that it begins at, from 1.
    character: usize,
    /// What is there; empty at the end of the spec.
    found: String,
}

impl Location {
    /// The part of a spec between two offsets in bytes.
    pub(super) fn new(text: &[u8], (from, to): (usize, usize)) -> Self {
        let (from, to) = (from.min(text.len()), to.min(text.len()));
        let characters = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut found = characters(&text[from..to]);
        if let Some((cut, _)) = found.char_indices().nth(SHOWN) {
            found.truncate(cut);
            found.push_str("...");
        }
        Self { character: characters(&text[..from]).chars().count() + 1, found }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found.is_empty() {
            true => f.write_str("at its end"),
            false => write!(f, "at character {}, {:?}", self.character, self.found),
        }
    }
}

/// A failure of a chain spec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It breaks the rules, or its elements do not fit each other.
    #[error("The chain spec is wrong {location}: {what}")]
    Syntax {
        /// Where.
        location: Location,
        /// What is wrong and what to do about it.
        what: String,
    },
    /// What an element names is not there.
    #[error("The chain spec leads nowhere {location}: {what}")]
    NotFound {
        /// The element or the name.
        location: Location,
        /// What is missing and what to do about it.
        what: String,
    },
    /// An element does not find what it reads.
    #[error("The chain spec does not fit what it reads {location}: {what}")]
    Unsupported {
        /// The element.
        location: Location,
        /// What is there instead and what to do about it.
        what: String,
    },
    /// It ends in what is not written to.
    #[error("The chain spec cannot be opened for writing {location}: {what}")]
    Refused {
        /// The element or argument.
        location: Location,
        /// Why, and what to do about it.
        what: String,
    },
    /// What an element names could not be opened.
    #[error("The chain spec fails {location}")]
    Failed {
        /// The element.
        location: Location,
        /// Why.
        source: Box<open::Error>,
    },
}

impl Error {
    pub(super) fn syntax(location: Location, what: &str) -> Self {
        Self::Syntax { location, what: what.to_owned() }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } => ErrorKind::Usage,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Failed { source, .. } => source.kind(),
        }
    }
}

/// The result of reading or following a chain spec.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;
