//! The chain as one flat disk: writing. Only the leaf changes.
//!
//! Bytes that the leaf stores already are overwritten in place. Others get whole units of the leaf's allocation: the
//! units' old bytes from the chain around the new ones are written to the new space, and then the map points to it. The
//! map stays in memory until a flush has brought the data to the disk.

use super::flat::{Source, resolve};
use super::slice::check_range;
use super::{ChainDisk, Disk, Error, Result};
use crate::error_kind::message;
use crate::image::{self, Allocated, Extent, ImageMut, Run};
use crate::storage;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// Writers to different ranges of the disk don't wait for each other; this many ranges have locks of their own.
const STRIPES: usize = 64;
/// The least that one lock covers, in bytes: no request of the kernel is larger.
const STRIPE: u64 = 1 << 20;
/// Metadata that may wait in memory, in bytes, before a write flushes it.
const MAX_PENDING: usize = 1 << 20;
/// Old bytes are copied into new blocks in chunks of this size.
const COPY: u64 = 1 << 20;

/// Locks of the write path.
pub(super) struct WriteState {
    stripes: [Mutex<()>; STRIPES],
    /// Held for reading by writes, for writing by flushes: nothing may be committed between a flush's sync of the
    /// data and its writing of the map.
    flush: RwLock<()>,
    /// The file that could not be flushed, and why. Linux drops what it could not write and lets the next `fsync`
    /// succeed (<https://wiki.postgresql.org/wiki/Fsync_Errors>), so from then on every write and flush fails.
    lost: OnceLock<(PathBuf, String)>,
}

impl Default for WriteState {
    fn default() -> Self {
        Self { stripes: [const { Mutex::new(()) }; STRIPES], flush: RwLock::new(()), lost: OnceLock::new() }
    }
}

/// Why a write stops.
enum Stop {
    /// There is no free space before a flush.
    FlushFirst,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What is done to a part of a range.
type Each<'a> = &'a dyn Fn(&dyn ImageMut, Range) -> Result<(), Stop>;

/// A range of the disk in bytes.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    end: u64,
}

impl Range {
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// The whole units that the range touches, cut at the disk's end.
    fn widen(self, unit: u64, size: u64) -> Self {
        let start = self.start - self.start % unit;
        let end = self.end.checked_next_multiple_of(unit).unwrap_or(size).min(size);
        Self { start, end }
    }

    /// The units that the range covers whole (one that the disk's end cuts counts), if any, and what is left of the
    /// range before and after them.
    fn split(self, unit: u64, size: u64) -> (Self, Option<Self>, Self) {
        let start = self.start.checked_next_multiple_of(unit).unwrap_or(self.end);
        let end = if self.end == size { size } else { self.end - self.end % unit };
        if start >= end {
            return (self, None, Self { start: self.end, end: self.end });
        }
        (Self { end: start, ..self }, Some(Self { start, end }), Self { start: end, ..self })
    }

    /// The range in chunks of at most [`COPY`] bytes.
    fn in_chunks(self) -> impl Iterator<Item = Self> {
        let step = usize_of(COPY);
        (self.start..self.end).step_by(step).map(move |start| Self { start, end: self.end.min(start + COPY) })
    }
}

