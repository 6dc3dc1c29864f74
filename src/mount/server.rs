//! FUSE's requests, answered from the tree.

use super::attributes::{Attributes, Kind};
use super::fuse::{Attr, Body, Dirent, Handler, MAX_WRITE, Operation, Request, SetAttr, open_flags};
use super::tree::Tree;
use super::{file, flush::Flusher};
use crate::disk::{Disk, Part};
use nix::errno::Errno;
use nix::libc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may keep what never changes: all names, and the attributes of a read-only mount.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it may keep attributes that a write changes (the times).
const SHORT: Duration = Duration::from_secs(1);
/// The block size that programs are advised to read with, in bytes.
const BLOCK: u32 = 128 << 10;

/// Answers the kernel's requests. Its methods run on several threads at once and hold no lock.
pub(super) struct Server {
    tree: Arc<Tree>,
    flusher: Arc<Flusher>,
}

impl Server {
    pub(super) fn new(tree: Arc<Tree>, flusher: Arc<Flusher>) -> Self {
        Self { tree, flusher }
    }

    fn ttl(&self) -> Duration {
        if self.tree.writable() { SHORT } else { LONG }
    }

    fn write_to(&self, number: u64, write: impl FnOnce(&dyn Disk) -> Result<usize, Errno>) -> Result<u32, Errno> {
        if !self.tree.writable() {
            return Err(Errno::EROFS);
        }
        let written = write(self.tree.disk(number)?);
        // Also after a failure, which may have come in the middle.
        self.flusher.written();
        written.map(|len| u32::try_from(len).unwrap_or(u32::MAX))
    }

    fn set_attributes(&self, number: u64, set: &SetAttr) -> Result<Attributes, Errno> {
        let attributes = self.tree.attributes(number)?;
        let changed = set.times && self.tree.is_guests(number)
            || set.mode.is_some_and(|mode| mode & 0o7777 != u32::from(attributes.mode))
            || set.uid.is_some_and(|uid| uid != attributes.uid)
            || set.gid.is_some_and(|gid| gid != attributes.gid);
        // A disk keeps its size. Opening with O_TRUNC, as `dd` and `cp` do, comes as size 0 without a handle and
        // changes nothing, as with a block device. Times are the image's; setting them is passed over, other than for
        // the guest's files.
        let resized = set.size.is_some_and(|size| size != attributes.size && (size != 0 || set.by_handle));
        if changed || resized { Err(self.tree.unchangeable(number)) } else { Ok(attributes) }
    }

    /// `FOPEN_*` for a file that is opened with `open(2)`'s flags.
    fn open(&self, number: u64, flags: u32) -> Result<u32, Errno> {
        let guests = self.tree.is_guests(number);
        if !guests {
            self.tree.disk(number)?;
        }
        // All flags that a reader or writer may pass are fine; only writing needs a writable mount, and the guest's
        // files are never written.
        let writable = self.tree.writable() && !guests;
        if !writable && flags & libc::O_ACCMODE.cast_unsigned() != libc::O_RDONLY.cast_unsigned() {
            return Err(Errno::EROFS);
        }
        // The files overlap (`vhdd` holds the volumes), so where one can be written the kernel must not answer from
        // its cache of another.
        Ok(if writable {
            open_flags::DIRECT_IO | open_flags::PARALLEL_DIRECT_WRITES
        } else {
            open_flags::KEEP_CACHE | open_flags::NOFLUSH
        })
    }

    /// The entries of a folder from a place on, as many as fit into `size` bytes.
    fn list(&self, folder: u64, offset: u64, size: usize, plus: bool, body: &mut Body) -> Result<(), Errno> {
        let room = size.min(MAX_WRITE);
        let mut has_entries = false;
        let told = self.tree.list(folder, offset, &mut |name, number, kind, next| {
            // What cannot be looked at has a name all the same; asking for its attributes says what is wrong.
            let attr = plus.then(|| match self.tree.attributes(number) {
                Ok(attributes) => (attr(&attributes), self.ttl(), LONG),
                Err(_) => (unknown_attr(number, kind), Duration::ZERO, Duration::ZERO),
            });
            let name = name.as_encoded_bytes();
            let fits = body.dirent(room, Dirent { node: number, next, file_type: file_type(kind) >> 12, name, attr });
            has_entries |= fits;
            !fits
        });
        // What was told before a failure is told; the next request begins behind it and fails.
        if has_entries { Ok(()) } else { told }
    }
}

