//! What a user may do with a disk as a file, and which errno tells what went wrong. Knows nothing of FUSE's interface.

use crate::disk::{self, Disk, Span};
use crate::error_kind::message;
use nix::errno::Errno;
use nix::libc;
use std::error::Error as _;

/// The most spans that one search for data or a hole looks at, so that no request takes for ever.
const SPANS: usize = 1 << 20;

/// Fills `buf` from `offset` on and returns how many bytes that were: fewer at the disk's end, none past it.
///
/// # Errors
/// The errno of the disk's error, which is logged.
pub fn read(disk: &dyn Disk, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let len = within(disk, offset, buf.len());
    if len > 0 {
        disk.read_at(offset, &mut buf[..len]).map_err(|e| errno(&e))?;
    }
    Ok(len)
}

/// Writes what of `data` lies within the disk and returns how many bytes that were.
///
/// # Errors
/// `ENOSPC` at or past the disk's end, as block devices have it; the errno of the disk's error, which is logged.
pub fn write(disk: &dyn Disk, offset: u64, data: &[u8]) -> Result<usize, Errno> {
    let len = within(disk, offset, data.len());
    if len == 0 && !data.is_empty() {
        return Err(Errno::ENOSPC);
    }
    disk.write_at(offset, &data[..len]).map_err(|e| errno(&e))?;
    Ok(len)
}

/// How many of `len` bytes from `offset` on lie within the disk.
fn within(disk: &dyn Disk, offset: u64, len: usize) -> usize {
    let left = disk.size().saturating_sub(offset);
    usize::try_from(left).unwrap_or(usize::MAX).min(len)
}

/// Where the next data (`SEEK_DATA`) or hole (`SEEK_HOLE`) begins, at `offset` or after it. The disk's end is a hole.
///
/// A search that takes too many steps ends early with an answer that is safe: zeros taken for data, never the reverse.
///
/// # Errors
/// `ENXIO` past the disk's end and for no more data, `EINVAL` for another `whence`; the errno of the disk's error.
pub fn seek(disk: &dyn Disk, offset: i64, whence: i32) -> Result<u64, Errno> {
    let want_data = wants_data(whence)?;
    let size = disk.size();
    let mut at = u64::try_from(offset).ok().filter(|at| *at < size).ok_or(Errno::ENXIO)?;
    for _ in 0..SPANS {
        let span = disk.span(at).map_err(|e| errno(&e))?;
        if matches!(span, Span::Data(_)) == want_data {
            return Ok(at);
        }
        at = at.saturating_add(span.len().max(1));
        if at >= size {
            return if want_data { Err(Errno::ENXIO) } else { Ok(size) };
        }
    }
    Ok(if want_data { at } else { size })
}

/// Whether a search is for data (`SEEK_DATA`) or for a hole (`SEEK_HOLE`).
///
/// # Errors
/// `EINVAL` for another `whence`.
pub fn wants_data(whence: i32) -> Result<bool, Errno> {
    match whence {
        libc::SEEK_DATA => Ok(true),
        libc::SEEK_HOLE => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}

/// `fallocate`: punches holes and makes ranges zero. Allocating ahead is refused, as block devices do; programs then
/// write instead.
///
/// # Errors
/// `EOPNOTSUPP` for other modes, `ENOSPC` for a range past the disk's end; the errno of the disk's error.
pub fn allocate(disk: &dyn Disk, offset: u64, len: u64, mode: i32) -> Result<(), Errno> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    let size = disk.size();
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    match mode {
        libc::FALLOC_FL_ZERO_RANGE if end > size => return Err(Errno::ENOSPC),
        PUNCH | ZERO_KEEP | libc::FALLOC_FL_ZERO_RANGE => {}
        _ => return Err(Errno::EOPNOTSUPP),
    }
    let end = end.min(size);
    if offset < end {
        disk.discard(offset, end - offset).map_err(|e| errno(&e))?;
    }
    Ok(())
}

