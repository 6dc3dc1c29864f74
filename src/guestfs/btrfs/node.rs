//! Nodes of trees and their keys. Field names and offsets are those of
//! <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>; numbers are little-endian.

use super::objectid;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::fmt;

/// Bytes of the header.
const HEADER: usize = 101;
/// Bytes of a key, of a leaf's item and of an inner node's pointer.
pub(super) const KEY: usize = 17;
const ITEM: usize = 25;
const POINTER: usize = 33;

/// A key; the order is that of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) objectid: u64,
    /// `type`
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) fn new(objectid: u64, kind: u8, offset: u64) -> Self {
        Self { objectid, kind, offset }
    }

    /// The one before it in the order of the trees; none before the first.
    pub(super) fn before(self) -> Option<Self> {
        let Self { objectid, kind, offset } = self;
        if let Some(offset) = offset.checked_sub(1) {
            return Some(Self { objectid, kind, offset });
        }
        if let Some(kind) = kind.checked_sub(1) {
            return Some(Self { objectid, kind, offset: u64::MAX });
        }
        Some(Self { objectid: objectid.checked_sub(1)?, kind: u8::MAX, offset: u64::MAX })
    }

    /// The key at `at`.
    pub(super) fn parse(f: &Fields<'_>, at: usize) -> Result<Self, ParseError> {
        Ok(Self { objectid: f.u64_le(at)?, kind: f.u8(at + 8)?, offset: f.u64_le(at + 9)? })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.objectid, self.kind, self.offset)
    }
}

/// What points to a node, and so what the node must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    /// `bytenr`
    pub(super) logical: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// A tree: its number and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) id: u64,
    pub(super) root: Pointer,
}

/// A node whose items lie within it and whose keys are in order.
#[derive(Debug)]
pub(super) struct Node {
    bytes: Vec<u8>,
    /// Where on the volume it is.
    at: u64,
    pub(super) level: u8,
    pub(super) owner: u64,
    count: usize,
}

impl Node {
    /// Parses a node that was read from byte `at` of the volume, and whose checksum is right.
    pub(super) fn parse(bytes: Vec<u8>, at: u64, pointer: &Pointer, uuid: &[u8; 16]) -> Result<Self, ParseError> {
        let f = Fields::new("node of a tree", &bytes, at);
        let bad = |at: usize, what: &str, expected: String, found: String| {
            ParseError::corrupt(f.offset(at), format!("{what} of a node"), expected, found)
        };
        if f.bytes(32, 16)? != uuid {
            return Err(bad(32, "UUID", "the file system's".to_owned(), "another".to_owned()));
        }
        let numbers = [
            (48, "own offset", pointer.logical, f.u64_le(48)?),
            (80, "generation", pointer.generation, f.u64_le(80)?),
            (100, "level", pointer.level.into(), f.u8(100)?.into()),
        ];
        for (at, what, expected, found) in numbers {
            if found != expected {
                return Err(bad(at, what, expected.to_string(), found.to_string()));
            }
        }
        let count = usize::try_from(f.u32_le(96)?).unwrap_or(usize::MAX);
        let most = (bytes.len() - HEADER) / if pointer.level == 0 { ITEM } else { POINTER };
        if count > most {
            return Err(bad(96, "number of items", format!("at most {most}"), count.to_string()));
        }
        let owner = f.u64_le(88)?;
        let node = Self { at, level: pointer.level, owner, count, bytes };
        node.check_items()?;
        Ok(node)
    }

    fn check_items(&self) -> Result<(), ParseError> {
        let mut last = None;
        for index in 0..self.count {
            let key = self.key(index)?;
            if last.is_some_and(|last| key <= last) {
                let expected = format!("one above {}", last.unwrap_or(key));
                return Err(ParseError::corrupt(self.offset(index), "key in a node", expected, key));
            }
            last = Some(key);
            if self.level == 0 {
                self.item(index)?;
            }
        }
        Ok(())
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new("node of a tree", &self.bytes, self.at)
    }

    /// Where an item or a pointer is within the node.
    fn start(&self, index: usize) -> usize {
        HEADER + index * if self.level == 0 { ITEM } else { POINTER }
    }

    /// Where on the volume an item or a pointer is.
    pub(super) fn offset(&self, index: usize) -> u64 {
        self.at + self.start(index) as u64
    }

    /// Where on the volume the node is.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How many items or pointers it has.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// The key of an item or a pointer.
    pub(super) fn key(&self, index: usize) -> Result<Key, ParseError> {
        Key::parse(&self.fields(), self.start(index))
    }

    /// How many keys are not above `key`.
    pub(super) fn not_above(&self, key: Key) -> Result<usize, ParseError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The child that an inner node points to.
    pub(super) fn child(&self, index: usize) -> Result<Pointer, ParseError> {
        let (f, at) = (self.fields(), self.start(index) + KEY);
        Ok(Pointer { logical: f.u64_le(at)?, generation: f.u64_le(at + 8)?, level: self.level.saturating_sub(1) })
    }

    /// The data of a leaf's item.
    pub(super) fn item(&self, index: usize) -> Result<Fields<'_>, ParseError> {
        let (f, at) = (self.fields(), self.start(index) + KEY);
        let number = |at| Ok(usize::try_from(f.u32_le(at)?).unwrap_or(usize::MAX));
        let (start, len) = (HEADER.saturating_add(number(at)?), number(at + 4)?);
        let data = start.checked_add(len).and_then(|end| self.bytes.get(start..end)).ok_or_else(|| {
            let expected = format!("within {} bytes", self.bytes.len());
            ParseError::corrupt(
                f.offset(at),
                "offset of an item in a node",
                expected,
                format_args!("{len} from {start} on"),
            )
        })?;
        Ok(Fields::new("item", data, f.offset(start)))
    }
}

/// Whether a node of this owner can be in a tree. Subvolumes share theirs.
pub(super) fn owner_fits(tree: u64, owner: u64) -> bool {
    owner == tree || objectid::is_subvolume(tree) && objectid::is_subvolume(owner)
}
