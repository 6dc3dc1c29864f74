//! What the next flush has to do, and whether the file is flagged as in use.

use crate::image::Result;
use crate::storage;
use crate::storage::Storage;
use crate::storage::meta::MetaCache;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The state of a file that is written.
#[derive(Debug, Default)]
pub(in crate::image) struct State {
    /// Something was written since the last flush.
    written: AtomicBool,
    /// The file says, on the disk, that it is in use or changed.
    dirty: Mutex<bool>,
}

impl State {
    /// Before something is written. The first time, `record` records in the file, durably, that it changes.
    pub(in crate::image) fn mark_dirty(&self, record: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !*dirty {
            record()?;
            *dirty = true;
        }
        self.written.store(true, Ordering::Release);
        Ok(())
    }

    /// Flushes if something was written.
    pub(in crate::image) fn flush(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.written.load(Ordering::Acquire) {
            flush()?;
            self.written.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Calls `clear` if the file says that it is in use.
    pub(in crate::image) fn close(&self, clear: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if *dirty {
            clear()?;
            *dirty = false;
        }
        Ok(())
    }
}

/// Brings data to the disk, and then metadata, each on the disk before the next: `metadata` is in an order in which
/// nothing points to what may not be there.
pub(in crate::image) fn sync_in_order(data: &dyn Storage, metadata: &[&MetaCache]) -> Result<()> {
    storage::sync(data)?;
    metadata.iter().try_for_each(|cache| cache.write_through())
}
