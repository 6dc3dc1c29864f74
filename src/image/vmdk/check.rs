//! Checking all grain tables of a sparse extent: each grain lies in the file, overlaps nothing, and is used only once.
//! Redundant tables are compared with the first ones.

use super::directory::Corrupt;
use super::geometry::SECTOR;
use super::grains::{Grain, Grains};
use super::space::MAX_FILE;
use crate::image::alloc::{Space, UnitSet};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::storage;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Where the parts of the file are that hold no grains: sorted, joined where they touch.
struct Areas(Vec<Range<u64>>);

impl Areas {
    fn meets(&self, position: &Range<u64>) -> bool {
        let after = self.0.partition_point(|area| area.end <= position.start);
        self.0.get(after).is_some_and(|area| area.start < position.end)
    }
}

/// How far a check came.
enum Checked {
    Whole(Option<Space>),
    /// A grain begins between two positions; they must be so many bytes.
    TooCoarse(u64),
}

impl Grains {
    /// Bytes of all grain tables, to decide whether they are checked.
    pub(super) fn table_bytes(&self) -> u64 {
        let tables = (0..self.directory.len() as u64).filter(|table| matches!(self.table(*table), Grain::At(_)));
        tables.count() as u64 * self.geometry.table_len()
    }

    /// Checks all entries. Returns the space of the file; none where it has too many grains to track.
    ///
    /// # Errors
    /// `Corrupt` for the first entry that is wrong, or differs from its redundant one in a way that leaves open which
    /// is right.
    pub(super) fn check(&mut self, corrupt: &mut Corrupt) -> Result<Option<Space>> {
        let areas = self.areas()?;
        if !self.redundant.is_empty() {
            self.compare(&areas, corrupt)?;
        }
        let mut size = self.geometry.grain;
        loop {
            match self.claim_all(&areas, size)? {
                Checked::Whole(mut space) => {
                    if let Some(space) = &mut space {
                        for area in &areas.0 {
                            space.claim(&(area.start..area.end.min(self.len())));
                        }
                    }
                    return Ok(space);
                }
                Checked::TooCoarse(smaller) => size = smaller,
            }
        }
    }

