//! The map of a sparse extent: a grain directory of grain tables of grains. Hosted sparse extents and copy-on-write
//! disks share it, with different sizes.

use super::geometry::{Geometry, SECTOR};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::MetaCache;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Entries examined together: a run never spans more grains than this.
const BATCH: usize = 1024;

/// What an entry of a directory or a table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Nothing is stored: ask the parent.
    Absent,
    /// Zeros.
    Zero,
    /// At this offset of the file, in bytes.
    At(u64),
}

/// The entry that means zeros where the header allows it.
pub(super) const ZERO_GRAIN: u32 = 1;

impl Grain {
    pub(super) fn decode(raw: u32, zero_grains: bool) -> Self {
        match raw {
            0 => Self::Absent,
            ZERO_GRAIN if zero_grains => Self::Zero,
            sector => Self::At(u64::from(sector) * SECTOR),
        }
    }

    /// The same, `by` bytes further on.
    pub(super) fn advance(self, by: u64) -> Self {
        match self {
            Self::At(at) => Self::At(at + by),
            other => other,
        }
    }
}

/// A run of grains that say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrainRun {
    /// What the bytes asked for are. A compressed grain is given by its begin.
    pub(super) grain: Grain,
    /// For how many bytes of the disk.
    pub(super) len: u64,
}

/// How many of the first entries say the same as the first, or go on in the file where the one before ends.
pub(super) fn same(entries: impl IntoIterator<Item = Grain>, grain: u64) -> u64 {
    let mut entries = entries.into_iter();
    let Some(first) = entries.next() else { return 0 };
    let mut count = 1;
    for entry in entries {
        if entry != first.advance(count * grain) {
            break;
        }
        count += 1;
    }
    count
}

/// The map of an open sparse extent.
#[derive(Debug)]
pub(super) struct Grains {
    pub(super) geometry: Geometry,
    pub(super) cache: MetaCache,
    /// Where each grain table is, as a sector; the redundant one where the first is corrupt.
    pub(super) directory: Box<[AtomicU32]>,
    /// Where each redundant grain table is; empty without.
    pub(super) redundant: Box<[AtomicU32]>,
    /// The file's length in bytes; grows as grains are allocated.
    pub(super) file_len: AtomicU64,
}

impl Grains {
    /// A map whose directories are not read yet; see [`super::check`]. Caches at most `cache` bytes of grain tables.
    pub(super) fn new(file: File, geometry: Geometry, cache: usize) -> Result<Self> {
        let file_len = AtomicU64::new(storage::length(&*file)?);
        let (directory, redundant) = (Box::default(), Box::default());
        Ok(Self { geometry, cache: MetaCache::new(file, cache), directory, redundant, file_len })
    }

    pub(super) fn file(&self) -> &File {
        self.cache.file()
    }

