//! Answers the requests of FUSE from the view.

use super::flush::Flusher;
use super::process::Process;
use super::splice::{self, Pipe};
use super::{FAILURE_ATTRIBUTE, LOSS_ATTRIBUTE, PID_ATTRIBUTE, STARTED_ATTRIBUTE, file};
use crate::disk::Disk;
use crate::view::{self, Attributes, DirEntry, Kind, ROOT, View};
use fuser::{FileAttr, FileType, FopenFlags, INodeNo};
use nix::errno::Errno;
use nix::libc;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The largest read request, in bytes: with its header it fits into a pipe of the size that any user may have.
pub(super) const MAX_READ: usize = 512 << 10;
/// The largest write request, in bytes; the kernel's own limit unless an administrator raised it. A read by direct I/O
/// may be as long.
pub(super) const MAX_WRITE: u32 = 1 << 20;
/// Reads of at least this many bytes go from their file to the kernel without a copy; for smaller ones the two more
/// system calls cost more than the copy.
const SPLICE_FROM: u32 = 32 << 10;

/// How long the kernel may keep what never changes: all names, and the attributes of a read-only mount.
pub(super) const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it may keep attributes that a write changes (the times).
const SHORT: Duration = Duration::from_secs(1);
/// The block size that programs are advised to read with, in bytes.
const BLOCK: u32 = 128 << 10;
/// Answers the kernel's requests. Its methods run on several threads at once.
pub(super) struct Server {
    pub(super) view: View,
    pub(super) flusher: Arc<Flusher>,
    process: Process,
    /// Each change is to be durable before it returns.
    pub(super) sync: bool,
    /// A duplicate of the session's descriptor.
    device: OwnedFd,
    /// What answering reads needs, as many as there were reads at once; the last one used is the next to be used.
    scratch: Mutex<Vec<Scratch>>,
}

/// What answering a read needs.
#[derive(Default)]
pub(super) struct Scratch {
    pipe: Option<Pipe>,
    pub(super) data: Vec<u8>,
}

impl Server {
    pub(super) fn new(view: View, flusher: Arc<Flusher>, process: Process, sync: bool, device: OwnedFd) -> Self {
        Self { view, flusher, process, sync, device, scratch: Mutex::default() }
    }

    /// How long the kernel may keep attributes.
    pub(super) fn ttl(&self) -> Duration {
        if self.view.writable() { SHORT } else { LONG }
    }

