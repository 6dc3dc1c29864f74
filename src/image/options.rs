//! How an image is to be opened.

use super::{Error, Format, Note, Result};
use crate::storage::Allowed;
use crate::storage::local::Devices;
use std::path::{Path, PathBuf};

/// How an image is to be opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenOptions {
    /// For writing too.
    pub writable: bool,
    /// The user gave this path, so it may be a block device.
    pub devices: Devices,
    /// Only a name in a file led to this path, and nothing proves that the image is the one meant: it must lie in this
    /// directory or below, or be allowed.
    pub near: Option<PathBuf>,
    /// Files that images may name although they lie elsewhere.
    pub allowed: Allowed,
    /// Open a corrupt image as far as it can be read; reads of what is missing fail. Never together with `writable`.
    pub force: bool,
    /// Open it as this format without probing: the user or the child's header states it.
    pub format: Option<Format>,
    /// Show this internal snapshot (qcow2: its name or id; a Parallels bundle: its GUID) instead of the current state;
    /// only for reading.
    pub snapshot: Option<String>,
    /// Devices that an image may name and that are then opened, for reading.
    pub allowed_devices: Vec<PathBuf>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            writable: false,
            devices: Devices::Refused,
            near: None,
            allowed: Allowed::NONE,
            force: false,
            format: None,
            snapshot: None,
            allowed_devices: Vec::new(),
        }
    }
}

impl OpenOptions {
    /// Turns corruption into a note when the image is to be opened anyway, or else returns it.
    pub(super) fn tolerate(&self, corrupt: Error, notes: &mut Vec<Note>) -> Result<()> {
        if !self.force || self.writable {
            return Err(corrupt);
        }
        notes.push(Note::corrupt(format!("{}; reading what is left of it", crate::error_kind::message(&corrupt))));
        Ok(())
    }

    /// Refuses a request for an internal snapshot, on behalf of a format that has none.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`].
    pub(super) fn refuse_snapshot(&self, path: &Path) -> Result<()> {
        match &self.snapshot {
            None => Ok(()),
            Some(name) => {
                let reason = format!(
                    "its format has no internal snapshots, so there is none named {name:?}; leave the snapshot out"
                );
                Err(Error::NoSnapshot { path: path.to_path_buf(), reason })
            }
        }
    }
}
