//! Blocks whose space is reserved at once and filled in parts, by several concurrent writers.

use std::collections::{HashMap, HashSet};

/// Blocks whose space the map does not point to yet, and what is known of the bytes in it.
#[derive(Debug, Default)]
pub(in crate::image) struct Reservations {
    /// The space of blocks without a map entry.
    positions: HashMap<u64, u64>,
    /// Blocks that got their space since the image was opened: what was not written there is zero.
    fresh: HashSet<u64>,
}

impl Reservations {
    /// The space of a block without a map entry.
    pub(in crate::image) fn position(&self, block: u64) -> Option<u64> {
        self.positions.get(&block).copied()
    }

    /// A block gets space that reads as zeros.
    pub(in crate::image) fn insert(&mut self, block: u64, position: u64) {
        self.positions.insert(block, position);
        self.fresh.insert(block);
    }

    /// Whether what was not written to a block's space is zero. In others there may be bytes from a crash or a failed
    /// write.
    pub(in crate::image) fn is_fresh(&self, block: u64) -> bool {
        self.fresh.contains(&block)
    }

    /// The map in memory points to a block's space; false when it did before.
    pub(in crate::image) fn commit(&mut self, block: u64) -> bool {
        self.positions.remove(&block).is_some()
    }

    /// A write to a block failed. It keeps its space, which other writers may be filling.
    pub(in crate::image) fn cancel(&mut self, block: u64) {
        self.fresh.remove(&block);
    }
}