    pub(super) fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.file().path())
    }

    pub(super) fn len(&self) -> u64 {
        self.file_len.load(Ordering::Acquire)
    }

    /// Where a grain table is.
    pub(super) fn table(&self, table: u64) -> Grain {
        let entry = usize::try_from(table).ok().and_then(|table| self.directory.get(table));
        Grain::decode(entry.map_or(0, |entry| entry.load(Ordering::Acquire)), self.geometry.zero_grains)
    }

    /// Splits a grain's index into those of its table and of its entry there.
    pub(super) fn split(&self, index: u64) -> (u64, u64) {
        (index / self.geometry.table_entries, index % self.geometry.table_entries)
    }

    fn what(&self, index: u64) -> String {
        format!("{} grain table entry of grain {index}", self.geometry.format)
    }

    /// What one grain is, unchecked against the file.
    pub(super) fn grain(&self, index: u64) -> Result<Grain> {
        let (table, entry) = self.split(index);
        match self.table(table) {
            Grain::At(at) => {
                self.check_table(table, at)?;
                let mut raw = [0; 4];
                self.cache.read(at + 4 * entry, &mut raw, "VMDK grain table")?;
                Ok(Grain::decode(u32::from_le_bytes(raw), self.geometry.zero_grains))
            }
            other => Ok(other),
        }
    }

    /// What holds the bytes of the extent from `offset` on, for at most `len` bytes.
    pub(super) fn run(&self, offset: u64, len: u64) -> Result<GrainRun> {
        let size = self.geometry.grain;
        let (first, skip) = (offset / size, offset % size);
        let (table, entry) = self.split(first);
        let at = match self.table(table) {
            Grain::At(at) => {
                self.check_table(table, at)?;
                at + 4 * entry
            }
            other => return Ok(self.empty_tables(other, table, offset, len)),
        };
        let left = self.geometry.entries_of(table).saturating_sub(entry);
        let wanted = (skip + len).div_ceil(size).min(left);
        let count = if self.geometry.compressed { 1 } else { usize::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH) };
        let mut raw = [0; 4 * BATCH];
        let raw = &mut raw[..4 * count];
        self.cache.read(at, raw, "VMDK grain table")?;
        let decode = |raw: &[u8; 4]| Grain::decode(u32::from_le_bytes(*raw), self.geometry.zero_grains);
        let entries = raw.as_chunks::<4>().0;
        let grain = decode(&entries[0]);
        self.check_grain(first, grain, at)?;
        let mut grains = same(entries.iter().map(decode), size);
        // A later grain that is corrupt is for whoever reads it.
        while grains > 1 && self.check_grain(first + grains - 1, grain.advance((grains - 1) * size), at).is_err() {
            grains -= 1;
        }
        let grain = if self.geometry.compressed { grain } else { grain.advance(skip) };
        Ok(GrainRun { grain, len: (grains * size - skip).min(len) })
    }

    /// A run of grain tables that are not there.
    fn empty_tables(&self, grain: Grain, table: u64, offset: u64, len: u64) -> GrainRun {
        let span = self.geometry.table_reach();
        let end = offset + len;
        let mut next = table + 1;
        while next * span < end && self.table(next) == grain {
            next += 1;
        }
        GrainRun { grain, len: (next * span).min(end) - offset }
    }

    /// Whether a grain table lies within the file and outside of header and directories.
    pub(super) fn check_table(&self, table: u64, at: u64) -> Result<()> {
        let position = at..at.saturating_add(self.geometry.table_len());
        let (len, format) = (self.len(), self.geometry.format);
        let expected = if position.end > len {
            format!("a grain table that ends before offset {len}, the end of the file")
        } else if let Some(what) = self.geometry.reserved_at(&position) {
            format!("a grain table outside of {what}")
        } else {
            return Ok(());
        };
        let entry_at = self.geometry.directory_at + 4 * table;
        let found = format!("sector {} (offset {at})", at / SECTOR);
        Err(self.cause(ParseError::corrupt(
            entry_at,
            format!("{format} grain directory entry {table}"),
            expected,
            found,
        )))
    }

    /// Whether a grain lies within the file and outside of header and directories. `entry_at` is where
    /// the entry is.
    pub(super) fn check_grain(&self, index: u64, grain: Grain, entry_at: u64) -> Result<()> {
        let Grain::At(at) = grain else { return Ok(()) };
        let position = self.geometry.range_of(index, at);
        let len = self.len();
        if position.end > len {
            let expected = format!("a grain that ends before offset {len}, the end of the file");
            return Err(self.malformed_grain(index, entry_at, expected, at));
        }
        match self.geometry.reserved_at(&position) {
            Some(what) => Err(self.malformed_grain(index, entry_at, format!("a grain outside of {what}"), at)),
            None => Ok(()),
        }
    }

    /// The cause of an entry that says a grain is at `at`.
    pub(super) fn malformed_grain(&self, index: u64, entry_at: u64, expected: String, at: u64) -> Error {
        let found = format!("sector {} (offset {at})", at / SECTOR);
        self.cause(ParseError::corrupt(entry_at, self.what(index), expected, found))
    }
}
