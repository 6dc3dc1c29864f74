//! Allocating in a sparse extent.
//!
//! Two rules keep the extent consistent at any moment. Data is on the disk before the grain table that points to it,
//! and a new grain table before the directory. And while the extent is in use, its header states that there are no
//! redundant tables: two tables cannot change atomically, and VirtualBox refuses an extent whose tables differ. They
//! are updated, and announced in the header again, when the extent is closed.

use super::geometry::SECTOR;
use super::grains::{Grain, Grains, ZERO_GRAIN};
use super::header::{FLAG_REDUNDANT, FLAGS_AT, UNCLEAN_SHUTDOWN_AT};
use crate::image::Result;
use crate::image::alloc::{Grant, Space};
use crate::storage;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sector numbers have 32 bits.
pub(super) const MAX_FILE: u64 = (1 << 32) * SECTOR;
/// After so many redundant tables were brought up to date they are written.
const TABLES_AT_ONCE: usize = 256;

/// What a writable sparse extent holds in addition to its map.
pub(super) struct SparseWriter {
    /// `flags` of the header as it is when the extent is not in use.
    flags: u32,
    changes: Mutex<Changes>,
}

/// What changed in memory.
struct Changes {
    /// Where the grains are.
    space: Space,
    /// Grain tables that the directory on the disk does not point to yet.
    new_tables: BTreeSet<u64>,
    /// Grain tables that their redundant ones differ from.
    changed: BTreeSet<u64>,
    /// Free bytes for new grain tables.
    pool: Range<u64>,
}

fn full() -> String {
    format!("a sparse VMDK extent cannot grow beyond {MAX_FILE} bytes (2 TiB)")
}

