//! The block allocation table: the order and the meaning of its entries. [MS-VHDX] section 2.5.

use super::metadata::Metadata;
use crate::ondisk::ParseError;

/// Sectors whose bits one sector bitmap block holds.
pub(super) const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// How the table of a disk is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Payload blocks of the disk.
    pub(super) blocks: u64,
    /// Payload blocks whose sectors share a bitmap block: its entry follows theirs.
    pub(super) chunk_ratio: u64,
    /// Entries of the table that belong to the disk.
    pub(super) entries: u64,
}

impl Layout {
    pub(super) fn new(metadata: &Metadata) -> Self {
        let block_size = u64::from(metadata.block_size);
        let blocks = metadata.disk_size.div_ceil(block_size);
        let chunk_ratio = SECTORS_PER_BITMAP * u64::from(metadata.logical_sector) / block_size;
        let entries = match metadata.parent {
            Some(_) => blocks.div_ceil(chunk_ratio) * (chunk_ratio + 1),
            None => blocks + (blocks - 1) / chunk_ratio,
        };
        Self { blocks, chunk_ratio, entries }
    }

    /// The index of a payload block's entry.
    pub(super) fn payload(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }

    /// The index of the entry of the bitmap block with a payload block's bits.
    pub(super) fn bitmap(&self, block: u64) -> u64 {
        block / self.chunk_ratio * (self.chunk_ratio + 1) + self.chunk_ratio
    }

    /// The payload block that an entry belongs to; none for a bitmap block's entry.
    pub(super) fn block(&self, entry: u64) -> Option<u64> {
        let (chunk, within) = (entry / (self.chunk_ratio + 1), entry % (self.chunk_ratio + 1));
        (within < self.chunk_ratio).then(|| chunk * self.chunk_ratio + within)
    }
}

/// What a payload block's entry says. Offsets are bytes of the file, multiples of 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// 0: ask the parent.
    NotPresent,
    /// 1 to 3 (undefined, zero, unmapped). Contents that nobody relies on any more are shown as zeros too.
    Zero,
    /// 6.
    Full(u64),
    /// 7: the sector bitmap says which sectors are there.
    Partial(u64),
}

impl Payload {
    /// Decodes the entry of `block`, which is at `at` of the file; `differencing` disks may have partial blocks.
    pub(super) fn decode(raw: u64, block: u64, at: u64, differencing: bool) -> Result<Self, ParseError> {
        let position = position_in(raw);
        match raw & 7 {
            0 => Ok(Self::NotPresent),
            1..=3 => Ok(Self::Zero),
            6 => Ok(Self::Full(position)),
            7 if differencing => Ok(Self::Partial(position)),
            state => {
                let expected = if differencing { "0 to 3, 6 or 7" } else { "0 to 3 or 6" };
                Err(ParseError::corrupt(at, format!("state of VHDX block {block}"), expected, state))
            }
        }
    }

    pub(super) fn encode(self) -> u64 {
        match self {
            Self::NotPresent => 0,
            Self::Zero => 2,
            Self::Full(position) => position | 6,
            Self::Partial(position) => position | 7,
        }
    }
}

/// The offset that an entry names, whatever its state says; 0 for none.
pub(super) fn position_in(raw: u64) -> u64 {
    raw >> 20 << 20
}

/// The entry of a bitmap block: where the block is in the file, in bytes.
pub(super) fn decode_bitmap(raw: u64, at: u64) -> Result<Option<u64>, ParseError> {
    match raw & 7 {
        0 => Ok(None),
        6 => Ok(Some(position_in(raw))),
        state => Err(ParseError::corrupt(at, "state of a VHDX sector bitmap block", "0 or 6", state)),
    }
}

/// The raw entry of a bitmap block at an offset of the file.
pub(super) fn encode_bitmap(position: u64) -> u64 {
    position | 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_blocks_correspond() {
        let layout = Layout { blocks: 1000, chunk_ratio: 16, entries: 0 };
        let mut expected = 0;
        for block in 0..1000 {
            assert_eq!(layout.payload(block), expected);
            assert_eq!(layout.block(expected), Some(block));
            expected += 1;
            if block % 16 == 15 {
                assert_eq!(layout.bitmap(block), expected);
                assert_eq!(layout.bitmap(block - 15), expected);
                assert_eq!(layout.block(expected), None);
                expected += 1;
            }
        }
    }

    #[test]
    fn entries_decode_to_what_was_encoded() {
        for entry in [Payload::NotPresent, Payload::Zero, Payload::Full(7 << 20), Payload::Partial(9 << 20)] {
            assert_eq!(Payload::decode(entry.encode(), 0, 0, true), Ok(entry));
        }
    }
}
