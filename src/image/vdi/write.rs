//! Allocating, discarding and flushing.
//!
//! This order keeps the image consistent at any moment: data and a sync, then the header's `cBlocksAllocated`
//! (VirtualBox allocates that index next, so it must never lag behind the map), a sync, then the map, and a sync. The
//! first sync is the slow one. Without it, a killed process would often leave blocks that are counted but not mapped,
//! which is harmless but an error to `qemu-img check`.

use super::Vdi;
use super::header::{Kind, VdiHeader};
use super::map::VdiEntry;
use crate::image::alloc::{self, Grant, Space, State, UnitSet};
use crate::image::{Allocated, Error, Extent, ImageMut, Result, Run};
use crate::storage;
use crate::storage::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// What a writable VDI holds in addition to its map.
pub(super) struct Writer {
    /// The indices of the data area.
    space: Mutex<Space>,
    /// `cBlocksAllocated` as the file has it.
    pub(super) counted: AtomicU32,
    /// Marked: a new modification UUID went to the disk since the image was opened.
    state: State,
}

impl Writer {
    pub(super) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vdi {
    /// `used` are the indices that the map has; after a crash it may be ahead of the header's count.
    pub(super) fn make_writable(&mut self, used: UnitSet) {
        let header = &self.map.header;
        let end = used.end().max(header.blocks_allocated.into());
        let space = Space::new(header.block_at(0), header.stride(), used, end, header.blocks.into());
        let counted = AtomicU32::new(header.blocks_allocated);
        self.writer = Some(Writer { space: Mutex::new(space), counted, state: State::default() });
    }

    pub(super) fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }

    pub(super) fn file(&self) -> &File {
        &self.files[0]
    }

    /// The blocks of a range of whole units.
    fn blocks(&self, offset: u64, len: u64) -> std::ops::Range<u64> {
        let size = u64::from(self.map.header.block_size);
        offset / size..offset.saturating_add(len).div_ceil(size)
    }

    fn write_modification_uuid(&self) -> Result<()> {
        storage::write_all(&**self.file(), &Uuid::new_v4().to_bytes_le(), self.map.header.uuid_modify_at)
    }

    /// Writes that the data area has `count` blocks.
    pub(super) fn write_count(&self, count: u64) -> Result<()> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        storage::write_all(&**self.file(), &count.to_le_bytes(), self.map.header.blocks_allocated_at)?;
        self.state()?.counted.store(count, Ordering::Release);
        Ok(())
    }
}

/// Where the block with an index of the data area is in the file.
fn block_range(header: &VdiHeader, index: u32) -> std::ops::Range<u64> {
    header.block_at(index)..header.block_at(index) + header.stride()
}

impl ImageMut for Vdi {
    fn unit(&self) -> u64 {
        u64::from(self.map.header.block_size)
    }

    fn mark_dirty(&self) -> Result<()> {
        self.state()?.state.mark_dirty(|| {
            self.write_modification_uuid()?;
            storage::sync(&**self.file())
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let header = &self.map.header;
        let blocks = self.blocks(offset, len);
        let full = "more blocks of its file are in use than its disk has";
        // Held over clearing, so that the file grows in order.
        let mut space = self.state()?.space();
        Ok(match space.reserve(blocks.end - blocks.start, &**self.file(), &self.map.file_len, full)? {
            Grant::FlushFirst => Allocated::FlushFirst,
            Grant::Positions(mut positions) => {
                positions.iter_mut().for_each(|position| *position += u64::from(header.block_extra));
                Allocated::Runs(alloc::runs(0, &positions, header.block_size.into(), len))
            }
        })
    }

    fn cancel(&self, _offset: u64, runs: &[Run]) {
        if let Some(writer) = &self.writer {
            alloc::positions(runs).for_each(|(_, positions)| writer.space().cancel(positions));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let header = &self.map.header;
        let mut space = self.state()?.space();
        let mut at = offset;
        for run in runs {
            for (number, block) in (0..).zip(self.blocks(at, run.len)) {
                let Extent::Stored { offset: data, .. } = run.extent else {
                    self.map.set(block, VdiEntry::Zero)?;
                    continue;
                };
                let position = data + number * header.stride() - header.data_at(0);
                let index = u32::try_from(position / header.stride()).unwrap_or(u32::MAX);
                self.map.set(block, VdiEntry::Index(index))?;
                space.commit(&block_range(header, index));
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let writer = self.state()?;
        let header = &self.map.header;
        let file = self.file();
        for block in self.blocks(offset, len) {
            match self.map.entry(block)? {
                // VirtualBox would put the block of a fixed image after all others if it were not allocated.
                VdiEntry::Index(index) if header.kind == Kind::Fixed => {
                    storage::zero(&**file, header.data_at(index), header.bytes_of_block(block))?;
                }
                VdiEntry::Index(index) => {
                    self.map.set(block, VdiEntry::Zero)?;
                    writer.space().free_after_flush(&block_range(header, index));
                }
                VdiEntry::Free => self.map.set(block, VdiEntry::Zero)?,
                VdiEntry::Zero => {}
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.flush(|| {
            let file = &**self.file();
            let end = writer.space().end();
            if self.map.cache.pending() > 0 && end != u64::from(writer.counted.load(Ordering::Acquire)) {
                storage::sync(file)?;
                self.write_count(end)?;
            }
            self.write_modification_uuid()?;
            alloc::sync_in_order(file, &[&self.map.cache])?;
            writer.space().flushed(file);
            Ok(())
        })
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        self.compact()
    }

    fn pending(&self) -> usize {
        self.map.cache.pending() + self.writer.as_ref().map_or(0, |writer| writer.space().pending())
    }
}
