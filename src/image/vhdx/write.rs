//! Allocating, discarding and flushing.
//!
//! New blocks fill free space, or extend the file. A flush writes the data, then the sector bitmaps, then the table,
//! and waits for the disk after each. The log is not used, although the specification requires it: VirtualBox refuses
//! images whose log is not empty, so a crash would leave an unusable one. A table entry lies in one sector, which disks
//! write atomically, and in this order nothing points to data that may be missing.

use super::Vhdx;
use super::bat::Payload;
use super::header::MIB;
use super::header_writer::HeaderWriter;
use crate::image::alloc::{self, Reservations, Space, State};
use crate::image::{Allocated, Error, Extent, ImageMut, Result, Run};
use crate::ondisk::blocks::{BlockRange, block_ranges};
use crate::storage;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why there is no more space.
const FULL: &str = "its file would be too long; convert it to another format";

/// What a writable VHDX holds in addition to its map.
pub(super) struct Writer {
    blocks: Mutex<Blocks>,
    headers: Mutex<HeaderWriter>,
    /// Marked: the header says that the file changed since it was opened.
    state: State,
}

/// Where new blocks go.
struct Blocks {
    /// In units of 1 MiB.
    space: Space,
    reserved: Reservations,
    /// Blocks of a differencing disk that were zeros and became stored as a whole by a write to a part. They are not
    /// written in place, so that each part is announced as a change by a commit of its own.
    unfolded: HashSet<u64>,
}

