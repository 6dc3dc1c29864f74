//! Allocating in a sparse extent.
//!
//! Two things keep the extent whole at any moment. Data is on the disk before the grain table that points to it, and a
//! new grain table before the directory. And while the extent is in use its header says that there are no redundant
//! tables: two tables cannot change in one moment, and VirtualBox refuses an extent whose tables differ. They are
//! brought up to date, and the header says so again, when the extent is closed.

use super::grains::{Grain, Grains, ZERO_GRAIN};
use super::header::{FLAG_REDUNDANT, FLAGS_AT, SECTOR, UNCLEAN_SHUTDOWN_AT};
use super::slots::Slots;
use crate::image::{Error, Result};
use crate::storage;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sector numbers have 32 bits.
const MAX_FILE: u64 = (1 << 32) * SECTOR;
/// After so many redundant tables were brought up to date they are written.
const TABLES_AT_ONCE: usize = 256;

/// What a writable sparse extent keeps beside its map.
pub(super) struct SparseWriter {
    /// `flags` of the header as it is when the extent is not in use.
    flags: u32,
    space: Mutex<Space>,
}

struct Space {
    /// Places in use; none where free ones between them are not known.
    slots: Option<Slots>,
    /// Nothing is stored from here on, in bytes.
    end: u64,
    /// Grains that were discarded but that the tables on the disk may still point to: where they begin.
    leaving: Vec<u64>,
    /// Grain tables that the directory on the disk does not point to yet.
    new_tables: BTreeSet<u64>,
    /// Grain tables that their redundant ones differ from.
    changed: BTreeSet<u64>,
    /// Free bytes for new grain tables.
    pool: Range<u64>,
}

