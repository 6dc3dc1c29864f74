//! Allocating, discarding and flushing.
//!
//! The order that keeps the image whole at any moment: data and a sync, then the header's `cBlocksAllocated` (VirtualBox
//! gives out that index next, so it must never lag behind the map), a sync, then the map, and a sync. The first sync is
//! the long one; were it left out, a process that is killed would often leave blocks that count and are not in the map,
//! which harms nothing and is an error to `qemu-img check` all the same.

use super::Vdi;
use super::header::Kind;
use super::map::{Entry, Used};
use crate::image::{Error, Extent, ImageMut, Result, Run};
use crate::storage;
use crate::storage::File;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// What a writable VDI keeps beside its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// `cBlocksAllocated` as the file has it.
    pub(super) counted: AtomicU32,
    /// Something was written since the last flush.
    written: AtomicBool,
    /// A new modification UUID went to the disk since the image was opened.
    marked: Mutex<bool>,
}

/// Which indices of the data area are free.
pub(super) struct Space {
    /// The first index that was never used.
    pub(super) next: u32,
    /// Free indices below `next`, from a crash or a discard. Their old bytes may still be there.
    pub(super) free: Vec<u32>,
    /// Indices that were discarded but that the map on the disk may still point to.
    leaving: Vec<u32>,
}

impl Space {
    /// An index of the data area that nothing points to, of `blocks` that there may be.
    fn take(&mut self, blocks: u32) -> Option<u32> {
        self.free.pop().or_else(|| {
            let index = self.next;
            (index < blocks).then(|| {
                self.next += 1;
                index
            })
        })
    }
}

impl Writer {
    /// `blocks_allocated` is the header's; after a crash the map may be ahead of it.
    pub(super) fn new(blocks_allocated: u32, used: &Used) -> Self {
        let next = blocks_allocated.max(used.end);
        let free = (0..next).rev().filter(|index| !used.contains(*index)).collect();
        let space = Mutex::new(Space { next, free, leaving: Vec::new() });
        let counted = AtomicU32::new(blocks_allocated);
        Self { space, counted, written: AtomicBool::new(false), marked: Mutex::new(false) }
    }

    pub(super) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vdi {
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

    fn full(&self) -> Error {
        let reason = "all its blocks are in use until it is flushed; flush it and try again".to_owned();
        Error::Refused { path: self.info.path.clone(), reason }
    }

    fn write_modification_uuid(&self) -> Result<()> {
        storage::write_all(&**self.file(), &Uuid::new_v4().to_bytes_le(), self.map.header.uuid_modify_at)
    }

    /// Makes the space of an index read as zeros and the file long enough to hold it.
    fn clear(&self, index: u32) -> Result<()> {
        let header = &self.map.header;
        let start = header.block_at(index);
        let end = start + header.stride();
        let len = self.map.file_len.load(Ordering::Acquire);
        let file = self.file();
        // Past its old end a file grows with zeros; before it there may be bytes of a block that was lost or discarded.
        let stale = len.saturating_sub(start).min(header.stride());
        if stale > 0 {
            file.zero(start, stale)
                .map_err(|e| Error::io(file.path(), format!("clear a block at offset {start} of"), e))?;
        }
        if end > len {
            file.set_len(end).map_err(|e| Error::io(file.path(), format!("grow to {end} bytes"), e))?;
            self.map.file_len.store(end, Ordering::Release);
        }
        Ok(())
    }
}

impl ImageMut for Vdi {
    fn unit(&self) -> u64 {
        u64::from(self.map.header.block_size)
    }

    fn touch(&self) -> Result<()> {
        let writer = self.state()?;
        let mut marked = writer.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*marked {
            self.write_modification_uuid()?;
            storage::sync(&**self.file())?;
            *marked = true;
        }
        writer.written.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let header = &self.map.header;
        let mut runs = Vec::new();
        // Held over clearing, so that the file grows in order.
        let mut space = self.state()?.space();
        let mut taken = Vec::new();
        for block in self.blocks(offset, len) {
            let cleared = space.take(header.blocks).ok_or_else(|| self.full()).and_then(|index| {
                taken.push(index);
                self.clear(index)?;
                Ok(index)
            });
            match cleared {
                Ok(index) => runs.push(Run {
                    extent: Extent::Stored { file: 0, offset: header.data_at(index) },
                    len: header.bytes_of_block(block),
                }),
                Err(error) => {
                    space.free.append(&mut taken);
                    return Err(error);
                }
            }
        }
        Ok(runs)
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let header = &self.map.header;
        let mut at = offset;
        for run in runs {
            let entry = match run.extent {
                Extent::Stored { offset, .. } => {
                    let index = (offset - header.data_at(0)) / header.stride();
                    Entry::Index(u32::try_from(index).unwrap_or(u32::MAX))
                }
                _ => Entry::Zero,
            };
            for block in self.blocks(at, run.len) {
                self.map.set(block, entry)?;
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
                // VirtualBox would put the block of a fixed image behind all others if it were not allocated.
                Entry::Index(index) if header.kind == Kind::Fixed => {
                    let at = header.data_at(index);
                    file.zero(at, header.bytes_of_block(block))
                        .map_err(|e| Error::io(file.path(), format!("clear a block at offset {at} of"), e))?;
                }
                Entry::Index(index) => {
                    self.map.set(block, Entry::Zero)?;
                    writer.space().leaving.push(index);
                }
                Entry::Free => self.map.set(block, Entry::Zero)?,
                Entry::Zero => {}
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        if !writer.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let header = &self.map.header;
        let next = writer.space().next;
        let file = self.file();
        let mapped = self.map.cache.pending() > 0;
        if mapped && next != writer.counted.load(Ordering::Acquire) {
            storage::sync(&**file)?;
            storage::write_all(&**file, &next.to_le_bytes(), header.blocks_allocated_at)?;
            writer.counted.store(next, Ordering::Release);
        }
        self.write_modification_uuid()?;
        storage::sync(&**file)?;
        if mapped {
            self.map.cache.write_back()?;
            storage::sync(&**file)?;
        }
        let mut space = writer.space();
        let leaving = std::mem::take(&mut space.leaving);
        for index in &leaving {
            let start = header.block_at(*index);
            // Only gives space back; the block is cleared again before it is used.
            if let Err(e) = file.zero(start, header.stride()) {
                log::debug!(
                    "Cannot give back {} bytes at offset {start} of {}: {e}",
                    header.stride(),
                    file.path().display()
                );
            }
        }
        space.free.extend(leaving);
        writer.written.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        self.compact()
    }

    fn pending(&self) -> usize {
        let leaving = self.writer.as_ref().map_or(0, |w| w.space().leaving.len());
        self.map.cache.pending() + leaving * size_of::<u32>()
    }
}