impl SparseWriter {
    /// `space` is that of the file, if it is known; `flags` the header's.
    pub(super) fn new(grains: &Grains, space: Option<Space>, flags: u32) -> Self {
        let grain = grains.geometry.grain;
        // Grains between the positions of others leave no whole ones.
        let known = space.filter(|space| space.unit_size() == grain).map(|mut space| {
            space.claim(&(0..grains.geometry.data_at.min(grains.len())));
            space
        });
        let space = known.unwrap_or_else(|| Space::after(grains.len().next_multiple_of(grain), grain, MAX_FILE));
        let changes = Changes { space, new_tables: BTreeSet::new(), changed: BTreeSet::new(), pool: 0..0 };
        Self { flags, changes: Mutex::new(changes) }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn redundant(&self) -> bool {
        self.flags & FLAG_REDUNDANT != 0
    }

    /// Bytes that wait in memory for a flush.
    pub(super) fn pending(&self, grains: &Grains) -> usize {
        let changes = self.changes();
        grains.cache.pending() + changes.space.pending() + changes.new_tables.len() * size_of::<u64>()
    }

    /// Says in the header, in memory only, that the extent is in use, or that it is closed.
    pub(super) fn set_in_use(&self, grains: &Grains, in_use: bool) -> Result<()> {
        let flags = if in_use { self.flags & !FLAG_REDUNDANT } else { self.flags };
        grains.cache.write(FLAGS_AT, &flags.to_le_bytes())?;
        grains.cache.write(UNCLEAN_SHUTDOWN_AT, &[u8::from(in_use)])
    }

    /// Where the data of grains is to go: the position that each has, or a new one that reads as zeros.
    pub(super) fn allocate(&self, grains: &Grains, indices: Range<u64>) -> Result<Grant> {
        let mut positions = indices
            .map(|index| match grains.grain(index)? {
                Grain::At(at) => Ok(Some(at)),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let missing = positions.iter().filter(|position| position.is_none()).count() as u64;
        let space = &mut self.changes().space;
        Ok(match space.reserve(missing, &**grains.file(), &grains.file_len, &full())? {
            Grant::FlushFirst => Grant::FlushFirst,
            Grant::Positions(new) => {
                let mut new = new.into_iter();
                positions.iter_mut().filter(|position| position.is_none()).for_each(|position| *position = new.next());
                Grant::Positions(positions.into_iter().flatten().collect())
            }
        })
    }

    /// Gives back what is still reserved of a range of the file.
    pub(super) fn cancel(&self, positions: Range<u64>) {
        self.changes().space.cancel(positions);
    }

    /// Makes the map say that a grain is at `at`.
    pub(super) fn commit(&self, grains: &Grains, index: u64, at: u64) -> Result<()> {
        if grains.grain(index)? == Grain::At(at) {
            return Ok(());
        }
        // Positions end before MAX_FILE.
        self.set(grains, index, u32::try_from(at / SECTOR).unwrap_or(u32::MAX))?;
        self.changes().space.commit(&(at..at + grains.geometry.grain));
        Ok(())
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
                self.changes().space.free_after_flush(&(at..at + grains.geometry.grain));
                Ok(())
            }
            (Grain::At(at), None) => zero(grains, at),
            (Grain::Absent, Some(entry)) if entry != 0 => self.set(grains, index, entry),
            (Grain::Absent | Grain::Zero, Some(_)) | (Grain::Zero, None) => Ok(()),
            (Grain::Absent, None) => {
                let at = self.changes().space.reserve_zeros(1, &**grains.file(), &grains.file_len, &full())?;
                self.commit(grains, index, at)
            }
        }
    }

    fn set(&self, grains: &Grains, index: u64, raw: u32) -> Result<()> {
        let (table, entry) = grains.split(index);
        let mut changes = self.changes();
        let at = match grains.table(table) {
            Grain::At(at) => at,
            empty => changes.add_table(grains, table, empty)?,
        };
        grains.cache.write(at + 4 * entry, &raw.to_le_bytes())?;
        if self.redundant() {
            changes.changed.insert(table);
        }
        Ok(())
    }

    /// Writes the map; the data is on the disk already. Returns when it is there too.
    pub(super) fn flush(&self, grains: &Grains) -> Result<()> {
        if self.pending(grains) == 0 {
            return Ok(());
        }
        let mut changes = self.changes();
        grains.cache.write_through()?;
        for table in &changes.new_tables {
            set_entry(grains, grains.geometry.directory_at, *table, grains.table(*table))?;
        }
        grains.cache.write_through()?;
        changes.new_tables.clear();
        changes.space.flushed(&**grains.file());
        Ok(())
    }

    /// Brings the redundant tables up to date and marks the extent as closed. The map is on the disk already.
    pub(super) fn close(&self, grains: &Grains) -> Result<()> {
        let mut changes = self.changes();
        let changed: Vec<u64> = changes.changed.iter().copied().collect();
        for some in changed.chunks(TABLES_AT_ONCE) {
            for table in some {
                changes.copy_table(grains, *table)?;
            }
            grains.cache.write_back()?;
        }
        storage::sync(&**grains.file())?;
        changes.changed.clear();
        self.set_in_use(grains, false)?;
        grains.cache.write_through()
    }
}

impl Changes {
    /// Space for a grain table.
    fn table_space(&mut self, grains: &Grains) -> Result<u64> {
        let len = grains.geometry.table_len();
        if self.pool.end - self.pool.start < len {
            let count = len.div_ceil(grains.geometry.grain);
            let at = self.space.reserve_zeros(count, &**grains.file(), &grains.file_len, &full())?;
            self.pool = at..at + count * grains.geometry.grain;
            self.space.commit(&self.pool);
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
        let index = usize::try_from(table).unwrap_or(usize::MAX);
        let entry = grains.redundant.get(index).map_or(0, |entry| entry.load(Ordering::Acquire));
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

/// Makes the grain at `at` read as zeros; what is after the end of the file is left out.
fn zero(grains: &Grains, at: u64) -> Result<()> {
    storage::zero(&**grains.file(), at, grains.len().saturating_sub(at).min(grains.geometry.grain))
}
