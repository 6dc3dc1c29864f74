//! Writing to a VMDK: to all its extents that can be written, and to the descriptor, which records that the disk
//! changes.

use super::Vmdk;
use super::descriptor::{Access, Descriptor, ExtentKind};
use super::opened::Opened;
use super::part::{Sparse, Store, VmdkExtent};
use super::space::SparseWriter;
use crate::image::alloc::{self, Grant, State};
use crate::image::{Allocated, Error, Extent, Image, ImageMut, Result, Run};
use crate::storage;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are allocated together where all extents are flat.
const FLAT_UNIT: u64 = 512;
/// The least grain that is written: smaller ones could share a page of the map's cache with grain tables on both sides.
/// The specification demands more than 8 sectors.
const LEAST_GRAIN: u64 = 4096;

/// What a writable VMDK holds in addition to its parts.
pub(super) struct Writer {
    unit: u64,
    descriptor: Descriptor,
    has_parent: bool,
    /// Marked: the files say that the image is in use.
    state: State,
    /// Which files have data that may not be on the disk yet.
    written: Vec<AtomicBool>,
}

impl Writer {
    /// None for a disk whose extents are only read.
    ///
    /// # Errors
    /// [`Error::Refused`] for a disk that could be written but for how it is put together.
    pub(super) fn new(opened: &Opened, parts: &[VmdkExtent]) -> Result<Option<Self>> {
        let meant = |part: &&VmdkExtent| part.line.access == Access::ReadWrite && part.line.kind != ExtentKind::Zero;
        let mut all = parts.iter().filter(meant).peekable();
        if all.peek().is_none() || !all.all(VmdkExtent::writable) {
            return Ok(None);
        }
        let path = opened.files[0].path();
        if let Some(track) = &opened.descriptor.change_track {
            let reason = format!(
                "{track:?} records which of its blocks change, for backups that would miss what is written here; turn \
                 changed block tracking off first"
            );
            return Err(Error::Refused { path: path.to_path_buf(), reason });
        }
        Ok(Some(Self {
            unit: unit(parts, path)?,
            descriptor: opened.descriptor.clone(),
            has_parent: opened.descriptor.has_parent(),
            state: State::default(),
            written: opened.files.iter().map(|_| AtomicBool::new(false)).collect(),
        }))
    }

    fn will_write(&self, file: usize) {
        self.written[file].store(true, Ordering::Release);
    }
}

/// Bytes that are allocated together: whole grains of every extent.
fn unit(parts: &[VmdkExtent], path: &Path) -> Result<u64> {
    let refused = |reason: String| Err(Error::Refused { path: path.to_path_buf(), reason });
    let mut unit = FLAT_UNIT;
    for part in parts.iter().filter(|part| part.writable()) {
        let Some((sparse, _)) = part.sparse_writer() else { continue };
        let grain = sparse.grains.geometry.grain;
        if grain < LEAST_GRAIN {
            return refused(format!("its grains of {grain} bytes are too small to be written; mount it without --rw"));
        }
        if !part.start.is_multiple_of(grain) {
            let at = part.start;
            return refused(format!(
                "its extent from byte {at} of the disk on does not begin with a whole grain; mount it without --rw"
            ));
        }
        unit = unit.max(grain);
    }
    for pair in parts.windows(2) {
        let at = pair[1].start;
        if !at.is_multiple_of(unit) && !pair.iter().all(VmdkExtent::writable) {
            return refused(format!(
                "only one of two extents that meet within a grain, at byte {at} of the disk, can be written; mount it \
                 without --rw"
            ));
        }
    }
    Ok(unit)
}

/// A part and the bytes of it, from its start, that a range of the disk covers.
type Chunk<'a> = (&'a VmdkExtent, Range<u64>);

