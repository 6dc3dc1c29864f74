//! One error for the whole face.

use crate::error_kind::{ErrorKind, message};
use crate::{disk, open, verbs, view};
use std::fmt;

/// Why something cannot be found, opened or read. Its text says what, where and what to do next; its
/// [kind](Error::kind) is for programs.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    /// The message of the failure and of all that caused it.
    text: String,
}

impl Error {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

macro_rules! from_modules {
    ($($error:ty),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self { kind: error.kind(), text: message(&error) }
            }
        })*
    };
}

from_modules!(disk::Error, open::Error, verbs::Error, view::Error);

/// The result of an operation of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;
