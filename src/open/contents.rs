//! What the volumes of a disk hold.

use crate::disk::{Disk, Slice};
use crate::guestfs::{self, Content, GuestFs, Node};
use crate::volume::Volume;
use std::sync::Arc;

/// The offset in bytes at which an optical disk has its volume descriptors.
const DESCRIPTORS: u64 = 32 << 10;

/// A guest's file system on a volume.
#[derive(Clone)]
pub(crate) struct Guest {
    /// The name of its directory: `fs` and the number of its volume.
    pub name: String,
    /// Its reader.
    pub fs: Arc<dyn GuestFs>,
    /// The directory of it that is shown: its top, unless the user wanted another one.
    pub root: Node,
    /// The volume, from which the files' bytes come.
    pub volume: Arc<dyn Disk>,
    /// Where on the disk the volume begins, in bytes.
    pub start: u64,
}

impl Guest {
    /// A file system with all of its files, on a volume that begins at `start` on the disk.
    #[must_use]
    pub(crate) fn new(index: usize, fs: Box<dyn GuestFs>, volume: Arc<dyn Disk>, start: u64) -> Self {
        Self { name: format!("fs{index}"), root: fs.root(), fs: fs.into(), volume, start }
    }
}

/// A volume, or the whole disk where it has none, and what it holds.
pub(crate) struct VolumeContent {
    /// The index of the volume; 0 for the whole disk.
    pub index: usize,
    /// What it holds, by its content.
    pub content: Content,
    /// Its file system, shown as `fs<N>`; none where it holds none that can be read here.
    pub guest: Option<Guest>,
}

impl VolumeContent {
    /// What a user should know of it, a sentence each, when its file system is to be shown.
    #[must_use]
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Self { index, content, guest } = self;
        let mut warnings = Vec::new();
        let name = guest.as_ref().map_or_else(|| format!("Volume {index}"), |guest| guest.name.clone());
        if guest.is_none() && (!content.is_unknown() || !content.notes.is_empty()) {
            warnings.push(format!("{name}: {content}, which is not read here"));
        }
        warnings.extend(content.notes.iter().map(|note| format!("{name}: {note}")));
        warnings
    }
}

/// What a disk with volumes holds as a whole, such as an optical disk that boots as a hard disk too. `None` without
/// volumes, and where one of them begins with the disk and so holds that.
pub(super) fn whole(disk: &Arc<dyn Disk>, volumes: &[Volume]) -> Option<Content> {
    let is_apart = !volumes.is_empty() && volumes.iter().all(|volume| volume.offset > 0);
    is_apart.then(|| Content { notes: Vec::new(), ..guestfs::identify(disk) })
}

/// What each of the volumes of a disk holds, or the whole disk where it has none.
pub(super) fn of_disk(disk: &Arc<dyn Disk>, volumes: &[Volume]) -> Vec<VolumeContent> {
    let whole = Volume::whole(&**disk);
    let listed = if volumes.is_empty() { std::slice::from_ref(&whole) } else { volumes };
    listed.iter().map(|volume| of_volume(disk, volume, is_of_hybrid(volume) && !volumes.is_empty())).collect()
}

fn of_volume(disk: &Arc<dyn Disk>, volume: &Volume, hybrid: bool) -> VolumeContent {
    let slice: Arc<dyn Disk> = Arc::new(Slice::new(disk.clone(), volume.offset, volume.size));
    let index = volume.index;
    match open(disk, &slice, hybrid) {
        Ok(Some((fs, on))) => {
            let content = guestfs::detect::of_reader(&*fs);
            log::info!("Volume {index}: {content}, shown as fs{index}");
            // That of a hybrid disk begins with the disk.
            let start = if Arc::ptr_eq(&on, &slice) { volume.offset } else { 0 };
            VolumeContent { index, content, guest: Some(Guest::new(index, fs, on, start)) }
        }
        Ok(None) | Err(_) => {
            let content = guestfs::identify(&slice);
            log::info!("Volume {index}: {content}");
            VolumeContent { index, content, guest: None }
        }
    }
}

/// A file system and the disk that it lies on.
type Opened = (Box<dyn GuestFs>, Arc<dyn Disk>);

/// The file system that a volume shows, and what it lies on: the volume, but for the first partition of a hybrid
/// optical disk, whose file system is that of the whole disk.
fn open(disk: &Arc<dyn Disk>, volume: &Arc<dyn Disk>, hybrid: bool) -> guestfs::Result<Option<Opened>> {
    Ok(match guestfs::detect::open(volume.clone())? {
        None if hybrid => guestfs::optical::open(disk)?.map(|fs| (fs, disk.clone())),
        found => found.map(|fs| (fs, volume.clone())),
    })
}

/// Whether a volume may be the first partition of an optical disk that also boots as a hard disk: the disk's file
/// system begins before it.
fn is_of_hybrid(volume: &Volume) -> bool {
    volume.index == 0 && (1..=DESCRIPTORS).contains(&volume.offset)
}
