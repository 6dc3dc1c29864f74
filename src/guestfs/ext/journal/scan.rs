//! Finding the transactions that were committed: descriptors with tags, the data blocks that those stand for, revoke
//! blocks, and a commit block at the end. Where checksums don't fit, the rules are those of `do_one_pass` in the
//! kernel's `fs/jbd2/recovery.c`.

use super::header::JournalHeader;
use super::{Copy, MAGIC, sums};
use crate::guestfs::ext::Ext;
use crate::guestfs::ext::inode::Inode;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::collections::HashMap;

/// `h_blocktype`.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Bits of a tag's flags: the block began with the magic number, which was blanked; the UUID is left out; the last.
const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
/// Of a commit block: `h_chksum_type` and `h_chksum_size` with checksums of version 1, `h_chksum`, `h_commit_sec`, and
/// the end of its fields.
const CRC32: (u8, u8) = (1, 4);
const COMMIT_SUM: usize = 16;
const COMMIT_TIME: usize = 48;
const COMMIT_END: usize = 64;
/// Revoked blocks that are retained in memory at most: a ring of 1 GiB that is half full of them.
const MAX_REVOKED: usize = 8 << 20;

/// A data block as its tag describes it.
pub(super) struct Tag {
    /// The block of the volume that is newer.
    pub(super) block: u64,
    pub(super) copy: Copy,
    /// The checksum, of which there are 16 or 32 bits.
    pub(super) sum: u32,
    pub(super) sum_mask: u32,
}

/// A transaction that was committed.
pub(super) struct Transaction {
    pub(super) sequence: u32,
    pub(super) tags: Vec<Tag>,
}

/// All that was committed.
pub(super) struct Scan {
    pub(super) transactions: Vec<Transaction>,
    /// The newest transaction that revoked a block.
    pub(super) revoked: HashMap<u64, u32>,
    /// The transaction with a commit block that was not whole, with `async_commit`.
    pub(super) torn: Option<u32>,
    /// The number of the transaction after the last whole one.
    pub(super) next: u32,
}

/// A walk around the ring.
struct Walk<'a> {
    ext: &'a Ext,
    journal: &'a Inode,
    header: &'a JournalHeader,
    at: u32,
    left: u32,
    /// The transaction that is being read, with its revoked blocks and its checksum of version 1.
    open: Transaction,
    revoked: Vec<u64>,
    sum: u32,
    /// Where a block's checksum did not fit: the block is from an earlier use of the ring, or corrupt.
    suspect: Option<u64>,
    /// `h_commit_sec` of the last whole transaction.
    time: u64,
}

/// What a commit block means.
enum Verdict {
    Whole,
    /// Not whole, as the guest stopped while it was written.
    Torn,
    /// From an earlier use of the ring.
    Stale,
}

impl Scan {
    pub(super) fn run(ext: &Ext, journal: &Inode, header: &JournalHeader) -> Result<Self> {
        let mut scan = Self { transactions: Vec::new(), revoked: HashMap::new(), torn: None, next: header.sequence };
        // One round at most: the journal is a ring.
        let mut walk = Walk {
            ext,
            journal,
            header,
            at: header.start,
            left: header.last - header.first,
            open: Transaction { sequence: header.sequence, tags: Vec::new() },
            revoked: Vec::new(),
            sum: !0,
            suspect: None,
            time: 0,
        };
        while let Some(verdict) = walk.transaction()? {
            let sequence = walk.open.sequence;
            let next = Transaction { sequence: sequence.wrapping_add(1), tags: Vec::new() };
            let done = std::mem::replace(&mut walk.open, next);
            let revoked = std::mem::take(&mut walk.revoked);
            if let Some(torn) = scan.torn.filter(|_| header.sums_v1) {
                // With one after it, it was not the last one, which alone can have been interrupted.
                let (expected, found) = ("the last transaction", format!("transaction {sequence} after it"));
                let what = format!("transaction {torn} of the journal, whose checksum does not fit");
                return Err(ParseError::corrupt(walk.offset()?, what, expected, found).into());
            }
            match verdict {
                Verdict::Stale => break,
                Verdict::Torn => scan.torn = scan.torn.or(Some(sequence)),
                Verdict::Whole if scan.torn.is_some() => {}
                Verdict::Whole => {
                    scan.revoked.extend(revoked.into_iter().map(|block| (block, sequence)));
                    if scan.revoked.len() > MAX_REVOKED {
                        let expected = format!("at most {MAX_REVOKED}");
                        return Err(ParseError::corrupt(walk.offset()?, "revoked blocks", expected, "more").into());
                    }
                    scan.transactions.push(done);
                    scan.next = sequence.wrapping_add(1);
                }
            }
        }
        Ok(scan)
    }
}

