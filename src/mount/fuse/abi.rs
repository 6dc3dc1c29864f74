//! Numbers of the interface, named as in `include/uapi/linux/fuse.h`.

/// `FUSE_KERNEL_VERSION`; the major version that is spoken.
pub(super) const MAJOR: u32 = 7;
/// The minor version that is spoken: the last one whose structures are used here.
pub(super) const MINOR: u32 = 40;
/// The oldest minor version whose structures have the layout that is used here (`max_pages` in `fuse_init_out`).
pub(super) const OLDEST_MINOR: u32 = 28;

/// The largest read request, in bytes: with its header it fits into a pipe of the size that any user may have.
pub(in crate::mount) const MAX_READ: usize = 512 << 10;
/// The largest write request, in bytes; the kernel's own limit unless an administrator raised it.
pub(in crate::mount) const MAX_WRITE: usize = 1 << 20;
/// Bytes that a request needs beside the data of a write.
pub(super) const REQUEST_ROOM: usize = 16 << 10;
/// `FUSE_MIN_READ_BUFFER`: bytes that there must be room for at least.
pub(super) const MIN_READ_BUFFER: usize = 8192;
/// How many read-ahead requests may be under way.
pub(super) const MAX_BACKGROUND: u16 = 64;

/// Bytes of `fuse_in_header`.
pub(super) const IN_HEADER: usize = 40;
/// Bytes of `fuse_out_header`.
pub(super) const OUT_HEADER: usize = 16;

/// `enum fuse_opcode`.
pub(super) mod opcode {
    pub(in crate::mount::fuse) const LOOKUP: u32 = 1;
    pub(in crate::mount::fuse) const FORGET: u32 = 2;
    pub(in crate::mount::fuse) const GETATTR: u32 = 3;
    pub(in crate::mount::fuse) const SETATTR: u32 = 4;
    pub(in crate::mount::fuse) const READLINK: u32 = 5;
    pub(in crate::mount::fuse) const SYMLINK: u32 = 6;
    pub(in crate::mount::fuse) const MKNOD: u32 = 8;
    pub(in crate::mount::fuse) const MKDIR: u32 = 9;
    pub(in crate::mount::fuse) const UNLINK: u32 = 10;
    pub(in crate::mount::fuse) const RMDIR: u32 = 11;
    pub(in crate::mount::fuse) const RENAME: u32 = 12;
    pub(in crate::mount::fuse) const LINK: u32 = 13;
    pub(in crate::mount::fuse) const OPEN: u32 = 14;
    pub(in crate::mount::fuse) const READ: u32 = 15;
    pub(in crate::mount::fuse) const WRITE: u32 = 16;
    pub(in crate::mount::fuse) const STATFS: u32 = 17;
    pub(in crate::mount::fuse) const RELEASE: u32 = 18;
    pub(in crate::mount::fuse) const FSYNC: u32 = 20;
    pub(in crate::mount::fuse) const GETXATTR: u32 = 22;
    pub(in crate::mount::fuse) const LISTXATTR: u32 = 23;
    pub(in crate::mount::fuse) const FLUSH: u32 = 25;
    pub(in crate::mount::fuse) const INIT: u32 = 26;
    pub(in crate::mount::fuse) const OPENDIR: u32 = 27;
    pub(in crate::mount::fuse) const READDIR: u32 = 28;
    pub(in crate::mount::fuse) const RELEASEDIR: u32 = 29;
    pub(in crate::mount::fuse) const CREATE: u32 = 35;
    pub(in crate::mount::fuse) const DESTROY: u32 = 38;
    pub(in crate::mount::fuse) const BATCH_FORGET: u32 = 42;
    pub(in crate::mount::fuse) const FALLOCATE: u32 = 43;
    pub(in crate::mount::fuse) const READDIRPLUS: u32 = 44;
    pub(in crate::mount::fuse) const RENAME2: u32 = 45;
    pub(in crate::mount::fuse) const LSEEK: u32 = 46;
    pub(in crate::mount::fuse) const TMPFILE: u32 = 51;
}

/// Flags of `fuse_init_in` and `fuse_init_out`; those from bit 32 on are in `flags2`.
pub(super) mod init_flags {
    pub(in crate::mount::fuse) const ASYNC_READ: u64 = 1 << 0;
    pub(in crate::mount::fuse) const BIG_WRITES: u64 = 1 << 5;
    pub(in crate::mount::fuse) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(in crate::mount::fuse) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(in crate::mount::fuse) const ASYNC_DIO: u64 = 1 << 15;
    pub(in crate::mount::fuse) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(in crate::mount::fuse) const MAX_PAGES: u64 = 1 << 22;
    pub(in crate::mount::fuse) const CACHE_SYMLINKS: u64 = 1 << 23;
    /// Saves a question for the security attributes before each write.
    pub(in crate::mount::fuse) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(in crate::mount::fuse) const INIT_EXT: u64 = 1 << 30;
    pub(in crate::mount::fuse) const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
}

/// `FOPEN_*`, what a file's opening answers.
pub(in crate::mount) mod open_flags {
    pub(in crate::mount) const DIRECT_IO: u32 = 1 << 0;
    pub(in crate::mount) const KEEP_CACHE: u32 = 1 << 1;
    pub(in crate::mount) const CACHE_DIR: u32 = 1 << 3;
    pub(in crate::mount) const NOFLUSH: u32 = 1 << 5;
    pub(in crate::mount) const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
}
