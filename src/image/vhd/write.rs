//! Allocating, discarding and flushing.
//!
//! A new block goes where the footer is. So that the file never lacks one, the footer is first written behind the new
//! block and brought to the disk. Data reaches the disk before the bits and table entries that point to it; of those
//! any may come first: a bit without an entry is not looked at, an entry without bits shows what was there before.

use super::footer::{self, Footer};
use super::header::SECTOR;
use super::{End, Vhd};
use crate::image::{Error, Extent, ImageMut, Result, Run};
use crate::ondisk::blocks::{Part, parts};
use crate::storage;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Space is added to the file in stretches of at most so many bytes (or one block), as each needs a wait for the disk.
/// What was not used is cut off on closing; after a crash it stays, as a hole.
const MAX_GROWTH: u64 = 64 << 20;

/// What a writable VHD keeps beside its map.
pub(super) struct Writer {
    footer: [u8; footer::SIZE],
    space: Mutex<Space>,
    /// Something was written since the last flush.
    written: AtomicBool,
}

/// Where new blocks go.
struct Space {
    /// Where the next block goes: bytes, whole sectors.
    next: u64,
    /// Where the footer is.
    end: u64,
    /// The footer has to be written at `end` before anything else.
    repair: bool,
    /// Blocks to be added with the next stretch.
    growth: u64,
    /// Blocks that have a place (the sector where it begins) but no table entry yet.
    reserved: HashMap<u64, u32>,
    /// Blocks added since the image was opened: where their bits are not set, their data is zero. In others there may
    /// be bytes from a crash.
    fresh: HashSet<u64>,
}

impl Writer {
    pub(super) fn new(footer: &Footer, end: &End) -> Self {
        let start = end.data_end.next_multiple_of(SECTOR);
        let space = Space {
            next: start,
            end: start,
            repair: !end.has_footer,
            growth: 1,
            reserved: HashMap::new(),
            fresh: HashSet::new(),
        };
        Self { footer: footer.raw, space: Mutex::new(space), written: AtomicBool::new(false) }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vhd {
    fn parts(&self, offset: u64, len: u64) -> impl Iterator<Item = Part> + use<> {
        parts(offset, len, self.map.header.block_size.into())
    }

    fn write_footer(&self, at: u64) -> Result<()> {
        let file = &*self.files[0];
        storage::write_all(file, &self.state()?.footer, at)?;
        storage::sync(file)
    }

    /// Adds room for blocks at the end of the file.
    fn grow(&self, space: &mut Space) -> Result<()> {
        let file = &*self.files[0];
        let stride = self.map.header.stride();
        let last = space.next.saturating_add((space.growth - 1).saturating_mul(stride));
        let blocks = if last / SECTOR < u64::from(u32::MAX) { space.growth } else { 1 };
        if space.next / SECTOR >= u64::from(u32::MAX) {
            return Err(Error::Refused {
                path: self.info.path.clone(),
                reason: "it has reached 2 TiB, the largest file of its format".to_owned(),
            });
        }
        let old = space.end;
        let end = space.next + blocks * stride;
        self.write_footer(end)?;
        // The old footer would be taken for the bitmap of the first block.
        storage::write_all(file, &[0; footer::SIZE], old)?;
        space.end = end;
        space.growth = (blocks * 2).min(MAX_GROWTH / stride).max(1);
        self.map.data_end.store(end, Ordering::Release);
        Ok(())
    }

    /// The sector at which a block begins; gives it a place if it has none.
    fn place(&self, space: &mut Space, block: u64) -> Result<u32> {
        if let Some(sector) = self.map.entry(block)? {
            return Ok(sector);
        }
        if let Some(sector) = space.reserved.get(&block) {
            return Ok(*sector);
        }
        let stride = self.map.header.stride();
        if space.end - space.next < stride {
            self.grow(space)?;
        }
        let at = space.next;
        let sector = u32::try_from(at / SECTOR).unwrap_or(u32::MAX);
        let bitmap = usize::try_from(self.map.header.bitmap_size()).unwrap_or(0);
        // In the file it is zero already, but the cache may hold what was there before.
        self.map.cache.write(at, &vec![0; bitmap])?;
        space.next = at + stride;
        space.reserved.insert(block, sector);
        space.fresh.insert(block);
        Ok(sector)
    }

    /// Makes the table and the bitmap, in memory, say that a part is stored in the block at `sector`.
    fn point_to(&self, space: &mut Space, part: &Part, sector: u32) -> Result<()> {
        self.map.set_bits(sector, part.within.clone())?;
        if space.reserved.contains_key(&part.block) {
            self.map.set_entry(part.block, sector)?;
            space.reserved.remove(&part.block);
        }
        Ok(())
    }

    fn clear(&self, sector: u32, within: &Range<u64>) -> Result<()> {
        let file = &*self.files[0];
        let (at, len) = (self.map.data_at(sector) + within.start, within.end - within.start);
        file.zero(at, len).map_err(|e| Error::io(file.path(), format!("clear {len} bytes at offset {at} of"), e))
    }
}

impl ImageMut for Vhd {
    /// Sectors, although whole blocks are allocated: the bitmap tells which sectors of a block are there.
    fn unit(&self) -> u64 {
        SECTOR
    }

    /// The format has no modification UUID; this only puts a footer where none was found.
    fn touch(&self) -> Result<()> {
        let writer = self.state()?;
        let mut space = writer.space();
        if space.repair {
            self.write_footer(space.end)?;
            space.repair = false;
        }
        writer.written.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let mut space = self.state()?.space();
        let mut runs = Vec::new();
        for part in self.parts(offset, len) {
            let sector = self.place(&mut space, part.block)?;
            if !space.fresh.contains(&part.block) {
                self.clear(sector, &part.within)?;
            }
            let offset = self.map.data_at(sector) + part.within.start;
            runs.push(Run { extent: Extent::Stored { file: 0, offset }, len: part.len() });
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
                    let sector = self.place(&mut space, part.block)?;
                    self.point_to(&mut space, &part, sector)?;
                }
            }
            at += run.len;
        }
        Ok(())
    }

    /// There is no mark for zeros, so under a parent the zeros are stored (as holes where the file system can).
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut space = self.state()?.space();
        for part in self.parts(offset, len) {
            if self.info.parent.is_none() && self.map.entry(part.block)?.is_none() {
                continue;
            }
            let sector = self.place(&mut space, part.block)?;
            self.clear(sector, &part.within)?;
            if self.info.parent.is_some() {
                self.point_to(&mut space, &part, sector)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        if !writer.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = &*self.files[0];
        storage::sync(file)?;
        if self.map.cache.pending() > 0 {
            self.map.cache.write_back()?;
            storage::sync(file)?;
        }
        writer.written.store(false, Ordering::Release);
        Ok(())
    }

    /// Also cuts off space that was added but not used.
    fn close(&self) -> Result<()> {
        self.flush()?;
        let mut space = self.state()?.space();
        if space.end == space.next {
            return Ok(());
        }
        let file = &*self.files[0];
        self.write_footer(space.next)?;
        let len = space.next + footer::SIZE as u64;
        file.set_len(len).map_err(|e| Error::io(file.path(), format!("cut to {len} bytes"), e))?;
        storage::sync(file)?;
        space.end = space.next;
        self.map.data_end.store(space.end, Ordering::Release);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.map.cache.pending()
    }
}
