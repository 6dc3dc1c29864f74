//! Which image of a chain supplies the bytes of a range: the ground of reading, of the map that users see, and of
//! comparing two states of a disk without reading them.

use super::slice::check_range;
use super::{ChainDisk, Disk, Result};
use crate::image::{Extent, Image};

/// What supplies a range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Supply {
    /// The image that decides, as an index into [`ChainDisk::links`]; `None` when none says anything, which reads as
    /// zeros.
    pub link: Option<usize>,
    /// What that image says: [`Extent::Absent`] exactly when there is none.
    pub extent: Extent,
    /// For how many bytes of the disk; at least 1.
    pub len: u64,
}

impl ChainDisk {
    /// What supplies the bytes from `offset` on, which is below the size, for at most `len` bytes (at least 1). The
    /// answer may be shorter than the extent.
    ///
    /// # Errors
    /// [`PastEnd`](super::Error::PastEnd) when the range leaves the disk; errors of the images' maps.
    pub(crate) fn supply(&self, offset: u64, len: u64) -> Result<Supply> {
        check_range(offset, len.max(1), self.size())?;
        supply(self.links(), offset, len.max(1))
    }
}

/// Asks the links, leaf first, what supplies the bytes from `offset` on; the answer holds for at most `len` bytes.
pub(super) fn supply(links: &[Box<dyn Image>], offset: u64, mut len: u64) -> Result<Supply> {
    for (link, image) in links.iter().enumerate() {
        let size = image.info().size;
        // A child may be larger than its parent: what the parent does not have is zero.
        let Some(within) = size.checked_sub(offset).filter(|within| *within > 0) else { break };
        let run = image.extent(offset, len.min(within))?;
        len = run.len;
        if run.extent != Extent::Absent {
            return Ok(Supply { link: Some(link), extent: run.extent, len });
        }
    }
    Ok(Supply { link: None, extent: Extent::Absent, len })
}
