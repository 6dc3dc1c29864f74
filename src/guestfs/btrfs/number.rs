//! Encodes nodes: a subvolume id and an inode number, of 64 bits each, in 56 bits.
//!
//! Inode numbers count up from 256 in each subvolume, so they are small, and subvolumes are few, so they get indices in
//! the order in which they are seen. Pairs that do not fit get an index into a table.
use crate::guestfs::{Error, Node, Result};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

const INODE_BITS: u32 = 40;
const SUBVOLUME_BITS: u32 = 14;
/// Above both: the location of an absent subvolume.
const ABSENT: u64 = 1 << (INODE_BITS + SUBVOLUME_BITS);
/// Above all: a number of the table.
const TABLED: u64 = ABSENT << 1;
/// The most that the table holds.
const MAX_TABLED: usize = 1 << 20;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Location {
    /// The number of the subvolume's tree.
    pub(super) subvolume: u64,
    pub(super) inode: u64,
    /// Whether it is an empty directory that stands, in this one, for a subvolume that is not there.
    pub(super) absent: bool,
}

/// Things in the order in which they were seen first.
struct Seen<T> {
    list: Vec<T>,
    index: HashMap<T, usize>,
    most: usize,
}

impl<T: Copy + Eq + Hash> Seen<T> {
    fn new(most: usize) -> Self {
        Self { list: Vec::new(), index: HashMap::new(), most }
    }

    fn add(&mut self, thing: T) -> Option<usize> {
        if let Some(index) = self.index.get(&thing) {
            return Some(*index);
        }
        let index = self.list.len();
        if index >= self.most {
            return None;
        }
        self.list.push(thing);
        self.index.insert(thing, index);
        Some(index)
    }
}

struct Both {
    subvolumes: Seen<u64>,
    table: Seen<Location>,
}

/// The numbers given so far.
pub(super) struct Numbers(RwLock<Both>);

impl Numbers {
    pub(super) fn new() -> Self {
        Self(RwLock::new(Both { subvolumes: Seen::new(1 << SUBVOLUME_BITS), table: Seen::new(MAX_TABLED) }))
    }

    /// The node of a location, the same every time.
    pub(super) fn node(&self, location: Location) -> Result<Node> {
        let small = location.inode < 1 << INODE_BITS;
        let compressed = |index: usize| {
            let absent = if location.absent { ABSENT } else { 0 };
            Node((index as u64) << INODE_BITS | location.inode | absent)
        };
        let known = {
            let both = self.0.read().unwrap_or_else(PoisonError::into_inner);
            both.subvolumes.index.get(&location.subvolume).copied()
        };
        if let Some(index) = known.filter(|_| small) {
            return Ok(compressed(index));
        }
        let mut both = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = both.subvolumes.add(location.subvolume).filter(|_| small) {
            return Ok(compressed(index));
        }
        let index = both.table.add(location).ok_or_else(|| {
            Error::Unsupported(format!(
                "more than {MAX_TABLED} of its files have numbers of more than {INODE_BITS} bits"
            ))
        })?;
        Ok(Node(TABLED | index as u64))
    }

    /// The location of a node that was given.
    pub(super) fn location(&self, node: Node) -> Option<Location> {
        let both = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if node.0 & TABLED != 0 {
            return both.table.list.get(usize::try_from(node.0 & !TABLED).ok()?).copied();
        }
        let index = usize::try_from((node.0 & !ABSENT) >> INODE_BITS).ok()?;
        let subvolume = *both.subvolumes.list.get(index)?;
        Some(Location { subvolume, inode: node.0 & ((1 << INODE_BITS) - 1), absent: node.0 & ABSENT != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_number_of_its_own() {
        let numbers = Numbers::new();
        let mut locations = Vec::new();
        for subvolume in [5, 256, 300, u64::MAX - 256] {
            for inode in [0, 2, 256, (1 << 40) - 1, 1 << 40, 1 << 55, u64::MAX] {
                locations.extend([true, false].map(|absent| Location { subvolume, inode, absent }));
            }
        }
        let nodes: Vec<_> = locations.iter().map(|location| numbers.node(*location).unwrap()).collect();
        for (location, node) in locations.iter().zip(&nodes) {
            assert!(node.0 < 1 << 56, "{location:?}");
            assert_eq!(numbers.location(*node), Some(*location));
            assert_eq!(numbers.node(*location).unwrap(), *node);
        }
        assert_eq!(numbers.location(Node(9 << INODE_BITS)), None);
        assert_eq!(numbers.location(Node(TABLED | 1 << 30)), None);
    }

    #[test]
    fn more_subvolumes_than_have_bits_go_to_the_table() {
        let numbers = Numbers::new();
        for subvolume in 0..(1 << SUBVOLUME_BITS) + 10 {
            let location = Location { subvolume, inode: 257, absent: false };
            let node = numbers.node(location).unwrap();
            assert_eq!(
                (numbers.location(node), node.0 & TABLED != 0),
                (Some(location), subvolume >= 1 << SUBVOLUME_BITS)
            );
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let numbers = Numbers::new();
        let location = |inode| Location { subvolume: 5, inode: inode | 1 << 50, absent: false };
        let first = numbers.node(location(0)).unwrap();
        assert!((1..MAX_TABLED as u64).all(|inode| numbers.node(location(inode)).is_ok()));
        assert!(numbers.node(location(1 << 40)).unwrap_err().to_string().contains("numbers of more than 40 bits"));
        assert_eq!(numbers.node(location(0)).unwrap(), first);
    }
}
