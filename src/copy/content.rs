//! The bytes of a file: by the kernel from file to file where they lie in files of the host as they are and the file
//! system that they go to can share them, else through a buffer. Holes stay holes.

use super::{Context, Error, Result, reading};
use crate::view::{self, Attributes};
use nix::sys::statfs::{self, FsType};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are read at a time: as many as stay in a processor's own cache until they are written.
pub(super) const CHUNK: usize = 256 << 10;
/// Bytes that the kernel is asked to copy at a time: as much as may still be copied after an interrupt.
const WINDOW: u64 = 32 << 20;

/// File systems that do something better than copying for copy_file_range(2): they share blocks, or let their server
/// copy. On others it goes through a pipe, page by page, which takes up to half as long again as the buffer does.
const SHARING: [FsType; 6] = [
    statfs::BTRFS_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::OCFS2_SUPER_MAGIC,
    statfs::NFS_SUPER_MAGIC,
    FsType(0xCA45_1A4E), // bcachefs: BCACHEFS_SUPER_MAGIC
    FsType(0x2FC1_2FC1), // OpenZFS: ZFS_SUPER_MAGIC
];

/// A file that is being copied.
pub(super) struct Content<'c> {
    pub(super) context: &'c Context<'c>,
    /// The file in the view.
    pub(super) source: &'c Path,
    pub(super) of: &'c Attributes,
    /// The empty copy.
    pub(super) file: &'c File,
    pub(super) path: &'c Path,
    pub(super) buf: &'c mut [u8],
}

impl Content<'_> {
    /// Copies everything.
    pub(super) fn copy(&mut self) -> Result<()> {
        let (size, inode) = (self.of.size, self.of.inode);
        let has_holes = self.of.blocks.saturating_mul(512) < size;
        if !has_holes && size <= self.buf.len() as u64 {
            return self.through_buffer(0, size);
        }
        self.file.set_len(size).map_err(|e| self.writing(e))?;
        let mut at = 0;
        let mut by_kernel = statfs::fstatfs(self.file).is_ok_and(|at| SHARING.contains(&at.filesystem_type()));
        while at < size {
            let data = match self.context.view.seek(inode, at, true) {
                Ok(data) => data.min(size),
                Err(view::Error::PastEnd) => size,
                Err(e) => return Err(reading(self.source)(e)),
            };
            (self.context.watch.progress)(data - at);
            at = data;
            if at == size {
                break;
            }
            let hole = self.context.view.seek(inode, at, false).map_err(reading(self.source))?.min(size);
            while at < hole {
                let len = WINDOW.min(hole - at);
                by_kernel = by_kernel && self.by_kernel(at, len)?;
                if !by_kernel {
                    self.through_buffer(at, len)?;
                }
                at += len;
            }
        }
        Ok(())
    }

    fn through_buffer(&mut self, from: u64, len: u64) -> Result<()> {
        let (mut at, end) = (from, from + len);
        while at < end {
            self.check_stop()?;
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buf.len());
            let view = self.context.view;
            let read = view.read(self.of.inode, at, &mut self.buf[..wanted]).map_err(reading(self.source))?;
            if read == 0 {
                return Err(reading(self.source)(view::Error::PastEnd));
            }
            self.file.write_all_at(&self.buf[..read], at).map_err(|e| self.writing(e))?;
            (self.context.watch.progress)(read as u64);
            at += read as u64;
        }
        Ok(())
    }

    /// Lets the kernel copy; false when it cannot, or not all. Then the bytes are to be copied again.
    fn by_kernel(&self, from: u64, len: u64) -> Result<bool> {
        self.check_stop()?;
        let Some(parts) = self.context.view.extents(self.of.inode, from, len) else { return Ok(false) };
        if parts.iter().map(|part| part.len).fold(0, u64::saturating_add) != len {
            return Ok(false);
        }
        let mut to = from;
        for part in parts {
            let Some(file) = part.file.local() else { return Ok(false) };
            let (mut at, end) = (part.offset, part.offset.saturating_add(part.len));
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
                match rustix::fs::copy_file_range(file, Some(&mut at), self.file, Some(&mut to), wanted) {
                    Ok(0) | Err(_) => return Ok(false),
                    Ok(_) => {}
                }
            }
        }
        (self.context.watch.progress)(len);
        Ok(true)
    }

    fn check_stop(&self) -> Result<()> {
        if self.context.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn writing(&self, source: io::Error) -> Error {
        Error::Host { path: self.path.to_owned(), source }
    }
}
