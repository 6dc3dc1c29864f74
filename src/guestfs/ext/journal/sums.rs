//! The checksums of the journal. Version 1 is one sum of all blocks of a transaction, in its commit block; versions 2
//! and 3 have a sum in each block that is no data, and one of each data block in its tag.

use crate::guestfs::ext::checksum;

/// CRC-32 with the highest bit first, not turned over at the end: the kernel's `crc32_be`.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(seed, |sum, byte| sum << 8 ^ TABLE[usize::from(sum.to_be_bytes()[0] ^ byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut i = 0;
    let mut high = 0_u32;
    while i < 256 {
        let mut sum = high;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 };
            bit += 1;
        }
        table[i] = sum;
        i += 1;
        high = high.wrapping_add(1 << 24);
    }
    table
}

/// The sum of a block whose own field for it, of four bytes at `field`, counts as zero. Bytes from `end` on count as
/// zeros too.
pub(super) fn of_block(seed: u32, bytes: &[u8], field: usize, end: usize) -> u32 {
    let mut plain = bytes.to_vec();
    for (i, byte) in plain.iter_mut().enumerate() {
        if i >= end || (field..field + 4).contains(&i) {
            *byte = 0;
        }
    }
    checksum(seed, &plain)
}

/// The sum of a data block, as it is in the journal, of the transaction with this number.
pub(super) fn of_data(seed: u32, sequence: u32, bytes: &[u8]) -> u32 {
    checksum(checksum(seed, &sequence.to_be_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_version_1_is_the_one_of_the_catalogue() {
        // CRC-32/MPEG-2 in <https://reveng.sourceforge.io/crc-catalogue/17plus.htm>.
        assert_eq!(crc32_be(!0, b"123456789"), 0x0376_E6E7);
    }
}
