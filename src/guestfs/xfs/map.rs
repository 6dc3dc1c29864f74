//! From a fork's blocks to the volume's: lists and B+trees of extents.

use super::inode::{Fork, Format, Inode};
use super::{Block, HeaderFields, Xfs};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::sync::Arc;

/// Bytes of an extent in a list.
pub(super) const RECORD: usize = 16;
/// `bb_magic` in version 4 and 5: `BMAP` and `BMA3`.
const TREE_V4: u32 = 0x424D_4150;
const TREE_V5: u32 = 0x424D_4133;
/// Bytes before the records or keys of a block in version 4 and 5.
pub(super) const HEADER_V4: usize = 24;
pub(super) const HEADER_V5: usize = 72;
/// Bytes before the keys of a root, which is in the inode.
pub(super) const ROOT_HEADER: usize = 4;
const HEADER_FIELDS: HeaderFields = HeaderFields { crc: 64, block: 24, uuid: 40 };
/// The kernel's own limit of a tree's depth.
const MAX_DEPTH: u16 = 9;
/// The hole after the last extent reaches to the largest block number.
const END: u64 = 1 << 54;

/// What a fork has at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The block of the volume; none for a hole or what was never written.
    pub(super) block: Option<u64>,
    /// For how many blocks the answer goes on; at least 1.
    pub(super) count: u64,
}

impl Xfs {
    /// What a fork of an inode has at its block number `block`.
    pub(super) fn map(&self, inode: &Inode, fork: &Fork, block: u64) -> Result<Mapped> {
        match fork.format {
            Format::Extents => {
                let f = Fields::new("extents of an inode", &fork.bytes, fork.at);
                self.find_extent(&f, 0, usize::try_from(fork.extents).unwrap_or(0), block, END).map_err(Error::from)
            }
            Format::Tree => self.map_tree(inode, fork, block),
            Format::Device | Format::Local => {
                let what = format!("format of inode {}", inode.number);
                Err(ParseError::corrupt(fork.at, what, "extents", "no extents").into())
            }
        }
    }

    fn map_tree(&self, inode: &Inode, fork: &Fork, block: u64) -> Result<Mapped> {
        let root = Fields::new("root of an extent tree", &fork.bytes, fork.at);
        let mut level = root.u16_be(0)?;
        if level == 0 || level > MAX_DEPTH {
            let what = format!("depth of the extent tree of inode {}", inode.number);
            return Err(ParseError::corrupt(fork.at, what, format_args!("1 to {MAX_DEPTH}"), level).into());
        }
        // A block that the tree has nothing for is a hole up to the next one that it knows of.
        let mut next = END;
        let step = |f: &Fields<'_>, header: usize, count: u16, next: &mut u64| child(f, header, count, block, next);
        let count = root.u16_be(2)?;
        let mut below = step(&root, ROOT_HEADER, count, &mut next)?;
        loop {
            let Some(number) = below else { return Ok(hole(block, next)) };
            level -= 1;
            let node = self.extent_node(number)?;
            let f = Fields::new("extent tree", &node.bytes, node.at);
            let (magic, header) = if self.sb.v5 { (TREE_V5, HEADER_V5) } else { (TREE_V4, HEADER_V4) };
            let found = (f.u32_be(0)?, f.u16_be(4)?);
            if found != (magic, level) {
                let what = format!("magic number and level in the extent tree of inode {}", inode.number);
                let (expected, found) = (format!("{magic:#x}, {level}"), format!("{:#x}, {}", found.0, found.1));
                return Err(ParseError::corrupt(node.at, what, expected, found).into());
            }
            let count = f.u16_be(6)?;
            if level == 0 {
                return self.find_extent(&f, header, count.into(), block, next).map_err(Error::from);
            }
            below = step(&f, header, count, &mut next)?;
        }
    }

    /// A block of an extent tree that was checked against its own header.
    fn extent_node(&self, number: u64) -> Result<Arc<Block>> {
        if let Some(node) = self.nodes.get(&number) {
            return Ok(node);
        }
        let node = self.block_at(number, "extent tree")?;
        self.check(&node, "extent tree", &HEADER_FIELDS)?;
        self.nodes.insert(number, node.clone());
        Ok(node)
    }

    /// What the list of `count` extents from byte `start` on has at `block`.
    fn find_extent(
        &self,
        f: &Fields<'_>,
        start: usize,
        count: usize,
        block: u64,
        next: u64,
    ) -> Result<Mapped, ParseError> {
        f.bytes(start, count * RECORD)?;
        let first = |i: usize| Ok(f.u64_be(start + i * RECORD)? >> 9 & (END - 1));
        let Some(i) = last_up_to(count, block, first)? else {
            return Ok(hole(block, if count == 0 { next } else { first(0)? }));
        };
        let next = if i + 1 < count { first(i + 1)? } else { next };
        let at = start + i * RECORD;
        let (high, low) = (f.u64_be(at)?, f.u64_be(at + 8)?);
        let len = low & 0x1F_FFFF;
        let skip = block - first(i)?;
        if skip >= len {
            return Ok(hole(block, next));
        }
        let number = (high & 0x1FF) << 43 | low >> 21;
        let offset = self.sb.offset_of(number, len).ok_or_else(|| {
            let found = format!("{len} blocks from {number:#x} on");
            ParseError::corrupt(f.offset(at), "extent", "blocks of one allocation group", found)
        })?;
        // The uppermost bit is set when the space was never written.
        Ok(Mapped { block: (high >> 63 == 0).then_some(offset + skip), count: len - skip })
    }
}

/// The child for `block` of a node whose `count` keys begin at `header`; the children are after the room for keys.
/// `next` becomes the first key after it.
fn child(f: &Fields<'_>, header: usize, count: u16, block: u64, next: &mut u64) -> Result<Option<u64>, ParseError> {
    let room = f.len().saturating_sub(header) / 16;
    let count = usize::from(count);
    if count > room {
        return Err(ParseError::corrupt(
            f.offset(0),
            "number of keys in an extent tree",
            format_args!("at most {room}"),
            count,
        ));
    }
    let key = |i: usize| f.u64_be(header + 8 * i);
    let found = last_up_to(count, block, key)?;
    let after = found.map_or(0, |i| i + 1);
    if after < count {
        *next = key(after)?;
    }
    found.map(|i| f.u64_be(header + 8 * (room + i))).transpose()
}

/// The last of `count` ascending numbers that is not above `wanted`.
fn last_up_to(
    count: usize,
    wanted: u64,
    number: impl Fn(usize) -> Result<u64, ParseError>,
) -> Result<Option<usize>, ParseError> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if number(middle)? <= wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.checked_sub(1))
}

fn hole(block: u64, next: u64) -> Mapped {
    Mapped { block: None, count: next.saturating_sub(block).max(1) }
}
