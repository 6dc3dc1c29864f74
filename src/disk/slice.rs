//! A volume: a range of a disk as a disk.

use super::{Allocation, Disk, Error, FileRange, Origin, Result};
use std::sync::Arc;

/// A range of another disk.
pub(crate) struct Slice {
    disk: Arc<dyn Disk>,
    start: u64,
    size: u64,
}

impl Slice {
    /// The `size` bytes of `disk` from `start` on, cut at the disk's end.
    #[must_use]
    pub(crate) fn new(disk: Arc<dyn Disk>, start: u64, size: u64) -> Self {
        let start = start.min(disk.size());
        let size = size.min(disk.size() - start);
        Self { disk, start, size }
    }

    fn check(&self, offset: u64, len: u64) -> Result<u64> {
        check_range(offset, len, self.size)?;
        Ok(self.start + offset)
    }
}

/// Whether `len` bytes from `offset` on lie within a disk of `size` bytes.
///
/// # Errors
/// [`Error::PastEnd`] when they do not.
pub(crate) fn check_range(offset: u64, len: u64, size: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::PastEnd { offset, end: u128::from(offset) + u128::from(len), size }),
    }
}

impl Disk for Slice {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn writable(&self) -> bool {
        self.disk.writable()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let at = self.check(offset, buf.len() as u64)?;
        self.disk.read_at(at, buf)
    }

    fn file_ranges(&self, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        let at = self.check(offset, len).ok()?;
        self.disk.file_ranges(at, len)
    }

    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        self.disk.origin(self.check(offset, len)?, len)
    }

    fn allocation(&self, offset: u64) -> Result<Allocation> {
        let at = self.check(offset, 1)?;
        let left = self.size - offset;
        Ok(match self.disk.allocation(at)? {
            Allocation::Data(len) => Allocation::Data(len.min(left)),
            Allocation::Zero(len) => Allocation::Zero(len.min(left)),
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let at = self.check(offset, buf.len() as u64)?;
        self.disk.write_at(at, buf)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let at = self.check(offset, len)?;
        self.disk.discard(at, len)
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn close(&self) -> Result<()> {
        self.disk.close()
    }
}
