//! Reading and checking the map.

use super::{Extent, File, Joined, Run, Shape, storage};
use crate::image::alloc::{Space, UnitSet};
use crate::image::check::{Reading, Report};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::storage::meta::{MetaCache, PAGE};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of level 2 tables cached in memory.
const L2_CACHE: usize = 4 << 20;
/// Bytes of the level 1 table cached in memory.
const L1_CACHE: usize = 1 << 20;
/// Version 1 of QCOW aligns its clusters and tables to no more than this; QEMU refuses others too.
const SECTOR: u64 = 512;
/// Entries examined together.
const BATCH: usize = 512;
/// Level 2 tables examined together, most of which may be missing.
const TABLES: usize = 1024;
/// Bytes of a table read at once when all of it is checked.
const CHECK_CHUNK: u64 = 1 << 20;

/// What an entry of a level 2 table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TwoLevelEntry {
    Absent,
    Zero,
    /// The cluster is at this offset of the file.
    Stored(u64),
    /// The entry without its flag.
    Compressed(u64),
}

/// The map of an open image.
#[derive(Debug)]
pub(super) struct TwoLevelMap {
    pub(super) shape: Shape,
    pub(super) l1: MetaCache,
    pub(super) l2: MetaCache,
    file: File,
    /// The file's length when last asked.
    pub(super) file_len: AtomicU64,
}

impl TwoLevelMap {
    pub(super) fn new(file: File, shape: Shape) -> Result<Self> {
        let file_len = storage::length(&*file)?;
        let l1_end = shape.l1_offset.saturating_add(shape.l1_entries.saturating_mul(8));
        if l1_end > file_len {
            let what = format!("{} level 1 table", shape.dialect.name);
            let expected = format_args!("{} entries up to offset {l1_end}", shape.l1_entries);
            let found = format_args!("the end of the file at {file_len}");
            return Err(ParseError::corrupt(shape.l1_offset, what, expected, found).in_file(file.path()));
        }
        // Version 1 of QCOW does not align its tables to more than 512 bytes.
        let page = if shape.dialect.aligned { PAGE } else { 512 };
        Ok(Self {
            shape,
            l1: MetaCache::with_pages(file.clone(), L1_CACHE, page),
            l2: MetaCache::with_pages(file.clone(), L2_CACHE, page),
            file,
            file_len: AtomicU64::new(file_len),
        })
    }

    /// The error for a number of the map, which is at `at` in the file.
    pub(super) fn malformed_entry(&self, at: u64, expected: impl std::fmt::Display, found: u64) -> Error {
        let what = format!("{} map entry", self.shape.dialect.name);
        ParseError::corrupt(at, what, expected, format_args!("{found:#x}")).in_file(self.file.path())
    }

    pub(super) fn number(&self, raw: [u8; 8]) -> u64 {
        if self.shape.dialect.big_endian { u64::from_be_bytes(raw) } else { u64::from_le_bytes(raw) }
    }

