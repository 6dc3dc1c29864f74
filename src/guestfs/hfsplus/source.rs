//! The bytes of the volume with its journal applied, and forks, which are runs of its blocks.

use super::HfsPlus;
use super::header::{Bounds, Fork, HfsExtent};
use crate::disk::Disk;
use crate::guestfs::Result;
use crate::guestfs::overlay::Overlay;
use crate::ondisk::ParseError;
use std::sync::Arc;

/// A volume, or the range of it that holds the file system.
pub(super) struct Source {
    pub(super) volume: Arc<dyn Disk>,
    pub(super) bounds: Bounds,
    pub(super) overlay: Overlay,
}

impl Source {
    /// Fills `buf` with the bytes from byte `at` of the file system on.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.bounds.size) {
            let expected = format!("one within {} bytes (the volume may be cut short)", self.bounds.size);
            return Err(ParseError::corrupt(
                self.bounds.start,
                "offset of a block",
                expected,
                format_args!("byte {at}"),
            )
            .into());
        }
        self.volume.read_at(self.bounds.start + at, buf)?;
        self.overlay.patch(at, buf);
        Ok(())
    }
}

/// A contiguous range of a fork.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// Its offset in the file system in bytes.
    pub(super) at: u64,
    /// Its length in bytes, at least 1.
    pub(super) len: u64,
}

/// A fork that belongs to a file.
#[derive(Clone, Copy)]
pub(super) struct Owned<'a> {
    pub(super) fork: &'a Fork,
    /// Whether it is the resource fork.
    pub(super) resource: bool,
    pub(super) file: u32,
}

/// Finds the extent of a list that holds a block, and the block's index in it. The list begins with block `first`.
pub(super) fn find(extents: &[HfsExtent], first: u64, block: u64) -> Option<(HfsExtent, u64)> {
    let mut base = first;
    for extent in extents {
        let end = base + u64::from(extent.count);
        if (base..end).contains(&block) {
            return Some((*extent, block - base));
        }
        base = end;
    }
    None
}

impl HfsPlus {
    /// The rest of an extent, from byte `skip` of its block `within` on.
    pub(super) fn chunk(&self, extent: HfsExtent, within: u64, skip: u64) -> Result<Chunk> {
        let end = u64::from(extent.start) + u64::from(extent.count);
        if end > u64::from(self.header.blocks) {
            let expected = format!("blocks below {}", self.header.blocks);
            let found = format!("{} from {} on", extent.count, extent.start);
            return Err(ParseError::corrupt(self.source.bounds.start, "extent of a file", expected, found).into());
        }
        let size = u64::from(self.header.block_size);
        let at = (u64::from(extent.start) + within) * size + skip;
        Ok(Chunk { at, len: end * size - at })
    }

    /// The contiguous range of a fork from its byte `offset` on.
    pub(super) fn fork_chunk(&self, owned: Owned<'_>, offset: u64) -> Result<Chunk> {
        let size = u64::from(self.header.block_size);
        let (block, skip) = (offset / size, offset % size);
        let found = match find(&owned.fork.extents, 0, block) {
            Some(found) => found,
            None => self.overflow(owned, block)?,
        };
        self.chunk(found.0, found.1, skip)
    }

    /// Fills `buf` with the bytes of a fork from `offset` on, which must lie within it.
    pub(super) fn read_fork(&self, owned: Owned<'_>, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > owned.fork.size {
            let what = format!("size of a fork of file {}", owned.file);
            let expected = format!("at least {end} bytes");
            return Err(ParseError::corrupt(self.source.bounds.start, what, expected, owned.fork.size).into());
        }
        let mut done = 0;
        while done < buf.len() {
            let chunk = self.fork_chunk(owned, offset + done as u64)?;
            let now = usize::try_from(chunk.len).unwrap_or(usize::MAX).min(buf.len() - done);
            self.source.read(chunk.at, &mut buf[done..done + now])?;
            done += now;
        }
        Ok(())
    }
}
