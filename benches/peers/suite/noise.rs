//! Bytes without a pattern that can be told again for any place, so that what a mount gives can be checked.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Fills `buf` with the bytes of the stream `seed` from `offset` on, a multiple of 8.
pub(crate) fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let mut at = seed.wrapping_mul(GOLDEN).wrapping_add(offset / 8);
    for word in buf.chunks_mut(8) {
        word.copy_from_slice(&mix(at).to_le_bytes()[..word.len()]);
        at = at.wrapping_add(1);
    }
}

/// A hash of a number (the finish of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_mul(GOLDEN);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// The numbers below `count` in an order without a pattern, each once.
pub(crate) fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    numbers.sort_by_cached_key(|number| mix(number ^ seed << 40));
    numbers
}
