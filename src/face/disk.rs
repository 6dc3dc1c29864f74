//! A disk of a machine, or of an image by itself.

use super::Result;
use crate::disk::{self, Supply};
use crate::image;
use crate::open::{OpenDisk, OpenDisks};
use crate::registry::Chain;
use crate::volume::Volume;

/// How much of the disk is asked for at once when its extents are listed, in bytes.
const STEP: u64 = 1 << 30;

/// An open disk as its guest sees it: all images of its chain together, decrypted. The images stay locked for reading
/// while it is there, so that no mount of this program writes to them.
pub struct Disk {
    slot: Option<String>,
    open: OpenDisk,
    warnings: Vec<String>,
}

/// A range of a disk, and which image of its [`Chain`] decides what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first byte.
    pub offset: u64,
    /// How many bytes; at least 1.
    pub len: u64,
    /// The image, as an index into [`Chain::links`]; `None` where no image says anything, which reads as zeros.
    pub image: Option<usize>,
    /// Whether the image stores bytes for the range. Otherwise it says that they are zeros.
    pub stored: bool,
}

impl Disk {
    pub(super) fn new(slot: Option<String>, mut open: OpenDisk, warnings: Vec<String>) -> Self {
        let of_disk = open.warnings.iter().chain(&open.table.notes).filter(|note| !warnings.contains(note));
        let mut warnings: Vec<String> = warnings.iter().chain(of_disk).cloned().collect();
        warnings.extend(open.warning_of_writers());
        Self { slot, open, warnings }
    }

    /// The slot that it is attached to, such as `SATA-0-0`, when a machine was opened whole.
    #[must_use]
    pub fn slot(&self) -> Option<&str> {
        self.slot.as_deref()
    }

    /// The images that it consists of, and what is recorded about them.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.open.chain
    }

    /// What a user should know, a sentence each: a corrupt partition table, a program that writes to an image
    /// meanwhile, disks of the machine that could not be opened.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.open.disk.size()
    }

    /// Bytes of a sector: 512, 2048 or 4096.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        self.open.disk.sector_size()
    }

    /// Fills `buf` with the bytes from `offset` on. Neither needs any alignment.
    ///
    /// # Errors
    /// When the range leaves the disk, or an image cannot be read there.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Ok(self.open.disk.read_at(offset, buf)?)
    }

    /// Its partitions; none on a disk without a partition table.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.open.table.volumes
    }

    /// What holds the bytes of the disk, from its start to its end. The first error ends the list.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent>> {
        let mut offset = Some(0);
        std::iter::from_fn(move || {
            let at = offset.filter(|at| *at < self.size())?;
            let extent = self.extent(at);
            offset = extent.as_ref().ok().and_then(|extent| at.checked_add(extent.len));
            Some(extent)
        })
    }

    /// The extent that begins at `offset`, which is below the size.
    fn extent(&self, offset: u64) -> Result<Extent> {
        let ask = |at: u64| -> disk::Result<Supply> { self.open.images.supply(at, STEP.min(self.size() - at)) };
        let is_stored = |extent| matches!(extent, image::Extent::Stored { .. } | image::Extent::Encoded { .. });
        let first = ask(offset)?;
        let mut end = offset + first.len;
        // Answers end where blocks do.
        while end < self.size() {
            let next = ask(end)?;
            if next.link != first.link || is_stored(next.extent) != is_stored(first.extent) {
                break;
            }
            end += next.len;
        }
        Ok(Extent { offset, len: end - offset, image: first.link, stored: is_stored(first.extent) })
    }

    pub(super) fn into_open(self) -> OpenDisks {
        OpenDisks { disks: vec![(None, self.open)], warnings: Vec::new() }
    }
}
