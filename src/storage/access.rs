//! Access to the bytes of an image. Formats know files only through [`Storage`].

use super::{Error, Result};
use crate::ondisk::ParseError;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A range of a file as the file system sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Stored bytes, this many.
    Data(u64),
    /// A hole, which reads as zeros, this many bytes long.
    Hole(u64),
}

/// A file that can be read and written at any offset from several threads at once. Offsets and lengths are bytes.
pub(crate) trait Storage: Send + Sync + Debug {
    /// The file's name, for messages and for finding files next to it.
    fn path(&self) -> &Path;

    /// The file's length now.
    ///
    /// # Errors
    /// The error of the operating system.
    fn length(&self) -> io::Result<u64>;

    /// Reads as many bytes as there are from `offset` on, up to the buffer's length; 0 at the end of the file.
    ///
    /// # Errors
    /// The error of the operating system.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file of this machine that it is, for passing its bytes on without a copy; `None` when there is none.
    fn local(&self) -> Option<&std::fs::File> {
        None
    }

    /// The file that it is a range of, and where it begins there; `None` for a whole file.
    fn range_of(&self) -> Option<(&File, u64)> {
        None
    }

    /// Writes all bytes at `offset`, growing the file when they run past its end.
    ///
    /// # Errors
    /// The error of the operating system.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the length; new bytes read as zeros.
    ///
    /// # Errors
    /// The error of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when all that was written and the length are on the disk.
    ///
    /// # Errors
    /// The error of the operating system.
    fn sync(&self) -> io::Result<()>;

    /// Makes a range within the file read as zeros, giving its space back where the file system can.
    ///
    /// # Errors
    /// The error of the operating system.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// What the file system stores at `offset`, which is before the end of the file. A file system that does not
    /// know answers data to the end.
    ///
    /// # Errors
    /// The error of the operating system.
    fn segment(&self, offset: u64) -> io::Result<Segment>;
}

/// A shared open file.
pub(crate) type File = Arc<dyn Storage>;

/// Fills `buf` from `offset` on.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] when the file ends before that, with `what` as the name of what was to be read.
pub(crate) fn read_exact(file: &dyn Storage, buf: &mut [u8], offset: u64, what: &str) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset.saturating_add(done as u64);
        match file.read_at(&mut buf[done..], at) {
            Ok(0) => {
                let len = file.length().unwrap_or(0);
                return Err(ParseError::corrupt(
                    offset,
                    what,
                    format_args!("{} bytes", buf.len()),
                    format_args!("the end of the file at {len}"),
                )
                .in_file(file.path()));
            }
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Error::io(file.path(), format!("read {} bytes at offset {at} of", buf.len() - done), e));
            }
        }
    }
    Ok(())
}

/// Up to `len` bytes from `offset` on; fewer where the file ends. For probing.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn read_up_to(file: &dyn Storage, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut buf[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(file.path(), format!("read {len} bytes at offset {offset} of"), e)),
        }
    }
    buf.truncate(done);
    Ok(buf)
}

/// Writes all of `buf` at `offset`.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_all(file: &dyn Storage, buf: &[u8], offset: u64) -> Result<()> {
    file.write_at(buf, offset)
        .map_err(|e| Error::io(file.path(), format!("write {} bytes at offset {offset} of", buf.len()), e))
}

/// The length of the file.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn length(file: &dyn Storage) -> Result<u64> {
    file.length().map_err(|e| Error::io(file.path(), "find the length of", e))
}

/// Waits until the file is on the disk.
///
/// # Errors
/// [`Error::Unsynced`].
pub(crate) fn sync(file: &dyn Storage) -> Result<()> {
    file.sync().map_err(|source| Error::Unsynced { path: file.path().to_path_buf(), source })
}

/// Sets the length; new bytes read as zeros.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn set_len(file: &dyn Storage, len: u64) -> Result<()> {
    file.set_len(len).map_err(|e| Error::io(file.path(), format!("change the length to {len} bytes of"), e))
}

/// Makes a range within the file read as zeros.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn zero(file: &dyn Storage, offset: u64, len: u64) -> Result<()> {
    file.zero(offset, len).map_err(|e| Error::io(file.path(), format!("clear {len} bytes at offset {offset} of"), e))
}

/// Makes `len` bytes at `offset` of a file of `file_len` bytes read as zeros, growing it to hold them. Returns its
/// length afterwards.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn clear(file: &dyn Storage, file_len: u64, offset: u64, len: u64) -> Result<u64> {
    // Past its old end a file grows with zeros; before it there may be bytes of something lost or discarded.
    let stale = file_len.saturating_sub(offset).min(len);
    if stale > 0 {
        zero(file, offset, stale)?;
    }
    let end = offset + len;
    if end > file_len {
        set_len(file, end)?;
    }
    Ok(file_len.max(end))
}
