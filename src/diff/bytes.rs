//! Comparing bytes that may be shared.

use super::{Error, Result, Step, Watch};
use crate::disk::{self, Disk, Origin};
use crate::view::{self, View};

/// Bytes that are read at a time.
pub(super) const CHUNK: usize = 1 << 20;

/// Bytes in one of the states: a file, or a disk.
pub(super) trait Source {
    /// As [`Disk::origin`].
    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)>;
    /// Fills `buf`, all of which lies within the source.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// A file of a view.
pub(super) struct ViewFile<'a, E> {
    pub(super) view: &'a View,
    pub(super) inode: u64,
    /// Makes the error of the comparison.
    pub(super) wrong: E,
}

impl<E: Fn(view::Error) -> Error> Source for ViewFile<'_, E> {
    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        self.view.origin(self.inode, offset, len).map_err(&self.wrong)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self.view.read(self.inode, offset, buf).map_err(&self.wrong)? {
            len if len == buf.len() => Ok(()),
            _ => Err((self.wrong)(view::Error::PastEnd)),
        }
    }
}

/// A disk or a volume.
pub(super) struct WholeDisk<'a, E> {
    pub(super) disk: &'a dyn Disk,
    /// Makes the error of the comparison.
    pub(super) wrong: E,
}

impl<E: Fn(disk::Error) -> Error> Source for WholeDisk<'_, E> {
    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        self.disk.origin(offset, len).map_err(&self.wrong)
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(offset, buf).map_err(&self.wrong)
    }
}

/// Whether the bytes from `offset` on come from the same origin in both, and for how many bytes, at most `len`, that is
/// so. Bytes of different origins may be equal.
pub(super) fn shared(old: &dyn Source, new: &dyn Source, offset: u64, len: u64) -> Result<(bool, u64)> {
    let (a, old_len) = old.origin(offset, len)?;
    let (b, len) = new.origin(offset, old_len)?;
    // That of decoded bytes depends on how many there are.
    let a = if len < old_len { old.origin(offset, len)?.0 } else { a };
    Ok((a.is_some() && a == b, len))
}

/// Buffers for comparing, which last for many files.
#[derive(Default)]
pub(super) struct Buffers {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Buffers {
    /// Reads `len` bytes, at most [`CHUNK`], of both.
    pub(super) fn read(
        &mut self,
        old: &dyn Source,
        new: &dyn Source,
        offset: u64,
        len: usize,
    ) -> Result<(&[u8], &[u8])> {
        for buf in [&mut self.old, &mut self.new] {
            if buf.len() < len {
                buf.resize(len, 0);
            }
        }
        old.read(offset, &mut self.old[..len])?;
        new.read(offset, &mut self.new[..len])?;
        Ok((&self.old[..len], &self.new[..len]))
    }
}

/// Whether the first `size` bytes of both differ.
pub(super) fn differ(
    old: &dyn Source,
    new: &dyn Source,
    size: u64,
    buffers: &mut Buffers,
    watch: &Watch<'_>,
) -> Result<bool> {
    let mut at = 0;
    while at < size {
        watch.check()?;
        let (same, len) = shared(old, new, at, size - at)?;
        let end = at + len;
        while !same && at < end {
            watch.check()?;
            let now = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
            let (a, b) = buffers.read(old, new, at, now)?;
            if a != b {
                return Ok(true);
            }
            at += now as u64;
        }
        at = end;
        (watch.progress)(Step::Bytes(len));
    }
    Ok(false)
}