impl Vmdk {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| self.read_only())
    }

    /// The sparse extents that can be written.
    fn sparse_writers(&self) -> impl Iterator<Item = (&Sparse, &SparseWriter)> {
        self.parts.iter().filter_map(VmdkExtent::sparse_writer)
    }

    /// The parts that a range of the disk covers.
    fn chunks(&self, offset: u64, len: u64) -> impl Iterator<Item = Chunk<'_>> {
        let end = offset.saturating_add(len);
        let first = self.parts.partition_point(|part| part.end() <= offset);
        self.parts[first..]
            .iter()
            .take_while(move |part| part.start < end)
            .map(move |part| (part, offset.saturating_sub(part.start)..end.min(part.end()) - part.start))
    }

    fn check_writable(part: &VmdkExtent) -> Result<()> {
        if part.writable() {
            return Ok(());
        }
        Err(part.refused(match part.line.access {
            Access::ReadOnly => "which is marked RDONLY in the descriptor: it cannot be written",
            Access::None => "which is marked NOACCESS in the descriptor: it cannot be written",
            Access::ReadWrite => "which has the type ZERO and stores nothing: it cannot be written",
        }))
    }

    /// Makes bytes of a part read as zeros, whole grains of it.
    fn make_zero(&self, part: &VmdkExtent, range: Range<u64>) -> Result<()> {
        let writer = self.state()?;
        if let Some((Sparse { file, grains, .. }, space)) = part.sparse_writer() {
            writer.will_write(*file);
            let grain = grains.geometry.grain;
            let mut indices = range.start / grain..range.end.div_ceil(grain);
            return indices.try_for_each(|index| space.make_zero(grains, index, writer.has_parent));
        }
        match &part.store {
            Store::Zero => Ok(()),
            Store::Flat { file, offset, .. } if part.writable() => {
                writer.will_write(*file);
                storage::zero(&*self.files[*file], offset + range.start, range.end - range.start)
            }
            _ => Self::check_writable(part),
        }
    }

    /// Appends the runs of new space for bytes of a part, whole grains of it; false when there is none before a flush.
    fn allocate_part(&self, part: &VmdkExtent, range: Range<u64>, runs: &mut Vec<Run>) -> Result<bool> {
        Self::check_writable(part)?;
        let writer = self.state()?;
        let len = range.end - range.start;
        if let Store::Flat { file, offset, .. } = &part.store {
            writer.will_write(*file);
            let extent = Extent::Stored { file: *file, offset: offset + range.start };
            Run::push(runs, Run { extent, len });
        }
        if let Some((Sparse { file, grains, .. }, space)) = part.sparse_writer() {
            writer.will_write(*file);
            let grain = grains.geometry.grain;
            let indices = range.start / grain..range.end.div_ceil(grain);
            let Grant::Positions(positions) = space.allocate(grains, indices)? else { return Ok(false) };
            alloc::runs(*file, &positions, grain, len).into_iter().for_each(|run| Run::push(runs, run));
        }
        Ok(true)
    }

    /// Says in all files that the image is in use and that its content changes.
    fn mark_in_use(&self, writer: &Writer) -> Result<()> {
        let mut changes = writer.descriptor.changes();
        for (Sparse { file, grains, .. }, space) in self.sparse_writers() {
            space.set_in_use(grains, true)?;
            if *file == 0 {
                // The cache may hold the descriptor's bytes too.
                for (at, text) in changes.drain(..) {
                    grains.cache.write(at, &text)?;
                }
            }
            grains.cache.write_back()?;
            storage::sync(&**grains.file())?;
        }
        if !changes.is_empty() {
            for (at, text) in &changes {
                storage::write_all(&*self.files[0], text, *at)?;
            }
            storage::sync(&*self.files[0])?;
        }
        Ok(())
    }
}

impl ImageMut for Vmdk {
    fn unit(&self) -> u64 {
        self.writer.as_ref().map_or(FLAT_UNIT, |writer| writer.unit)
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        Self::check_writable(self.part(offset))?;
        let run = self.extent(offset, len)?;
        if let Extent::Stored { file, .. } = run.extent {
            self.state()?.will_write(file);
        }
        Ok(run)
    }

    fn mark_dirty(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.mark_dirty(|| self.mark_in_use(writer))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut runs = Vec::new();
        let mut chunks = self.chunks(offset, len);
        let done =
            chunks.try_fold(true, |granted, (part, range)| Ok(granted && self.allocate_part(part, range, &mut runs)?));
        if !matches!(done, Ok(true)) {
            self.cancel(offset, &runs);
        }
        done.map(|granted| if granted { Allocated::Runs(runs) } else { Allocated::FlushFirst })
    }

    fn cancel(&self, _offset: u64, runs: &[Run]) {
        for (Sparse { file, .. }, space) in self.sparse_writers() {
            alloc::positions(runs).filter(|(own, _)| own == file).for_each(|(_, positions)| space.cancel(positions));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut start = offset;
        for run in runs {
            for (part, range) in self.chunks(start, run.len) {
                let Extent::Stored { offset: position, .. } = run.extent else {
                    self.make_zero(part, range)?;
                    continue;
                };
                let Some((Sparse { grains, .. }, space)) = part.sparse_writer() else { continue };
                let grain = grains.geometry.grain;
                for index in range.start / grain..range.end.div_ceil(grain) {
                    space.commit(grains, index, position + (part.start + index * grain - start))?;
                }
            }
            start += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.chunks(offset, len).try_for_each(|(part, range)| self.make_zero(part, range))
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        for (file, written) in self.files.iter().zip(&writer.written) {
            if written.swap(false, Ordering::AcqRel)
                && let Err(error) = storage::sync(&**file)
            {
                written.store(true, Ordering::Release);
                return Err(error);
            }
        }
        self.sparse_writers().try_for_each(|(sparse, space)| space.flush(&sparse.grains))
    }

    fn close(&self) -> Result<()> {
        self.flush()?;
        let state = &self.state()?.state;
        state.close(|| self.sparse_writers().try_for_each(|(sparse, space)| space.close(&sparse.grains)))
    }

    fn pending(&self) -> usize {
        self.sparse_writers().map(|(sparse, space)| space.pending(&sparse.grains)).sum()
    }
}