impl SparseWriter {
    /// `slots` are the places in use, if they are known; `flags` the header's.
    pub(super) fn new(grains: &Grains, slots: Option<Slots>, flags: u32) -> Self {
        // Grains between the places leave no whole ones.
        let mut slots = slots.filter(|slots| slots.size() == grains.geometry.grain);
        let end = grains.len().next_multiple_of(SECTOR);
        if let Some(slots) = &mut slots {
            slots.claim(&(0..grains.geometry.data_at.min(end)));
        }
        let space = Space {
            slots,
            end,
            leaving: Vec::new(),
            new_tables: BTreeSet::new(),
            changed: BTreeSet::new(),
            pool: 0..0,
        };
        Self { flags, space: Mutex::new(space) }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn redundant(&self) -> bool {
        self.flags & FLAG_REDUNDANT != 0
    }

    /// Bytes that wait in memory for a flush.
    pub(super) fn pending(&self, grains: &Grains) -> usize {
        let space = self.space();
        grains.cache.pending() + (space.leaving.len() + space.new_tables.len()) * size_of::<u64>()
    }

    /// Says in the header, in memory only, that the extent is in use, or that it is closed.
    pub(super) fn mark(&self, grains: &Grains, in_use: bool) -> Result<()> {
        let flags = if in_use { self.flags & !FLAG_REDUNDANT } else { self.flags };
        grains.cache.write(FLAGS_AT, &flags.to_le_bytes())?;
        grains.cache.write(UNCLEAN_SHUTDOWN_AT, &[u8::from(in_use)])
    }

    /// Where the data of grains is to go: the place that each has, or a new one that reads as zeros.
    pub(super) fn allocate(&self, grains: &Grains, indices: Range<u64>) -> Result<Vec<u64>> {
        let mut space = self.space();
        let mut taken = Vec::new();
        let places = indices.map(|index| match grains.grain(index)? {
            Grain::At(at) => Ok(at),
            _ => {
                let at = space.take(grains)?;
                taken.push(at);
                Ok(at)
            }
        });
        let places = places.collect::<Result<Vec<_>>>().and_then(|places| {
            clear(grains, &taken)?;
            Ok(places)
        });
        if places.is_err() {
            space.give_back(grains, &taken);
        }
        places
    }

    /// Makes the map say that a grain is at `at`.
    pub(super) fn commit(&self, grains: &Grains, index: u64, at: u64) -> Result<()> {
        if grains.grain(index)? == Grain::At(at) {
            return Ok(());
        }
        // Places end before MAX_FILE.
        self.set(grains, index, u32::try_from(at / SECTOR).unwrap_or(u32::MAX))
    }

    /// Makes a grain read as zeros. Where zeros must hide a parent and the format has no entry for them, they take
    /// space.
    pub(super) fn make_zero(&self, grains: &Grains, index: u64, has_parent: bool) -> Result<()> {
        let entry = match (has_parent, grains.geometry.zero_grains) {
            (false, _) => Some(0),
            (true, true) => Some(ZERO_GRAIN),
            (true, false) => None,
        };
        match (grains.grain(index)?, entry) {
            (Grain::At(at), Some(entry)) => {
                self.set(grains, index, entry)?;
                self.space().leaving.push(at);
                Ok(())
            }
            (Grain::At(at), None) => zero(grains, at),
            (Grain::Absent, Some(entry)) if entry != 0 => self.set(grains, index, entry),
            (Grain::Absent | Grain::Zero, Some(_)) | (Grain::Zero, None) => Ok(()),
            (Grain::Absent, None) => {
                let places = self.allocate(grains, index..index + 1)?;
                places.iter().try_for_each(|at| self.commit(grains, index, *at))
            }
        }
    }

    fn set(&self, grains: &Grains, index: u64, raw: u32) -> Result<()> {
        let (table, entry) = grains.split(index);
        let mut space = self.space();
        let at = match grains.table(table) {
            Grain::At(at) => at,
            empty => space.add_table(grains, table, empty)?,
        };
        grains.cache.write(at + 4 * entry, &raw.to_le_bytes())?;
        if self.redundant() {
            space.changed.insert(table);
        }
        Ok(())
    }

    /// Writes the map; the data is on the disk already. Returns when it is there too.
    pub(super) fn flush(&self, grains: &Grains) -> Result<()> {
        if self.pending(grains) == 0 {
            return Ok(());
        }
        let mut space = self.space();
        write_back(grains)?;
        if !space.new_tables.is_empty() {
            for table in &space.new_tables {
                set_entry(grains, grains.geometry.directory_at, *table, grains.table(*table))?;
            }
            write_back(grains)?;
            space.new_tables.clear();
        }
        let left = std::mem::take(&mut space.leaving);
        for at in &left {
            // Only gives space back; a place is cleared again before it is used.
            if let Err(error) = zero(grains, *at) {
                log::debug!("{}", crate::error_kind::message(&error));
            }
        }
        space.give_back(grains, &left);
        Ok(())
    }

    /// Brings the redundant tables up to date and marks the extent as closed. The map is on the disk already.
    pub(super) fn close(&self, grains: &Grains) -> Result<()> {
        let mut space = self.space();
        let changed: Vec<u64> = space.changed.iter().copied().collect();
        for some in changed.chunks(TABLES_AT_ONCE) {
            for table in some {
                space.copy_table(grains, *table)?;
            }
            grains.cache.write_back()?;
        }
        storage::sync(&**grains.file())?;
        space.changed.clear();
        self.mark(grains, false)?;
        write_back(grains)
    }
}

impl Space {
    /// A place for a grain: a free one between others, or behind all. It may hold old bytes.
    fn take(&mut self, grains: &Grains) -> Result<u64> {
        let grain = grains.geometry.grain;
        if let Some(at) = self.slots.as_mut().and_then(|slots| slots.take(self.end)) {
            return Ok(at);
        }
        let at = self.append(grains, grain)?;
        if let Some(slots) = &mut self.slots {
            slots.claim(&(at..at + grain));
        }
        Ok(at)
    }

    /// `len` bytes behind all others, at a multiple of the grain size.
    fn append(&mut self, grains: &Grains, len: u64) -> Result<u64> {
        let at = self.end.next_multiple_of(grains.geometry.grain);
        let end = at + len;
        if end > MAX_FILE {
            let reason = format!("a sparse VMDK extent cannot grow beyond {MAX_FILE} bytes (2 TiB)");
            return Err(Error::Refused { path: grains.file().path().to_path_buf(), reason });
        }
        self.end = end;
        Ok(at)
    }

    fn give_back(&mut self, grains: &Grains, places: &[u64]) {
        if let Some(slots) = &mut self.slots {
            for at in places {
                slots.release(&(*at..at + grains.geometry.grain));
            }
        }
    }

