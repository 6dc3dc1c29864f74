//! Allocating, discarding and flushing.
//!
//! A new block replaces the footer. So that the file always has one, the footer is first written after the new block
//! and synced. Data reaches the disk before the bits and table entries that point to it. The order of those does not
//! matter: a bit without an entry is ignored, and an entry without bits shows the previous content.

use super::footer::{self, Footer};
use super::header::SECTOR;
use super::{End, Vhd};
use crate::image::alloc::{self, Reservations, Space, State, Taken};
use crate::image::{Allocated, Error, Extent, ImageMut, Result, Run};
use crate::ondisk::blocks::{BlockRange, block_ranges};
use crate::storage;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file grows by at most this many bytes at once (or one block), as each needs a wait for the disk.
/// What was not used is cut off on closing; after a crash it stays, as a hole.
const MAX_GROWTH: u64 = 64 << 20;
/// Where the last block must begin before, in bytes: it is named by its sector, and the highest number means none.
const MAX_POSITION: u64 = u32::MAX as u64 * SECTOR;

/// What a writable VHD holds in addition to its map.
pub(super) struct Writer {
    footer: [u8; footer::SIZE],
    /// The footer has to be written before anything else.
    repair: bool,
    growing: Mutex<Growing>,
    state: State,
}

/// Where new blocks go.
struct Growing {
    space: Space,
    /// Where the footer is.
    end: u64,
    /// Blocks to be added when the file grows next.
    growth: u64,
    blocks: Reservations,
}

impl Writer {
    /// `stride` is how many bytes a block takes in the file.
    pub(super) fn new(footer: &Footer, end: &End, stride: u64) -> Self {
        let start = end.data_end.next_multiple_of(SECTOR);
        let space = Space::after(start, stride, MAX_POSITION + stride - 1);
        let growing = Growing { space, end: start, growth: 1, blocks: Reservations::default() };
        let (repair, state) = (!end.has_footer, State::default());
        Self { footer: footer.raw, repair, growing: Mutex::new(growing), state }
    }

    fn growing(&self) -> MutexGuard<'_, Growing> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vhd {
    fn block_ranges(&self, offset: u64, len: u64) -> impl Iterator<Item = BlockRange> + use<> {
        block_ranges(offset, len, self.map.header.block_size.into())
    }

    fn write_footer(&self, at: u64) -> Result<()> {
        let file = &*self.files[0];
        storage::write_all(file, &self.state()?.footer, at)?;
        storage::sync(file)
    }

    /// Adds space for blocks at the end of the file, where the first of them begins at `at`.
    fn grow(&self, growing: &mut Growing, at: u64) -> Result<()> {
        let stride = self.map.header.stride();
        let last = at.saturating_add((growing.growth - 1).saturating_mul(stride));
        let blocks = if last < MAX_POSITION { growing.growth } else { 1 };
        let (old, end) = (growing.end, at + blocks * stride);
        self.write_footer(end)?;
        // The old footer would be taken for the bitmap of the first block.
        storage::write_all(&*self.files[0], &[0; footer::SIZE], old)?;
        growing.end = end;
        growing.growth = (blocks * 2).min(MAX_GROWTH / stride).max(1);
        self.map.data_end.store(end, Ordering::Release);
        Ok(())
    }

    /// The sector at which a block begins; allocates it if it has none.
    fn position(&self, growing: &mut Growing, block: u64) -> Result<u32> {
        if let Some(sector) = self.map.entry(block)? {
            return Ok(sector);
        }
        let sector = |position: u64| u32::try_from(position / SECTOR).unwrap_or(u32::MAX);
        if let Some(position) = growing.blocks.position(block) {
            return Ok(sector(position));
        }
        let Taken::Unit(unit) = growing.space.take(1) else {
            let reason = "it has reached 2 TiB, the largest file of its format; convert it to another one";
            return Err(Error::full(&self.info.path, reason));
        };
        let position = growing.space.position(unit);
        let stride = self.map.header.stride();
        let grown = if position + stride > growing.end { self.grow(growing, position) } else { Ok(()) };
        let bitmap = usize::try_from(self.map.header.bitmap_size()).unwrap_or(0);
        // In the file it is zero already, but the cache may hold what was there before.
        if let Err(error) = grown.and_then(|()| self.map.cache.write(position, &vec![0; bitmap])) {
            growing.space.release(unit);
            return Err(error);
        }
        growing.space.commit(&(position..position + stride));
        growing.blocks.insert(block, position);
        Ok(sector(position))
    }

