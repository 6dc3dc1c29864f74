//! The journal of a file system that was not cleanly unmounted, replayed in memory: which block of the journal stands
//! in for which block of the volume (<https://docs.kernel.org/filesystems/ext4/journal.html>; numbers big-endian).

use super::inode::Inode;
use super::{Ext, damage};
use crate::guestfs::Result;
use crate::image::Fault;
use crate::image::fields::Fields;
use std::collections::{HashMap, HashSet};

const MAGIC: u32 = 0xC03B_3998;
/// `h_blocktype`.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Bits of `s_feature_incompat`.
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// `INCOMPAT_REVOKE`, `ASYNC_COMMIT` and those above.
const INCOMPAT_KNOWN: u32 = 0x1 | 0x4 | INCOMPAT_64BIT | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3 | INCOMPAT_FAST_COMMIT;
/// Bits of a tag's flags: the block began with the magic number, which was blanked; the UUID is left out; the last.
const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
/// Blocks of a journal that are looked at: 16 GiB with blocks of 4 KiB, sixteen times what mke2fs makes at most.
const MAX_BLOCKS: u32 = 4 << 20;

/// Where a newer copy of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// The block of the volume in the journal's file.
    pub(super) block: u64,
    /// The first four bytes are to be the magic number.
    pub(super) escaped: bool,
}

/// What the journal says.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) copies: HashMap<u64, Copy>,
    /// Transactions found.
    pub(super) transactions: u32,
    /// Changes that were noted in the short form (`fast_commit`), which is not read here.
    pub(super) has_fast_commits: bool,
}

/// The journal's superblock.
struct Header {
    first: u32,
    blocks: u32,
    sequence: u32,
    start: u32,
    incompat: u32,
    fast_commit_blocks: u32,
}

struct Tag {
    block: u64,
    flags: u32,
}

impl Ext {
    /// Reads the journal in the inode `journal`.
    pub(super) fn replay(&self, journal: &Inode) -> Result<Replay> {
        let Some(first) = self.journal_block(journal, 0)? else {
            return Err(damage(Fault::corrupt(0, "journal", "a superblock in its first block", "a hole")));
        };
        let header = self.journal_header(&self.raw_block(first)?, self.byte_of(first))?;
        let mut replay = Replay::default();
        if header.start == 0 {
            return Ok(replay);
        }
        let last = header.blocks - header.fast_commit_blocks;
        if !(header.first..last).contains(&header.start) {
            let expected = format!("{} to {last}", header.first);
            return Err(damage(Fault::corrupt(
                self.byte_of(first) + 28,
                "start of the journal",
                expected,
                header.start,
            )));
        }
        replay.has_fast_commits = self.has_fast_commits(journal, &header)?;

        // One round at most: the journal is a ring.
        let mut walk = Walk { ext: self, journal, header: &header, last, at: header.start, left: last - header.first };
        let mut sequence = header.sequence;
        // A block revoked in a transaction is not replayed from this or an earlier one.
        while let Some(transaction) = walk.transaction(sequence)? {
            for block in &transaction.revoked {
                replay.copies.remove(block);
            }
            replay.copies.extend(transaction.copies);
            replay.transactions += 1;
            sequence = sequence.wrapping_add(1);
        }
        Ok(replay)
    }

    fn journal_block(&self, journal: &Inode, number: u32) -> Result<Option<u64>> {
        Ok(self.map(journal, u64::from(number))?.block)
    }

    fn journal_header(&self, bytes: &[u8], at: u64) -> Result<Header> {
        let f = Fields::new("journal superblock", bytes, at);
        let read = || -> Result<(u32, u32, Header), Fault> {
            Ok((
                f.u32_be(0)?,
                f.u32_be(12)?,
                Header {
                    blocks: f.u32_be(16)?,
                    first: f.u32_be(20)?,
                    sequence: f.u32_be(24)?,
                    start: f.u32_be(28)?,
                    incompat: f.u32_be(40)?,
                    fast_commit_blocks: 0,
                },
            ))
        };
        let (magic, block_size, mut header) = read().map_err(damage)?;
        let rule = |offset: usize, what: &str, expected: String, found: u32| {
            Err(damage(Fault::corrupt(f.offset(offset), what, expected, found)))
        };
        if magic != MAGIC {
            return rule(0, "magic number of the journal", MAGIC.to_string(), magic);
        }
        if block_size != self.sb.block_size {
            return rule(12, "block size of the journal", self.sb.block_size.to_string(), block_size);
        }
        if header.incompat & !INCOMPAT_KNOWN != 0 {
            return rule(40, "features of the journal", format!("only bits of {INCOMPAT_KNOWN:#x}"), header.incompat);
        }
        if header.incompat & INCOMPAT_FAST_COMMIT != 0 {
            // 0 stands for 256 blocks.
            header.fast_commit_blocks = Some(f.u32_be(84).map_err(damage)?).filter(|n| *n > 0).unwrap_or(256);
        }
        if header.blocks > MAX_BLOCKS || header.first == 0 || header.fast_commit_blocks >= header.blocks {
            return rule(16, "blocks of the journal", format!("2 to {MAX_BLOCKS}"), header.blocks);
        }
        Ok(header)
    }

