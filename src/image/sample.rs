//! The bytes of a file that decide its format.

use super::Result;
use crate::storage;
use std::path::PathBuf;

/// Bytes from the start and the end of a file that decide its format.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The first bytes, up to 68 KiB (an ISO image's descriptors begin at 32 KiB, VHDX's first header at 64 KiB).
    pub head: Vec<u8>,
    /// The last 512 bytes (VHD's footer, UDIF's trailer); fewer when the file is smaller.
    pub tail: Vec<u8>,
    /// The file's length in bytes.
    pub len: u64,
}

const HEAD: usize = 68 << 10;

impl Sample {
    /// Reads the sample of a file.
    ///
    /// # Errors
    /// [`Error::Io`](crate::storage::Error::Io).
    pub(crate) fn read(file: &dyn storage::Storage) -> Result<Self> {
        let mut sample = Self::read_head(file, HEAD)?;
        sample.tail = storage::read_up_to(file, sample.len.saturating_sub(512), 512)?;
        Ok(sample)
    }

    /// Reads no more than the first `bytes` of a file, and nothing of its end.
    pub(super) fn read_head(file: &dyn storage::Storage, bytes: usize) -> Result<Self> {
        let head = storage::read_up_to(file, 0, bytes)?;
        Ok(Self { path: file.path().to_path_buf(), head, tail: Vec::new(), len: storage::length(file)? })
    }

    /// Whether the file has `magic` at `offset` of its first bytes.
    #[must_use]
    pub(crate) fn starts_with(&self, offset: usize, magic: &[u8]) -> bool {
        self.head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    }
}
