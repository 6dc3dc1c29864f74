//! Reading a disk as a file: bytes up to its end, and where its holes are.

use super::{Error, Result};
use crate::disk::{Allocation, Disk};

/// The most spans that one search for data or a hole looks at, so that every request ends.
const SPANS: usize = 1 << 20;

/// Fills `buf` from `offset` on and returns how many bytes that were: fewer at the disk's end, none past it.
pub(super) fn read(disk: &dyn Disk, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let len = within(disk, offset, buf.len());
    if len > 0 {
        disk.read_at(offset, &mut buf[..len])?;
    }
    Ok(len)
}

/// How many of `len` bytes from `offset` on lie within the disk.
#[must_use]
pub(crate) fn within(disk: &dyn Disk, offset: u64, len: usize) -> usize {
    let left = disk.size().saturating_sub(offset);
    usize::try_from(left).unwrap_or(usize::MAX).min(len)
}

/// Where the next data, or else the next hole, begins, at `offset` or after it. The disk's end is a hole.
///
/// A search that takes too many steps, or meets a part of a map that cannot be read, ends early with an answer that is
/// safe: zeros taken for data, never the reverse.
pub(super) fn seek(disk: &dyn Disk, offset: u64, data: bool) -> Result<u64> {
    let size = disk.size();
    if offset >= size {
        return Err(Error::PastEnd);
    }
    let mut at = offset;
    for _ in 0..SPANS {
        // What cannot be told is no zeros: reading it gives the error, and reading what comes before it does not.
        let Ok(span) = disk.allocation(at) else { return Ok(if data { at } else { size }) };
        if matches!(span, Allocation::Data(_)) == data {
            return Ok(at);
        }
        at = at.saturating_add(span.len().max(1));
        if at >= size {
            return if data { Err(Error::PastEnd) } else { Ok(size) };
        }
    }
    Ok(if data { at } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::disk::{Error as DiskError, Result as DiskResult};

    const K: usize = 1024;

    #[test]
    fn reads_end_at_the_end() {
        let disk = MemoryDisk::striped();
        let mut buf = [9; 1500];
        assert_eq!(read(&disk, 7 * K as u64, &mut buf).unwrap(), K);
        assert_eq!((buf[..K].iter().all(|b| *b == 2), buf[K]), (true, 9));
        assert_eq!(read(&disk, 8 * K as u64, &mut buf).unwrap(), 0);
        assert_eq!(read(&disk, u64::MAX, &mut buf).unwrap(), 0);
    }

    #[test]
    fn finds_data_and_holes() {
        let disk = MemoryDisk::striped();
        for (at, data, hole) in
            [(0, 1024, 0), (5, 1024, 5), (1024, 1024, 3072), (3071, 3071, 3072), (3072, 6144, 3072), (6144, 6144, 8192)]
        {
            assert_eq!((seek(&disk, at, true).unwrap(), seek(&disk, at, false).unwrap()), (data, hole), "{at}");
        }
        for offset in [8192, u64::MAX] {
            assert!(matches!(seek(&disk, offset, true), Err(Error::PastEnd)), "{offset}");
            assert!(matches!(seek(&disk, offset, false), Err(Error::PastEnd)), "{offset}");
        }
        let empty = MemoryDisk::new(vec![0; 4096]);
        assert!(matches!(seek(&empty, 0, true), Err(Error::PastEnd)));
    }

    /// A disk whose spans are a byte each.
    struct Crumbs(fn(u64) -> Allocation);

    impl Disk for Crumbs {
        fn size(&self) -> u64 {
            1 << 40
        }
        fn sector_size(&self) -> u32 {
            512
        }
        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> DiskResult<()> {
            Err(DiskError::ReadOnly)
        }
        fn allocation(&self, _offset: u64) -> DiskResult<Allocation> {
            Ok((self.0)(1))
        }
    }

    #[test]
    fn long_searches_end_on_the_safe_side() {
        assert_eq!(seek(&Crumbs(Allocation::Data), 7, false).unwrap(), 1 << 40);
        assert_eq!(seek(&Crumbs(Allocation::Zero), 7, true).unwrap(), 7 + SPANS as u64);
    }
}
