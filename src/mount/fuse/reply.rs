//! The bodies of answers.

use std::time::Duration;

/// `fuse_attr`: what `stat` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::mount) struct Attr {
    pub(in crate::mount) ino: u64,
    pub(in crate::mount) size: u64,
    pub(in crate::mount) blocks: u64,
    /// Seconds since the epoch, and nanoseconds.
    pub(in crate::mount) atime: (i64, u32),
    pub(in crate::mount) mtime: (i64, u32),
    pub(in crate::mount) ctime: (i64, u32),
    /// Type and permissions.
    pub(in crate::mount) mode: u32,
    pub(in crate::mount) nlink: u32,
    pub(in crate::mount) uid: u32,
    pub(in crate::mount) gid: u32,
    pub(in crate::mount) rdev: u32,
    pub(in crate::mount) blksize: u32,
}

/// The body of an answer, put together field by field.
#[derive(Debug, Default)]
pub(in crate::mount) struct Body(pub(super) Vec<u8>);

impl Body {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.0.extend(number.to_ne_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend(number.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend(number.to_ne_bytes());
    }

    fn attr_fields(&mut self, attr: &Attr) {
        for number in [attr.ino, attr.size, attr.blocks] {
            self.u64(number);
        }
        // Seconds are signed, in an unsigned field.
        for (seconds, _) in [attr.atime, attr.mtime, attr.ctime] {
            self.u64(seconds.cast_unsigned());
        }
        for (_, nanoseconds) in [attr.atime, attr.mtime, attr.ctime] {
            self.u32(nanoseconds);
        }
        for number in [attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.blksize, 0] {
            self.u32(number);
        }
    }

    /// Bytes as they are.
    pub(in crate::mount) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `fuse_attr_out`, which the kernel may keep for `ttl`.
    pub(in crate::mount) fn attr(&mut self, attr: &Attr, ttl: Duration) {
        self.u64(ttl.as_secs());
        self.u32(ttl.subsec_nanos());
        self.u32(0);
        self.attr_fields(attr);
    }

    /// `fuse_entry_out`: a name's inode. The kernel may keep the name for `name_ttl`.
    pub(in crate::mount) fn entry(&mut self, attr: &Attr, ttl: Duration, name_ttl: Duration) {
        self.u64(attr.ino);
        // Inode numbers are never used for another file.
        self.u64(0);
        self.u64(name_ttl.as_secs());
        self.u64(ttl.as_secs());
        self.u32(name_ttl.subsec_nanos());
        self.u32(ttl.subsec_nanos());
        self.attr_fields(attr);
    }

    /// `fuse_open_out` with `FOPEN_*` flags.
    pub(in crate::mount) fn opened(&mut self, flags: u32) {
        self.u64(0);
        self.u32(flags);
        self.u32(0);
    }

    /// `fuse_write_out`.
    pub(in crate::mount) fn written(&mut self, len: u32) {
        self.u32(len);
        self.u32(0);
    }

    /// `fuse_lseek_out`.
    pub(in crate::mount) fn offset(&mut self, offset: u64) {
        self.u64(offset);
    }

    /// `fuse_getxattr_out`.
    pub(in crate::mount) fn xattr_size(&mut self, size: u32) {
        self.u32(size);
        self.u32(0);
    }

    /// `fuse_statfs_out`.
    pub(in crate::mount) fn statfs(&mut self, block_size: u32, blocks: u64, free: u64, files: u64, free_files: u64) {
        for number in [blocks, free, free, files, free_files] {
            self.u64(number);
        }
        // The longest name of any file system that is shown.
        for number in [block_size, 255, block_size, 0] {
            self.u32(number);
        }
        for spare in [0; 6] {
            self.u32(spare);
        }
    }

    /// `fuse_dirent`, or with attributes `fuse_direntplus`. False, and nothing added, when the body would then have
    /// more than `room` bytes.
    pub(in crate::mount) fn dirent(&mut self, room: usize, entry: Dirent<'_>) -> bool {
        let plus = if entry.attr.is_some() { 128 } else { 0 };
        let len = (plus + 24 + entry.name.len()).next_multiple_of(8);
        if self.0.len() + len > room {
            return false;
        }
        let end = self.0.len() + len;
        if let Some((attr, ttl, name_ttl)) = entry.attr {
            self.entry(&attr, ttl, name_ttl);
        }
        self.u64(entry.node);
        self.u64(entry.next);
        self.u32(u32::try_from(entry.name.len()).unwrap_or(0));
        self.u32(entry.file_type);
        self.bytes(entry.name);
        self.0.resize(end, 0);
        true
    }
}

/// An entry of a folder.
pub(in crate::mount) struct Dirent<'a> {
    pub(in crate::mount) node: u64,
    /// The place of the entry after this one.
    pub(in crate::mount) next: u64,
    /// `DT_*`, which is the mode's type without its lower bits.
    pub(in crate::mount) file_type: u32,
    pub(in crate::mount) name: &'a [u8],
    /// The attributes, and how long they and the name may be kept.
    pub(in crate::mount) attr: Option<(Attr, Duration, Duration)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_kernels_sizes() {
        let second = Duration::from_secs(1);
        let size = |fill: &dyn Fn(&mut Body)| {
            let mut body = Body::default();
            fill(&mut body);
            body.0.len()
        };
        assert_eq!(size(&|body| body.attr(&Attr::default(), second)), 104);
        assert_eq!(size(&|body| body.entry(&Attr::default(), second, second)), 128);
        assert_eq!(size(&|body| body.opened(0)), 16);
        assert_eq!(size(&|body| body.statfs(512, 1, 2, 3, 4)), 80);
        assert_eq!(size(&|body| body.written(1)), 8);
    }

    #[test]
    fn entries_end_where_there_is_no_room() {
        let mut body = Body::default();
        let entry = || Dirent { node: 2, next: 1, file_type: 8, name: b"vhdd", attr: None };
        assert!(body.dirent(64, entry()) && body.dirent(64, entry()) && !body.dirent(64, entry()));
        assert_eq!(body.0.len(), 64);
        assert_eq!(body.0[16..32], [4, 0, 0, 0, 8, 0, 0, 0, b'v', b'h', b'd', b'd', 0, 0, 0, 0]);
        let attr = Some((Attr::default(), Duration::ZERO, Duration::ZERO));
        assert!(
            !body.dirent(64 + 159, Dirent { attr, ..entry() }) && body.dirent(64 + 160, Dirent { attr, ..entry() })
        );
    }
}
