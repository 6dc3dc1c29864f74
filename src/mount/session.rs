//! FUSE's requests, answered from the tree. The one place that knows the `fuser` crate's file system interface.

use super::tree::{Attributes, Kind, Times, Tree};
use super::{file, flush::Flusher};
use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the kernel may keep what never changes: all names, and the attributes of a read-only mount.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it may keep attributes that a write changes (the times).
const SHORT: Duration = Duration::from_secs(1);
/// The largest request, in bytes; the kernel's own limit unless an administrator raised it.
const MAX_REQUEST: u32 = 1 << 20;
/// How many read-ahead requests may be under way.
const MAX_BACKGROUND: u16 = 64;
/// The block size that programs are advised to read with, in bytes.
const BLOCK: u32 = 128 << 10;
/// `lookup` counts are not kept, so numbers are never used twice.
const GENERATION: Generation = Generation(0);

thread_local! {
    /// Each of the session's threads reads into a buffer of its own.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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

    fn write_to(
        &self,
        number: u64,
        write: impl FnOnce(&dyn crate::disk::Disk) -> Result<usize, Errno>,
    ) -> Result<u32, Errno> {
        if !self.tree.writable() {
            return Err(Errno::EROFS);
        }
        let written = write(self.tree.disk(number)?);
        // Also after a failure, which may have come in the middle.
        self.flusher.written();
        written.map(|len| u32::try_from(len).unwrap_or(u32::MAX))
    }
}

/// nix's errno as fuser's. Zero, which is no error, cannot come from here.
fn code(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.number),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.times.accessed,
        mtime: attributes.times.modified,
        ctime: attributes.times.changed,
        crtime: attributes.times.changed,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.device),
        blksize: BLOCK,
        flags: 0,
    }
}

/// Device numbers as the kernel's interface has them: 12 bits of major, 20 bits of minor.
fn device_number((major, minor): (u32, u32)) -> u32 {
    minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Folder => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Link => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// What a folder's entry alone says of a file, kept by the kernel for no time at all.
fn unknown_attr(number: u64, kind: Kind) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    file_attr(&Attributes {
        number,
        kind,
        size: 0,
        blocks: 0,
        mode: 0,
        links: 1,
        uid: 0,
        gid: 0,
        device: (0, 0),
        times: Times { accessed: epoch, modified: epoch, changed: epoch },
    })
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(code(e)),
    }
}

/// An extended attribute's value or the names, as the two-step protocol of `getxattr` has it.
fn extended(result: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match result {
        Err(e) => reply.error(code(e)),
        Ok(value) => match u32::try_from(value.len()) {
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len <= size => reply.data(&value),
            _ => reply.error(fuser::Errno::ERANGE),
        },
    }
}

impl Filesystem for Server {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Saves a question for the security attributes before each write.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ];
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                log::debug!("The kernel does not offer {flag:?}");
            }
        }
        let _ = config.set_max_write(MAX_REQUEST);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.tree.lookup(parent.0, name) {
            Ok(attributes) => reply.entry_with_ttls(&self.ttl(), &LONG, &file_attr(&attributes), GENERATION),
            Err(e) => reply.error(code(e)),
        }
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree.attributes(number.0) {
            Ok(attributes) => reply.attr(&self.ttl(), &file_attr(&attributes)),
            Err(e) => reply.error(code(e)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _attributes_changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _change_time: Option<SystemTime>,
        flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let attributes = match self.tree.attributes(number.0) {
            Ok(attributes) => attributes,
            Err(e) => return reply.error(code(e)),
        };
        let guests_times = self.tree.is_guests(number.0) && (accessed.is_some() || modified.is_some());
        let changed = guests_times
            || mode.is_some_and(|mode| mode & 0o7777 != u32::from(attributes.mode))
            || uid.is_some_and(|uid| uid != attributes.uid)
            || gid.is_some_and(|gid| gid != attributes.gid)
            || flags.is_some();
        // A disk keeps its size. Opening with O_TRUNC, as `dd` and `cp` do, comes as size 0 without a handle and
        // changes nothing, as with a block device. Times are the image's; setting them is passed over, other than for
        // the guest's files.
        let resized = size.is_some_and(|size| size != attributes.size && (size != 0 || handle.is_some()));
        if changed || resized {
            return reply.error(code(self.tree.unchangeable(number.0)));
        }
        reply.attr(&self.ttl(), &file_attr(&attributes));
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.tree.link(number.0) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(code(e)),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let guests = self.tree.is_guests(number.0);
        if let Err(e) = self.tree.disk(number.0)
            && !guests
        {
            return reply.error(code(e));
        }
        // All flags that a reader or writer may pass are fine; only writing needs a writable mount, and the guest's
        // files are never written.
        let writable = self.tree.writable() && !guests;
        if !writable && flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(fuser::Errno::EROFS);
        }
        // The files overlap (`vhdd` holds the volumes), so where one can be written the kernel must not answer from
        // its cache of another.
        let how = if writable {
            FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
        } else {
            FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH
        };
        reply.opened(FileHandle(0), how);
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.tree.read(number.0, offset, &mut buffer[..size]) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(e) => reply.error(code(e)),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write_to(number.0, |disk| file::write(disk, offset, data)) {
            Ok(len) => reply.written(len),
            Err(e) => reply.error(code(e)),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let result = self.write_to(number.0, |disk| file::allocate(disk, offset, length, mode).map(|()| 0));
        done(result.map(|_| ()), reply);
    }

    fn flush(&self, _request: &Request, _number: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        done(self.flusher.flush_written().map_err(|e| file::errno(&e)), reply);
    }

    fn fsync(&self, _request: &Request, _number: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        done(self.flusher.flush().map_err(|e| file::errno(&e)), reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.tree.seek(number.0, offset, whence);
        match found.and_then(|at| i64::try_from(at).map_err(|_| Errno::EOVERFLOW)) {
            Ok(at) => reply.offset(at),
            Err(e) => reply.error(code(e)),
        }
    }

    fn opendir(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(
        &self,
        _request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let told = self.tree.list(folder.0, offset, &mut |name, number, kind, next| {
            reply.add(INodeNo(number), next, file_type(kind), name)
        });
        match told {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(code(e)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let told = self.tree.list(folder.0, offset, &mut |name, number, kind, next| {
            // What cannot be looked at has a name all the same; asking for its attributes says what is wrong.
            let (ttl, attributes) = match self.tree.attributes(number) {
                Ok(attributes) => (self.ttl(), file_attr(&attributes)),
                Err(_) => (Duration::ZERO, unknown_attr(number, kind)),
            };
            reply.add(INodeNo(number), next, name, &ttl, &attributes, GENERATION)
        });
        match told {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(code(e)),
        }
    }

    fn statfs(&self, _request: &Request, number: INodeNo, reply: ReplyStatfs) {
        let (block_size, blocks, free, files, free_files) = self.tree.statistics(number.0);
        reply.statfs(blocks, free, free, files, free_files, block_size, 255, block_size);
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        extended(self.tree.extended(number.0, name), size, reply);
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.tree.extended_names(number.0);
        let list = names.map(|names| names.into_iter().flat_map(|name| [name.as_slice(), b"\0"].concat()).collect());
        extended(list, size, reply);
    }

    // The tree has the names that it has.

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn mknod(
        &self,
        _request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn mkdir(&self, _request: &Request, parent: INodeNo, _name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn symlink(&self, _request: &Request, parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn link(&self, _request: &Request, _number: INodeNo, parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(code(self.tree.unchangeable(parent.0)));
    }
}