impl Walk<'_> {
    /// The next block of the ring on the volume; none when the ring is through.
    fn next(&mut self) -> Result<Option<u64>> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = self.ext.journal_block(self.journal, self.at)?;
        self.left -= 1;
        self.at = if self.at + 1 == self.header.last { self.header.first } else { self.at + 1 };
        Ok(Some(block))
    }

    /// In bytes of the volume, for errors.
    fn offset(&self) -> Result<u64> {
        Ok(self.ext.byte_of(self.ext.journal_block(self.journal, self.at)?))
    }

    /// Reads up to the next commit block; none where there is no more of the transaction, which then was never
    /// committed.
    fn transaction(&mut self) -> Result<Option<Verdict>> {
        while let Some(block) = self.next()? {
            let bytes = self.ext.raw_block(block)?;
            let f = Fields::new("journal block", &bytes, self.ext.byte_of(block));
            if f.u32_be(0)? != MAGIC || f.u32_be(8)? != self.open.sequence {
                return Ok(None);
            }
            match f.u32_be(4)? {
                DESCRIPTOR => {
                    self.check(&f)?;
                    if !self.descriptor(&f)? {
                        return Ok(None);
                    }
                }
                REVOKE => {
                    self.check(&f)?;
                    // A stale one may hold anything.
                    if self.suspect.is_none() {
                        self.revoke(&f)?;
                    }
                }
                COMMIT => return self.commit(&f).map(Some),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Checks a block against the checksum at its end.
    fn check(&mut self, f: &Fields<'_>) -> Result<()> {
        let Some(seed) = self.header.seed else { return Ok(()) };
        let end = self.header.end(f.len());
        let bytes = f.bytes(0, f.len())?;
        if sums::of_block(seed, bytes, end, f.len()) != f.u32_be(end)? {
            self.suspect.get_or_insert(f.offset(end));
        }
        Ok(())
    }

    /// Takes the tags of a descriptor and steps over their data blocks; whether the ring has them all.
    fn descriptor(&mut self, f: &Fields<'_>) -> Result<bool> {
        if self.header.sums_v1 {
            self.sum = sums::crc32_be(self.sum, f.bytes(0, f.len())?);
        }
        let (size, end) = (self.header.tag_size(), self.header.end(f.len()));
        let mut at = 12;
        while at + size <= end {
            let (mut tag, flags) = self.tag(f, at)?;
            let Some(block) = self.next()? else { return Ok(false) };
            tag.copy.block = block;
            if self.header.sums_v1 {
                self.sum = sums::crc32_be(self.sum, &self.ext.raw_block(block)?);
            }
            self.open.tags.push(tag);
            at += size + if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        Ok(true)
    }

    /// A tag and its flags.
    fn tag(&self, f: &Fields<'_>, at: usize) -> Result<(Tag, u32), ParseError> {
        let (flags, sum, sum_mask) = if self.header.sums_v3 {
            (f.u32_be(at + 4)?, f.u32_be(at + 12)?, u32::MAX)
        } else {
            (f.u16_be(at + 6)?.into(), f.u16_be(at + 4)?.into(), 0xFFFF)
        };
        let high = if self.header.wide { f.u32_be(at + 8)? } else { 0 };
        let block = u64::from(f.u32_be(at)?) | u64::from(high) << 32;
        Ok((Tag { block, copy: Copy { block: 0, escaped: flags & TAG_ESCAPED != 0 }, sum, sum_mask }, flags))
    }

    fn revoke(&mut self, f: &Fields<'_>) -> Result<(), ParseError> {
        let (used, end) = (f.u32_be(12)?, self.header.end(f.len()));
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        if used > end {
            return Err(ParseError::corrupt(
                f.offset(12),
                "bytes of revoked blocks",
                format_args!("at most {end}"),
                used,
            ));
        }
        let size = if self.header.wide { 8 } else { 4 };
        let mut at = 16;
        while at + size <= used {
            self.revoked.push(if self.header.wide { f.u64_be(at)? } else { f.u32_be(at)?.into() });
            at += size;
        }
        if self.revoked.len() > MAX_REVOKED {
            return Err(ParseError::corrupt(
                f.offset(12),
                "revoked blocks",
                format_args!("at most {MAX_REVOKED}"),
                "more",
            ));
        }
        Ok(())
    }

    fn commit(&mut self, f: &Fields<'_>) -> Result<Verdict> {
        let time = f.u64_be(COMMIT_TIME)?;
        let sequence = self.open.sequence;
        let bad = |at: u64, what: &str| {
            let what = format!("checksum {what} transaction {sequence} of the journal");
            Error::from(ParseError::corrupt(at, what, "one that fits", "one that does not"))
        };
        // Commit blocks of an earlier use of the ring are older than the one before.
        let stale = time < self.time;
        if let Some(at) = self.suspect {
            return if stale { Ok(Verdict::Stale) } else { Err(bad(at, "of a block in")) };
        }
        let fits = self.commit_fits(f)?;
        if !fits && stale {
            return Ok(Verdict::Stale);
        }
        if !fits && !self.header.async_commit {
            return Err(bad(f.offset(COMMIT_SUM), "at the end of"));
        }
        self.time = time;
        Ok(if fits { Verdict::Whole } else { Verdict::Torn })
    }

    /// Whether the checksum in a commit block fits: of the transaction in version 1, else of the block itself.
    fn commit_fits(&mut self, f: &Fields<'_>) -> Result<bool, ParseError> {
        let stated = f.u32_be(COMMIT_SUM)?;
        if self.header.sums_v1 {
            let kind = (f.u8(12)?, f.u8(13)?);
            let found = std::mem::replace(&mut self.sum, !0);
            return Ok((kind == CRC32 && stated == found) || (kind == (0, 0) && stated == 0));
        }
        let Some(seed) = self.header.seed else { return Ok(true) };
        let bytes = f.bytes(0, f.len())?;
        // What follows the fields may be of an earlier use, where the disk writes less than a block at once.
        Ok([f.len(), COMMIT_END].into_iter().any(|end| sums::of_block(seed, bytes, COMMIT_SUM, end) == stated))
    }
}
