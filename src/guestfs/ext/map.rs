//! From a file's blocks to the volume's: extent trees and indirect blocks.

use super::Ext;
use super::inode::{Inode, flags};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::sync::Arc;

/// `eh_magic` of each node of an extent tree.
const EXTENT_MAGIC: u16 = 0xF30A;
/// The kernel's own limit of a tree's depth.
const MAX_DEPTH: u16 = 5;
/// An extent longer than this is one that was never written, of a length less by this.
const UNWRITTEN: u16 = 32768;
/// Blocks that the map holds itself; then come one to three levels of indirection.
const DIRECT: u64 = 12;

/// What a file has at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The block of the volume; none for a hole or what was never written.
    pub(super) block: Option<u64>,
    /// For how many blocks the answer goes on; at least 1.
    pub(super) count: u64,
}

impl Ext {
    /// What a file has at its block number `block`.
    pub(super) fn map(&self, inode: &Inode, block: u64) -> Result<Mapped> {
        self.map_as(inode, block, false)
    }

    /// What a directory, a link or a value's inode has at a block. As the kernel has it, an extent of those is written,
    /// whatever it says.
    pub(super) fn map_metadata(&self, inode: &Inode, block: u64) -> Result<Mapped> {
        self.map_as(inode, block, true)
    }

    fn map_as(&self, inode: &Inode, block: u64, written: bool) -> Result<Mapped> {
        let mapped = self.view.mapped(inode.number, block, || {
            if inode.has(flags::EXTENTS) {
                self.map_extents(inode, block, written)
            } else {
                self.map_indirect(inode, block)
            }
        })?;
        if let Some(first) = mapped.block
            && first.checked_add(mapped.count).is_none_or(|end| end > self.sb.blocks)
        {
            let what = format!("block {block} of inode {}", inode.number);
            return Err(ParseError::corrupt(0, what, format_args!("a block below {}", self.sb.blocks), first).into());
        }
        Ok(mapped)
    }

    fn map_extents(&self, inode: &Inode, block: u64, written: bool) -> Result<Mapped> {
        let mut search = Search { inode: inode.number, block, written, level: None, next: 1 << 32 };
        let mut step = search.step(&inode.block, 0)?;
        loop {
            let child = match step {
                Step::Found(mapped) => return Ok(mapped),
                Step::Below(child) => child,
            };
            step = search.step(&self.extent_node(inode, child)?, self.byte_of(child))?;
        }
    }

    /// A node of an extent tree whose checksum was checked.
    fn extent_node(&self, inode: &Inode, block: u64) -> Result<Arc<[u8]>> {
        let key = (inode.number, block);
        if let Some(node) = self.nodes.get(&key) {
            return Ok(node);
        }
        let node = self.block(block, "extent tree")?;
        self.check_extent_node(inode, &node, self.byte_of(block))?;
        self.nodes.insert(key, node.clone());
        Ok(node)
    }

    /// Checks a node of an extent tree against the checksum after its last possible entry.
    fn check_extent_node(&self, inode: &Inode, bytes: &[u8], at: u64) -> Result<()> {
        let Some(seed) = inode.checksum_seed(&self.sb) else { return Ok(()) };
        let f = Fields::new("extent tree", bytes, at);
        let tail = 12 + 12 * usize::from(f.u16_le(4)?);
        let stated = f.u32_le(tail)?;
        let found = super::checksum(seed, f.bytes(0, tail)?);
        super::same_checksum("checksum of an extent tree", f.offset(tail), found, stated)
    }

    fn map_indirect(&self, inode: &Inode, block: u64) -> Result<Mapped> {
        let per_block = u64::from(self.sb.block_size / 4);
        let f = Fields::new("block map", &inode.block, 0);
        let slot = |i: u64| f.u32_le(4 * usize::try_from(i).unwrap_or(usize::MAX)).map(u64::from).map_err(Error::from);
        if block < DIRECT {
            return Ok(segment(&inode.block[..48], usize::try_from(block).unwrap_or(0)));
        }
        let mut index = block - DIRECT;
        let mut covered = per_block;
        for level in 0..3 {
            if index < covered {
                return self.indirect(slot(DIRECT + level)?, index, covered / per_block);
            }
            index -= covered;
            covered *= per_block;
        }
        let what = format!("block number of inode {}", inode.number);
        Err(ParseError::corrupt(0, what, "one that three levels of indirection reach", block).into())
    }

    /// Follows indirect blocks; `covered` is how many blocks of the file an entry of `table` covers.
    fn indirect(&self, table: u64, index: u64, covered: u64) -> Result<Mapped> {
        let per_block = u64::from(self.sb.block_size / 4);
        let (mut table, mut index, mut covered) = (table, index, covered);
        loop {
            if table == 0 {
                return Ok(Mapped { block: None, count: covered * per_block - index });
            }
            let bytes = self.block(table, "indirect block")?;
            let slot = usize::try_from(index / covered).unwrap_or(usize::MAX);
            if covered == 1 {
                return Ok(segment(&bytes, slot));
            }
            table = bytes.as_chunks::<4>().0.get(slot).map_or(0, |raw| u64::from(u32::from_le_bytes(*raw)));
            index %= covered;
            covered /= per_block;
        }
    }
}