/// The errno of a disk's error, which is logged in full: the errno is all that the program will hear of it.
pub fn errno(error: &disk::Error) -> Errno {
    log::error!("{}", message(error));
    let mut cause = error.source();
    while let Some(inner) = cause {
        let code = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        // What a program can act on; anything else is an input/output error to it.
        if let Some(known @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) = code.map(Errno::from_raw) {
            return known;
        }
        cause = inner.source();
    }
    error.kind().errno()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    const K: usize = 1024;

    /// 1 KiB of zeros, 2 KiB of data, 3 KiB of zeros, 2 KiB of data.
    fn striped() -> MemoryDisk {
        let lens = [(0, 1), (1, 2), (0, 3), (2, 2)];
        MemoryDisk::new(lens.iter().flat_map(|(byte, len)| vec![*byte; len * K]).collect())
    }

    #[test]
    fn reads_end_at_the_end() {
        let disk = striped();
        let mut buf = [9; 1500];
        assert_eq!(read(&disk, 7 * K as u64, &mut buf), Ok(K));
        assert_eq!((buf[..K].iter().all(|b| *b == 2), buf[K]), (true, 9));
        assert_eq!(read(&disk, 8 * K as u64, &mut buf), Ok(0));
        assert_eq!(read(&disk, u64::MAX, &mut buf), Ok(0));
    }

    #[test]
    fn writes_end_at_the_end() {
        let disk = striped();
        assert_eq!(write(&disk, 8 * K as u64 - 3, b"abcdef"), Ok(3));
        assert_eq!(disk.bytes()[8 * K - 4..], *b"\x02abc");
        assert_eq!(write(&disk, 8 * K as u64, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write(&disk, u64::MAX, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write(&disk, 0, b""), Ok(0));
    }

    #[test]
    fn finds_data_and_holes() {
        let disk = striped();
        let seek =
            |at: usize, whence| seek(&disk, i64::try_from(at).unwrap(), whence).map(|at| usize::try_from(at).unwrap());
        for (at, data, hole) in
            [(0, 1024, 0), (5, 1024, 5), (1024, 1024, 3072), (3071, 3071, 3072), (3072, 6144, 3072), (6144, 6144, 8192)]
        {
            assert_eq!((seek(at, libc::SEEK_DATA), seek(at, libc::SEEK_HOLE)), (Ok(data), Ok(hole)), "{at}");
        }
        assert_eq!((seek(8192, libc::SEEK_DATA), seek(8192, libc::SEEK_HOLE)), (Err(Errno::ENXIO), Err(Errno::ENXIO)));
        assert_eq!(seek(0, libc::SEEK_SET), Err(Errno::EINVAL));
        assert_eq!(super::seek(&disk, -1, libc::SEEK_DATA), Err(Errno::ENXIO));
        let empty = MemoryDisk::new(vec![0; 4096]);
        assert_eq!(super::seek(&empty, 0, libc::SEEK_DATA), Err(Errno::ENXIO));
    }

    /// A disk whose spans are a byte each.
    struct Crumbs(fn(u64) -> Span);

    impl Disk for Crumbs {
        fn size(&self) -> u64 {
            1 << 40
        }
        fn sector_size(&self) -> u32 {
            512
        }
        fn writable(&self) -> bool {
            false
        }
        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> disk::Result<()> {
            Err(disk::Error::ReadOnly)
        }
        fn span(&self, _offset: u64) -> disk::Result<Span> {
            Ok((self.0)(1))
        }
        fn write_at(&self, _offset: u64, _buf: &[u8]) -> disk::Result<()> {
            Err(disk::Error::ReadOnly)
        }
        fn discard(&self, _offset: u64, _len: u64) -> disk::Result<()> {
            Err(disk::Error::ReadOnly)
        }
        fn flush(&self) -> disk::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_long_search_ends_on_the_safe_side() {
        assert_eq!(seek(&Crumbs(Span::Data), 7, libc::SEEK_HOLE), Ok(1 << 40));
        assert_eq!(seek(&Crumbs(Span::Zero), 7, libc::SEEK_DATA), Ok(7 + SPANS as u64));
    }

    #[test]
    fn punches_and_zeroes_but_does_not_preallocate() {
        let disk = striped();
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        assert_eq!(allocate(&disk, 1025, 10, punch), Ok(()));
        assert_eq!(disk.bytes()[1024..1036], *b"\x01\0\0\0\0\0\0\0\0\0\0\x01");
        assert_eq!(allocate(&disk, 8191, 99, punch), Ok(()));
        assert_eq!(allocate(&disk, 8192, 99, libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE), Ok(()));
        assert_eq!(disk.bytes()[8190..], [2, 0]);
        assert_eq!(allocate(&disk, 8000, 192, libc::FALLOC_FL_ZERO_RANGE), Ok(()));
        assert_eq!(allocate(&disk, 8000, 193, libc::FALLOC_FL_ZERO_RANGE), Err(Errno::ENOSPC));
        assert_eq!(allocate(&disk, 0, u64::MAX, punch), Ok(()));
        assert_eq!(allocate(&disk, 1, u64::MAX, punch), Err(Errno::EFBIG));
        for mode in [0, libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_COLLAPSE_RANGE] {
            assert_eq!(allocate(&disk, 0, 1, mode), Err(Errno::EOPNOTSUPP));
        }
    }

    #[test]
    fn a_full_host_is_told_as_such() {
        let full = |code| {
            let source = std::io::Error::from_raw_os_error(code);
            crate::image::Error::io("/x".as_ref(), "write", source)
        };
        assert_eq!(errno(&full(libc::ENOSPC).into()), Errno::ENOSPC);
        assert_eq!(errno(&full(libc::EBADF).into()), Errno::EIO);
        assert_eq!(errno(&disk::Error::ReadOnly), Errno::EROFS);
    }
}
