//! Allocating, discarding and flushing.
//!
//! Data reaches the disk before the map that points to it. The header says "in use" from the first write on until the image is closed.

use super::Parallels;
use super::header::{FLAG_EMPTY, FLAGS_AT, IN_USE, IN_USE_AT};
use super::map::Map;
use super::part::{Layer, Part};
use crate::image::alloc::{self, Grant, Space, State, UnitSet};
use crate::image::{Allocated, Extent, ImageMut, Result, Run};
use crate::storage;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why there is no more space.
const FULL: &str = "its map cannot point further into the file; convert it to another format";

/// What a writable file keeps beside its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// Marked: the header says that the image is in use.
    state: State,
}

impl Writer {
    /// `places` are those of all clusters, in order.
    pub(super) fn new(map: &Map, places: &[u64]) -> Self {
        let header = &map.header;
        let size = header.cluster;
        let start = header.data_offset.next_multiple_of(header.entry_unit());
        let base = places.first().map_or(start, |first| start + first.saturating_sub(start) % size);
        let limit = (u64::from(u32::MAX) + 1) * header.entry_unit();
        let mut space = Space::new(base, size, UnitSet::default(), 0, (limit - 1).saturating_sub(base) / size + 1);
        if !places.iter().all(|place| *place >= base && (place - base).is_multiple_of(size)) {
            // Clusters between the places of others: no whole one is known to be free.
            let end = places.last().map_or(base, |last| (last + size).max(base));
            space = Space::after(end, size, limit);
        }
        for place in places {
            space.claim(&(*place..place + size));
        }
        Self { space: Mutex::new(space), state: State::default() }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_dirty(&self, map: &Map) -> Result<()> {
        self.state.mark_dirty(|| {
            let file = &**map.storage();
            storage::write_all(file, &IN_USE.to_le_bytes(), IN_USE_AT)?;
            storage::write_all(file, &(map.header.flags & !FLAG_EMPTY).to_le_bytes(), FLAGS_AT)?;
            storage::sync(file)
        })
    }

    /// The place of a cluster of zeros that the map is to point to.
    pub(super) fn zeros(&self, map: &Map) -> Result<u64> {
        self.space().reserve_zeros(1, &**map.storage(), &map.file_len, FULL)
    }

    /// Makes the map point to a place.
    fn set_place(&self, map: &Map, cluster: u64, place: u64) -> Result<()> {
        map.set(cluster, map.raw(place).unwrap_or_default())?;
        self.space().commit(&(place..place + map.header.cluster));
        Ok(())
    }

    fn flush(&self, map: &Map) -> Result<()> {
        self.state.flush(|| {
            alloc::sync_in_order(&**map.storage(), &[&map.cache])?;
            self.space().flushed(&**map.storage());
            Ok(())
        })
    }

    /// Flushes, cuts what is free at the end of the file, and says that the image is not in use. Also for an image that
    /// a crash left like that.
    fn close(&self, map: &Map) -> Result<()> {
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

    fn pending(&self, map: &Map) -> usize {
        map.cache.pending() + self.space().pending()
    }
}

/// The clusters of a range of whole units; offsets are relative to the part.
fn clusters(map: &Map, offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / map.header.cluster..offset.saturating_add(len).div_ceil(map.header.cluster)
}

impl Part {
    /// The map and the space of the top; none for a plain one.
    fn mapped(&self) -> Option<(&Map, &Writer)> {
        match (&self.top, &self.writer) {
            (Layer::Mapped(map), Some(writer)) => Some((map, writer)),
            _ => None,
        }
    }

    /// Makes a cluster of the top read as zeros although its parents have data there: the format has no mark for
    /// that, so zeros are stored.
    fn hide(&self, map: &Map, writer: &Writer, cluster: u64) -> Result<()> {
        let len = map.header.bytes_of_cluster(cluster);
        let mut at = cluster * map.header.cluster;
        let end = at + len;
        while at < end {
            let run = self.below_extent(at, end - at)?;
            if run.extent != Extent::Absent {
                let place = writer.zeros(map)?;
                return writer.set_place(map, cluster, place);
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, files: &[crate::storage::File], offset: u64, len: u64) -> Result<()> {
        let Some((map, writer)) = self.mapped() else {
            let Layer::Plain(file) = self.top else { return Ok(()) };
            return storage::zero(&*files[file], offset, len);
        };
        for cluster in clusters(map, offset, len) {
            match map.place(cluster)? {
                Some(place) if self.below.is_empty() => {
                    map.set(cluster, 0)?;
                    writer.space().leave(&(place..place + map.header.cluster));
                }
                Some(place) => storage::zero(&**map.storage(), place, map.header.bytes_of_cluster(cluster))?,
                None => self.hide(map, writer, cluster)?,
            }
        }
        Ok(())
    }

    fn commit(&self, offset: u64, run: Run) -> Result<()> {
        let Some((map, writer)) = self.mapped() else { return Ok(()) };
        for (index, cluster) in (0..).zip(clusters(map, offset, run.len)) {
            match run.extent {
                Extent::Stored { offset, .. } => {
                    writer.set_place(map, cluster, offset + index * map.header.cluster)?;
                }
                _ => self.hide(map, writer, cluster)?,
            }
        }
        Ok(())
    }
}

impl Parallels {
    /// Calls `each` with the parts that a range touches: the part, the offset in it, how many bytes.
    fn for_parts(&self, offset: u64, len: u64, each: &mut dyn FnMut(&Part, u64, u64) -> Result<()>) -> Result<()> {
        let end = offset.saturating_add(len);
        for part in self.parts.iter().filter(|part| part.start < end && part.end > offset) {
            let from = part.start.max(offset);
            each(part, from - part.start, part.end.min(end) - from)?;
        }
        Ok(())
    }

    fn for_writers(&self, each: &mut dyn FnMut(&Map, &Writer) -> Result<()>) -> Result<()> {
        self.parts.iter().filter_map(Part::mapped).try_for_each(|(map, writer)| each(map, writer))
    }

    fn sync_plain(&self) -> Result<()> {
        for part in &self.parts {
            if let Layer::Plain(file) = part.top {
                storage::sync(&*self.files[file])?;
            }
        }
        Ok(())
    }
}

impl ImageMut for Parallels {
    fn unit(&self) -> u64 {
        self.unit.unwrap_or(512)
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        let part = self.part(offset)?;
        part.top_extent(offset - part.start, len.min(part.end - offset))
    }

    fn mark_dirty(&self) -> Result<()> {
        self.for_writers(&mut |map, writer| writer.mark_dirty(map))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut runs = Vec::new();
        let mut granted = true;
        let done = self.for_parts(offset, len, &mut |part, at, len| {
            let Some((map, writer)) = part.mapped() else {
                runs.push(part.top_extent(at, len)?);
                return Ok(());
            };
            let size = map.header.cluster;
            let count = alloc::units(at, len, size).count() as u64;
            match writer.space().reserve(count, &**map.storage(), &map.file_len, FULL)? {
                Grant::Places(places) => runs.extend(alloc::runs(map.file, &places, size, len)),
                Grant::FlushFirst => granted = false,
            }
            Ok(())
        });
        if done.is_err() || !granted {
            self.cancel(offset, &runs);
        }
        done.map(|()| if granted { Allocated::Runs(runs) } else { Allocated::FlushFirst })
    }

    fn cancel(&self, _offset: u64, runs: &[Run]) {
        for (map, writer) in self.parts.iter().filter_map(Part::mapped) {
            let own = alloc::places(runs).filter(|(file, _)| *file == map.file);
            own.for_each(|(_, places)| writer.space().cancel(places));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut start = offset;
        for run in runs {
            self.for_parts(start, run.len, &mut |part, at, len| part.commit(at, Run { len, ..*run }))?;
            start += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.for_parts(offset, len, &mut |part, at, len| part.discard(&self.files, at, len))
    }

    fn flush(&self) -> Result<()> {
        self.sync_plain()?;
        self.for_writers(&mut |map, writer| writer.flush(map))
    }

    fn close(&self) -> Result<()> {
        self.sync_plain()?;
        self.for_writers(&mut |map, writer| writer.close(map))
    }

    fn pending(&self) -> usize {
        self.parts.iter().filter_map(Part::mapped).map(|(map, writer)| writer.pending(map)).sum()
    }
}
