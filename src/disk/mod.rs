//! A chain of images as one flat disk: merges the links' answers, and does all guest I/O.

pub(crate) mod budget;
mod chain;
mod cluster;
pub(crate) mod decrypted;
pub(crate) mod error;
#[cfg(test)]
mod faults;
mod flat;
mod gunzip;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod open;
mod origin;
pub(crate) mod slice;
mod supply;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unlock;
mod write;

pub(crate) use chain::ChainDisk;
pub(crate) use decrypted::Decrypted;
pub(crate) use error::{Error, Result};
pub(crate) use gunzip::Gunzip;
pub(crate) use open::{OpenMode, check_names, open_chain};
pub(crate) use open::{check_parent, check_registered, open_link, stated_format};
pub(crate) use origin::{Derivation, Origin};
pub(crate) use slice::Slice;
pub(crate) use supply::Supply;
pub(crate) use unlock::unlock_disk;

/// A range of a disk, for reporting holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Bytes that some image of the chain stores, this many.
    Data(u64),
    /// Known zeros, this many bytes.
    Zero(u64),
}

impl Allocation {
    /// How many bytes.
    #[must_use]
    pub(crate) fn len(self) -> u64 {
        match self {
            Self::Data(len) | Self::Zero(len) => len,
        }
    }
}

/// A range of a disk in a file.
#[derive(Debug, Clone)]
pub(crate) struct FileRange {
    /// The file, which has a [`local`](crate::storage::Storage::local) one.
    pub file: crate::storage::File,
    /// Where in it the range begins, in bytes.
    pub offset: u64,
    /// Bytes; at least 1.
    pub len: u64,
}

/// Anything with the shape of a disk: a chain, a volume of one, a layer over one. Offsets and lengths are bytes and
/// need no alignment. All methods may be called from several threads at once.
///
/// A disk is read-only unless it provides [`writable`](Disk::writable), [`write_at`](Disk::write_at),
/// [`discard`](Disk::discard) and [`flush`](Disk::flush).
pub(crate) trait Disk: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Bytes of a sector: 512, 2048 or 4096.
    fn sector_size(&self) -> u32;

    /// Whether [`write_at`](Disk::write_at) can work.
    fn writable(&self) -> bool {
        false
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// [`Error::PastEnd`] when the range leaves the disk; errors of the images.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Where `len` bytes from `offset` on lie, if all of them lie as they are in files of this machine and stay there:
    /// for handing them on without a copy. `None` means only that [`read_at`](Disk::read_at) has to be used.
    fn file_ranges(&self, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        let _ = (offset, len);
        None
    }

    /// Where the bytes from `offset` on come from, and for how many bytes, at least 1 and at most `len`: ranges of the
    /// same origin have the same bytes, also on different disks. `None` says nothing of the bytes.
    ///
    /// # Errors
    /// [`Error::PastEnd`]; errors of the images.
    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        slice::check_range(offset, len, self.size())?;
        Ok((None, len))
    }

    /// Whether data or zeros begin at `offset`, which is below the size, and how far at least.
    ///
    /// # Errors
    /// Errors of the images.
    fn allocation(&self, offset: u64) -> Result<Allocation>;

    /// Writes all of `buf` at `offset`. Durable after [`flush`](Disk::flush).
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::PastEnd`]; errors of the images.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let _ = (offset, buf);
        Err(Error::ReadOnly)
    }

    /// Makes a range read as zeros, giving its space back where that is possible.
    ///
    /// # Errors
    /// As [`write_at`](Disk::write_at).
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(Error::ReadOnly)
    }

    /// Returns when everything written is durable.
    ///
    /// # Errors
    /// Errors of the images. What could not be written is tried again by the next flush; once the system could not
    /// bring a file to its disk, all later writes and flushes fail with [`Error::Lost`].
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// The last flush: also clears the images' flags for being in use. Nothing may be written after it.
    ///
    /// # Errors
    /// As [`flush`](Disk::flush).
    fn close(&self) -> Result<()> {
        self.flush()
    }
}
