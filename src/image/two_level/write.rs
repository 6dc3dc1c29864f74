//! Allocating, discarding and flushing: data, then level 2 tables, then the level 1 table, each on the disk before
//! the next.

use super::map::TwoLevelEntry;
use super::{Extent, ImageMut, Result, Run, TwoLevel, storage};
use crate::image::alloc::{self, Grant, Space, State};
use crate::image::{Allocated, Error};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why there is no more space.
const FULL: &str = "its file would have too many clusters; convert it to larger clusters";

/// What a writable image holds in addition to its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    state: State,
}

impl Writer {
    pub(super) fn new(space: Space) -> Self {
        Self { space: Mutex::new(space), state: State::default() }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TwoLevel {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }

    /// Where `len` bytes begin that read as zeros and that something will point to.
    fn zeros(&self, space: &mut Space, len: u64) -> Result<Range<u64>> {
        let clusters = len.div_ceil(self.map.shape.cluster_size);
        let position = space.reserve_zeros(clusters, &**self.file(), &self.map.file_len, FULL)?;
        Ok(position..position + len)
    }

    fn set_entry(&self, space: &mut Space, offset: u64, entry: u64) -> Result<()> {
        let table = match self.map.table(offset)? {
            Some(table) => table,
            None => {
                let table = self.zeros(space, self.map.shape.l2_entries * 8)?;
                self.map.l1.write(self.map.l1_entry_at(offset), &self.map.bytes(table.start))?;
                space.commit(&table);
                table.start
            }
        };
        self.map.l2.write(self.map.entry_at(table, offset), &self.map.bytes(entry))
    }

    /// Makes the map point to a cluster of the file.
    fn set_position(&self, space: &mut Space, offset: u64, position: u64) -> Result<()> {
        self.set_entry(space, offset, position)?;
        space.commit(&(position..position + self.map.shape.cluster_size));
        Ok(())
    }

    /// Makes the cluster at `offset` read as zeros.
    fn make_zero(&self, space: &mut Space, offset: u64) -> Result<()> {
        let size = self.map.shape.cluster_size;
        let has_parent = self.info.parent.is_some();
        let old = match self.map.table(offset)? {
            Some(table) => self.map.entry(self.map.entry_at(table, offset))?,
            None => TwoLevelEntry::Absent,
        };
        match (old, self.map.shape.dialect.zero) {
            // The cluster stays allocated: where compressed ones are, nothing states whether it would be free.
            (TwoLevelEntry::Stored(position), _) => {
                let file = &**self.file();
                storage::zero(file, position, size.min(storage::length(file)?.saturating_sub(position)))
            }
            (TwoLevelEntry::Zero, _) => Ok(()),
            (TwoLevelEntry::Absent, _) if !has_parent => Ok(()),
            (_, Some(zero)) => self.set_entry(space, offset, zero),
            (_, None) if !has_parent => self.set_entry(space, offset, 0),
            (_, None) => {
                let position = self.zeros(space, size)?;
                self.set_position(space, offset, position.start)
            }
        }
    }
}

impl ImageMut for TwoLevel {
    fn unit(&self) -> u64 {
        self.map.shape.cluster_size
    }

    fn mark_dirty(&self) -> Result<()> {
        self.state()?.state.mark_dirty(|| Ok(()))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let size = self.map.shape.cluster_size;
        let clusters = alloc::units(offset, len, size).count() as u64;
        let mut space = self.state()?.space();
        Ok(match space.reserve(clusters, &**self.file(), &self.map.file_len, FULL)? {
            Grant::Positions(positions) => Allocated::Runs(alloc::runs(0, &positions, size, len)),
            Grant::FlushFirst => Allocated::FlushFirst,
        })
    }

    fn cancel(&self, _offset: u64, runs: &[Run]) {
        if let Some(writer) = &self.writer {
            alloc::positions(runs).for_each(|(_, positions)| writer.space().cancel(positions));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut space = self.state()?.space();
        let mut start = offset;
        for run in runs {
            for at in alloc::units(start, run.len, self.map.shape.cluster_size) {
                match run.extent {
                    Extent::Stored { offset: position, .. } => {
                        self.set_position(&mut space, at, position + (at - start))?
                    }
                    _ => self.make_zero(&mut space, at)?,
                }
            }
            start += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut space = self.state()?.space();
        alloc::units(offset, len, self.map.shape.cluster_size).try_for_each(|at| self.make_zero(&mut space, at))
    }

    fn flush(&self) -> Result<()> {
        let state = &self.state()?.state;
        state.flush(|| alloc::sync_in_order(&**self.file(), &[&self.map.l2, &self.map.l1]))
    }

    /// Also cuts off space at the end of the file that nothing points to, such as a crash leaves.
    fn close(&self) -> Result<()> {
        self.flush()?;
        alloc::cut(&mut self.state()?.space(), &**self.file(), &self.map.file_len)
    }

    fn pending(&self) -> usize {
        self.map.l1.pending() + self.map.l2.pending()
    }
}
