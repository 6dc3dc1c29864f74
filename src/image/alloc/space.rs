//! Free and used units of a file.

use super::{MAX_UNITS, UnitSet};
use crate::image::{Error, Result};
use crate::storage;
use crate::storage::Storage;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What [`Space::take`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Taken {
    /// The first of the units.
    Unit(u64),
    /// Nothing is free until the next flush.
    FlushFirst,
    /// The limit is reached.
    Full,
}

/// What [`Space::reserve`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) enum Grant {
    /// Where the units begin in the file, in bytes. They read as zeros.
    Positions(Vec<u64>),
    /// Nothing is free until the next flush.
    FlushFirst,
}

/// The space of a file, in units of one size.
///
/// A unit is free, reserved ([`take`](Self::take)), in use ([`commit`](Self::commit)) or pending free
/// ([`free_after_flush`](Self::free_after_flush)): the map in memory does not point to it any more, but the one on the
/// disk may, until a flush.
#[derive(Debug)]
pub(in crate::image) struct Space {
    /// Where unit 0 begins in the file, in bytes.
    base: u64,
    /// Bytes of a unit.
    size: u64,
    /// What is not free.
    used: UnitSet,
    /// No unit before this one is free.
    next: u64,
    /// Nothing is stored from this unit on.
    end: u64,
    /// This unit and later ones cannot be used.
    limit: u64,
    reserved: BTreeSet<u64>,
    pending_free: Vec<Range<u64>>,
}

impl Space {
    /// Units of `size` bytes, unit 0 at `base` of the file. `used` are those that something points to, `end` is after
    /// all that is stored, and `limit` the first unit that the format cannot name.
    pub(in crate::image) fn new(base: u64, size: u64, used: UnitSet, end: u64, limit: u64) -> Self {
        let limit = limit.min(MAX_UNITS);
        Self { base, size, used, next: 0, end, limit, reserved: BTreeSet::new(), pending_free: Vec::new() }
    }

    /// Where it is not known what is free: only space after `end` of the file is used. `limit` is the largest length of
    /// the file.
    pub(in crate::image) fn after(end: u64, size: u64, limit: u64) -> Self {
        Self::new(end, size, UnitSet::default(), 0, limit.saturating_sub(end) / size)
    }

    /// Where a unit begins in the file.
    pub(in crate::image) fn position(&self, unit: u64) -> u64 {
        self.base + unit * self.size
    }

    /// Bytes of a unit.
    pub(in crate::image) fn unit_size(&self) -> u64 {
        self.size
    }

    /// The units that a range of the file overlaps, without what lies before unit 0.
    fn units(&self, positions: &Range<u64>) -> Range<u64> {
        let from_base = |position: u64| position.saturating_sub(self.base);
        from_base(positions.start) / self.size..from_base(positions.end).div_ceil(self.size)
    }

    /// Behind all that is stored.
    pub(in crate::image) fn end(&self) -> u64 {
        self.end
    }

    /// The free units before the end, in order.
    pub(in crate::image) fn free(&self) -> impl Iterator<Item = u64> {
        let first = self.used.first_free(self.next);
        std::iter::successors(Some(first), |unit| Some(self.used.first_free(unit + 1)))
            .take_while(|unit| *unit < self.end)
    }

    /// Moves the end to just after the last unit in use. Returns where that is in the file.
    pub(in crate::image) fn cut(&mut self) -> u64 {
        self.end = self.used.end();
        self.position(self.end)
    }

    /// Reserves `count` units that follow each other: the first free ones, or new ones at the end. They may hold old
    /// bytes.
    pub(in crate::image) fn take(&mut self, count: u64) -> Taken {
        self.next = self.used.first_free(self.next);
        let mut start = self.next;
        while let Some(taken) = (start..(start + count).min(self.end)).rfind(|unit| self.used.contains(*unit)) {
            start = self.used.first_free(taken);
        }
        let units = start..start + count;
        if units.end > self.limit {
            return if self.pending_free.is_empty() { Taken::Full } else { Taken::FlushFirst };
        }
        self.used.insert_all(units.clone());
        self.end = self.end.max(units.end);
        self.reserved.extend(units);
        Taken::Unit(start)
    }

