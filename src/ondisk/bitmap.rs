//! Sector bitmaps: one bit states whether a sector is stored in this image.

use std::ops::Range;

/// Which bit of a byte stands for the first of its eight sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitOrder {
    /// The most significant one, as in VHD.
    HighestFirst,
    /// The least significant one, as in VHDX.
    LowestFirst,
}

impl BitOrder {
    fn mask(self, bit: usize) -> u8 {
        match self {
            Self::HighestFirst => 0x80 >> (bit % 8),
            Self::LowestFirst => 1 << (bit % 8),
        }
    }

    /// The value of the bit `first` of `bytes`, and how many bits from there on have it, at most `most`. Bits past the
    /// end of `bytes` are not counted; there is at least one.
    #[must_use]
    pub(crate) fn run(self, bytes: &[u8], first: usize, most: usize) -> (bool, usize) {
        let get = |bit: usize| bytes[bit / 8] & self.mask(bit) != 0;
        let value = get(first);
        let whole = if value { 0xFF } else { 0 };
        let end = first.saturating_add(most).min(bytes.len() * 8);
        let mut bit = first + 1;
        while bit < end {
            if bit.is_multiple_of(8) && bytes[bit / 8] == whole {
                bit += 8;
            } else if get(bit) == value {
                bit += 1;
            } else {
                break;
            }
        }
        (value, bit.min(end).max(first + 1) - first)
    }

    /// Sets the bits of a range.
    pub(crate) fn set(self, bytes: &mut [u8], bits: Range<usize>) {
        for bit in bits {
            bytes[bit / 8] |= self.mask(bit);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ondisk::bitmap::*;

    #[test]
    fn runs_are_those_of_single_bits() {
        let bytes = [0b1110_0000, 0xFF, 0xFF, 0b1000_0001, 0, 0, 0b0000_0100];
        for order in [BitOrder::HighestFirst, BitOrder::LowestFirst] {
            let bit = |at: usize| bytes[at / 8] & order.mask(at) != 0;
            for first in 0..bytes.len() * 8 {
                for most in 1..70 {
                    let end = (first + most).min(bytes.len() * 8);
                    let expected = (first..end).take_while(|at| bit(*at) == bit(first)).count();
                    assert_eq!(order.run(&bytes, first, most), (bit(first), expected), "{order:?} {first} {most}");
                }
            }
        }
    }

    #[test]
    fn set_bits_are_found_again() {
        let mut bytes = [0; 4];
        BitOrder::HighestFirst.set(&mut bytes, 3..21);
        assert_eq!(bytes, [0x1F, 0xFF, 0xF8, 0]);
        let mut bytes = [0; 4];
        BitOrder::LowestFirst.set(&mut bytes, 3..21);
        assert_eq!(bytes, [0xF8, 0xFF, 0x1F, 0]);
    }
}