impl Writer {
    pub(super) fn new(headers: HeaderWriter, space: Space) -> Self {
        let blocks = Blocks { space, reserved: Reservations::default(), unfolded: HashSet::new() };
        Self { blocks: Mutex::new(blocks), headers: Mutex::new(headers), state: State::default() }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vhdx {
    fn block_ranges(&self, offset: u64, len: u64) -> impl Iterator<Item = BlockRange> + use<> {
        block_ranges(offset, len, self.map.block_size())
    }

    fn clear(&self, at: u64, len: u64) -> Result<()> {
        storage::zero(&*self.files[0], at, len)
    }

    /// Space of `len` bytes, a multiple of 1 MiB, that reads as zeros; where it begins.
    fn zeros(&self, blocks: &mut Blocks, len: u64) -> Result<u64> {
        let position = blocks.space.reserve_zeros(len / MIB, &*self.files[0], &self.map.file_len, FULL)?;
        blocks.space.commit(&(position..position + len));
        Ok(position)
    }

    /// Space for a new block.
    fn reserve(&self, blocks: &mut Blocks, block: u64) -> Result<u64> {
        if let Some(position) = blocks.reserved.position(block) {
            return Ok(position);
        }
        let position = self.zeros(blocks, self.map.block_size())?;
        blocks.reserved.insert(block, position);
        Ok(position)
    }

    /// Makes the map, in memory, say that a part is stored where [`reserve`](Self::reserve) put its block.
    fn point_to(&self, blocks: &mut Blocks, part: &BlockRange) -> Result<()> {
        let (block, old) = (part.block, self.map.payload(part.block)?);
        match old {
            Payload::Full(_) => return Ok(()),
            Payload::Partial(_) => return self.map.set_bits(block, &part.within),
            Payload::NotPresent | Payload::Zero => {}
        }
        let position = self.reserve(blocks, block)?;
        if !self.map.differencing() {
            self.map.set_payload(block, Payload::Full(position))?;
        } else if old == Payload::Zero {
            if !blocks.reserved.is_fresh(block) {
                let reason =
                    "an earlier write to one of its blocks failed and cannot be undone; mount it again".to_owned();
                return Err(Error::Refused { path: self.info.path.clone(), reason });
            }
            self.map.set_payload(block, Payload::Full(position))?;
            blocks.unfolded.insert(block);
        } else {
            if self.map.bitmap(block)?.is_none() {
                self.map.set_bitmap(block, self.zeros(blocks, MIB)?)?;
            }
            // Bits of blocks that are not present mean nothing and may be set.
            self.map.clear_bits(block)?;
            self.map.set_bits(block, &part.within)?;
            self.map.set_payload(block, Payload::Partial(position))?;
        }
        blocks.reserved.commit(block);
        Ok(())
    }

    /// Makes a part of a differencing disk read as zeros. There is a flag for whole blocks only, so they are stored.
    fn store_zeros(&self, blocks: &mut Blocks, part: &BlockRange) -> Result<()> {
        match self.map.payload(part.block)? {
            Payload::Zero => Ok(()),
            Payload::Full(position) => self.clear(position + part.within.start, part.len()),
            Payload::Partial(position) => {
                self.clear(position + part.within.start, part.len())?;
                self.point_to(blocks, part)
            }
            Payload::NotPresent => {
                let position = self.reserve(blocks, part.block)?;
                self.clear(position + part.within.start, part.len())?;
                self.point_to(blocks, part)
            }
        }
    }

    /// Makes a whole block of a fixed or dynamic disk read as zeros.
    fn discard_block(&self, blocks: &mut Blocks, part: &BlockRange) -> Result<()> {
        match self.map.payload(part.block)? {
            Payload::Full(position) if self.map.metadata.leave_allocated => self.clear(position, part.len()),
            Payload::Full(position) => {
                self.map.set_payload(part.block, Payload::Zero)?;
                blocks.space.free_after_flush(&(position..position + self.map.block_size()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ImageMut for Vhdx {
    /// Blocks. In differencing disks sectors, although whole blocks are allocated: a bitmap states which are there.
    fn unit(&self) -> u64 {
        if self.map.differencing() { u64::from(self.map.metadata.logical_sector) } else { self.map.block_size() }
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        let size = self.map.block_size();
        if self.state()?.blocks().unfolded.contains(&(offset / size)) {
            return Ok(Run { extent: Extent::Zero, len: len.min(size - offset % size) });
        }
        self.map.extent(offset, len)
    }

    fn mark_dirty(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.mark_dirty(|| writer.headers.lock().unwrap_or_else(PoisonError::into_inner).announce_data_write())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut blocks = self.state()?.blocks();
        let mut runs = Vec::new();
        for part in self.block_ranges(offset, len) {
            let (position, stale) = match self.map.payload(part.block)? {
                Payload::Full(position) => (position, false),
                Payload::Partial(position) => (position, !blocks.reserved.is_fresh(part.block)),
                Payload::NotPresent | Payload::Zero => {
                    let position = self.reserve(&mut blocks, part.block)?;
                    (position, !blocks.reserved.is_fresh(part.block))
                }
            };
            if stale {
                self.clear(position + part.within.start, part.len())?;
            }
            let extent = Extent::Stored { file: 0, offset: position + part.within.start };
            Run::push(&mut runs, Run { extent, len: part.len() });
        }
        Ok(Allocated::Runs(runs))
    }

    fn cancel(&self, offset: u64, runs: &[Run]) {
        let Some(writer) = &self.writer else { return };
        for part in self.block_ranges(offset, runs.iter().map(|run| run.len).sum()) {
            let mut blocks = writer.blocks();
            let cleared = match blocks.reserved.position(part.block) {
                Some(position) => self.clear(position + part.within.start, part.len()).is_ok(),
                None => false,
            };
            if !cleared {
                blocks.reserved.cancel(part.block);
            }
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut at = offset;
        for run in runs {
            if run.extent == Extent::Zero {
                self.discard(at, run.len)?;
            } else {
                let mut blocks = self.state()?.blocks();
                for part in self.block_ranges(at, run.len) {
                    self.point_to(&mut blocks, &part)?;
                }
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut blocks = self.state()?.blocks();
        for part in self.block_ranges(offset, len) {
            if self.map.differencing() {
                self.store_zeros(&mut blocks, &part)?;
            } else {
                self.discard_block(&mut blocks, &part)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.flush(|| {
            let file = &*self.files[0];
            alloc::sync_in_order(file, &[&self.map.bitmaps, &self.map.cache])?;
            writer.blocks().space.flushed(file);
            Ok(())
        })
    }

    fn pending(&self) -> usize {
        let pending_free = self.writer.as_ref().map_or(0, |writer| writer.blocks().space.pending());
        self.map.cache.pending() + self.map.bitmaps.pending() + pending_free
    }
}
