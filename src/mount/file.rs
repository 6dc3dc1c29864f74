//! Writing to a disk as a file, and the errno of each failure. Knows nothing of FUSE's interface.

use crate::disk::{self, Disk};
use crate::error_kind::message;
use crate::view::{self, within};
use nix::errno::Errno;
use nix::libc;
use std::error::Error as _;

/// Writes what of `data` lies within the disk and returns how many bytes that were.
///
/// # Errors
/// `ENOSPC` at or past the disk's end, as block devices have it; the errno of the disk's error, which is logged.
pub(super) fn write(disk: &dyn Disk, offset: u64, data: &[u8]) -> Result<usize, Errno> {
    let len = within(disk, offset, data.len());
    if len == 0 && !data.is_empty() {
        return Err(Errno::ENOSPC);
    }
    disk.write_at(offset, &data[..len]).map_err(|e| errno(&e))?;
    Ok(len)
}

/// `fallocate`: punches holes and makes ranges zero. Allocating ahead is refused, as block devices do; programs then
/// write instead.
///
/// # Errors
/// `EOPNOTSUPP` for other modes, `ENOSPC` for a range past the disk's end; the errno of the disk's error.
pub(super) fn allocate(disk: &dyn Disk, offset: u64, len: u64, mode: i32) -> Result<(), Errno> {
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

/// The errno of a view's error, which is logged unless it is the caller's own mistake.
pub(super) fn view_errno(error: &view::Error) -> Errno {
    match error {
        view::Error::NotFound => Errno::ENOENT,
        view::Error::NotDirectory => Errno::ENOTDIR,
        view::Error::IsDirectory => Errno::EISDIR,
        view::Error::NotFile | view::Error::NotLink => Errno::EINVAL,
        view::Error::NoAttribute => Errno::ENODATA,
        view::Error::PastEnd => Errno::ENXIO,
        view::Error::Disk(e) => errno(e),
        _ => {
            log::error!("{}", message(error));
            error.kind().errno()
        }
    }
}

/// The errno of a disk's error. The error is logged in full, because the program gets nothing but the errno; a loss was
/// logged by the disk, once and not for each request.
pub(super) fn errno(error: &disk::Error) -> Errno {
    if !error.is_loss() {
        log::error!("{}", message(error));
    }
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

    #[test]
    fn writes_end_at_the_end() {
        let disk = MemoryDisk::striped();
        assert_eq!(write(&disk, 8 * K as u64 - 3, b"abcdef"), Ok(3));
        assert_eq!(disk.bytes()[8 * K - 4..], *b"\x02abc");
        assert_eq!(write(&disk, 8 * K as u64, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write(&disk, u64::MAX, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write(&disk, 0, b""), Ok(0));
    }

    #[test]
    fn punches_and_zeroes_but_does_not_preallocate() {
        let disk = MemoryDisk::striped();
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
    fn a_full_host_is_reported_as_such() {
        let full = |code| {
            let source = std::io::Error::from_raw_os_error(code);
            crate::image::Error::io("/x".as_ref(), "write", source)
        };
        assert_eq!(errno(&full(libc::ENOSPC).into()), Errno::ENOSPC);
        assert_eq!(errno(&full(libc::EBADF).into()), Errno::EIO);
        assert_eq!(errno(&disk::Error::ReadOnly), Errno::EROFS);
    }
}
