//! Reading a file's bytes by its runs, straight through the disk.

use super::{Attributes, Error, FileExtent, GuestFs, Node, NodeKind, Result};
use crate::disk::{Disk, FileRange};

/// Fills `buf` with a file's bytes from `offset` on and returns how many there were: fewer at the end of the file.
/// `attributes` are the file's, which the caller mostly has already.
///
/// # Errors
/// [`Error::NotFile`]; corruption; disk errors.
pub(crate) fn read(
    fs: &dyn GuestFs,
    volume: &dyn Disk,
    file: Node,
    attributes: &Attributes,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    if attributes.kind != NodeKind::File {
        return Err(Error::NotFile);
    }
    let left = attributes.size.saturating_sub(offset);
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    let buf = &mut buf[..len];
    // Neighbouring stored runs become one read.
    let mut stored: Option<(u64, usize, usize)> = None;
    let mut done = 0;
    while done < len {
        let run = fs.extent(file, offset + done as u64, (len - done) as u64)?;
        let now = usize::try_from(run.len).unwrap_or(usize::MAX).min(len - done);
        match run.extent {
            FileExtent::Stored(at) => match &mut stored {
                Some((first, _, count)) if first.checked_add(*count as u64) == Some(at) => *count += now,
                _ => {
                    if let Some((at, from, count)) = stored.replace((at, done, now)) {
                        volume.read_at(at, &mut buf[from..from + count])?;
                    }
                }
            },
            FileExtent::Zero | FileExtent::Decoded => {
                if let Some((at, from, count)) = stored.take() {
                    volume.read_at(at, &mut buf[from..from + count])?;
                }
                let part = &mut buf[done..done + now];
                match run.extent {
                    FileExtent::Zero => part.fill(0),
                    _ => fs.decode(file, offset + done as u64, part)?,
                }
            }
        }
        done += now;
    }
    if let Some((at, from, count)) = stored {
        volume.read_at(at, &mut buf[from..from + count])?;
    }
    Ok(len)
}

/// Where a file's bytes lie, as [`Disk::file_ranges`] returns it: for at most `len` bytes from `offset` on, up to the
/// end of the file. `None` when some of them do not lie in files as they are, and when it is no file.
#[must_use]
pub(crate) fn file_ranges(
    fs: &dyn GuestFs,
    volume: &dyn Disk,
    file: Node,
    attributes: &Attributes,
    offset: u64,
    len: u64,
) -> Option<Vec<FileRange>> {
    if attributes.kind != NodeKind::File {
        return None;
    }
    let end = attributes.size.min(offset.checked_add(len)?);
    let mut at = offset;
    let mut parts = Vec::new();
    while at < end {
        let run = fs.extent(file, at, end - at).ok()?;
        let len = run.len.min(end - at);
        let FileExtent::Stored(start) = run.extent else { return None };
        parts.extend(volume.file_ranges(start, len)?);
        at += len;
    }
    Some(parts)
}

/// The most runs that one search looks at, which bounds the time of a request.
const SEARCHED: usize = 1 << 20;

/// Where the next data, or the next hole, of a file is, at `offset` or after it; `None` for no more data. The file's
/// end is a hole. A search that takes too many steps ends early with a safe answer: zeros reported as data,
/// never the reverse.
///
/// # Errors
/// [`Error::NotFile`]; corruption.
pub(crate) fn seek(
    fs: &dyn GuestFs,
    file: Node,
    attributes: &Attributes,
    offset: u64,
    data: bool,
) -> Result<Option<u64>> {
    if attributes.kind != NodeKind::File {
        return Err(Error::NotFile);
    }
    let size = attributes.size;
    let mut at = offset;
    for _ in 0..SEARCHED {
        if at >= size {
            return Ok((!data).then_some(size));
        }
        let run = fs.extent(file, at, size - at)?;
        if (run.extent != FileExtent::Zero) == data {
            return Ok(Some(at));
        }
        at = at.saturating_add(run.len.max(1));
    }
    Ok(Some(if data { at } else { size }))
}
