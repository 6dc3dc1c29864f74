//! A range of the disk, cut at the edges of its blocks.

use std::ops::Range;

/// A part of a range that lies in one block.
pub(crate) struct BlockRange {
    /// The index of the block.
    pub(crate) block: u64,
    /// Bytes from the start of the block.
    pub(crate) within: Range<u64>,
}

impl BlockRange {
    pub(crate) fn len(&self) -> u64 {
        self.within.end - self.within.start
    }
}

/// The parts of the `len` bytes from `offset` on, in blocks of `size` bytes.
pub(crate) fn block_ranges(offset: u64, len: u64, size: u64) -> impl Iterator<Item = BlockRange> {
    let end = offset + len;
    (offset / size..end.div_ceil(size)).map(move |block| {
        let start = block * size;
        BlockRange { block, within: offset.max(start) - start..end.min(start + size) - start }
    })
}

#[cfg(test)]
mod tests {
    use crate::ondisk::blocks::*;

    #[test]
    fn a_range_is_cut_at_the_edges_of_blocks() {
        let cut =
            |offset, len| -> Vec<_> { block_ranges(offset, len, 10).map(|part| (part.block, part.within)).collect() };
        assert_eq!(cut(3, 4), [(0, 3..7)]);
        assert_eq!(cut(10, 10), [(1, 0..10)]);
        assert_eq!(cut(8, 14), [(0, 8..10), (1, 0..10), (2, 0..2)]);
        assert_eq!(cut(20, 0), []);
    }
}
