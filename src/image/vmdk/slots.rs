//! Which places of a file hold grains: a bit for each place.

use std::ops::Range;

/// Most places that are kept: 64 MiB of bits, enough for grains of 64 KiB in a file of 32 TiB.
const MAX_PLACES: u64 = 1 << 29;

/// The places of a file in use.
#[derive(Debug)]
pub(super) struct Slots {
    /// Bytes of a place.
    size: u64,
    bits: Vec<u64>,
    /// No place before this one is free.
    first_free: usize,
}

impl Slots {
    /// For a file of `len` bytes with places of `size` bytes, a power of two; none when they are too many.
    pub(super) fn new(size: u64, len: u64) -> Option<Self> {
        let places = len.div_ceil(size);
        let words = usize::try_from(places.div_ceil(64)).ok().filter(|_| places <= MAX_PLACES)?;
        Some(Self { size, bits: vec![0; words], first_free: 0 })
    }

    /// Bytes of a place.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn places(&self, range: &Range<u64>) -> Range<usize> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        place(range.start / self.size)..place(range.end.div_ceil(self.size))
    }

    fn get(&self, place: usize) -> bool {
        self.bits.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// Takes all places that a range of bytes meets; false when one of them was taken.
    pub(super) fn claim(&mut self, range: &Range<u64>) -> bool {
        let mut free = true;
        for place in self.places(range) {
            if self.bits.len() <= place / 64 {
                self.bits.resize(place / 64 + 1, 0);
            }
            free &= !self.get(place);
            self.bits[place / 64] |= 1 << (place % 64);
        }
        free
    }

    /// Gives back all places that a range of bytes meets.
    pub(super) fn release(&mut self, range: &Range<u64>) {
        for place in self.places(range) {
            if let Some(word) = self.bits.get_mut(place / 64) {
                *word &= !(1 << (place % 64));
                self.first_free = self.first_free.min(place);
            }
        }
    }

    /// Takes the first free place that ends at `end` or before.
    pub(super) fn take(&mut self, end: u64) -> Option<u64> {
        let most = usize::try_from(end / self.size).unwrap_or(usize::MAX);
        let mut place = self.first_free;
        while place < most && self.get(place) {
            let full = place.is_multiple_of(64) && self.bits[place / 64] == u64::MAX;
            place += if full { 64 } else { 1 };
        }
        self.first_free = place.min(most);
        if place >= most {
            return None;
        }
        let at = place as u64 * self.size;
        self.claim(&(at..at + self.size));
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_claimed_once() {
        let mut slots = Slots::new(512, 10_000).unwrap();
        assert!(slots.claim(&(0..1024)));
        assert!(slots.claim(&(1024..1025)));
        assert!(!slots.claim(&(1100..1200)));
        assert!(slots.claim(&(1 << 20..(1 << 20) + 512)), "places behind the end are added");
        assert!(!slots.claim(&((1 << 20) - 512..(1 << 20) + 1)));
    }

    #[test]
    fn free_places_are_taken_from_the_first_on() {
        let mut slots = Slots::new(4096, 1 << 20).unwrap();
        slots.claim(&(0..200 * 4096));
        assert_eq!(slots.take(1 << 20), Some(200 * 4096));
        slots.release(&(70 * 4096..72 * 4096));
        assert_eq!(slots.take(1 << 20), Some(70 * 4096));
        assert_eq!(slots.take(1 << 20), Some(71 * 4096));
        assert_eq!(slots.take(1 << 20), Some(201 * 4096));
        assert_eq!(slots.take(202 * 4096 + 4095), None, "a place that the end cuts is none");
        assert_eq!(slots.take(203 * 4096), Some(202 * 4096));
    }

    #[test]
    fn too_many_places_are_not_kept() {
        assert!(Slots::new(512, 256 << 30).is_some());
        assert!(Slots::new(512, (256 << 30) + 1).is_none());
        assert!(Slots::new(65536, u64::MAX).is_none());
    }
}
