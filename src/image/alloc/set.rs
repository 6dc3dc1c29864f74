//! A set of units of a file, as a bit map.

use crate::image::Result;
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::Storage;
use std::ops::Range;

/// More units than this are not tracked: 256 MiB of bits.
pub(in crate::image) const MAX_UNITS: u64 = 1 << 31;

/// Which units of a file are in use. Units past its end may be added as the file grows.
#[derive(Debug, Default)]
pub(in crate::image) struct UnitSet {
    bits: Vec<u64>,
}

impl UnitSet {
    /// An empty set with space for `units`; none for more than [`MAX_UNITS`].
    pub(in crate::image) fn new(units: u64) -> Option<Self> {
        let words = usize::try_from(units.div_ceil(64)).ok().filter(|_| units <= MAX_UNITS)?;
        Some(Self { bits: vec![0; words] })
    }

    /// An empty set for the clusters, of `size` bytes each, of a file.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::image::Error::Unsupported) for more than [`MAX_UNITS`].
    pub(in crate::image) fn of_clusters(file: &dyn Storage, size: u64) -> Result<Self> {
        let clusters = storage::length(file)?.div_ceil(size);
        Self::new(clusters).ok_or_else(|| {
            let expected = format_args!("at most {MAX_UNITS} clusters, to keep track of each");
            ParseError::unsupported(0, "length of the file", expected, format_args!("{clusters} clusters"))
                .in_file(file.path())
        })
    }

    fn word(&self, unit: u64) -> Option<u64> {
        usize::try_from(unit / 64).ok().and_then(|word| self.bits.get(word)).copied()
    }

    pub(in crate::image) fn contains(&self, unit: u64) -> bool {
        self.word(unit).is_some_and(|word| word >> (unit % 64) & 1 == 1)
    }

    /// Adds a unit; false when it was there already, or is [`MAX_UNITS`] or more.
    pub(in crate::image) fn insert(&mut self, unit: u64) -> bool {
        self.insert_all(unit..unit.saturating_add(1))
    }

    /// Adds all units of a range; false when one of them was there already, or none was added because it goes beyond
    /// [`MAX_UNITS`].
    pub(in crate::image) fn insert_all(&mut self, units: Range<u64>) -> bool {
        if units.is_empty() || units.end > MAX_UNITS {
            return units.is_empty();
        }
        let words = usize::try_from(units.end.div_ceil(64)).unwrap_or(usize::MAX);
        if words > self.bits.len() {
            self.bits.resize(words, 0);
        }
        let mut new = true;
        let mut unit = units.start;
        while unit < units.end {
            let count = (64 - unit % 64).min(units.end - unit);
            let mask = (u64::MAX >> (64 - count)) << (unit % 64);
            let word = &mut self.bits[usize::try_from(unit / 64).unwrap_or(usize::MAX)];
            new &= *word & mask == 0;
            *word |= mask;
            unit += count;
        }
        new
    }

    pub(in crate::image) fn remove(&mut self, unit: u64) {
        if let Some(word) = usize::try_from(unit / 64).ok().and_then(|word| self.bits.get_mut(word)) {
            *word &= !(1 << (unit % 64));
        }
    }

    /// The first unit from `from` on that is not in the set.
    pub(in crate::image) fn first_free(&self, from: u64) -> u64 {
        let mut unit = from;
        while let Some(word) = self.word(unit) {
            let skip = unit % 64;
            let free = (!word >> skip).trailing_zeros();
            if free < 64 && u64::from(free) + skip < 64 {
                return unit + u64::from(free);
            }
            unit += 64 - skip;
        }
        unit
    }

    /// One more than the last unit in the set.
    pub(in crate::image) fn end(&self) -> u64 {
        let last = self.bits.iter().rposition(|word| *word != 0);
        last.map_or(0, |index| (index as u64 + 1) * 64 - u64::from(self.bits[index].leading_zeros()))
    }

    /// The same units in a set whose units are `factor` times smaller; none for more than [`MAX_UNITS`].
    pub(in crate::image) fn refined(&self, factor: u64) -> Option<Self> {
        let mut fine = Self::new(self.end().checked_mul(factor)?)?;
        for unit in (0..self.end()).filter(|unit| self.contains(*unit)) {
            fine.insert_all(unit * factor..(unit + 1) * factor);
        }
        Some(fine)
    }

    /// The union of two sets of the same length; `None` when they intersect.
    pub(in crate::image) fn merged(mut self, other: &Self) -> Option<Self> {
        let mut common = 0;
        for (word, other) in self.bits.iter_mut().zip(&other.bits) {
            common |= *word & other;
            *word |= other;
        }
        (common == 0).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_added_found_and_removed() {
        let mut set = UnitSet::new(100).unwrap();
        for unit in 0..130 {
            assert_eq!((set.first_free(0), set.end()), (unit, unit));
            assert!(set.insert(unit));
            assert!(!set.insert(unit));
        }
        set.remove(63);
        set.remove(64);
        assert_eq!([set.first_free(0), set.first_free(64), set.first_free(65)], [63, 64, 130]);
        assert_eq!(set.first_free(5000), 5000);
        assert!(!set.contains(63) && set.contains(65) && !set.contains(1 << 40));
        assert!(!set.insert(1 << 31) && !set.insert_all(u64::MAX - 1..u64::MAX));
        assert!(set.insert_all(63..65) && !set.insert_all(128..140) && set.insert_all(140..500));
        assert_eq!((set.end(), set.first_free(0)), (500, 500));
    }

    #[test]
    fn sets_without_common_units_are_merged() {
        let set = |units: &[u64]| {
            let mut set = UnitSet::new(200).unwrap();
            units.iter().for_each(|unit| assert!(set.insert(*unit)));
            set
        };
        let merged = set(&[1, 150]).merged(&set(&[2, 151])).unwrap();
        assert!([1, 2, 150, 151].iter().all(|unit| merged.contains(*unit)));
        assert!(set(&[1, 150]).merged(&set(&[150])).is_none());
    }

    #[test]
    fn too_many_units_are_refused_before_memory_is_taken() {
        assert!(UnitSet::new(u64::MAX).is_none());
    }
}
