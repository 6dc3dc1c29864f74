//! Makes writes durable, and tracks whether any are not.

use crate::disk::{self, Disk};
use crate::error_kind::message;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Flushes disks and counts their writes.
pub(super) struct Flusher {
    disks: Vec<Arc<dyn Disk>>,
    /// Writes so far.
    written: AtomicU64,
    /// Those of them that were followed by a flush.
    flushed: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// Why the last flush failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether writes may be lost, so that no later flush succeeds.
    pub(super) is_loss: bool,
}

impl Flusher {
    pub(super) fn new(disks: Vec<Arc<dyn Disk>>) -> Self {
        Self { disks, written: AtomicU64::new(0), flushed: AtomicU64::new(0), failure: Mutex::default() }
    }

    /// Counts a write that has reached the disk.
    pub(super) fn written(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns when all writes are durable.
    pub(super) fn flush(&self) -> disk::Result<()> {
        self.after(|disk| disk.flush())
    }

    /// As [`flush`](Self::flush), but does nothing when nothing was written since the last successful flush.
    pub(super) fn flush_written(&self) -> disk::Result<()> {
        let clean = self.flushed.load(Ordering::Acquire) == self.written.load(Ordering::Acquire);
        if clean { Ok(()) } else { self.flush() }
    }

    /// The last flush.
    pub(super) fn close(&self) -> disk::Result<()> {
        self.after(|disk| disk.close())
    }

    /// Why the last flush failed, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs a failure only when it is a new one, because it comes back every few seconds until something changes. The
    /// disk itself logs a loss.
    fn after(&self, flush: impl Fn(&dyn Disk) -> disk::Result<()>) -> disk::Result<()> {
        // A write that comes during the flush may not be part of it.
        let before = self.written.load(Ordering::Acquire);
        // Each of them, also after the failure of another.
        let done = self.disks.iter().map(|disk| flush(&**disk)).fold(Ok(()), Result::and);
        let failure = done.as_ref().err().map(|e| Failure { message: message(e), is_loss: e.is_loss() });
        let last = {
            let mut last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, failure.clone())
        };
        if let Some(failure) = failure.filter(|failure| !failure.is_loss && last.as_ref() != Some(failure)) {
            log::error!("What was written to the disk is not durable yet: {}", failure.message);
        }
        done?;
        self.flushed.fetch_max(before, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    #[test]
    fn flushes_what_was_written_until_it_works() {
        let disk = Arc::new(MemoryDisk::new(vec![0; 512]));
        let flusher = Flusher::new(vec![disk.clone()]);
        flusher.flush_written().unwrap();
        assert_eq!(disk.counts(), (0, 0));
        flusher.written();
        disk.fail(Some(5));
        let failed = flusher.flush_written().unwrap_err();
        assert_eq!(flusher.failure(), Some(Failure { message: message(&failed), is_loss: false }));
        disk.fail(None);
        flusher.flush_written().unwrap();
        assert_eq!(flusher.failure(), None);
        flusher.flush_written().unwrap();
        assert_eq!(disk.counts(), (1, 0));
        flusher.flush().unwrap();
        flusher.close().unwrap();
        assert_eq!(disk.counts(), (3, 1));
    }
}