    /// Space for a grain table.
    fn table_space(&mut self, grains: &Grains) -> Result<u64> {
        let len = grains.geometry.table_len();
        if self.pool.end - self.pool.start < len {
            let more = len.next_multiple_of(grains.geometry.grain);
            let at = self.append(grains, more)?;
            if let Some(slots) = &mut self.slots {
                slots.claim(&(at..at + more));
            }
            grow(grains, at + more)?;
            self.pool = at..at + more;
        }
        let at = self.pool.start;
        self.pool.start += len;
        Ok(at)
    }

    /// Makes a grain table whose entries say what the directory's did, `empty`.
    fn add_table(&mut self, grains: &Grains, table: u64, empty: Grain) -> Result<u64> {
        let at = self.table_space(grains)?;
        let entry = if empty == Grain::Zero { ZERO_GRAIN } else { 0 };
        let len = usize::try_from(grains.geometry.table_len()).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = entry.to_le_bytes().into_iter().cycle().take(len).collect();
        grains.cache.write(at, &bytes)?;
        store(&grains.directory, table, at);
        self.new_tables.insert(table);
        Ok(at)
    }

    /// Copies a grain table to its redundant one, in memory.
    fn copy_table(&mut self, grains: &Grains, table: u64) -> Result<()> {
        let Grain::At(from) = grains.table(table) else { return Ok(()) };
        let number = usize::try_from(table).unwrap_or(usize::MAX);
        let entry = grains.redundant.get(number).map_or(0, |entry| entry.load(Ordering::Acquire));
        let to = match Grain::decode(entry, grains.geometry.zero_grains) {
            Grain::At(to) => to,
            _ => {
                let to = self.table_space(grains)?;
                store(&grains.redundant, table, to);
                to
            }
        };
        let mut bytes = vec![0; usize::try_from(grains.geometry.table_len()).unwrap_or(usize::MAX)];
        grains.cache.read(from, &mut bytes, "VMDK grain table")?;
        grains.cache.write(to, &bytes)?;
        match grains.geometry.redundant_at {
            Some(directory) => set_entry(grains, directory, table, Grain::At(to)),
            None => Ok(()),
        }
    }
}

fn store(directory: &[std::sync::atomic::AtomicU32], table: u64, at: u64) {
    if let Some(entry) = usize::try_from(table).ok().and_then(|table| directory.get(table)) {
        entry.store(u32::try_from(at / SECTOR).unwrap_or(u32::MAX), Ordering::Release);
    }
}

/// Changes an entry of a directory in memory.
fn set_entry(grains: &Grains, directory_at: u64, table: u64, to: Grain) -> Result<()> {
    let Grain::At(at) = to else { return Ok(()) };
    let raw = u32::try_from(at / SECTOR).unwrap_or(u32::MAX);
    grains.cache.write(directory_at + 4 * table, &raw.to_le_bytes())
}

/// Writes what changed in memory and waits until it is on the disk.
fn write_back(grains: &Grains) -> Result<()> {
    grains.cache.write_back()?;
    storage::sync(&**grains.file())
}

/// Makes places read as zeros and the file long enough to hold them.
fn clear(grains: &Grains, places: &[u64]) -> Result<()> {
    for at in places.iter().filter(|at| **at < grains.len()) {
        zero(grains, *at)?;
    }
    // Behind its old end a file grows with zeros.
    places.iter().max().map_or(Ok(()), |at| grow(grains, at + grains.geometry.grain))
}

/// Makes the grain at `at` read as zeros; what is behind the end of the file is left out.
fn zero(grains: &Grains, at: u64) -> Result<()> {
    let file = grains.file();
    let len = grains.len().saturating_sub(at).min(grains.geometry.grain);
    file.zero(at, len).map_err(|e| Error::io(file.path(), format!("clear {len} bytes at offset {at} of"), e))
}

fn grow(grains: &Grains, end: u64) -> Result<()> {
    if end > grains.len() {
        let file = grains.file();
        file.set_len(end).map_err(|e| Error::io(file.path(), format!("grow to {end} bytes"), e))?;
        grains.file_len.store(end, Ordering::Release);
    }
    Ok(())
}
