//! One file system of a view.

use super::{DirEntry, File, Result, View};
use crate::guestfs::Facts;
use crate::verbs::{Found, Links, locate_in_guest};
use crate::view::Attributes;
use std::path::{Path, PathBuf};

/// A guest's file system on a volume, read-only: a directory of a [`View`] by its own paths, such as `/etc/hostname`.
#[derive(Clone)]
pub struct GuestFs {
    view: View,
    directory: PathBuf,
    type_name: &'static str,
    label: String,
    uuid: String,
}

impl GuestFs {
    pub(super) fn new(view: View, directory: PathBuf, facts: &Facts) -> Self {
        Self { view, directory, type_name: facts.type_name, label: facts.label.clone(), uuid: facts.uuid.clone() }
    }

    /// Its directory in the view: `fs` and the number of its volume.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its type, such as `ext4`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.type_name
    }

    /// Its label; empty when it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its UUID or serial number as its own tools write it; empty when it has none.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    fn locate(&self, path: &Path) -> Result<Found> {
        Ok(locate_in_guest(self.view.tree(), &self.directory, path, Links::Follow)?)
    }

    /// As [`View::read_dir`], of a path of the guest.
    ///
    /// # Errors
    /// As there.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        self.view.list(&self.locate(path.as_ref())?)
    }

    /// As [`View::attributes`], of a path of the guest.
    ///
    /// # Errors
    /// As there.
    pub fn attributes(&self, path: impl AsRef<Path>) -> Result<Attributes> {
        Ok(self.locate(path.as_ref())?.attributes)
    }

    /// As [`View::open`], of a path of the guest.
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        self.view.open_found(self.locate(path.as_ref())?)
    }
}