    /// Takes all units that a range of the file meets as in use; false when one of them was already.
    pub(in crate::image) fn claim(&mut self, positions: &Range<u64>) -> bool {
        let units = self.units(positions);
        self.end = self.end.max(units.end);
        self.used.insert_all(units)
    }

    /// Reserves `count` single units that read as zeros, growing the file, whose length is `len`, to hold them. All or
    /// none are reserved; `full` says why there are none when the limit is reached.
    pub(in crate::image) fn reserve(
        &mut self,
        count: u64,
        file: &dyn Storage,
        len: &AtomicU64,
        full: &str,
    ) -> Result<Grant> {
        let mut units = Vec::new();
        let mut missing = None;
        while (units.len() as u64) < count && missing.is_none() {
            match self.take(1) {
                Taken::Unit(unit) => units.push(unit),
                other => missing = Some(other),
            }
        }
        let granted = match missing {
            None => self.clear_all(&units, file, len),
            Some(Taken::FlushFirst) => Ok(Grant::FlushFirst),
            Some(_) => Err(Error::full(file.path(), full)),
        };
        if !matches!(granted, Ok(Grant::Positions(_))) {
            units.into_iter().for_each(|unit| self.release(unit));
        }
        granted
    }

    /// Makes units read as zeros, those that follow each other at once.
    fn clear_all(&self, units: &[u64], file: &dyn Storage, len: &AtomicU64) -> Result<Grant> {
        for together in units.chunk_by(|one, next| one + 1 == *next) {
            clear(file, len, self.position(together[0]), together.len() as u64 * self.size)?;
        }
        Ok(Grant::Positions(units.iter().map(|unit| self.position(*unit)).collect()))
    }

    /// Reserves `count` units that follow each other and read as zeros, for metadata or for zeros that the format
    /// cannot say otherwise. Returns where they begin.
    pub(in crate::image) fn reserve_zeros(
        &mut self,
        count: u64,
        file: &dyn Storage,
        len: &AtomicU64,
        full: &str,
    ) -> Result<u64> {
        match self.take(count) {
            Taken::Unit(unit) => {
                let position = self.position(unit);
                let cleared = clear(file, len, position, count * self.size);
                if let Err(error) = cleared {
                    self.cancel(position..position + count * self.size);
                    return Err(error);
                }
                Ok(position)
            }
            Taken::FlushFirst => Err(Error::full(file.path(), format!("{full}, until what was discarded is flushed"))),
            Taken::Full => Err(Error::full(file.path(), full)),
        }
    }

    /// The map in memory points to the units of a range of the file now.
    pub(in crate::image) fn commit(&mut self, positions: &Range<u64>) {
        self.units(positions).for_each(|unit| {
            self.reserved.remove(&unit);
        });
    }

    /// Frees those units of a range of the file that are still reserved.
    pub(in crate::image) fn cancel(&mut self, positions: Range<u64>) {
        for unit in self.units(&positions) {
            if self.reserved.remove(&unit) {
                self.release(unit);
            }
        }
    }

    /// What unit `from` held is in `to` now, a free one: in memory and on the disk.
    pub(in crate::image) fn exchange(&mut self, from: u64, to: u64) {
        self.used.insert(to);
        self.release(from);
    }

    /// The map in memory does not point to the units of a range of the file any more: they are free after a flush.
    pub(in crate::image) fn free_after_flush(&mut self, positions: &Range<u64>) {
        self.pending_free.push(self.units(positions));
    }

    /// A unit that nothing points to, neither in memory nor on the disk, is free.
    pub(in crate::image) fn release(&mut self, unit: u64) {
        self.reserved.remove(&unit);
        self.used.remove(unit);
        self.next = self.next.min(unit);
    }

    /// The map is on the disk: what was pending is free, and its bytes are given back to the file system.
    pub(in crate::image) fn flushed(&mut self, file: &dyn Storage) {
        for units in std::mem::take(&mut self.pending_free) {
            give_back(file, self.position(units.start), (units.end - units.start) * self.size);
            units.for_each(|unit| self.release(unit));
        }
    }

