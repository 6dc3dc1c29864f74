//! A disk in memory, for tests.

use crate::disk::{self, Allocation, Disk, slice::check_range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Bytes of the ranges that [`Disk::allocation`] examines.
const STEP: usize = 512;

/// A writable disk in memory. Ranges of 512 zeros are holes.
pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    /// The error that every read and flush fails with from now on, by its errno.
    failing: Mutex<Option<i32>>,
    flushes: AtomicUsize,
    closes: AtomicUsize,
}

impl MemoryDisk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let (flushes, closes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { bytes: Mutex::new(bytes), failing: Mutex::new(None), flushes, closes }
    }

    /// 1 KiB of zeros, 2 KiB of data, 3 KiB of zeros, 2 KiB of data.
    pub(crate) fn striped() -> Self {
        Self::new([(0, 1), (1, 2), (0, 3), (2, 2)].iter().flat_map(|(byte, len)| vec![*byte; len << 10]).collect())
    }

    pub(crate) fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
    }

    /// Makes reads and flushes fail with this errno, or work again.
    pub(crate) fn fail(&self, errno: Option<i32>) {
        *self.failing.lock().unwrap() = errno;
    }

    /// How often it was flushed, and how often closed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.flushes.load(Ordering::SeqCst), self.closes.load(Ordering::SeqCst))
    }

    fn check(&self) -> disk::Result<()> {
        let Some(errno) = *self.failing.lock().unwrap() else { return Ok(()) };
        let source = std::io::Error::from_raw_os_error(errno);
        Err(crate::image::Error::io("/memory".as_ref(), "reach", source).into())
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn writable(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> disk::Result<()> {
        self.check()?;
        check_range(offset, buf.len() as u64, self.size())?;
        buf.copy_from_slice(&self.bytes()[usize::try_from(offset).unwrap()..][..buf.len()]);
        Ok(())
    }

    fn allocation(&self, offset: u64) -> disk::Result<Allocation> {
        self.check()?;
        let at = usize::try_from(offset).unwrap();
        let bytes = self.bytes();
        let end = (at / STEP * STEP + STEP).min(bytes.len());
        let len = (end - at) as u64;
        Ok(if bytes[at / STEP * STEP..end].iter().all(|byte| *byte == 0) {
            Allocation::Zero(len)
        } else {
            Allocation::Data(len)
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> disk::Result<()> {
        check_range(offset, buf.len() as u64, self.size())?;
        self.bytes()[usize::try_from(offset).unwrap()..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> disk::Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }

    fn flush(&self) -> disk::Result<()> {
        self.check()?;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn close(&self) -> disk::Result<()> {
        self.flush()?;
        self.closes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