    pub(super) fn bytes(&self, number: u64) -> [u8; 8] {
        if self.shape.dialect.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    /// Bytes of the disk that a level 2 table maps.
    fn table_reach(&self) -> u64 {
        self.shape.cluster_size.saturating_mul(self.shape.l2_entries)
    }

    /// Where the level 1 entry for an offset of the disk is.
    pub(super) fn l1_entry_at(&self, offset: u64) -> u64 {
        self.shape.l1_offset + 8 * (offset / self.table_reach())
    }

    /// Where in the level 2 table at `table` the entry for an offset of the disk is.
    pub(super) fn entry_at(&self, table: u64, offset: u64) -> u64 {
        table + 8 * (offset / self.shape.cluster_size % self.shape.l2_entries)
    }

    fn is_position(&self, offset: u64) -> bool {
        offset != 0
            && i64::try_from(offset).is_ok()
            && offset.is_multiple_of(if self.shape.dialect.aligned { self.shape.cluster_size } else { SECTOR })
    }

    /// The level 2 table for an offset of the disk.
    pub(super) fn table(&self, offset: u64) -> Result<Option<u64>> {
        let at = self.l1_entry_at(offset);
        let mut raw = [0; 8];
        self.l1.read(at, &mut raw, "level 1 entry")?;
        self.table_in(self.number(raw), at)
    }

    fn table_in(&self, raw: u64, at: u64) -> Result<Option<u64>> {
        match raw {
            0 => Ok(None),
            table if self.is_position(table) => Ok(Some(table)),
            other => Err(self.malformed_entry(at, "the offset of a level 2 table", other)),
        }
    }

    /// The entry at `at` in the file.
    pub(super) fn entry(&self, at: u64) -> Result<TwoLevelEntry> {
        let mut raw = [0; 8];
        self.l2.read(at, &mut raw, "level 2 entry")?;
        self.entry_in(self.number(raw), at)
    }

    fn entry_in(&self, raw: u64, at: u64) -> Result<TwoLevelEntry> {
        let dialect = &self.shape.dialect;
        if raw == 0 {
            Ok(TwoLevelEntry::Absent)
        } else if dialect.zero == Some(raw) {
            Ok(TwoLevelEntry::Zero)
        } else if raw & dialect.compressed != 0 {
            Ok(TwoLevelEntry::Compressed(raw & !dialect.compressed))
        } else if self.is_position(raw) {
            Ok(TwoLevelEntry::Stored(raw))
        } else {
            Err(self.malformed_entry(at, "the offset of a cluster", raw))
        }
    }

    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let end = offset.saturating_add(len);
        let mut run = Joined::default();
        let mut at = offset;
        for _ in 0..TABLES {
            if at >= end {
                break;
            }
            let table_end = (at - at % self.table_reach()).saturating_add(self.table_reach()).min(end);
            match self.add_table(at, table_end, &mut run) {
                Ok(true) => at = table_end,
                Err(error) if run.is_empty() => return Err(error),
                // What came before the end or the corruption is a good answer.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(run.or(Run { extent: Extent::Absent, len }))
    }

    /// Adds what one level 2 table says of a range that it maps; false when the run ends before the range does.
    fn add_table(&self, start: u64, end: u64, run: &mut Joined) -> Result<bool> {
        let Some(table) = self.table(start)? else {
            return Ok(run.add(Run { extent: Extent::Absent, len: end - start }));
        };
        let size = self.shape.cluster_size;
        let first_at = self.entry_at(table, start);
        let wanted = usize::try_from(end.div_ceil(size) - start / size).unwrap_or(BATCH).min(BATCH);
        let mut raw = [0; 8 * BATCH];
        let raw = &mut raw[..8 * wanted];
        self.l2.read(first_at, raw, "level 2 entry")?;
        let mut at = start;
        for (index, raw) in raw.as_chunks::<8>().0.iter().enumerate() {
            let entry_at = first_at + 8 * index as u64;
            let skip = at % size;
            let len = (size - skip).min(end - at);
            let extent = match self.entry_in(self.number(*raw), entry_at)? {
                TwoLevelEntry::Absent => Extent::Absent,
                TwoLevelEntry::Zero => Extent::Zero,
                TwoLevelEntry::Stored(position) => {
                    self.check_end(entry_at, position + skip + len)?;
                    Extent::Stored { file: 0, offset: position + skip }
                }
                TwoLevelEntry::Compressed(cluster) => Extent::Encoded { cluster, skip, size },
            };
            if !run.add(Run { extent, len }) {
                return Ok(false);
            }
            at += len;
        }
        Ok(at >= end)
    }

    /// Whether data up to `end` lies in the file.
    fn check_end(&self, at: u64, end: u64) -> Result<()> {
        if end <= self.file_len.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = storage::length(&*self.file)?;
        self.file_len.store(now, Ordering::Release);
        if end > now {
            return Err(self.malformed_entry(at, format_args!("data that ends before the file does, at {now}"), end));
        }
        Ok(())
    }

    /// Checks that all tables and clusters lie in the file, and that each has one user. Returns its space. An error of
    /// `report`, which is called with what is wrong, ends the check.
    pub(super) fn check(&self, report: Report<'_>) -> Result<Space> {
        let size = self.shape.cluster_size;
        let file_len = storage::length(&*self.file)?;
        let mut used = UnitSet::of_clusters(&*self.file, size)?;
        used.insert(0);
        let l1_len = self.shape.l1_entries * 8;
        let first = (self.shape.l1_offset / size).max(1);
        let l1_rest = (self.shape.l1_offset + l1_len).saturating_sub(first * size);
        self.claim(&mut used, 0, first * size, l1_rest, report)?;
        self.each_entry(self.shape.l1_offset, self.shape.l1_entries, &mut |at, raw| {
            self.check_table(&mut used, at, raw, report).or_else(|error| report(error, Reading::Error))
        })?;
        if self.shape.dialect.compressed != 0 {
            // Where compressed clusters end is known once they are decoded.
            return Ok(Space::after(file_len.next_multiple_of(size), size, u64::MAX));
        }
        // The header, however long it is.
        used.insert_all(0..self.shape.l1_offset.div_ceil(size));
        Ok(Space::new(0, size, used, file_len.div_ceil(size), u64::MAX))
    }

    /// Checks the level 2 table that the entry at `at` names.
    fn check_table(&self, used: &mut UnitSet, at: u64, raw: u64, report: Report<'_>) -> Result<()> {
        let Some(table) = self.table_in(raw, at)? else { return Ok(()) };
        self.claim(used, at, table, self.shape.l2_entries * 8, report)?;
        self.each_entry(table, self.shape.l2_entries, &mut |at, raw| match self.entry_in(raw, at) {
            Ok(TwoLevelEntry::Stored(position)) => self.claim(used, at, position, self.shape.cluster_size, report),
            Ok(TwoLevelEntry::Absent | TwoLevelEntry::Zero | TwoLevelEntry::Compressed(_)) => Ok(()),
            Err(error) => report(error, Reading::Error),
        })
    }

    /// Calls `each` with the offset and the index of every entry of a table.
    fn each_entry(&self, table: u64, entries: u64, each: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        let mut done = 0;
        while done < entries * 8 {
            let len = (entries * 8 - done).min(CHECK_CHUNK);
            let mut raw = vec![0; usize::try_from(len).unwrap_or(0)];
            storage::read_exact(&*self.file, &mut raw, table + done, "map table")?;
            for (index, raw) in raw.as_chunks::<8>().0.iter().enumerate() {
                each(table + done + 8 * index as u64, self.number(*raw))?;
            }
            done += len;
        }
        Ok(())
    }

    /// Marks the clusters of a range as used, for what the entry at `at` says. The last one may be cut by the end of
    /// the file.
    fn claim(&self, used: &mut UnitSet, at: u64, offset: u64, len: u64, report: Report<'_>) -> Result<()> {
        let size = self.shape.cluster_size;
        let file_len = self.file_len.load(Ordering::Acquire);
        for cluster in offset / size..(offset + len).div_ceil(size) {
            if cluster * size >= file_len {
                let expected = format_args!("an offset before the end of the file at {file_len}");
                return report(self.malformed_entry(at, expected, offset), Reading::Error);
            }
            if !used.insert(cluster) {
                let expected = "an offset of its own, not one that something else uses too";
                return report(self.malformed_entry(at, expected, offset), Reading::Stale);
            }
        }
        Ok(())
    }
}
