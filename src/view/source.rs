//! What a view is made of.

use super::{Appearance, Result, View};
use crate::disk::Disk;
use crate::open::{Guest, OpenDisk, OpenDisks, of_slot};
use crate::storage::Storage;
use crate::storage::archive::host_file;
use crate::volume::Volume;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A disk and what was found on it.
pub(crate) struct Source {
    /// The disk, shown as `vhdd`.
    pub disk: Arc<dyn Disk>,
    /// Its volumes, shown as `vol<N>` with N their index.
    pub volumes: Vec<Volume>,
    /// The file of the leaf image, absolute; an archive for one in it. It gives the symbolic link its name and target,
    /// and the files their times.
    pub image: PathBuf,
    /// The guest's file systems, shown as `fs<N>` with N the index of their volume.
    pub guests: Vec<Guest>,
    /// Whether the file systems are all that is shown.
    pub only_guests: bool,
    /// Bytes that the images of the chain take up on the host. A disk larger than that is sparse for `du` and `cp`.
    pub stored: u64,
}

impl Source {
    /// An open disk with its volumes, without guest file systems.
    #[must_use]
    pub(crate) fn of_disk(open: &OpenDisk) -> Self {
        let image = open.images.links().first().map(|leaf| host_file(&leaf.info().path).to_path_buf());
        let image = image.unwrap_or_default();
        let files = open.images.links().iter().flat_map(|link| link.files());
        let stored = files.map(|file| stored_bytes(&**file)).fold(0, u64::saturating_add);
        let (disk, volumes) = (open.disk.clone(), open.table.volumes.clone());
        Self { disk, volumes, image, guests: Vec::new(), only_guests: open.file_system.is_some(), stored }
    }
}

impl View {
    /// The view of what is open, with the guest's file systems if they are wanted, and what a user should know of
    /// those. A machine that was opened whole has a directory for each disk.
    ///
    /// # Errors
    /// As [`View::new`].
    pub(crate) fn of_open(open: &OpenDisks, with_guests: bool, appearance: Appearance) -> Result<(Self, Vec<String>)> {
        let (mut sources, mut warnings) = (Vec::new(), Vec::new());
        for (slot, disk) in &open.disks {
            let (guests, more) =
                if with_guests || disk.file_system.is_some() { disk.guests() } else { Default::default() };
            warnings.extend(more.iter().map(|warning| of_slot(slot.as_deref(), warning)));
            sources.push((slot.clone(), Source { guests, ..Source::of_disk(disk) }));
        }
        let only = if let [(None, _)] = &sources[..] { sources.pop() } else { None };
        let view = match only {
            Some((_, source)) => Self::new(source, appearance)?,
            None => {
                let named = |(slot, source): (Option<String>, Source)| (slot.unwrap_or_default().into(), source);
                Self::of_disks(sources.into_iter().map(named).collect(), appearance)?
            }
        };
        Ok((view, warnings))
    }
}

/// What a file takes up on the host. A device, or what cannot be looked at, counts as if it stored everything.
fn stored_bytes(file: &dyn Storage) -> u64 {
    if file.range_of().is_some() {
        return file.length().unwrap_or(u64::MAX);
    }
    let metadata = std::fs::metadata(file.path()).ok().filter(Metadata::is_file);
    metadata.map_or(u64::MAX, |metadata| metadata.blocks().saturating_mul(512))
}
