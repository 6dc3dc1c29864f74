//! Writing headers. [MS-VHDX] section 2.2.2.1.

use super::header::{OFFSETS, VhdxHeader};
use crate::image::{Error, Result};
use crate::storage;
use crate::storage::File;
use uuid::Uuid;

/// The current header of a file that is written.
pub(super) struct HeaderWriter {
    file: File,
    header: VhdxHeader,
    /// Which of the two copies is the current header.
    slot: usize,
}

impl HeaderWriter {
    pub(super) fn new(file: File, header: VhdxHeader, slot: usize) -> Self {
        Self { file, header, slot }
    }

    /// Makes `change` to the header and writes it over the other copy. Does not wait for the disk.
    fn update(&mut self, change: impl FnOnce(&mut VhdxHeader)) -> Result<()> {
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
    pub(super) fn announce_data_write(&mut self) -> Result<()> {
        self.update(|header| {
            header.file_write = Uuid::new_v4();
            header.data_write = Uuid::new_v4();
        })?;
        storage::sync(&*self.file)
    }

    /// Records that the file changes, but not what the disk shows. On the disk when this returns.
    pub(super) fn announce_file_write(&mut self) -> Result<()> {
        self.update(|header| header.file_write = Uuid::new_v4())?;
        storage::sync(&*self.file)
    }

    /// Records that the log is empty. On the disk when this returns.
    pub(super) fn empty_log(&mut self) -> Result<()> {
        self.update(|header| header.log_guid = Uuid::nil())?;
        storage::sync(&*self.file)
    }
}
