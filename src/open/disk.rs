//! Opening a disk that was found: locks, images, decryption, partition table.

use super::contents::{self, Guest, VolumeContent};
use super::{Lookup, Result};
use crate::disk::{self, ChainDisk, Disk, OpenMode, unlock_disk};
use crate::guestfs::{self, Content};
use crate::lock;
use crate::registry::{self, Chain};
use crate::volume::{self, Table};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a disk is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskOptions {
    /// For writing too.
    pub writable: bool,
    /// Read what is left of a corrupt image, or write although a parent was changed after its child was made.
    pub force: bool,
    /// The snapshot that the image file itself has (QCOW, Parallels), by its name or id.
    pub internal_snapshot: Option<String>,
    /// Devices that images may name: VMDKs of a whole disk or of partitions.
    pub allowed_devices: Vec<PathBuf>,
    /// Take no locks: for a glance at names, which is to be in nobody's way. Not for writing.
    pub unlocked: bool,
    /// Where it will be mounted, for those who ask who has the image locked.
    pub mount_point: Option<PathBuf>,
}

/// An open disk. Its images stay locked as long as this is there.
pub(crate) struct OpenDisk {
    /// The images, leaf first.
    pub chain: Chain,
    /// The open images.
    pub images: Arc<ChainDisk>,
    /// The disk as the guest sees it, decrypted.
    pub disk: Arc<dyn Disk>,
    /// Its partition table.
    pub table: Table,
    /// The file system that a chain spec ends in, which is then all that is shown.
    pub file_system: Option<Guest>,
    /// What a user should know of its images, a sentence each; of the partition table, the table has it.
    pub warnings: Vec<String>,
    locks: Vec<lock::Guard>,
    /// Looks for others who write to an image that is read.
    writers: Option<lock::Search>,
}

impl OpenDisk {
    /// Locks and opens the images of a chain: the leaf for what will be done with it, its parents for reading. For
    /// writing, no other program may use the leaf.
    ///
    /// # Errors
    /// What is wrong with an image or its locks; a refusal to write to what other media or saved states depend on.
    pub(crate) fn open(lookup: &Lookup, mut chain: Chain, options: &DiskOptions) -> Result<Self> {
        if options.writable {
            registry::find_children(&mut chain, &lookup.allowed);
            registry::check_writable(&chain)?;
        }
        let paths: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
        let mode = if options.writable { lock::Mode::Write } else { lock::Mode::Read };
        let locks = match options.unlocked && !options.writable {
            true => Vec::new(),
            false => lock::acquire_chain(&paths, mode, options.mount_point.as_deref())?,
        };
        if let Some((leaf, parents)) = paths.split_first().filter(|_| options.writable) {
            lock::check_writable(leaf, parents)?;
        }
        let writers = (!options.writable).then(|| lock::Search::new(&paths));
        log::info!("Opening medium chain");
        let mode = OpenMode {
            writable: options.writable,
            force: options.force,
            snapshot: options.internal_snapshot.clone(),
            allowed: lookup.allowed.clone(),
            allowed_devices: options.allowed_devices.clone(),
        };
        let images = Arc::new(disk::open_chain(&chain, &mode)?);
        Ok(Self { writers, ..Self::of_images(lookup, chain, images, locks)? })
    }

    /// The disk of images that are open and locked.
    ///
    /// # Errors
    /// Of decrypting, and of reading the partition table.
    pub(crate) fn of_images(
        lookup: &Lookup,
        chain: Chain,
        images: Arc<ChainDisk>,
        locks: Vec<lock::Guard>,
    ) -> Result<Self> {
        let paths: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
        let name = paths.first().map_or_else(String::new, |leaf| leaf.display().to_string());
        let disk = unlock_disk(images.clone(), &chain.base_properties, &name, &lookup.passwords)?;
        let table = volume::read_table(&*disk)?;
        let warnings = images.warnings().to_vec();
        Ok(Self { chain, images, disk, table, file_system: None, warnings, locks, writers: None })
    }

    /// What its volumes hold, or the whole disk where it has none.
    #[must_use]
    pub(crate) fn contents(&self) -> Vec<VolumeContent> {
        if let Some(guest) = &self.file_system {
            let content = guestfs::detect::of_reader(&*guest.fs);
            return vec![VolumeContent { index: 0, content, guest: Some(guest.clone()) }];
        }
        contents::of_disk(&self.disk, &self.table.volumes)
    }

    /// What a disk with volumes holds as a whole, such as an optical disk that boots as a hard disk too.
    #[must_use]
    pub(crate) fn whole_content(&self) -> Option<Content> {
        contents::whole(&self.disk, &self.table.volumes)
    }

    /// The file systems of its volumes that can be read, and what a user should know of all of them.
    #[must_use]
    pub(crate) fn guests(&self) -> (Vec<Guest>, Vec<String>) {
        let contents = self.contents();
        let warnings = contents.iter().flat_map(VolumeContent::warnings).collect();
        (contents.into_iter().filter_map(|volume| volume.guest).collect(), warnings)
    }

    /// What to know of other programs that write to the images meanwhile. The search takes longer than opening does, so
    /// it is asked for last; none for a disk that is open for writing, to which nobody else may write.
    pub(crate) fn warning_of_writers(&mut self) -> Option<String> {
        self.writers.take().and_then(|writers| writers.warning_for_reading())
    }

    /// The locks of its images, for a front that keeps the disk open by its view.
    #[must_use]
    pub(crate) fn into_locks(self) -> Vec<lock::Guard> {
        self.locks
    }
}
