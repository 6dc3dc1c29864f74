//! Allocating, discarding and flushing.
//!
//! Data reaches the disk before the map that points to it. As VirtualBox does, new clusters go behind all others. The
//! header says "in use" from the first write on until the image is closed.

use super::Parallels;
use super::header::{FLAG_EMPTY, FLAGS_AT, Header, IN_USE, IN_USE_AT};
use super::map::Map;
use super::part::{Layer, Part};
use crate::image::{Error, Extent, ImageMut, Result, Run};
use crate::storage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holes between clusters that are used again, at most; a crash or another program may leave more, which stay.
const MAX_HOLES: usize = 1 << 16;

/// What a writable file keeps beside its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// Something was written since the last flush.
    written: AtomicBool,
    /// The header says that the image is in use.
    marked: Mutex<bool>,
}

/// Which places of the file are free.
struct Space {
    /// Behind all clusters: the next one goes here.
    end: u64,
    /// Free places before `end`. Their old bytes may still be there.
    free: Vec<u64>,
    /// Places that were discarded but that the map on the disk may still point to.
    leaving: Vec<u64>,
}

impl Writer {
    /// `places` are those of all clusters, in order.
    pub(super) fn new(header: &Header, places: &[u64]) -> Self {
        let mut end = header.data_offset.next_multiple_of(header.entry_unit());
        let mut free = Vec::new();
        for place in places {
            while end + header.cluster <= *place && free.len() < MAX_HOLES {
                free.push(end);
                end += header.cluster;
            }
            end = end.max(place + header.cluster);
        }
        free.reverse();
        let space = Mutex::new(Space { end, free, leaving: Vec::new() });
        Self { space, written: AtomicBool::new(false), marked: Mutex::new(false) }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, map: &Map) -> Result<()> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*marked {
            let file = map.storage();
            storage::write_all(&**file, &IN_USE.to_le_bytes(), IN_USE_AT)?;
            storage::write_all(&**file, &(map.header.flags & !FLAG_EMPTY).to_le_bytes(), FLAGS_AT)?;
            storage::sync(&**file)?;
            *marked = true;
        }
        self.written.store(true, Ordering::Release);
        Ok(())
    }

    /// A place that reads as zeros and that nothing points to.
    pub(super) fn allocate(&self, map: &Map) -> Result<u64> {
        // Held over clearing, so that the file grows in order.
        let mut space = self.space();
        let place = space.free.last().copied().unwrap_or(space.end);
        if map.raw(place).is_none() {
            let reason = "its map cannot point further into the file; convert it to another format".to_owned();
            return Err(Error::Refused { path: map.storage().path().to_path_buf(), reason });
        }
        clear(map, place)?;
        if space.free.pop().is_none() {
            space.end += map.header.cluster;
        }
        Ok(place)
    }

    fn flush(&self, map: &Map) -> Result<()> {
        if !self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let file = map.storage();
        storage::sync(&**file)?;
        if map.cache.pending() > 0 {
            map.cache.write_back()?;
            storage::sync(&**file)?;
        }
        let mut space = self.space();
        let leaving = std::mem::take(&mut space.leaving);
        for place in &leaving {
            // Only gives space back; the cluster is cleared again before it is used.
            if let Err(e) = file.zero(*place, map.header.cluster) {
                log::debug!("Cannot give back space at offset {place} of {}: {e}", file.path().display());
            }
        }
        space.free.extend(leaving);
        self.written.store(false, Ordering::Release);
        Ok(())
    }

    /// Flushes, cuts what is free at the end of the file, and says that the image is not in use.
    fn close(&self, map: &Map) -> Result<()> {
        self.flush(map)?;
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*marked {
            return Ok(());
        }
        let file = map.storage();
        let mut space = self.space();
        space.free.sort_unstable();
        while space.free.last().is_some_and(|place| place + map.header.cluster == space.end) {
            space.free.pop();
            space.end -= map.header.cluster;
        }
        if map.file_len.load(Ordering::Acquire) > space.end {
            file.set_len(space.end).map_err(|e| Error::io(file.path(), format!("cut to {} bytes", space.end), e))?;
            map.file_len.store(space.end, Ordering::Release);
        }
        let closed = if map.header.is_in_use() { 0 } else { map.header.in_use };
        storage::write_all(&**file, &closed.to_le_bytes(), IN_USE_AT)?;
        storage::sync(&**file)?;
        *marked = false;
        Ok(())
    }

    fn pending(&self, map: &Map) -> usize {
        map.cache.pending() + self.space().leaving.len() * size_of::<u64>()
    }
}

/// Makes a cluster's space read as zeros and the file long enough to hold it.
fn clear(map: &Map, place: u64) -> Result<()> {
    let end = place + map.header.cluster;
    let len = map.file_len.load(Ordering::Acquire);
    let file = map.storage();
    // Past its old end a file grows with zeros; before it there may be bytes of a lost or discarded cluster.
    let stale = len.saturating_sub(place).min(map.header.cluster);
    if stale > 0 {
        file.zero(place, stale)
            .map_err(|e| Error::io(file.path(), format!("clear a cluster at offset {place} of"), e))?;
    }
    if end > len {
        file.set_len(end).map_err(|e| Error::io(file.path(), format!("grow to {end} bytes"), e))?;
        map.file_len.store(end, Ordering::Release);
    }
    Ok(())
}

/// The clusters of a range of whole units; offsets are relative to the part.
fn clusters(map: &Map, offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / map.header.cluster..offset.saturating_add(len).div_ceil(map.header.cluster)
}

fn set_place(map: &Map, cluster: u64, place: u64) -> Result<()> {
    let raw = map.raw(place).unwrap_or_default();
    map.set(cluster, raw)
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
                let place = writer.allocate(map)?;
                return set_place(map, cluster, place);
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, files: &[crate::storage::File], offset: u64, len: u64) -> Result<()> {
        let Some((map, writer)) = self.mapped() else {
            let Layer::Plain(file) = self.top else { return Ok(()) };
            return self.clear_plain(&files[file], offset, len);
        };
        for cluster in clusters(map, offset, len) {
            match map.place(cluster)? {
                Some(place) if self.below.is_empty() => {
                    map.set(cluster, 0)?;
                    writer.space().leaving.push(place);
                }
                Some(place) => {
                    let file = map.storage();
                    file.zero(place, map.header.bytes_of_cluster(cluster))
                        .map_err(|e| Error::io(file.path(), format!("clear a cluster at offset {place} of"), e))?;
                }
                None => self.hide(map, writer, cluster)?,
            }
        }
        Ok(())
    }

    fn commit(&self, offset: u64, run: Run) -> Result<()> {
        let Some((map, writer)) = self.mapped() else { return Ok(()) };
        for (index, cluster) in (0..).zip(clusters(map, offset, run.len)) {
            match run.extent {
                Extent::Stored { offset, .. } => set_place(map, cluster, offset + index * map.header.cluster)?,
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

    fn touch(&self) -> Result<()> {
        self.for_writers(&mut |map, writer| writer.touch(map))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        self.for_parts(offset, len, &mut |part, at, len| {
            let Some((map, writer)) = part.mapped() else {
                runs.push(part.top_extent(at, len)?);
                return Ok(());
            };
            for cluster in clusters(map, at, len) {
                let extent = Extent::Stored { file: map.file, offset: writer.allocate(map)? };
                runs.push(Run { extent, len: map.header.bytes_of_cluster(cluster) });
            }
            Ok(())
        })?;
        Ok(runs)
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
