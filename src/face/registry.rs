//! The registry with what it was loaded by.

use super::{Disk, Result};
use crate::crypt::Passwords;
use crate::error_kind::message;
use crate::open::{DiskOptions, Lookup, OpenDisk, Which};
use crate::registry::{self, Machine, MachineEntry, Medium};
use crate::storage::Allowed;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// VirtualBox's settings: the machines with their snapshots, and all media.
///
/// They are read once, when loaded; only [`open`](Registry::open) looks at them anew, since VirtualBox may have gone on
/// meanwhile.
pub struct Registry {
    lookup: Lookup,
    loaded: registry::Registry,
}

impl Registry {
    /// Loads the settings of the user who runs this program. The passwords are for encrypted machines and disks.
    ///
    /// # Errors
    /// When there are no settings, or they cannot be read.
    pub fn load(passwords: Passwords) -> Result<Self> {
        Self::new(None, passwords)
    }

    /// Loads settings that lie elsewhere: VirtualBox's settings directory, a home that has one, a `VirtualBox.xml`, a
    /// machine's `.vbox` file, or any directory with machines in it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_from(path: impl Into<PathBuf>, passwords: Passwords) -> Result<Self> {
        Self::new(Some(path.into()), passwords)
    }

    fn new(settings: Option<PathBuf>, passwords: Passwords) -> Result<Self> {
        let lookup = Lookup { settings, allowed: Allowed::NONE, passwords };
        let loaded = lookup.registry(None)?;
        Ok(Self { lookup, loaded })
    }

    /// The settings directory, absolute.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.loaded.directory
    }

    /// The machines whose settings can be read, in the order of the settings.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.loaded.machines.iter().filter_map(|entry| entry.machine.as_ref().ok())
    }

    /// All media of the global and the machines' settings, a parent before its children.
    pub fn media(&self) -> impl Iterator<Item = &Medium> {
        self.loaded.media.iter().map(|(_, medium)| medium)
    }

    /// The medium with a UUID, such as that of an [`Attachment`](registry::Attachment). Of copies of a machine the
    /// first.
    #[must_use]
    pub fn medium(&self, uuid: Uuid) -> Option<&Medium> {
        self.loaded.media.find(uuid).map(|id| self.loaded.media.get(id))
    }

    /// The medium that a differencing one is based on. The child is one of this registry.
    #[must_use]
    pub fn parent(&self, child: &Medium) -> Option<&Medium> {
        let media = &self.loaded.media;
        let (_, parent) = media.iter().nth(child.parent?.0)?;
        // The index says nothing about a medium of another registry.
        parent.children.iter().any(|id| std::ptr::eq(media.get(*id), child)).then_some(parent)
    }

    /// What is wrong with the settings and prevented nothing else, a sentence each: machines that cannot be read, media
    /// that are registered twice.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let of_machine = |entry: &MachineEntry| {
            let error = entry.machine.as_ref().err()?;
            Some(format!("The machine {:?} cannot be read: {}", entry.name(), message(error)))
        };
        let machines = self.loaded.machines.iter().filter_map(of_machine);
        self.loaded.problems.iter().map(|problem| message(problem)).chain(machines).collect()
    }

    /// Finds and opens the disks that are meant, for reading: one, or all that a machine has where none is chosen.
    ///
    /// # Errors
    /// When the machine, snapshot or disk is not known or means several; when it is in use by a writer; when an image
    /// is missing or corrupt.
    pub fn open(&self, which: &Which) -> Result<Vec<Disk>> {
        let found = self.lookup.find(which, false)?;
        let warnings = found.warnings.clone();
        let open = found.open(&self.lookup, &DiskOptions::default())?;
        // What could not be opened, and what is doubtful about the others.
        let warnings: Vec<String> = warnings.into_iter().chain(open.warnings).collect();
        Ok(open.disks.into_iter().map(|(slot, disk)| Disk::new(slot, disk, warnings.clone())).collect())
    }
}

impl Disk {
    /// Opens an image, as [`Registry::open`] does by its path. Its parents are looked for in the settings of this user,
    /// if there are any, and by what its header says.
    ///
    /// # Errors
    /// When it or one of its parents is missing, in use by a writer, corrupt or encrypted.
    pub fn open(image: impl AsRef<Path>) -> Result<Self> {
        let lookup = Lookup { settings: None, allowed: Allowed::NONE, passwords: Passwords::default() };
        let found = lookup.chain(image.as_ref().as_os_str(), false)?;
        let disk = OpenDisk::open(&lookup, found.chain, &DiskOptions::default())?;
        Ok(Self::new(None, disk, found.warnings))
    }
}
