//! Open file description locks: byte-range locks that belong to an open file, not to a process, so that two opens in
//! one process conflict as well, and that the kernel releases with the last reference to that open file.
//!
//! Source: Linux `fcntl(2)`, section "Open file description locks (non-POSIX)".

use super::Mode;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Bytes of a file, as the kernel counts them for locks.
pub(super) type Bytes = Range<libc::off_t>;

/// Takes, or converts to, a lock on `bytes` without waiting. `false` when another open file holds a conflicting one;
/// what was held before is then still held.
pub(super) fn try_lock(file: &File, mode: Mode, bytes: &Bytes) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&request(lock_type(mode), bytes)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Gives a lock back.
pub(super) fn unlock(file: &File, bytes: &Bytes) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&request(libc::F_UNLCK, bytes)?))?;
    Ok(())
}

/// Some lock that another open file holds on `bytes`, cut to `bytes`. Takes no lock.
pub(super) fn held_by_others(file: &File, bytes: &Bytes) -> io::Result<Option<(Mode, Bytes)>> {
    let mut lock = request(libc::F_WRLCK, bytes)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    let mode = match libc::c_int::from(lock.l_type) {
        libc::F_UNLCK => return Ok(None),
        libc::F_RDLCK => Mode::Read,
        _ => Mode::Write,
    };
    // A length of 0 means "to the end of the file and beyond".
    let end = if lock.l_len == 0 { bytes.end } else { lock.l_start.saturating_add(lock.l_len) };
    Ok(Some((mode, lock.l_start.max(bytes.start)..end.min(bytes.end))))
}

fn lock_type(mode: Mode) -> libc::c_int {
    match mode {
        Mode::Read => libc::F_RDLCK,
        Mode::Write => libc::F_WRLCK,
    }
}

fn request(lock_type: libc::c_int, bytes: &Bytes) -> io::Result<libc::flock> {
    let narrow = |n: libc::c_int| libc::c_short::try_from(n).map_err(|_| io::ErrorKind::InvalidInput);
    Ok(libc::flock {
        l_type: narrow(lock_type)?,
        l_whence: narrow(libc::SEEK_SET)?,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0, // must be 0 for these locks
    })
}
