//! What a user should know of an image that could be opened.

use std::fmt;
use std::ops::Deref;

/// What a user should know of an image, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    text: String,
    /// Whether a file is corrupt, so that a check has found something.
    pub is_corruption: bool,
}

impl Note {
    /// A note on corruption that reading goes around.
    pub(crate) fn corrupt(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_corruption: true }
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self { text, is_corruption: false }
    }
}

impl From<&str> for Note {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Note {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// A note is known by its text.
impl<T: AsRef<str>> PartialEq<T> for Note {
    fn eq(&self, text: &T) -> bool {
        &**self == text.as_ref()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