    /// Bytes of memory that wait for a flush.
    pub(in crate::image) fn pending(&self) -> usize {
        self.pending_free.len() * size_of::<Range<u64>>()
    }
}

/// Makes a range of a file of length `len` read as zeros and the file long enough to hold it.
fn clear(file: &dyn Storage, len: &AtomicU64, offset: u64, bytes: u64) -> Result<()> {
    let grown = storage::clear(file, len.load(Ordering::Acquire), offset, bytes)?;
    len.store(grown, Ordering::Release);
    Ok(())
}

/// Cuts off the end of a file that nothing points to, durably.
pub(in crate::image) fn cut(space: &mut Space, file: &dyn Storage, len: &AtomicU64) -> Result<()> {
    let end = space.cut();
    if len.load(Ordering::Acquire) > end {
        storage::set_len(file, end)?;
        len.store(end, Ordering::Release);
        storage::sync(file)?;
    }
    Ok(())
}

/// Gives space back to the file system where it can take it; it is cleared again before it is used.
pub(in crate::image) fn give_back(file: &dyn Storage, offset: u64, len: u64) {
    let within = file.length().map_or(0, |end| end.saturating_sub(offset).min(len));
    if within > 0
        && let Err(error) = storage::zero(file, offset, within)
    {
        log::debug!("{}", crate::error_kind::message(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::MemFile;

    fn space(used: &[u64], end: u64, limit: u64) -> Space {
        let mut set = UnitSet::new(end).unwrap();
        used.iter().for_each(|unit| assert!(set.insert(*unit)));
        Space::new(100, 10, set, end, limit)
    }

    #[test]
    fn the_first_free_units_are_taken_then_new_ones() {
        let mut space = space(&[0, 2, 5], 6, 100);
        assert_eq!(space.free().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(space.take(2), Taken::Unit(3));
        assert_eq!(space.take(1), Taken::Unit(1));
        assert_eq!(space.take(3), Taken::Unit(6));
        assert_eq!((space.end(), space.position(6)), (9, 160));
    }

    #[test]
    fn what_was_not_committed_is_free_when_cancelled() {
        let mut space = space(&[], 0, 100);
        assert_eq!([space.take(1), space.take(1), space.take(1)], [Taken::Unit(0), Taken::Unit(1), Taken::Unit(2)]);
        space.commit(&(110..120));
        space.cancel(100..130);
        assert_eq!(space.free().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((space.cut(), space.end()), (120, 2));
    }

    #[test]
    fn what_is_left_is_free_after_a_flush_only() {
        let file = MemFile::new("/t/a", vec![9; 140]);
        let mut space = space(&[0, 1, 2, 3], 4, 4);
        assert_eq!(space.take(1), Taken::Full);
        space.free_after_flush(&(110..130));
        assert_eq!(space.take(1), Taken::FlushFirst);
        space.flushed(&*file);
        assert_eq!(file.bytes()[105..135], [[9; 5].as_slice(), &[0; 20], &[9; 5]].concat());
        assert_eq!(space.take(2), Taken::Unit(1));
    }

    #[test]
    fn reserved_units_read_as_zeros_and_are_all_or_none() {
        let file = MemFile::new("/t/a", vec![9; 125]);
        let len = AtomicU64::new(125);
        let mut space = space(&[0], 2, 4);
        let error = space.reserve(4, &*file, &len, "no more").unwrap_err().to_string();
        assert!(error.contains("/t/a is full: no more"), "{error}");
        assert_eq!(space.reserve(3, &*file, &len, "").unwrap(), Grant::Positions(vec![110, 120, 130]));
        assert_eq!(file.bytes()[110..], [0; 30]);
        assert_eq!(len.load(Ordering::Acquire), 140);
    }

    #[test]
    fn nothing_before_the_end_is_used_where_it_is_not_known() {
        let mut space = Space::after(96, 32, 96 + 64);
        assert_eq!((space.take(1), space.position(0)), (Taken::Unit(0), 96));
        assert_eq!((space.take(1), space.take(1)), (Taken::Unit(1), Taken::Full));
    }
}
