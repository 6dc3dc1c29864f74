//! The ranges in which two files differ.

use super::bytes::{Buffers, CHUNK, ViewFile, shared};
use super::{End, Error, Result, State, Step, Watch, finish};
use crate::view::Attributes;
use std::ops::ControlFlow;
use std::path::Path;

/// Bytes that are reported together: a sector.
const SECTOR: usize = 512;

/// How two files differ in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Both were read: every sector of the range has other bytes.
    Differs,
    /// Their bytes come from different origins, and were not read: some may be equal.
    Unshared,
    /// Only the old one is so large.
    OnlyOld,
    /// Only the new one is so large.
    OnlyNew,
}

/// A range in which two files differ. Offset and length are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeChange {
    /// Where it begins on the disk.
    pub offset: u64,
    /// How long it is; at least 1.
    pub len: u64,
    /// How they differ.
    pub difference: Difference,
}

/// A file in one state, with its attributes there.
pub(super) type RangeFile<'a> = (&'a State<'a>, Attributes);

/// Passes the ranges in which two files differ to `each`, in order. With `read`, what does not come from the same
/// origin is read, and ranges are whole sectors that differ; without, all of it is passed on and nothing is read.
///
/// They are files of the views: `vhdd`, `vol0`, or one of a guest; `path` names them in messages.
///
/// # Errors
/// [`Error::Interrupted`]. A range that cannot be read is passed to `each` as an error.
pub(crate) fn ranges(
    old: RangeFile<'_>,
    new: RangeFile<'_>,
    path: &Path,
    read: bool,
    watch: &Watch<'_>,
    each: &mut dyn FnMut(Result<RangeChange>) -> ControlFlow<()>,
) -> Result<()> {
    let ((old, of_old), (new, of_new)) = (old, new);
    let sources = (
        ViewFile { view: old.view, inode: of_old.inode, wrong: old.at(path) },
        ViewFile { view: new.view, inode: of_new.inode, wrong: new.at(path) },
    );
    let (a_size, b_size) = (of_old.size, of_new.size);
    let mut found = Found { pending: None, each };
    let mut compare = || {
        let both = a_size.min(b_size);
        let (mut at, mut buffers) = (0, Buffers::default());
        while at < both {
            watch.check()?;
            let (same, len) = match shared(&sources.0, &sources.1, at, both - at) {
                Ok(found) => found,
                Err(e) => {
                    // The map of an image is corrupt: whatever follows has to be asked for anew.
                    found.wrong(e)?;
                    at = both.min(at - at % CHUNK as u64 + CHUNK as u64);
                    continue;
                }
            };
            match (same, read) {
                (true, _) => {}
                (false, false) => found.add(at, len, Difference::Unshared)?,
                (false, true) => {
                    let mut from = at;
                    while from < at + len {
                        watch.check()?;
                        let now = (at + len - from).min(CHUNK as u64 - from % SECTOR as u64);
                        match buffers.read(&sources.0, &sources.1, from, usize::try_from(now).unwrap_or(CHUNK)) {
                            Ok((a, b)) => found.sectors(from, a, b)?,
                            Err(e) => found.wrong(e)?,
                        }
                        from += now;
                        (watch.progress)(Step::Bytes(now));
                    }
                }
            }
            at += len;
            if same || !read {
                (watch.progress)(Step::Bytes(len));
            }
        }
        let difference = if a_size > both { Difference::OnlyOld } else { Difference::OnlyNew };
        let larger = a_size.max(b_size);
        if larger > both {
            found.add(both, larger - both, difference)?;
        }
        found.flush()
    };
    finish(compare())
}

/// What was found, joined.
struct Found<'a> {
    pending: Option<RangeChange>,
    each: &'a mut dyn FnMut(Result<RangeChange>) -> ControlFlow<()>,
}

impl Found<'_> {
    fn pass(&mut self, what: Result<RangeChange>) -> Result<(), End> {
        if (self.each)(what).is_break() { Err(End::Enough) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), End> {
        self.pending.take().map_or(Ok(()), |range| self.pass(Ok(range)))
    }

    fn wrong(&mut self, error: Error) -> Result<(), End> {
        self.flush()?;
        self.pass(Err(error))
    }

    fn add(&mut self, offset: u64, len: u64, difference: Difference) -> Result<(), End> {
        match &mut self.pending {
            Some(last) if last.difference == difference && last.offset + last.len == offset => {
                last.len += len;
                Ok(())
            }
            _ => {
                self.flush()?;
                self.pending = Some(RangeChange { offset, len, difference });
                Ok(())
            }
        }
    }

    /// Adds the sectors that differ. The bytes begin at `offset`, in a sector of which they may be only a part.
    fn sectors(&mut self, offset: u64, a: &[u8], b: &[u8]) -> Result<(), End> {
        if a == b {
            return Ok(());
        }
        let mut at = 0;
        while at < a.len() {
            let in_sector = usize::try_from((offset + at as u64) % SECTOR as u64).unwrap_or(0);
            let end = a.len().min(at + SECTOR - in_sector);
            if a[at..end] != b[at..end] {
                self.add(offset + at as u64, (end - at) as u64, Difference::Differs)?;
            }
            at = end;
        }
        Ok(())
    }
}