impl Handler for Server {
    fn answer(&self, request: &Request<'_>, body: &mut Body) -> Result<(), Errno> {
        log::debug!("{} of inode {}", request.operation, request.node);
        let number = request.node;
        match request.operation {
            Operation::Lookup { name } => body.entry(&attr(&self.tree.lookup(number, name)?), self.ttl(), LONG),
            Operation::GetAttr => body.attr(&attr(&self.tree.attributes(number)?), self.ttl()),
            Operation::SetAttr(set) => body.attr(&attr(&self.set_attributes(number, &set)?), self.ttl()),
            Operation::ReadLink => body.bytes(&self.tree.link(number)?),
            Operation::Open { flags } => body.opened(self.open(number, flags)?),
            Operation::OpenDir => body.opened(open_flags::CACHE_DIR | open_flags::KEEP_CACHE),
            Operation::ReadDir { offset, size, plus } => self.list(number, offset, size, plus, body)?,
            Operation::Write { offset, data } => {
                body.written(self.write_to(number, |disk| file::write(disk, offset, data))?);
            }
            Operation::Fallocate { offset, len, mode } => {
                let mode = mode.cast_signed();
                self.write_to(number, |disk| file::allocate(disk, offset, len, mode).map(|()| 0))?;
            }
            Operation::Seek { offset, whence } => {
                let from = i64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                body.offset(self.tree.seek(number, from, whence.cast_signed())?);
            }
            Operation::Flush => self.flusher.flush_written().map_err(|e| file::errno(&e))?,
            Operation::Fsync => self.flusher.flush().map_err(|e| file::errno(&e))?,
            Operation::StatFs => {
                let (block_size, blocks, free, files, free_files) = self.tree.statistics(number);
                body.statfs(block_size, blocks, free, files, free_files);
            }
            Operation::GetXattr { name, size } => extended(&self.tree.extended(number, name)?, size, body)?,
            Operation::ListXattr { size } => {
                let names = self.tree.extended_names(number)?;
                let list: Vec<u8> = names.iter().flat_map(|name| [name.as_slice(), b"\0"].concat()).collect();
                extended(&list, size, body)?;
            }
            Operation::Release | Operation::Destroy | Operation::Forget => {}
            // The tree has the names that it has.
            Operation::ChangeNames => return Err(self.tree.unchangeable(number)),
            Operation::Init { .. } | Operation::Read { .. } | Operation::Unknown => return Err(Errno::ENOSYS),
        }
        Ok(())
    }

    fn parts(&self, node: u64, offset: u64, len: usize) -> Option<Vec<Part>> {
        self.tree.parts(node, offset, len as u64)
    }

    fn read(&self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.tree.read(node, offset, buf)
    }
}

fn attr(attributes: &Attributes) -> Attr {
    Attr {
        ino: attributes.number,
        size: attributes.size,
        blocks: attributes.blocks,
        atime: time(attributes.times.accessed),
        mtime: time(attributes.times.modified),
        ctime: time(attributes.times.changed),
        mode: file_type(attributes.kind) | u32::from(attributes.mode),
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.device),
        blksize: BLOCK,
    }
}

/// What a folder's entry alone says of a file.
fn unknown_attr(number: u64, kind: Kind) -> Attr {
    Attr { ino: number, mode: file_type(kind), nlink: 1, blksize: BLOCK, ..Attr::default() }
}

/// Seconds since the epoch, and nanoseconds after them.
fn time(moment: SystemTime) -> (i64, u32) {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => (signed(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-signed(before.as_secs()), 0),
                part => (-signed(before.as_secs()) - 1, 1_000_000_000 - part),
            }
        }
    }
}

/// Device numbers as the kernel's interface has them: 12 bits of major, 20 bits of minor.
fn device_number((major, minor): (u32, u32)) -> u32 {
    minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12
}

/// The type bits of a mode.
fn file_type(kind: Kind) -> u32 {
    match kind {
        Kind::Folder => libc::S_IFDIR,
        Kind::File => libc::S_IFREG,
        Kind::Link => libc::S_IFLNK,
        Kind::CharDevice => libc::S_IFCHR,
        Kind::BlockDevice => libc::S_IFBLK,
        Kind::Fifo => libc::S_IFIFO,
        Kind::Socket => libc::S_IFSOCK,
    }
}

/// An extended attribute's value or the names, as the two-step protocol of `getxattr` has it.
fn extended(value: &[u8], size: u32, body: &mut Body) -> Result<(), Errno> {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => body.xattr_size(len),
        Ok(len) if len <= size => body.bytes(value),
        _ => return Err(Errno::ERANGE),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_nanoseconds_after_their_second() {
        let at = |moment: SystemTime| time(moment);
        assert_eq!(at(UNIX_EPOCH + Duration::new(5, 7)), (5, 7));
        assert_eq!(at(UNIX_EPOCH - Duration::new(5, 0)), (-5, 0));
        assert_eq!(at(UNIX_EPOCH - Duration::new(5, 1)), (-6, 999_999_999));
    }

    #[test]
    fn device_numbers_are_the_kernels() {
        assert_eq!(device_number((5, 300)), 0x0010_052C);
        assert_eq!(u64::from(device_number((8, 1))), libc::makedev(8, 1));
    }
}
