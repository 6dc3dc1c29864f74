//! Allocating, discarding and flushing: data, then level 2 tables, then the level 1 table, each on the disk before
//! the next.

use super::map::Entry;
use super::{Extent, ImageMut, Result, Run, TwoLevel, storage};
use crate::image::{Allocated, Error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a writable image keeps beside its map.
pub(super) struct Writer {
    /// Where new space begins: the end of the file, at a multiple of the cluster size.
    end: Mutex<u64>,
    /// Something was written since the last flush.
    written: AtomicBool,
}

impl Writer {
    pub(super) fn new(end: u64) -> Self {
        Self { end: Mutex::new(end), written: AtomicBool::new(false) }
    }

    fn end(&self) -> MutexGuard<'_, u64> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TwoLevel {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }

    /// Adds `len` bytes of zeros to the file, and returns where they begin.
    fn append(&self, end: &mut u64, len: u64) -> Result<u64> {
        let start = *end;
        let new_end = start + len.next_multiple_of(self.map.shape.cluster_size);
        let file = self.file();
        file.set_len(new_end).map_err(|e| Error::io(file.path(), format!("grow to {new_end} bytes"), e))?;
        *end = new_end;
        Ok(start)
    }

    /// Where the entry for a place of the disk is, in a new level 2 table if there was none.
    fn own_entry_at(&self, end: &mut u64, offset: u64) -> Result<u64> {
        if let Some(table) = self.map.table(offset)? {
            return Ok(self.map.entry_at(table, offset));
        }
        let table = self.append(end, self.map.shape.l2_entries * 8)?;
        self.map.l1.write(self.map.l1_entry_at(offset), &self.map.bytes(table))?;
        Ok(self.map.entry_at(table, offset))
    }

    fn set_entry(&self, end: &mut u64, offset: u64, entry: u64) -> Result<()> {
        let at = self.own_entry_at(end, offset)?;
        self.map.l2.write(at, &self.map.bytes(entry))
    }

    /// Makes the cluster at `offset` read as zeros.
    fn make_zero(&self, end: &mut u64, offset: u64) -> Result<()> {
        let size = self.map.shape.cluster_size;
        let has_parent = self.info.parent.is_some();
        let old = match self.map.table(offset)? {
            Some(table) => self.map.entry(self.map.entry_at(table, offset))?,
            None => Entry::Absent,
        };
        match (old, self.map.shape.dialect.zero) {
            // Nothing counts free space in the file, so the cluster keeps its place.
            (Entry::Stored(place), _) => {
                let file = self.file();
                let len = size.min(storage::length(&**file)?.saturating_sub(place));
                file.zero(place, len)
                    .map_err(|e| Error::io(file.path(), format!("clear a cluster at offset {place} of"), e))
            }
            (Entry::Zero, _) => Ok(()),
            (Entry::Absent, _) if !has_parent => Ok(()),
            (_, Some(zero)) => self.set_entry(end, offset, zero),
            (_, None) if !has_parent => self.set_entry(end, offset, 0),
            (_, None) => {
                let place = self.append(end, size)?;
                self.set_entry(end, offset, place)
            }
        }
    }

    /// Where the clusters of a range begin on the disk.
    fn clusters(&self, offset: u64, len: u64) -> impl Iterator<Item = u64> + use<> {
        let size = self.map.shape.cluster_size;
        (offset / size..offset.saturating_add(len).div_ceil(size)).map(move |cluster| cluster * size)
    }
}

impl ImageMut for TwoLevel {
    fn unit(&self) -> u64 {
        self.map.shape.cluster_size
    }

    fn touch(&self) -> Result<()> {
        let writer = self.state()?;
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(field) = self.in_use.filter(|_| !*marked) {
            storage::write_all(&**self.file(), &field.dirty, field.offset)?;
            storage::sync(&**self.file())?;
            *marked = true;
        }
        writer.written.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut end = self.state()?.end();
        let clusters = self.clusters(offset, len).count() as u64;
        let place = self.append(&mut end, clusters * self.map.shape.cluster_size)?;
        Ok(Allocated::Runs(vec![Run { extent: Extent::Stored { file: 0, offset: place }, len }]))
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut end = self.state()?.end();
        let mut start = offset;
        for run in runs {
            for at in self.clusters(start, run.len) {
                match run.extent {
                    Extent::Stored { offset: place, .. } => self.set_entry(&mut end, at, place + (at - start))?,
                    _ => self.make_zero(&mut end, at)?,
                }
            }
            start += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut end = self.state()?.end();
        self.clusters(offset, len).try_for_each(|at| self.make_zero(&mut end, at))
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        if !writer.written.load(Ordering::Acquire) {
            return Ok(());
        }
        storage::sync(&**self.file())?;
        for table in [&self.map.l2, &self.map.l1] {
            if table.pending() > 0 {
                table.write_back()?;
                storage::sync(&**self.file())?;
            }
        }
        writer.written.store(false, Ordering::Release);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(field) = self.in_use.filter(|_| *marked) {
            storage::write_all(&**self.file(), &field.clean, field.offset)?;
            storage::sync(&**self.file())?;
            *marked = false;
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.map.l1.pending() + self.map.l2.pending()
    }
}
