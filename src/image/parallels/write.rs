//! Allocating, discarding and flushing.

use super::Parallels;
use super::map::ParallelsMap;
use super::part::{Layer, ParallelsStorage};
use super::writer::{FULL, Writer};
use crate::image::alloc::{self, Grant};
use crate::image::{Allocated, Extent, ImageMut, Result, Run};
use crate::storage;

/// The clusters of a range of whole units; offsets are relative to the part.
fn clusters(map: &ParallelsMap, offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / map.header.cluster..offset.saturating_add(len).div_ceil(map.header.cluster)
}

impl ParallelsStorage {
    /// The map and the space of the top; none for a plain one.
    fn mapped(&self) -> Option<(&ParallelsMap, &Writer)> {
        match (&self.top, &self.writer) {
            (Layer::Mapped(map), Some(writer)) => Some((map, writer)),
            _ => None,
        }
    }

    /// Makes a cluster of the top read as zeros although its parents have data there: the format has no flag for
    /// that, so zeros are stored.
    fn hide(&self, map: &ParallelsMap, writer: &Writer, cluster: u64) -> Result<()> {
        let len = map.header.bytes_of_cluster(cluster);
        let mut at = cluster * map.header.cluster;
        let end = at + len;
        while at < end {
            let run = self.below_extent(at, end - at)?;
            if run.extent != Extent::Absent {
                let position = writer.zeros(map)?;
                return writer.set_position(map, cluster, position);
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
            match map.position(cluster)? {
                Some(position) if self.below.is_empty() => {
                    map.set(cluster, 0)?;
                    writer.space().free_after_flush(&(position..position + map.header.cluster));
                }
                Some(position) => storage::zero(&**map.storage(), position, map.header.bytes_of_cluster(cluster))?,
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
                    writer.set_position(map, cluster, offset + index * map.header.cluster)?;
                }
                _ => self.hide(map, writer, cluster)?,
            }
        }
        Ok(())
    }
}

impl Parallels {
    /// Calls `each` with the parts that a range touches: the part, the offset in it, how many bytes.
    fn for_parts(
        &self,
        offset: u64,
        len: u64,
        each: &mut dyn FnMut(&ParallelsStorage, u64, u64) -> Result<()>,
    ) -> Result<()> {
        let end = offset.saturating_add(len);
        for part in self.parts.iter().filter(|part| part.start < end && part.end > offset) {
            let from = part.start.max(offset);
            each(part, from - part.start, part.end.min(end) - from)?;
        }
        Ok(())
    }

    fn for_writers(&self, each: &mut dyn FnMut(&ParallelsMap, &Writer) -> Result<()>) -> Result<()> {
        self.parts.iter().filter_map(ParallelsStorage::mapped).try_for_each(|(map, writer)| each(map, writer))
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
                Grant::Positions(positions) => runs.extend(alloc::runs(map.file, &positions, size, len)),
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
        for (map, writer) in self.parts.iter().filter_map(ParallelsStorage::mapped) {
            let own = alloc::positions(runs).filter(|(file, _)| *file == map.file);
            own.for_each(|(_, positions)| writer.space().cancel(positions));
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
        self.parts.iter().filter_map(ParallelsStorage::mapped).map(|(map, writer)| writer.pending(map)).sum()
    }
}
