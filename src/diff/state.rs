//! One of the states that are compared.

use super::{Error, Which};
use crate::disk::Disk;
use crate::open::OpenDisks;
use crate::view::{self, View};
use crate::volume::Volume;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A state of a disk or of a machine, open for reading.
pub(crate) struct State<'a> {
    /// What the user calls it, for messages.
    pub name: &'a str,
    /// What it shows, with its file systems.
    pub view: &'a View,
    /// Its disks: the directory of each in the view, which is empty for one that was opened by itself.
    pub(super) disks: Vec<StateDisk>,
}

/// A disk of a state.
pub(super) struct StateDisk {
    pub(super) directory: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) volumes: Vec<Volume>,
}

impl<'a> State<'a> {
    /// The state of open disks, of which `view` is the view.
    #[must_use]
    pub(crate) fn new(name: &'a str, open: &OpenDisks, view: &'a View) -> Self {
        let disks = open.disks.iter().map(|(slot, open)| StateDisk {
            directory: slot.as_deref().unwrap_or_default().into(),
            disk: open.disk.clone(),
            volumes: open.table.volumes.clone(),
        });
        Self { name, view, disks: disks.collect() }
    }

    /// The disks, each with the directory that it has in the view; that is empty for one that was opened by itself.
    pub(crate) fn disks(&self) -> impl Iterator<Item = (&Path, &dyn Disk)> {
        self.disks.iter().map(|one| (&*one.directory, &*one.disk))
    }

    /// The state with only the disk that has this directory.
    #[must_use]
    pub(crate) fn only(mut self, directory: &Path) -> Self {
        self.disks.retain(|one| one.directory == directory);
        self
    }

    /// For `map_err`: what went wrong with a path.
    pub(super) fn at<'p>(&'p self, path: &'p Path) -> impl Fn(view::Error) -> Error + 'p {
        move |source| Error::View { path: path.to_owned(), state: self.name.to_owned(), source }
    }
}

/// Both states.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) old: &'a State<'a>,
    pub(super) new: &'a State<'a>,
}

impl<'a> Pair<'a> {
    pub(super) fn get(&self, which: Which) -> &'a State<'a> {
        match which {
            Which::Old => self.old,
            Which::New => self.new,
        }
    }
}
