//! What a volume holds, by name.

use std::fmt;

/// What a volume holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The type, such as `ext4` or `LUKS2`; empty when nothing known is there.
    pub type_name: String,
    /// The label; empty when it has none or it is encrypted.
    pub label: String,
    /// The UUID or serial number, as the system's own tools write it; empty when it has none.
    pub uuid: String,
    /// What a user should know, a sentence each: corruption, how to go on with what cannot be read here.
    pub notes: Vec<String>,
}

impl Content {
    pub(super) fn named(type_name: &str) -> Self {
        Self { type_name: type_name.to_owned(), ..Self::default() }
    }

    /// Whether nothing known is there.
    #[must_use]
    pub(crate) fn is_unknown(&self) -> bool {
        self.type_name.is_empty()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unknown() { "nothing known" } else { &self.type_name })?;
        if !self.label.is_empty() {
            write!(f, " {:?}", self.label)?;
        }
        if !self.uuid.is_empty() {
            write!(f, " {}", self.uuid)?;
        }
        Ok(())
    }
}
