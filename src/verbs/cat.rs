//! `cat`: the bytes of files.

use super::{Error, Links, Report, Result, Sink, locate};
use crate::view::{self, Kind, View};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Which bytes of a file, as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many; up to the end of the file without.
    pub length: Option<u64>,
}

/// Writes the bytes of files, one after the other. Holes are not read.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn cat(view: &View, paths: &[PathBuf], range: Range, out: &mut dyn Sink, report: Report<'_>) -> Result<()> {
    for path in paths {
        match one(view, path, range, out) {
            Err(e @ Error::Write(_)) => return Err(e),
            Err(e) => report(e),
            Ok(()) => {}
        }
    }
    Ok(out.flush()?)
}

/// Writes the bytes of one file.
pub(super) fn one(view: &View, path: &Path, range: Range, out: &mut dyn Sink) -> Result<()> {
    let found = locate(view, path, Links::Follow)?.attributes;
    let wrong = Error::at(path);
    if found.kind == Kind::Directory {
        return Err(wrong(view::Error::IsDirectory));
    }
    // For what has no bytes, such as a device.
    view.read(found.inode, 0, &mut []).map_err(&wrong)?;
    let end = range.length.map_or(found.size, |length| range.offset.saturating_add(length).min(found.size));
    let mut buf = vec![0; CHUNK];
    let mut at = range.offset;
    while at < end {
        let data = match view.seek(found.inode, at, true) {
            Ok(data) => data.min(end),
            Err(view::Error::PastEnd) => end,
            Err(e) => return Err(wrong(e)),
        };
        out.skip(data - at)?;
        at = data;
        let hole = if at < end { view.seek(found.inode, at, false).map_err(&wrong)?.min(end) } else { end };
        while at < hole {
            let wanted = usize::try_from(hole - at).unwrap_or(usize::MAX).min(CHUNK);
            let read = view.read(found.inode, at, &mut buf[..wanted]).map_err(&wrong)?;
            if read == 0 {
                return Err(wrong(view::Error::PastEnd));
            }
            out.write_all(&buf[..read])?;
            at += read as u64;
        }
    }
    Ok(())
}