impl ChainDisk {
    fn stripe(&self, width: u64, offset: u64) -> MutexGuard<'_, ()> {
        let stripe = offset / width % STRIPES as u64;
        let lock = &self.write.stripes[usize::try_from(stripe).unwrap_or(0)];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` for the parts of a range that one lock covers, with that lock and the right to write held; flushes
    /// after a part when much metadata waits.
    fn in_stripes(&self, offset: u64, len: u64, each: Each<'_>) -> Result<()> {
        check_range(offset, len, self.size)?;
        let writer = self.writer()?;
        // Whole units, so that two writers are never in one; units need not be powers of two.
        let width = writer.unit().saturating_mul(STRIPE.div_ceil(writer.unit()));
        let end = offset + len;
        let mut start = offset;
        while start < end {
            let stripe_end = (start - start % width).saturating_add(width);
            let part = Range { start, end: end.min(stripe_end) };
            let shared = || {
                let _flush = self.write.flush.read().unwrap_or_else(PoisonError::into_inner);
                let _stripe = self.stripe(width, part.start);
                writer.mark_dirty()?;
                each(writer, part)
            };
            match shared() {
                Ok(()) => {}
                Err(Stop::FlushFirst) => self.with_space(writer, part, each)?,
                Err(Stop::Failed(error)) => return Err(error),
            }
            if writer.pending() > MAX_PENDING {
                self.flush_leaf()?;
            }
            start = part.end;
        }
        Ok(())
    }

    /// Calls `each` once more after it found no free space: a flush makes some, and no other write may take it.
    fn with_space(&self, writer: &dyn ImageMut, part: Range, each: Each<'_>) -> Result<()> {
        let _flush = self.write.flush.write().unwrap_or_else(PoisonError::into_inner);
        self.flush_writer(writer)?;
        writer.mark_dirty()?;
        each(writer, part).map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::FlushFirst => {
                let reason = "nothing is free although it was flushed; convert it to another format";
                image::Error::full(&writer.info().path, reason).into()
            }
        })
    }

    /// Does something that may flush, unless a flush failed before.
    fn watched(&self, action: impl FnOnce() -> Result<()>) -> Result<()> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        action().inspect_err(|error| {
            if let Error::Image(image::Error::Unsynced { path, source }) = error
                && self.write.lost.set((path.clone(), source.to_string())).is_ok()
            {
                self.lost().iter().for_each(|lost| log::error!("{}", message(lost)));
            }
        })
    }

    /// The error of everything that comes after a failed flush.
    fn lost(&self) -> Option<Error> {
        let (path, reason) = self.write.lost.get()?.clone();
        Some(Error::Lost { path, reason })
    }

    pub(super) fn write_range(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let each: Each<'_> = &|writer, part| {
            let data = slice(buf, part.start - offset, part.len());
            self.write_part(writer, part, data)
        };
        self.watched(|| self.in_stripes(offset, buf.len() as u64, each))
    }

    /// Writes `data` to a part that is locked.
    fn write_part(&self, writer: &dyn ImageMut, part: Range, data: &[u8]) -> Result<(), Stop> {
        let mut at = part.start;
        while at < part.end {
            let run = writer.in_place(at, part.end - at)?;
            let now = Range { start: at, end: at + run.len.min(part.end - at) };
            let bytes = slice(data, at - part.start, now.len());
            match run.extent {
                Extent::Stored { file, offset } => {
                    storage::write_all(&*writer.files()[file], bytes, offset)?;
                    at = now.end;
                }
                _ => at = self.write_new(writer, now, bytes)?,
            }
        }
        Ok(())
    }

    /// Writes `data` to a range that the leaf does not store: up to the first position where units of zeros and others
    /// meet. Returns where it stopped.
    fn write_new(&self, writer: &dyn ImageMut, range: Range, data: &[u8]) -> Result<u64, Stop> {
        let unit = writer.unit();
        let unit_of = |at: u64| Range { start: at, end: at + 1 }.widen(unit, range.end);
        let zero = |at: u64| {
            let end = unit_of(at).end;
            is_zero(slice(data, at - range.start, end - at))
        };
        let zeros = zero(range.start);
        let mut end = unit_of(range.start).end;
        while end < range.end && zero(end) == zeros {
            end = unit_of(end).end;
        }
        let now = Range { start: range.start, end };
        if zeros {
            self.write_zeros(writer, now)?;
        } else {
            self.write_units(writer, now, slice(data, 0, now.len()))?;
        }
        Ok(end)
    }

    /// Makes a range that the leaf does not store read as zeros.
    fn write_zeros(&self, writer: &dyn ImageMut, range: Range) -> Result<(), Stop> {
        if self.reads_zero(range)? {
            return Ok(());
        }
        let (head, whole, tail) = range.split(writer.unit(), self.size);
        for edge in [head, tail].into_iter().flat_map(Range::in_chunks) {
            self.write_units(writer, edge, &vec![0; usize_of(edge.len())])?;
        }
        if let Some(whole) = whole {
            let done = writer.commit(whole.start, &[Run { extent: Extent::Zero, len: whole.len() }]);
            self.flat.forget(whole.start, whole.len());
            done?;
        }
        Ok(())
    }

    /// Whether the chain shows known zeros in all of a range.
    fn reads_zero(&self, range: Range) -> Result<bool> {
        let mut at = range.start;
        while at < range.end {
            let chunk = resolve(&self.links, at, range.end - at)?;
            if chunk.source != Source::Zero {
                return Ok(false);
            }
            at += chunk.len;
        }
        Ok(true)
    }

    /// Allocates the units of a range, fills them with `data` and, around it, with what the chain shows.
    fn write_units(&self, writer: &dyn ImageMut, range: Range, data: &[u8]) -> Result<(), Stop> {
        let units = range.widen(writer.unit(), self.size);
        let runs = match writer.allocate(units.start, units.len())? {
            Allocated::Runs(runs) => runs,
            Allocated::FlushFirst => return Err(Stop::FlushFirst),
        };
        let done = self.fill_units(writer, units, &runs, range, data);
        if done.is_err() {
            writer.cancel(units.start, &runs);
        }
        // Also after a failure: some units may be committed.
        self.flat.forget(units.start, units.len());
        Ok(done?)
    }

    /// Writes new units and makes the map point to them.
    fn fill_units(&self, writer: &dyn ImageMut, units: Range, runs: &[Run], range: Range, data: &[u8]) -> Result<()> {
        let position = |at: u64, bytes: &[u8]| self.write_runs(writer, runs, at - units.start, bytes);
        self.copy_old(Range { start: units.start, end: range.start }, &position)?;
        position(range.start, data)?;
        self.copy_old(Range { start: range.end, end: units.end }, &position)?;
        Ok(writer.commit(units.start, runs)?)
    }

    /// Passes what the chain shows in a range to `position`, leaving out zeros: new space reads as zeros.
    fn copy_old(&self, range: Range, position: &dyn Fn(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let chunk = resolve(&self.links, at, (range.end - at).min(COPY))?;
            if chunk.source != Source::Zero {
                let mut bytes = vec![0; usize_of(chunk.len)];
                self.read_chunk(chunk.source, &mut bytes)?;
                position(at, &bytes)?;
            }
            at += chunk.len;
        }
        Ok(())
    }

    /// Writes bytes into allocated runs, from `skip` bytes after their start on.
    fn write_runs(&self, writer: &dyn ImageMut, runs: &[Run], skip: u64, bytes: &[u8]) -> Result<()> {
        let (mut skip, mut rest) = (skip, bytes);
        for run in runs {
            if skip >= run.len {
                skip -= run.len;
                continue;
            }
            let (now, later) = rest.split_at(usize_of(run.len - skip).min(rest.len()));
            if let Extent::Stored { file, offset } = run.extent
                && !now.is_empty()
            {
                storage::write_all(&*writer.files()[file], now, offset + skip)?;
            }
            (skip, rest) = (0, later);
        }
        Ok(())
    }

    pub(super) fn discard_range(&self, offset: u64, len: u64) -> Result<()> {
        let each: Each<'_> = &|writer, part| {
            if self.reads_zero(part)? {
                return Ok(());
            }
            let (head, whole, tail) = part.split(writer.unit(), self.size);
            for edge in [head, tail].into_iter().flat_map(Range::in_chunks) {
                self.write_part(writer, edge, &vec![0; usize_of(edge.len())])?;
            }
            if let Some(whole) = whole {
                let done = writer.discard(whole.start, whole.len());
                self.flat.forget_moved(whole.start, whole.len());
                done?;
            }
            Ok(())
        };
        self.watched(|| self.in_stripes(offset, len, each))
    }

    pub(super) fn flush_leaf(&self) -> Result<()> {
        let Some(writer) = self.leaf().writer() else { return Ok(()) };
        let _flush = self.write.flush.write().unwrap_or_else(PoisonError::into_inner);
        self.watched(|| self.flush_writer(writer))
    }

    /// Flushes, with the right to do so held. After that the positions of units that were replaced may be used again,
    /// so a read that began before must not trust them.
    fn flush_writer(&self, writer: &dyn ImageMut) -> Result<()> {
        self.flat.forget_moved(0, 0);
        Ok(writer.flush()?)
    }

    pub(super) fn close_leaf(&self) -> Result<()> {
        let Some(writer) = self.leaf().writer() else { return Ok(()) };
        let _flush = self.write.flush.write().unwrap_or_else(PoisonError::into_inner);
        self.flat.forget_moved(0, 0);
        let closed = self.watched(|| Ok(writer.close()?));
        // Closing may move blocks.
        self.flat.forget_moved(0, self.size());
        closed
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The part of a buffer; the caller knows that it lies within.
fn slice(bytes: &[u8], from: u64, len: u64) -> &[u8] {
    &bytes[usize_of(from)..][..usize_of(len)]
}

/// Lengths here are bounded by a buffer or a stripe, so they fit.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
