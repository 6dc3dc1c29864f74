//! Allocating, discarding and flushing.
//!
//! New blocks go where nothing is, or to the end of the file. The table and the sector bitmaps change in memory; a flush brings the data to
//! the disk and then them, by way of the log.

use super::Vhdx;
use super::bat::Payload;
use super::header::MIB;
use super::journal::Journal;
use crate::image::{Error, Extent, ImageMut, Result, Run};
use crate::ondisk::blocks::{Part, parts};
use crate::storage;
use crate::storage::Storage;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a writable VHDX keeps beside its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    journal: Mutex<Journal>,
    /// The header says that the file changed since it was opened.
    marked: AtomicBool,
    /// Something was written since the last flush.
    written: AtomicBool,
}

/// Where new blocks go.
#[derive(Default)]
struct Space {
    /// Places of discarded blocks, cleared, that the table on the disk does not point to any more.
    free: Vec<u64>,
    /// Places between the blocks that nothing points to. There may be bytes of earlier times.
    stale: Vec<u64>,
    /// Places of discarded blocks that the table on the disk may still point to.
    leaving: Vec<u64>,
    /// Blocks that have a place but no table entry yet.
    reserved: HashMap<u64, u64>,
    /// Blocks that got their place since the image was opened: what was not written there is zero. In other partial
    /// blocks there may be bytes from a crash.
    fresh: HashSet<u64>,
    /// Blocks of a differencing disk that were zeros and became stored as a whole by a write to a part. They are not
    /// written in place, so that each part is announced as a change by a commit of its own.
    unfolded: HashSet<u64>,
}

