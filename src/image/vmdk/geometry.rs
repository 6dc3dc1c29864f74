//! How a sparse extent is laid out.

use std::ops::Range;

/// Bytes of a sector in all of the format.
pub(super) const SECTOR: u64 = 512;
/// Bytes that a compressed grain has at least: its marker.
pub(super) const MARKER: u64 = 12;

/// How a sparse extent is laid out. All in bytes, but for `table_entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The format's name for messages.
    pub(super) format: &'static str,
    /// Bytes of the disk that the extent can hold.
    pub(super) capacity: u64,
    /// Bytes of a grain: a power of two from 512 on.
    pub(super) grain: u64,
    /// Entries of a grain table; at least 1.
    pub(super) table_entries: u64,
    /// Where the grain directory is.
    pub(super) directory_at: u64,
    /// Where the redundant grain directory is.
    pub(super) redundant_at: Option<u64>,
    /// What holds no grains besides directories and tables: header and descriptor.
    pub(super) reserved: [Range<u64>; 2],
    /// Grains begin from here on, as the header says; it is not relied on.
    pub(super) data_at: u64,
    /// Entries of 1 mean zeros.
    pub(super) zero_grains: bool,
    /// Grains are compressed, with a marker before each.
    pub(super) compressed: bool,
}

impl Geometry {
    /// Bytes of the disk that one grain table maps. At most 2^16 entries of grains of 2^26 bytes.
    pub(super) fn table_reach(&self) -> u64 {
        self.table_entries * self.grain
    }

    /// How many grain tables there may be.
    pub(super) fn tables(&self) -> u64 {
        self.capacity.div_ceil(self.table_reach())
    }

    /// Bytes of a grain table in the file: whole sectors.
    pub(super) fn table_len(&self) -> u64 {
        (4 * self.table_entries).next_multiple_of(SECTOR)
    }

    /// How many entries of a table are in use: fewer in the last one.
    pub(super) fn entries_of(&self, table: u64) -> u64 {
        let left = self.capacity.saturating_sub(table * self.table_reach());
        left.div_ceil(self.grain).min(self.table_entries)
    }

    /// Bytes of the disk that a grain holds: fewer for the last one where the extent ends within it.
    pub(super) fn bytes_of_grain(&self, index: u64) -> u64 {
        self.capacity.saturating_sub(index * self.grain).min(self.grain)
    }

    /// Where a directory at `at` lies.
    pub(super) fn directory(&self, at: u64) -> Range<u64> {
        at..at.saturating_add(4 * self.tables())
    }

    /// Whether a range of the file meets the header, the descriptor or a directory: what it meets.
    pub(super) fn reserved_at(&self, range: &Range<u64>) -> Option<&'static str> {
        let meets = |other: &Range<u64>| range.start < other.end && other.start < range.end;
        if meets(&self.reserved[0]) {
            return Some("the header");
        }
        if meets(&self.reserved[1]) {
            return Some("the descriptor");
        }
        let directories = [Some(self.directory_at), self.redundant_at];
        directories.into_iter().flatten().any(|at| meets(&self.directory(at))).then_some("a grain directory")
    }

    /// Where the bytes of grains begin and end in the file, for checking: a compressed one has at least its marker.
    pub(super) fn range_of(&self, index: u64, at: u64) -> Range<u64> {
        let len = if self.compressed { MARKER } else { self.bytes_of_grain(index) };
        at..at.saturating_add(len)
    }
}
