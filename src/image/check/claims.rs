//! Which bytes of a file are in use, to find those that two ranges of the disk share.

use crate::image::alloc::{MAX_UNITS, UnitSet};

/// The largest unit; it is as small as the ranges ask for.
const COARSEST: u64 = 1 << 30;

/// The bytes of one file that are in use: a bit for each unit, the largest that all ranges are whole multiples of, so
/// that a file needs the more memory the smaller its blocks are. At most [`MAX_UNITS`] bits.
#[derive(Debug)]
pub(super) struct Claims {
    unit: u64,
    /// What is added to offsets, so that the first one is a multiple of the coarsest unit. Set by the first range.
    shift: Option<u64>,
    /// None once there are more units than can be kept.
    units: Option<UnitSet>,
}

/// What a claim found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The bytes were free.
    New,
    /// Some of them are in use.
    Again,
    /// There are too many units, so nothing is known from now on.
    Unknown,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self { unit: COARSEST, shift: None, units: UnitSet::new(0) }
    }

    /// Claims a range of bytes of the file. The end of the `last` one, which the disk's end may cut, need not be a
    /// multiple of the unit.
    pub(super) fn claim(&mut self, offset: u64, len: u64, last: bool) -> Claimed {
        let shift = *self.shift.get_or_insert(COARSEST - offset % COARSEST);
        let Some(start) = offset.checked_add(shift) else { return self.give_up() };
        let fits = start | self.unit | if last { 0 } else { len };
        self.refine(1 << fits.trailing_zeros());
        let Some(units) = &mut self.units else { return Claimed::Unknown };
        let end = start.saturating_add(len).div_ceil(self.unit);
        if end > MAX_UNITS {
            return self.give_up();
        }
        if units.insert_all(start / self.unit..end) { Claimed::New } else { Claimed::Again }
    }

    fn give_up(&mut self) -> Claimed {
        self.units = None;
        Claimed::Unknown
    }

    /// Makes the units smaller.
    fn refine(&mut self, unit: u64) {
        if unit < self.unit {
            let factor = self.unit / unit;
            self.units = self.units.take().and_then(|units| units.refined(factor));
            self.unit = unit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Claimed::{Again, New, Unknown};
    use super::*;

    #[test]
    fn finds_shared_bytes_at_any_alignment() {
        let mut claims = Claims::new();
        let claim = |claims: &mut Claims, offset, len| claims.claim(offset, len, false);
        assert_eq!(claim(&mut claims, 0x10_2000, 1 << 20), New);
        assert_eq!(claim(&mut claims, 0x30_2000, 1 << 20), New);
        assert_eq!(claim(&mut claims, 0x20_2000, 1 << 20), New);
        assert_eq!(claims.unit, 1 << 20, "the phase does not make units smaller");
        assert_eq!(claim(&mut claims, 0x30_2000, 1 << 20), Again);
        assert_eq!(claim(&mut claims, 0x2000, 512), New);
        assert_eq!(claims.unit, 512);
        assert_eq!(claim(&mut claims, 0x2200, 1), New);
        assert_eq!(claim(&mut claims, 0x2201, 7), New);
        assert_eq!(claim(&mut claims, 0x2200, 1), Again);
        assert_eq!(claim(&mut claims, 0x40_1fff, 1), Again, "the last byte of a block");
        assert_eq!(claim(&mut claims, 0x40_2000, 1), New);
    }

    #[test]
    fn the_last_range_may_be_cut() {
        let mut claims = Claims::new();
        assert_eq!(claims.claim(0, 4096, false), New);
        assert_eq!(claims.claim(8192, 4096, false), New);
        assert_eq!(claims.claim(4096, 100, true), New);
        assert_eq!(claims.unit, 4096);
        assert_eq!(claims.claim(8192, 100, true), Again);
    }

    #[test]
    fn gives_up_where_it_takes_too_much_memory() {
        let mut claims = Claims::new();
        assert_eq!(claims.claim(0, 512, false), New);
        assert_eq!(claims.claim(1 << 50, 512, false), Unknown);
        assert_eq!(claims.claim(0, 512, false), Unknown);
        assert_eq!(Claims::new().claim(u64::MAX - 4096, 4096, false), Unknown);
    }
}