impl Writer {
    /// `stale` are places that have room for a block and that nothing points to.
    pub(super) fn new(journal: Journal, stale: Vec<u64>) -> Self {
        Self {
            space: Mutex::new(Space { stale, ..Space::default() }),
            journal: Mutex::new(journal),
            marked: AtomicBool::new(false),
            written: AtomicBool::new(false),
        }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vhdx {
    fn parts(&self, offset: u64, len: u64) -> impl Iterator<Item = Part> + use<> {
        parts(offset, len, self.map.block_size())
    }

    fn file(&self) -> &dyn Storage {
        &*self.files[0]
    }

    fn clear(&self, at: u64, len: u64) -> Result<()> {
        let file = self.file();
        file.zero(at, len).map_err(|e| Error::io(file.path(), format!("clear {len} bytes at offset {at} of"), e))
    }

    /// Adds `len` bytes to the file, a multiple of 1 MiB; where they begin.
    fn grow(&self, len: u64) -> Result<u64> {
        let file = self.file();
        let at = self.map.file_len.load(Ordering::Acquire).next_multiple_of(MIB);
        let end = at + len;
        file.set_len(end).map_err(|e| Error::io(file.path(), format!("grow to {end} bytes"), e))?;
        self.map.file_len.store(end, Ordering::Release);
        Ok(at)
    }

    /// A new place for a block.
    fn reserve(&self, space: &mut Space, block: u64) -> Result<u64> {
        if let Some(place) = space.reserved.get(&block) {
            return Ok(*place);
        }
        let size = self.map.block_size();
        let place = if let Some(place) = space.free.pop() {
            place
        } else if let Some(place) = space.stale.last().copied() {
            self.clear(place, size)?;
            space.stale.pop();
            place
        } else {
            self.grow(size)?
        };
        space.reserved.insert(block, place);
        space.fresh.insert(block);
        Ok(place)
    }

    /// Makes the map, in memory, say that a part is stored where [`reserve`](Self::reserve) put its block.
    fn point_to(&self, space: &mut Space, part: &Part) -> Result<()> {
        let (block, old) = (part.block, self.map.payload(part.block)?);
        match old {
            Payload::Full(_) => return Ok(()),
            Payload::Partial(_) => return self.map.set_bits(block, &part.within),
            Payload::NotPresent | Payload::Zero => {}
        }
        let place = self.reserve(space, block)?;
        if !self.map.differencing() {
            self.map.set_payload(block, Payload::Full(place))?;
        } else if old == Payload::Zero {
            self.map.set_payload(block, Payload::Full(place))?;
            space.unfolded.insert(block);
        } else {
            if self.map.bitmap(block)?.is_none() {
                self.map.set_bitmap(block, self.grow(MIB)?)?;
            }
            // Bits of blocks that are not present mean nothing and may be set.
            self.map.clear_bits(block)?;
            self.map.set_bits(block, &part.within)?;
            self.map.set_payload(block, Payload::Partial(place))?;
        }
        space.reserved.remove(&block);
        Ok(())
    }

    /// Makes a part of a differencing disk read as zeros. There is a mark for whole blocks only, so they are stored.
    fn store_zeros(&self, space: &mut Space, part: &Part) -> Result<()> {
        match self.map.payload(part.block)? {
            Payload::Zero => Ok(()),
            Payload::Full(place) => self.clear(place + part.within.start, part.len()),
            Payload::Partial(place) => {
                self.clear(place + part.within.start, part.len())?;
                self.point_to(space, part)
            }
            Payload::NotPresent => {
                let place = self.reserve(space, part.block)?;
                self.clear(place + part.within.start, part.len())?;
                self.point_to(space, part)
            }
        }
    }

    /// Makes a whole block of a fixed or dynamic disk read as zeros.
    fn discard_block(&self, space: &mut Space, part: &Part) -> Result<()> {
        match self.map.payload(part.block)? {
            Payload::Full(place) if self.map.metadata.leave_allocated => self.clear(place, part.len()),
            Payload::Full(place) => {
                self.map.set_payload(part.block, Payload::Zero)?;
                space.leaving.push(place);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ImageMut for Vhdx {
    /// Blocks. In differencing disks sectors, although whole blocks are allocated: a bitmap tells which are there.
    fn unit(&self) -> u64 {
        if self.map.differencing() { u64::from(self.map.metadata.logical_sector) } else { self.map.block_size() }
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        let size = self.map.block_size();
        if self.state()?.space().unfolded.contains(&(offset / size)) {
            return Ok(Run { extent: Extent::Zero, len: len.min(size - offset % size) });
        }
        self.map.extent(offset, len)
    }

    fn touch(&self) -> Result<()> {
        let writer = self.state()?;
        let mut journal = writer.journal();
        if !writer.marked.load(Ordering::Acquire) {
            journal.mark()?;
            if !self.map.file_len.load(Ordering::Acquire).is_multiple_of(MIB) {
                // Entries of the log have the file's length in MiB.
                self.grow(0)?;
            }
            writer.marked.store(true, Ordering::Release);
        }
        writer.written.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let mut space = self.state()?.space();
        let mut runs = Vec::new();
        for part in self.parts(offset, len) {
            let place = match self.map.payload(part.block)? {
                Payload::Full(place) => place,
                Payload::Partial(place) => {
                    if !space.fresh.contains(&part.block) {
                        self.clear(place + part.within.start, part.len())?;
                    }
                    place
                }
                Payload::NotPresent | Payload::Zero => self.reserve(&mut space, part.block)?,
            };
            runs.push(Run { extent: Extent::Stored { file: 0, offset: place + part.within.start }, len: part.len() });
        }
        Ok(runs)
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut at = offset;
        for run in runs {
            if run.extent == Extent::Zero {
                self.discard(at, run.len)?;
            } else {
                let mut space = self.state()?.space();
                for part in self.parts(at, run.len) {
                    self.point_to(&mut space, &part)?;
                }
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut space = self.state()?.space();
        for part in self.parts(offset, len) {
            if self.map.differencing() {
                self.store_zeros(&mut space, &part)?;
            } else {
                self.discard_block(&mut space, &part)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        if !writer.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut pages = self.map.cache.changed();
        if pages.is_empty() {
            storage::sync(self.file())?;
        }
        // From the end of the file on, so that the entry of a bitmap block, which follows those of its blocks, is there
        // before they are partially present, also when not all pages fit into one entry of the log.
        pages.sort_unstable_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        let mut journal = writer.journal();
        let file_len = self.map.file_len.load(Ordering::Acquire);
        for pages in pages.chunks(journal.capacity().max(1)) {
            journal.write(pages, file_len)?;
        }
        self.map.cache.written(&pages);
        let mut space = writer.space();
        for place in std::mem::take(&mut space.leaving) {
            match self.clear(place, self.map.block_size()) {
                Ok(()) => space.free.push(place),
                // The space is lost to the file, no more.
                Err(error) => log::debug!("{}", crate::error_kind::message(&error)),
            }
        }
        writer.written.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        if self.state()?.marked.load(Ordering::Acquire) {
            // The header that says that the log is empty.
            storage::sync(self.file())?;
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        let leaving = self.writer.as_ref().map_or(0, |writer| writer.space().leaving.len());
        self.map.cache.pending() + leaving * size_of::<u64>()
    }
}