    pub(super) fn take_scratch(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_scratch(&self, scratch: Scratch) {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }

    pub(super) fn write_to(
        &self,
        inode: u64,
        durable: bool,
        write: impl FnOnce(&dyn Disk) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        if !self.view.writable() {
            return Err(Errno::EROFS);
        }
        let written = write(self.view.disk(inode).map_err(errno)?);
        // Also after a failure, which may have come in the middle.
        self.flusher.written();
        let written = written?;
        if durable {
            self.flush()?;
        }
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    pub(super) fn flush(&self) -> Result<(), Errno> {
        self.flusher.flush().map_err(|e| file::errno(&e))
    }

    /// The errno for who wants to change a directory, or a file other than its bytes: the names stay as they are, and
    /// the guest's file systems are for reading, whatever the mount is.
    pub(super) fn unchangeable(&self, inode: INodeNo) -> fuser::Errno {
        fuser_errno(if self.view.is_guests(inode.0) { Errno::EROFS } else { Errno::EPERM })
    }

    /// `FOPEN_*` for a file that is opened with `open(2)`'s flags.
    pub(super) fn open_flags(&self, inode: u64, flags: i32) -> Result<FopenFlags, Errno> {
        let guests = self.view.is_guests(inode);
        let is_writable = !guests && self.view.disk(inode).map_err(errno)?.writable();
        // All flags that a reader or writer may pass are fine; only writing needs a writable mount, and the guest's
        // files are never written.
        let writable = self.view.writable() && is_writable;
        if !writable && flags & libc::O_ACCMODE != libc::O_RDONLY {
            return Err(Errno::EROFS);
        }
        // The files overlap (`vhdd` holds the volumes), so where one can be written the kernel must not answer from
        // its cache of another.
        Ok(if writable {
            FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
        } else {
            FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH
        })
    }

    /// Passes the entries of a directory from an offset on to `add`, until it returns that it is full.
    pub(super) fn list(
        &self,
        directory: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let own = [".", ".."].into_iter().zip(1..).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        let mut has_entries = false;
        for (name, next) in own {
            has_entries = true;
            // The kernel knows the parent itself.
            if add(DirEntry { name: name.as_ref(), inode: directory, kind: Kind::Directory, next }) {
                return Ok(());
            }
        }
        // After the two come the view's own offsets.
        let listed = self.view.entries(directory, offset.saturating_sub(2), &mut |entry| {
            let full = add(DirEntry { next: entry.next.saturating_add(2), ..entry });
            has_entries |= !full;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What was found before a failure is passed on; the next request begins after it and fails.
        if has_entries { Ok(()) } else { listed.map_err(errno) }
    }

    pub(super) fn xattr(&self, inode: u64, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let own = match name.to_str() {
            Some(PID_ATTRIBUTE) => Some(self.process.pid.to_string()),
            Some(STARTED_ATTRIBUTE) => Some(self.process.started.to_string()),
            Some(FAILURE_ATTRIBUTE) => self.flusher.failure().map(|failure| failure.message),
            Some(LOSS_ATTRIBUTE) => {
                self.flusher.failure().filter(|failure| failure.is_loss).map(|failure| failure.message)
            }
            _ => None,
        };
        match own {
            Some(own) if inode == ROOT => Ok(own.into_bytes()),
            _ => self.view.xattr(inode, name).map_err(errno),
        }
    }

    /// The names of the extended attributes, each with a zero after it.
    pub(super) fn xattr_names(&self, inode: u64) -> Result<Vec<u8>, Errno> {
        let mut names = self.view.xattr_names(inode).map_err(errno)?;
        if inode == ROOT {
            names.extend([PID_ATTRIBUTE, STARTED_ATTRIBUTE].map(OsString::from));
            let failure = self.flusher.failure();
            names.extend(failure.as_ref().map(|_| FAILURE_ATTRIBUTE.into()));
            names.extend(failure.filter(|failure| failure.is_loss).map(|_| LOSS_ATTRIBUTE.into()));
        }
        Ok(names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect())
    }

    /// Reads into `scratch`, unless the bytes could be spliced: then `None`, and the request is answered.
    pub(super) fn read_or_splice(
        &self,
        scratch: &mut Scratch,
        unique: u64,
        inode: u64,
        offset: u64,
        size: u32,
    ) -> Result<Option<usize>, Errno> {
        if size >= SPLICE_FROM {
            let parts = self.view.extents(inode, offset, u64::from(size));
            if parts.is_some_and(|parts| splice::answer(&self.device, &mut scratch.pipe, unique, &parts)) {
                return Ok(None);
            }
        }
        let size = size.min(MAX_WRITE) as usize;
        if scratch.data.len() < size {
            scratch.data.resize(size, 0);
        }
        self.view.read(inode, offset, &mut scratch.data[..size]).map(Some).map_err(errno)
    }
}

/// Does what a request wants. A bug in this program must not leave the request without an answer, nor the session
/// without the thread.
pub(super) fn answer<T>(work: impl FnOnce() -> Result<T, Errno>) -> Result<T, fuser::Errno> {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        log::error!("A request could not be answered because of a bug in this program; please report it");
        Err(Errno::EIO)
    });
    done.map_err(fuser_errno)
}

pub(super) fn fuser_errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

pub(super) fn errno(error: view::Error) -> Errno {
    file::view_errno(&error)
}

/// Whether a file was opened to make each write durable before it returns. (`O_SYNC` has the bit of `O_DSYNC`, too.)
pub(super) fn is_synchronous(flags: i32) -> bool {
    flags & libc::O_DSYNC != 0
}

pub(super) fn attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.times.accessed,
        mtime: attributes.times.modified,
        ctime: attributes.times.changed,
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.device),
        ..unknown_attr(attributes.inode, attributes.kind)
    }
}

/// The attributes that a directory entry alone gives.
pub(super) fn unknown_attr(inode: u64, kind: Kind) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Device numbers as the kernel's interface has them: 12 bits of major, 20 bits of minor.
fn device_number((major, minor): (u32, u32)) -> u32 {
    minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_the_kernels() {
        assert_eq!(device_number((5, 300)), 0x0010_052C);
        assert_eq!(u64::from(device_number((8, 1))), libc::makedev(8, 1));
    }
}