    /// Header, descriptor, directories and tables.
    fn areas(&self) -> Result<Areas> {
        let geometry = &self.geometry;
        let mut areas: Vec<Range<u64>> = geometry.reserved.iter().filter(|area| !area.is_empty()).cloned().collect();
        areas.push(geometry.directory(geometry.directory_at));
        areas.extend(geometry.redundant_at.map(|at| geometry.directory(at)));
        for table in 0..self.directory.len() as u64 {
            if let Grain::At(at) = self.table(table) {
                areas.push(at..at + geometry.table_len());
            }
            if let Some(at) = self.redundant_table(table) {
                areas.push(at..at + geometry.table_len());
            }
        }
        // What lies past the end of the file was found out by whoever read it.
        areas.retain(|area| area.start < self.len());
        areas.sort_unstable_by_key(|area| area.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for area in areas {
            match joined.last_mut() {
                Some(last) if last.end > area.start => {
                    let what = format!("{} grain table or directory", geometry.format);
                    let expected = format!("none before offset {}, where another one or the header ends", last.end);
                    let found = format!("one of {} bytes", area.end - area.start);
                    return Err(self.cause(ParseError::corrupt(area.start, what, expected, found)));
                }
                Some(last) if last.end == area.start => last.end = area.end,
                _ => joined.push(area),
            }
        }
        Ok(Areas(joined))
    }

    /// Where a redundant grain table is, if it is one that can be used.
    fn redundant_table(&self, table: u64) -> Option<u64> {
        let raw = self.redundant.get(usize::try_from(table).ok()?)?.load(Ordering::Acquire);
        match Grain::decode(raw, self.geometry.zero_grains) {
            Grain::At(at) if self.table(table) != Grain::At(at) && self.check_table(table, at).is_ok() => Some(at),
            _ => None,
        }
    }

    /// The entries of a table that are in use.
    fn read_table(&self, table: u64, at: u64) -> Result<Vec<u32>> {
        let len = usize::try_from(4 * self.geometry.entries_of(table)).unwrap_or(usize::MAX);
        let mut raw = vec![0; len];
        storage::read_exact(&**self.file(), &mut raw, at, "VMDK grain table")?;
        Ok(raw.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw)).collect())
    }

    /// Whether an entry of a table may be true.
    fn check_position(&self, areas: &Areas, index: u64, raw: u32, entry_at: u64) -> Result<Option<Range<u64>>> {
        let grain = Grain::decode(raw, self.geometry.zero_grains);
        self.check_grain(index, grain, entry_at)?;
        let Grain::At(at) = grain else { return Ok(None) };
        let position = self.geometry.range_of(index, at);
        if areas.meets(&position) {
            return Err(self.malformed_grain(index, entry_at, "a grain outside of the grain tables".to_owned(), at));
        }
        Ok(Some(position))
    }

    fn claim_all(&self, areas: &Areas, size: u64) -> Result<Checked> {
        // Compressed grains have any length, known only from their markers; each marker names its grain.
        let set = if self.geometry.compressed { None } else { UnitSet::new(self.len().div_ceil(size)) };
        let mut space = set.map(|set| Space::new(0, size, set, self.len().div_ceil(size), MAX_FILE / size));
        for table in 0..self.directory.len() as u64 {
            let Grain::At(table_at) = self.table(table) else { continue };
            self.check_table(table, table_at)?;
            let first = table * self.geometry.table_entries;
            for (entry, raw) in (0..).zip(self.read_table(table, table_at)?) {
                let (index, entry_at) = (first + entry, table_at + 4 * entry);
                let Some(position) = self.check_position(areas, index, raw, entry_at)? else { continue };
                let Some(space) = &mut space else { continue };
                let fits = 1 << (position.start | size).trailing_zeros();
                if fits < size {
                    return Ok(Checked::TooCoarse(fits));
                }
                if !space.claim(&position) {
                    let expected = "a grain that no earlier entry has a part of".to_owned();
                    return Err(self.malformed_grain(index, entry_at, expected, position.start));
                }
            }
        }
        Ok(Checked::Whole(space))
    }

    /// Compares each table with its redundant one, and takes that one where the first is corrupt.
    fn compare(&mut self, areas: &Areas, corrupt: &mut Corrupt) -> Result<()> {
        for table in 0..self.directory.len() as u64 {
            let (Grain::At(first_at), Some(second_at)) = (self.table(table), self.redundant_table(table)) else {
                continue;
            };
            let (first, second) = (self.read_table(table, first_at)?, self.read_table(table, second_at)?);
            if first != second {
                let pair = Pair { table, first: &first, first_at, second: &second, second_at };
                if self.prefer_second(areas, &pair, corrupt)? {
                    corrupt.replaced += 1;
                    let sector = u32::try_from(second_at / SECTOR).unwrap_or(u32::MAX);
                    self.directory[usize::try_from(table).unwrap_or(usize::MAX)].store(sector, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    /// Whether the redundant one of two tables that differ is the right one. A crash between the writing of both, or
    /// corruption, leaves entries that are empty or impossible on one side only.
    fn prefer_second(&self, areas: &Areas, pair: &Pair<'_>, corrupt: &mut Corrupt) -> Result<bool> {
        let (mut first_lacks, mut second_lacks): (Option<Error>, Option<Error>) = (None, None);
        for (entry, (a, b)) in (0..).zip(pair.first.iter().zip(pair.second)).filter(|(_, (a, b))| a != b) {
            let index = pair.table * self.geometry.table_entries + entry;
            let (a_at, b_at) = (pair.first_at + 4 * entry, pair.second_at + 4 * entry);
            let says = |raw: u32, at: u64| {
                Grain::decode(raw, self.geometry.zero_grains) != Grain::Absent
                    && self.check_position(areas, index, raw, at).is_ok()
            };
            let differs = || {
                let what = format!("{} redundant grain table entry of grain {index}", self.geometry.format);
                self.cause(ParseError::corrupt(b_at, what, format_args!("{a}, as in the first table"), b))
            };
            match (says(*a, a_at), says(*b, b_at)) {
                (true, false) => _ = second_lacks.get_or_insert_with(differs),
                (false, true) => _ = first_lacks.get_or_insert_with(differs),
                _ => return Err(differs()),
            }
        }
        match (first_lacks, second_lacks) {
            (Some(error), Some(_)) => Err(error),
            (first_lacks, second_lacks) => {
                let second_is_right = first_lacks.is_some();
                if let Some(error) = first_lacks.or(second_lacks) {
                    corrupt.found(&error);
                }
                Ok(second_is_right)
            }
        }
    }
}

/// A grain table and its redundant one.
struct Pair<'a> {
    table: u64,
    first: &'a [u32],
    first_at: u64,
    second: &'a [u32],
    second_at: u64,
}
