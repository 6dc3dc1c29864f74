//! The error of parsers.

use std::fmt;

/// Whether a [`ParseError`] is corruption or a feature we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The bytes break the rules of their format.
    Corrupt,
    /// The bytes may be right, but ask for something this program cannot do.
    Unsupported,
}

/// A structure that could not be parsed. The file is not named yet: parsers take bytes, not files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Corruption or unknown feature.
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
    /// Corruption: `what` at `offset` should be `expected` and is `found`.
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
