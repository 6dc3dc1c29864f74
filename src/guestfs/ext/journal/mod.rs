//! The journal of a file system that was not cleanly unmounted, replayed in memory: which block of the journal stands
//! in for which block of the volume (<https://docs.kernel.org/filesystems/ext4/journal.html>; numbers big-endian).
//!
//! Where checksums don't fit, this does as the kernel's `fs/jbd2/recovery.c`: what was never committed is left out, and
//! a journal that was corrupt later is refused, because replaying some of it would mix old and new.

mod fast;
mod header;
mod scan;
mod sums;

pub(super) use fast::{Area, Change};

use super::Ext;
use super::inode::Inode;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use header::JournalHeader;
use scan::{Scan, Transaction};
use std::collections::HashMap;

/// `h_magic` of the superblock and of each block that is no data.
const MAGIC: u32 = 0xC03B_3998;

/// Where a newer copy of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// The block of the volume in the journal's file.
    pub(super) block: u64,
    /// The first four bytes are to be the magic number.
    pub(super) escaped: bool,
}

/// What the journal holds.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) copies: HashMap<u64, Copy>,
    /// Transactions found.
    pub(super) transactions: u32,
    /// The transaction that was not whole, though its commit block was there (`async_commit`): the end of the replay.
    pub(super) torn: Option<u32>,
    /// Changes since the last transaction, noted in the short form (`fast_commit`).
    pub(super) area: Area,
}

impl Ext {
    /// Reads the journal in the inode `journal`.
    pub(super) fn replay(&self, journal: &Inode) -> Result<Replay> {
        let block = self.journal_block(journal, 0)?;
        let header = JournalHeader::parse(&self.raw_block(block)?, self.byte_of(block), self.sb.block_size)?;
        if header.start == 0 {
            return Ok(Replay::default());
        }
        let Scan { transactions, revoked, torn, next } = Scan::run(self, journal, &header)?;
        let mut replay =
            Replay { torn, transactions: u32::try_from(transactions.len()).unwrap_or(u32::MAX), ..Replay::default() };
        for transaction in &transactions {
            self.take(&header, transaction, &revoked, &mut replay.copies)?;
        }
        replay.area = self.fast_commits(journal, &header, next)?;
        Ok(replay)
    }

    /// Takes the blocks of a transaction. One that this or a later transaction revoked is not replayed.
    fn take(
        &self,
        header: &JournalHeader,
        transaction: &Transaction,
        revoked: &HashMap<u64, u32>,
        copies: &mut HashMap<u64, Copy>,
    ) -> Result<()> {
        let sequence = transaction.sequence;
        for tag in &transaction.tags {
            // Sequence numbers go around.
            if revoked.get(&tag.block).is_some_and(|by| by.wrapping_sub(sequence).cast_signed() >= 0) {
                continue;
            }
            if let Some(seed) = header.seed {
                let found = sums::of_data(seed, sequence, &self.raw_block(tag.copy.block)?) & tag.sum_mask;
                if found != tag.sum {
                    let what = format!("checksum of block {} in transaction {sequence} of the journal", tag.block);
                    let (expected, found) = (format!("{found:#x}"), format!("{:#x}", tag.sum));
                    return Err(ParseError::corrupt(self.byte_of(tag.copy.block), what, expected, found).into());
                }
            }
            copies.insert(tag.block, tag.copy);
        }
        Ok(())
    }

    /// The block of the volume that is the journal's block `number`.
    fn journal_block(&self, journal: &Inode, number: u32) -> Result<u64> {
        self.map(journal, u64::from(number))?.block.ok_or_else(|| {
            let what = format!("block {number} of the journal");
            Error::from(ParseError::corrupt(0, what, "a block of the volume", "a hole"))
        })
    }
}