    /// Makes the table and the bitmap, in memory, say that a part is stored in the block at `sector`.
    fn point_to(&self, growing: &mut Growing, part: &BlockRange, sector: u32) -> Result<()> {
        self.map.set_bits(sector, part.within.clone())?;
        if growing.blocks.position(part.block).is_some() {
            self.map.set_entry(part.block, sector)?;
            growing.blocks.commit(part.block);
        }
        Ok(())
    }

    fn clear(&self, sector: u32, within: &Range<u64>) -> Result<()> {
        storage::zero(&*self.files[0], self.map.data_at(sector) + within.start, within.end - within.start)
    }
}

impl ImageMut for Vhd {
    /// Sectors, although whole blocks are allocated: the bitmap states which sectors of a block are there.
    fn unit(&self) -> u64 {
        SECTOR
    }

    /// The format has no modification UUID; this only puts a footer where none was found.
    fn mark_dirty(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.mark_dirty(|| if writer.repair { self.write_footer(writer.growing().end) } else { Ok(()) })
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut growing = self.state()?.growing();
        let mut runs = Vec::new();
        for part in self.block_ranges(offset, len) {
            let sector = self.position(&mut growing, part.block)?;
            if !growing.blocks.is_fresh(part.block) {
                self.clear(sector, &part.within)?;
            }
            let offset = self.map.data_at(sector) + part.within.start;
            Run::push(&mut runs, Run { extent: Extent::Stored { file: 0, offset }, len: part.len() });
        }
        Ok(Allocated::Runs(runs))
    }

    fn cancel(&self, offset: u64, runs: &[Run]) {
        let len = runs.iter().map(|run| run.len).sum();
        if let Some(writer) = &self.writer {
            self.block_ranges(offset, len).for_each(|part| writer.growing().blocks.cancel(part.block));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut at = offset;
        for run in runs {
            if run.extent == Extent::Zero {
                self.discard(at, run.len)?;
            } else {
                let mut growing = self.state()?.growing();
                for part in self.block_ranges(at, run.len) {
                    let sector = self.position(&mut growing, part.block)?;
                    self.point_to(&mut growing, &part, sector)?;
                }
            }
            at += run.len;
        }
        Ok(())
    }

    /// There is no flag for zeros, so under a parent the zeros are stored (as holes where the file system can).
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut growing = self.state()?.growing();
        for part in self.block_ranges(offset, len) {
            if self.info.parent.is_none() && self.map.entry(part.block)?.is_none() {
                continue;
            }
            let sector = self.position(&mut growing, part.block)?;
            self.clear(sector, &part.within)?;
            if self.info.parent.is_some() {
                self.point_to(&mut growing, &part, sector)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.state()?.state.flush(|| alloc::sync_in_order(&*self.files[0], &[&self.map.cache]))
    }

    /// Also cuts off space that was added but not used.
    fn close(&self) -> Result<()> {
        self.flush()?;
        let mut growing = self.state()?.growing();
        let next = growing.space.cut();
        if growing.end == next {
            return Ok(());
        }
        let file = &*self.files[0];
        self.write_footer(next)?;
        storage::set_len(file, next + footer::SIZE as u64)?;
        storage::sync(file)?;
        growing.end = next;
        self.map.data_end.store(next, Ordering::Release);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.map.cache.pending()
    }
}
