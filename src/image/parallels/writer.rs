//! The space of a writable file, and the order in which it is written.
//!
//! Data reaches the disk before the map that points to it. The header says "in use" from the first write on until the
//! image is closed.

use super::header::{FLAG_EMPTY, FLAGS_AT, IN_USE, IN_USE_AT};
use super::map::ParallelsMap;
use crate::image::Result;
use crate::image::alloc::{self, Space, State, UnitSet};
use crate::storage;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why there is no more space.
pub(super) const FULL: &str = "its map cannot point further into the file; convert it to another format";

/// What a writable file holds in addition to its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// Marked: the header says that the image is in use.
    state: State,
}

impl Writer {
    /// `positions` are those of all clusters, in order.
    pub(super) fn new(map: &ParallelsMap, positions: &[u64]) -> Self {
        let header = &map.header;
        let size = header.cluster;
        let start = header.data_offset.next_multiple_of(header.entry_unit());
        let base = positions.first().map_or(start, |first| start + first.saturating_sub(start) % size);
        let limit = (u64::from(u32::MAX) + 1) * header.entry_unit();
        let mut space = Space::new(base, size, UnitSet::default(), 0, (limit - 1).saturating_sub(base) / size + 1);
        if !positions.iter().all(|position| *position >= base && (position - base).is_multiple_of(size)) {
            // Clusters between the positions of others: no whole one is known to be free.
            let end = positions.last().map_or(base, |last| (last + size).max(base));
            space = Space::after(end, size, limit);
        }
        for position in positions {
            space.claim(&(*position..position + size));
        }
        Self { space: Mutex::new(space), state: State::default() }
    }

    pub(super) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark_dirty(&self, map: &ParallelsMap) -> Result<()> {
        self.state.mark_dirty(|| {
            let file = &**map.storage();
            storage::write_all(file, &IN_USE.to_le_bytes(), IN_USE_AT)?;
            storage::write_all(file, &(map.header.flags & !FLAG_EMPTY).to_le_bytes(), FLAGS_AT)?;
            storage::sync(file)
        })
    }

    /// The position of a cluster of zeros that the map is to point to.
    pub(super) fn zeros(&self, map: &ParallelsMap) -> Result<u64> {
        self.space().reserve_zeros(1, &**map.storage(), &map.file_len, FULL)
    }

    /// Makes the map point to a position.
    pub(super) fn set_position(&self, map: &ParallelsMap, cluster: u64, position: u64) -> Result<()> {
        map.set(cluster, map.raw(position).unwrap_or_default())?;
        self.space().commit(&(position..position + map.header.cluster));
        Ok(())
    }

    pub(super) fn flush(&self, map: &ParallelsMap) -> Result<()> {
        self.state.flush(|| {
            alloc::sync_in_order(&**map.storage(), &[&map.cache])?;
            self.space().flushed(&**map.storage());
            Ok(())
        })
    }

    /// Flushes, cuts what is free at the end of the file, and says that the image is not in use. Also for an image that
    /// a crash left like that.
    pub(super) fn close(&self, map: &ParallelsMap) -> Result<()> {
        self.flush(map)?;
        let file = &**map.storage();
        let mut space = self.space();
        if map.header.is_in_use() || map.file_len.load(Ordering::Acquire) > space.cut() {
            self.mark_dirty(map)?;
        }
        self.state.close(|| {
            alloc::cut(&mut space, file, &map.file_len)?;
            let closed = if map.header.is_in_use() { 0 } else { map.header.in_use };
            storage::write_all(file, &closed.to_le_bytes(), IN_USE_AT)?;
            storage::sync(file)
        })
    }

    pub(super) fn pending(&self, map: &ParallelsMap) -> usize {
        map.cache.pending() + self.space().pending()
    }
}
