//! Writing headers, and metadata by way of the log. [MS-VHDX] sections 2.2.2.1 and 2.3.
//!
//! The log is only in use while [`Journal::write`] runs: a header without `LogGuid` is what VirtualBox, which cannot
//! replay a log, wants to see.

use super::header::{Header, OFFSETS};
use super::log::NewEntry;
use crate::image::{Error, Result};
use crate::storage;
use crate::storage::File;
use uuid::Uuid;

/// The current header and the log of a file that is written.
pub(super) struct Journal {
    file: File,
    header: Header,
    /// Which of the two places has the current header.
    slot: usize,
    /// The number of the last entry.
    sequence: u64,
    /// Which half of the log the next entry goes to. The other half may be the one that the header on the disk needs.
    half: u32,
    /// A write failed, so the header on the disk may be another than `header`.
    failed: bool,
}

impl Journal {
    pub(super) fn new(file: File, header: Header, slot: usize) -> Self {
        Self { file, header, slot, sequence: 0, half: 0, failed: false }
    }

    /// Makes `change` to the header and writes it to the place of the other one. Does not wait for the disk.
    fn update(&mut self, change: impl FnOnce(&mut Header)) -> Result<()> {
        let mut header = self.header.clone();
        header.sequence = header.sequence.checked_add(1).ok_or_else(|| Error::Refused {
            path: self.file.path().to_path_buf(),
            reason: "its header has the highest sequence number there is, so it cannot be changed any more".to_owned(),
        })?;
        change(&mut header);
        let slot = 1 - self.slot;
        storage::write_all(&*self.file, &header.bytes(), OFFSETS[slot])?;
        (self.header, self.slot) = (header, slot);
        Ok(())
    }

    /// Records that the file and the disk's data change. On the disk when this returns.
    pub(super) fn mark(&mut self) -> Result<()> {
        self.update(|header| {
            header.file_write = Uuid::new_v4();
            header.data_write = Uuid::new_v4();
        })?;
        storage::sync(&*self.file)
    }

    /// Records that the file changes, but not what the disk shows. On the disk when this returns.
    pub(super) fn mark_file(&mut self) -> Result<()> {
        self.update(|header| header.file_write = Uuid::new_v4())?;
        storage::sync(&*self.file)
    }

    /// Records that the log is empty. On the disk when this returns.
    pub(super) fn empty(&mut self) -> Result<()> {
        self.update(|header| header.log_guid = Uuid::nil())?;
        storage::sync(&*self.file)
    }

    /// How many pages one entry can have.
    pub(super) fn capacity(&self) -> usize {
        NewEntry::capacity(u64::from(self.header.log_length) / 2)
    }

    /// Brings all that was written to the file so far to the disk, then pages of metadata (4 KiB each, by their place
    /// in the file) to the log and, that being on the disk, to their places. At most [`capacity`](Self::capacity)
    /// pages. `file_length` is the file's length now, a multiple of 1 MiB.
    pub(super) fn write(&mut self, pages: &[(u64, Vec<u8>)], file_length: u64) -> Result<()> {
        if self.failed {
            self.empty()?;
        }
        self.failed = true;
        self.sequence += 1;
        let guid = Uuid::new_v4();
        let at = self.half * (self.header.log_length / 2);
        let entry = NewEntry { at, sequence: self.sequence, guid, file_length };
        let file = self.file.clone();
        storage::write_all(&*file, &entry.bytes(pages), self.header.log_offset + u64::from(at))?;
        storage::sync(&*file)?;
        self.update(|header| header.log_guid = guid)?;
        storage::sync(&*file)?;
        for (offset, page) in pages {
            storage::write_all(&*file, page, *offset)?;
        }
        storage::sync(&*file)?;
        // This header may be lost: the one before it then has the log replayed once more, which changes nothing. That
        // is why the next entry goes to the other half.
        self.update(|header| header.log_guid = Uuid::nil())?;
        self.half = 1 - self.half;
        self.failed = false;
        Ok(())
    }
}