/// A walk down an extent tree.
struct Search {
    inode: u32,
    /// The block of the file that is looked for.
    block: u64,
    /// Whether extents are taken for written ones.
    written: bool,
    /// The level that the next node must have.
    level: Option<u16>,
    /// The next block that the tree knows of: up to there is a hole what it has nothing for.
    next: u64,
}

enum Step {
    Found(Mapped),
    /// In the node in this block of the volume.
    Below(u64),
}

impl Search {
    /// Looks into a node, which is at byte `at` of the volume.
    fn step(&mut self, node: &[u8], at: u64) -> Result<Step> {
        let (level, entries) = header(node, at, self.inode, self.level)?;
        let f = Fields::new("extent tree", node, at);
        let found = self.find(&f, level, entries)?;
        self.level = level.checked_sub(1);
        Ok(found)
    }

    fn find(&mut self, f: &Fields<'_>, level: u16, entries: usize) -> Result<Step, ParseError> {
        let first = |i: usize| f.u32_le(12 * i).map(u64::from);
        // Entries ascend; the first one, 1, comes after the header.
        let (mut low, mut high) = (1, entries + 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if first(middle)? <= self.block {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low <= entries {
            self.next = first(low)?.min(self.next);
        }
        let Some(i) = low.checked_sub(1).filter(|i| *i > 0) else {
            return Ok(Step::Found(hole(self.block, self.next)));
        };
        let entry = 12 * i;
        if level == 0 {
            return Ok(Step::Found(self.leaf(f, entry, first(i)?)?));
        }
        Ok(Step::Below(u64::from(f.u32_le(entry + 4)?) | u64::from(f.u16_le(entry + 8)?) << 32))
    }

    /// What the extent at `entry`, which begins at the file's block `first`, has at the block.
    fn leaf(&self, f: &Fields<'_>, entry: usize, first: u64) -> Result<Mapped, ParseError> {
        let mut raw = [0; 12];
        raw.copy_from_slice(f.bytes(entry, 12)?);
        let (_, whole) = extent(&raw, self.written);
        let skip = self.block - first;
        let Some(count) = whole.count.checked_sub(skip).filter(|count| *count > 0) else {
            return Ok(hole(self.block, self.next));
        };
        Ok(Mapped { block: whole.block.map(|start| start + skip), count })
    }
}

/// Checks a node's header; its level (0 for a leaf) and how many entries it has.
fn header(node: &[u8], at: u64, inode: u32, expected_level: Option<u16>) -> Result<(u16, usize)> {
    let f = Fields::new("extent tree", node, at);
    let rule = |offset: usize, what: &str, expected: String, found: u16| {
        Err(ParseError::corrupt(
            f.offset(offset),
            format!("{what} of the extent tree of inode {inode}"),
            expected,
            found,
        )
        .into())
    };
    let magic = f.u16_le(0)?;
    if magic != EXTENT_MAGIC {
        return rule(0, "magic number", EXTENT_MAGIC.to_string(), magic);
    }
    let entries = f.u16_le(2)?;
    let room = node.len() / 12 - 1;
    if usize::from(entries) > room {
        return rule(2, "number of entries", format!("at most {room}"), entries);
    }
    let level = f.u16_le(6)?;
    match expected_level {
        Some(expected) if level != expected => rule(6, "depth", expected.to_string(), level),
        None if level > MAX_DEPTH => rule(6, "depth", format!("at most {MAX_DEPTH}"), level),
        _ => Ok((level, usize::from(entries))),
    }
}

/// The file's block that an extent begins at, and what the file has there: `ee_block`, `ee_len`, `ee_start_hi` and
/// `ee_start_lo`. One that was never written has a block if `written` is to be taken for granted.
pub(super) fn extent(raw: &[u8; 12], written: bool) -> (u64, Mapped) {
    let [b0, b1, b2, b3, l0, l1, h0, h1, s0, s1, s2, s3] = *raw;
    let len = u16::from_le_bytes([l0, l1]);
    let (len, written) = if len > UNWRITTEN { (len - UNWRITTEN, written) } else { (len, true) };
    let start = u64::from_le_bytes([s0, s1, s2, s3, h0, h1, 0, 0]);
    (u32::from_le_bytes([b0, b1, b2, b3]).into(), Mapped { block: written.then_some(start), count: len.into() })
}

fn hole(block: u64, next: u64) -> Mapped {
    Mapped { block: None, count: next.saturating_sub(block).max(1) }
}

/// The number at `slot` of a table and those that go on from it: following blocks, or more holes.
fn segment(table: &[u8], slot: usize) -> Mapped {
    let mut words = table.as_chunks::<4>().0.iter().skip(slot).map(|raw| u32::from_le_bytes(*raw));
    let Some(first) = words.next() else { return Mapped { block: None, count: 1 } };
    let count = (1..)
        .zip(words)
        .take_while(|(i, word)| if first == 0 { *word == 0 } else { first.checked_add(*i) == Some(*word) })
        .count();
    Mapped { block: (first != 0).then_some(u64::from(first)), count: 1 + count as u64 }
}