    /// Whether the area of short notes begins with one (tag `EXT4_FC_TAG_HEAD`, 9).
    fn has_fast_commits(&self, journal: &Inode, header: &Header) -> Result<bool> {
        if header.fast_commit_blocks == 0 {
            return Ok(false);
        }
        let Some(block) = self.journal_block(journal, header.blocks - header.fast_commit_blocks)? else {
            return Ok(false);
        };
        Ok(self.raw_block(block)?.starts_with(&[9, 0]))
    }
}

/// A transaction that was committed.
#[derive(Default)]
struct Transaction {
    copies: HashMap<u64, Copy>,
    revoked: HashSet<u64>,
}

/// A walk around the ring.
struct Walk<'a> {
    ext: &'a Ext,
    journal: &'a Inode,
    header: &'a Header,
    /// The block after the last one of the ring.
    last: u32,
    at: u32,
    left: u32,
}

impl Walk<'_> {
    /// The block at the walk's place on the volume; none when the ring is through.
    fn next(&mut self) -> Result<Option<u64>> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = self.ext.journal_block(self.journal, self.at)?;
        self.left -= 1;
        self.at = if self.at + 1 == self.last { self.header.first } else { self.at + 1 };
        Ok(block)
    }

    /// The transaction with this number, if it is whole; what comes after the last whole one never happened.
    fn transaction(&mut self, sequence: u32) -> Result<Option<Transaction>> {
        let mut transaction = Transaction::default();
        while let Some(block) = self.next()? {
            let bytes = self.ext.raw_block(block)?;
            let f = Fields::new("journal block", &bytes, self.ext.byte_of(block));
            if f.u32_be(0).map_err(damage)? != MAGIC || f.u32_be(8).map_err(damage)? != sequence {
                return Ok(None);
            }
            match f.u32_be(4).map_err(damage)? {
                DESCRIPTOR => {
                    for tag in self.tags(&f).map_err(damage)? {
                        let Some(copy) = self.next()? else { return Ok(None) };
                        let escaped = tag.flags & TAG_ESCAPED != 0;
                        transaction.copies.insert(tag.block, Copy { block: copy, escaped });
                    }
                }
                REVOKE => self.revoked(&f, &mut transaction.revoked).map_err(damage)?,
                COMMIT => {
                    let Transaction { copies, revoked } = &mut transaction;
                    copies.retain(|block, _| !revoked.contains(block));
                    return Ok(Some(transaction));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn wide(&self) -> bool {
        self.header.incompat & INCOMPAT_64BIT != 0
    }

    fn tags(&self, f: &Fields<'_>) -> Result<Vec<Tag>, Fault> {
        let v3 = self.header.incompat & INCOMPAT_CSUM_V3 != 0;
        let v2 = self.header.incompat & INCOMPAT_CSUM_V2 != 0;
        // Of version 2 each is two bytes longer than its fields, as in the kernel.
        let size = if v3 { 16 } else { 8 + if self.wide() { 4 } else { 0 } + if v2 { 2 } else { 0 } };
        // With checksums the block ends with one.
        let end = f.len() - if v2 || v3 { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = 12;
        while at + size <= end {
            let flags = if v3 { f.u32_be(at + 4)? } else { u32::from(f.u16_be(at + 6)?) };
            let high = if self.wide() { f.u32_be(at + 8)? } else { 0 };
            tags.push(Tag { block: u64::from(f.u32_be(at)?) | u64::from(high) << 32, flags });
            at += size + if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        Ok(tags)
    }

    fn revoked(&self, f: &Fields<'_>, all: &mut HashSet<u64>) -> Result<(), Fault> {
        let end = usize::try_from(f.u32_be(12)?).unwrap_or(usize::MAX).min(f.len());
        let size = if self.wide() { 8 } else { 4 };
        let mut at = 16;
        while at + size <= end {
            all.insert(if self.wide() { f.u64_be(at)? } else { u64::from(f.u32_be(at)?) });
            at += size;
        }
        Ok(())
    }
}
