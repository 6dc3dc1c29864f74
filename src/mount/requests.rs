//! The kernel's requests, each passed to the [`Server`] and answered.

use super::file;
use super::server::{
    LONG, MAX_WRITE, Server, answer, attr, errno, file_type, fuser_errno, is_synchronous, unknown_attr,
};
use crate::disk::Disk;
use crate::view::{self, DirEntry};
use fuser::{
    BsdFileFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use nix::libc;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How many read-ahead requests may be under way.
const MAX_BACKGROUND: u16 = 64;
/// The longest name of any file system that is shown, in bytes.
const NAME_MAX: u32 = 255;

/// The features that are requested where the kernel has them.
const WANTED: InitFlags = InitFlags::FUSE_DO_READDIRPLUS
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    // Saves a request for the security attributes before each write.
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2)
    .union(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);

impl Filesystem for Server {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Values out of the kernel's bounds are rejected, and the defaults stay.
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.add_capabilities(WANTED & config.capabilities());
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match answer(|| self.view.lookup(parent.0, name).map_err(errno)) {
            // Inode numbers are never used for another file.
            Ok(found) => reply.entry_with_ttls(&self.ttl(), &LONG, &attr(&found), Generation(0)),
            Err(e) => reply.error(e),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match answer(|| self.view.attributes(inode.0).map_err(errno)) {
            Ok(found) => reply.attr(&self.ttl(), &attr(&found)),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let attributes = match answer(|| self.view.attributes(inode.0).map_err(errno)) {
            Ok(attributes) => attributes,
            Err(e) => return reply.error(e),
        };
        let changed = (atime.is_some() || mtime.is_some()) && self.view.is_guests(inode.0)
            || mode.is_some_and(|mode| mode & 0o7777 != u32::from(attributes.mode))
            || uid.is_some_and(|uid| uid != attributes.uid)
            || gid.is_some_and(|gid| gid != attributes.gid);
        // A disk keeps its size. Opening with O_TRUNC, as `dd` and `cp` do, comes as size 0 without a handle and
        // changes nothing, as with a block device. Times are the image's; setting them is ignored, except for
        // the guest's files.
        let resized = size.is_some_and(|size| size != attributes.size && (size != 0 || handle.is_some()));
        if changed || resized {
            reply.error(self.unchangeable(inode));
        } else {
            reply.attr(&self.ttl(), &attr(&attributes));
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        match answer(|| self.view.read_link(inode.0).map_err(errno)) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(e) => reply.error(e),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match answer(|| self.open_flags(inode.0, flags.0)) {
            // `fallocate` gets the handle and not the flags.
            Ok(opened) => reply.opened(FileHandle((self.sync || is_synchronous(flags.0)).into()), opened),
            Err(e) => reply.error(e),
        }
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut scratch = self.take_scratch();
        match answer(|| self.read_or_splice(&mut scratch, request.unique().0, inode.0, offset, size)) {
            Ok(Some(len)) => reply.data(&scratch.data[..len]),
            // Dropped, it would answer the request a second time, with EIO. What is leaked is one count of the
            // reference to the session's device, which lives as long as the process anyway.
            Ok(None) => std::mem::forget(reply),
            Err(e) => reply.error(e),
        }
        self.give_scratch(scratch);
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // The kernel sets the flags for `-o sync` and for `pwritev2(2)` with RWF_SYNC or RWF_DSYNC, too.
        let durable = is_synchronous(flags.0);
        match answer(|| self.write_to(inode.0, durable, |disk| file::write(disk, offset, data))) {
            Ok(len) => reply.written(len),
            Err(e) => reply.error(e),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let durable = handle.0 != 0;
        let allocate = |disk: &dyn Disk| file::allocate(disk, offset, len, mode).map(|()| 0);
        empty(reply, answer(|| self.write_to(inode.0, durable, allocate).map(|_| ())));
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = answer(|| {
            let data = match whence {
                libc::SEEK_DATA => true,
                libc::SEEK_HOLE => false,
                _ => return Err(Errno::EINVAL),
            };
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let found = self.view.seek(inode.0, offset, data).map_err(errno)?;
            i64::try_from(found).map_err(|_| Errno::EOVERFLOW)
        });
        match found {
            Ok(found) => reply.offset(found),
            Err(e) => reply.error(e),
        }
    }

    fn flush(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        empty(reply, answer(|| self.flusher.flush_written().map_err(|e| file::errno(&e))));
    }

    fn fsync(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        empty(reply, answer(|| self.flush()));
    }

    fn fsyncdir(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        empty(reply, answer(|| self.flush()));
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn opendir(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(&self, _request: &Request, inode: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = answer(|| {
            self.list(inode.0, offset, &mut |DirEntry { name, inode, kind, next }| {
                reply.add(INodeNo(inode), next, file_type(kind), name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = answer(|| {
            self.list(inode.0, offset, &mut |DirEntry { name, inode, kind, next }| {
                // An entry without attributes still has a name; asking for its attributes reports the error.
                let (attr, ttl) = match self.view.attributes(inode) {
                    Ok(attributes) => (attr(&attributes), self.ttl()),
                    Err(_) => (unknown_attr(inode, kind), Duration::ZERO),
                };
                reply.add(INodeNo(inode), next, name, &ttl, &attr, Generation(0))
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        }
    }

    fn statfs(&self, _request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        match answer(|| self.view.statfs(inode.0).map_err(errno)) {
            Ok(view::Statfs { block_size, blocks, free_blocks, files, free_files }) => {
                reply.statfs(blocks, free_blocks, free_blocks, files, free_files, block_size, NAME_MAX, block_size)
            }
            Err(e) => reply.error(e),
        }
    }

    fn getxattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        xattr(reply, size, answer(|| self.xattr(inode.0, name)));
    }

    fn listxattr(&self, _request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(reply, size, answer(|| self.xattr_names(inode.0)));
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
        reply.error(self.unchangeable(parent));
    }

    fn mkdir(&self, _request: &Request, parent: INodeNo, _name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        reply.error(self.unchangeable(parent));
    }

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
        reply.error(self.unchangeable(parent));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.unchangeable(parent));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.unchangeable(parent));
    }

    fn symlink(&self, _request: &Request, parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(self.unchangeable(parent));
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
        reply.error(self.unchangeable(parent));
    }

    fn link(&self, _request: &Request, _inode: INodeNo, new_parent: INodeNo, _new_name: &OsStr, reply: ReplyEntry) {
        reply.error(self.unchangeable(new_parent));
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), fuser::Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

/// An extended attribute's value or the names, as the two-step protocol of `getxattr` has it.
fn xattr(reply: ReplyXattr, size: u32, value: Result<Vec<u8>, fuser::Errno>) {
    match value.map(|value| (u32::try_from(value.len()).unwrap_or(u32::MAX), value)) {
        Ok((len, _)) if size == 0 => reply.size(len),
        Ok((len, value)) if len <= size => reply.data(&value),
        Ok(_) => reply.error(fuser_errno(Errno::ERANGE)),
        Err(e) => reply.error(e),
    }
}
