//! Allocating, discarding and flushing.
//!
//! This order keeps the image consistent at any moment; each is on the disk before the next: data; refcounts of new
//! clusters; level 2 tables; the level 1 table; refcounts of clusters that are no longer referenced. A crash in between
//! leaks clusters that are counted and unused, and never leaves one in use that is not counted.

use super::Qcow;
use super::check::compressed_clusters;
use super::entry::{QcowEntry, own_table};
use super::header::AUTOCLEAR_RAW;
use super::space::{Space, clear};
use crate::image::alloc::{self, State};
use crate::image::{Allocated, Error, Extent, ImageMut, Result, Run};
use crate::storage;
use crate::storage::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `autoclear_features` in the header.
const AUTOCLEAR_AT: u64 = 88;

/// What a writable image holds in addition to its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// Marked: feature bits that a writer must clear were cleared.
    state: State,
}

impl Writer {
    pub(super) fn new(space: Space) -> Self {
        Self { space: Mutex::new(space), state: State::default() }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Qcow {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }

    fn main(&self) -> &File {
        &self.files[0]
    }

    /// The file that has the data.
    fn data(&self) -> &File {
        &self.files[self.map.data_file]
    }

    fn has_data_file(&self) -> bool {
        self.map.header.has_data_file()
    }

    /// Bytes of the disk that the cluster at `offset` holds.
    fn bytes_at(&self, offset: u64) -> u64 {
        self.map.header.cluster_size().min(self.info.size - offset)
    }

    /// Takes `count` clusters that read as zeros. Returns where they begin.
    fn take(&self, space: &mut Space, count: usize) -> Result<Vec<u64>> {
        let size = self.map.header.cluster_size();
        let mut positions = Vec::new();
        let result = (0..count).try_for_each(|_| {
            positions.push(space.take()? * size);
            Ok(())
        });
        let cleared = result.and_then(|()| {
            let mut together = positions.chunk_by(|one, next| one + size == *next);
            together.try_for_each(|run| clear(self.main(), run[0], run.len() as u64 * size))
        });
        match cleared {
            Ok(()) => Ok(positions),
            Err(error) => {
                positions.iter().for_each(|position| space.cancel(*position..position + size));
                Err(error)
            }
        }
    }

    /// In a data file each cluster is at the same offset as on the disk. What is stored there already stays: it may
    /// be subclusters next to the ones to be written.
    fn allocate_in_data_file(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let run = self.map.extent(at, end - at, false)?;
            if !matches!(run.extent, Extent::Stored { .. }) {
                clear(self.data(), at, run.len)?;
            }
            at += run.len;
        }
        Ok(vec![Run { extent: Extent::Stored { file: self.map.data_file, offset }, len }])
    }

    /// The level 2 table for an offset of the disk, which only the current state uses: the one there is, a copy of it,
    /// or a new one.
    fn own_table(&self, space: &mut Space, offset: u64) -> Result<u64> {
        let old = match self.map.table(offset)? {
            Some((table, true)) => return Ok(table),
            Some((table, false)) => Some(table),
            None => None,
        };
        let mut content = vec![0; 1 << self.map.header.cluster_bits];
        if let Some(table) = old {
            self.map.l2.read(table, &mut content, "QCOW2 level 2 table")?;
        }
        let cluster = space.take()?;
        let table = cluster << self.map.header.cluster_bits;
        self.map.l2.write(table, &content)?;
        space.reference(cluster)?;
        self.map.l1.write(self.map.l1_entry_at(offset), &own_table(table).to_be_bytes())?;
        if let Some(table) = old {
            space.free_after_flush(table >> self.map.header.cluster_bits);
        }
        Ok(table)
    }

    /// Replaces the entry for the cluster at `offset`; the old one gives its space back.
    fn replace(&self, space: &mut Space, offset: u64, entry: QcowEntry) -> Result<()> {
        let table = self.own_table(space, offset)?;
        let at = self.map.entry_at(table, offset);
        let old = self.map.entry(at)?;
        if let QcowEntry::Plain(plain) = entry
            && let Some(host) = plain.host
            && !self.has_data_file()
        {
            space.reference(host >> self.map.header.cluster_bits)?;
        }
        self.map.set_entry(at, entry)?;
        match old {
            QcowEntry::Compressed(descriptor) => {
                compressed_clusters(descriptor, &self.map.header).for_each(|cluster| space.free_after_flush(cluster));
            }
            QcowEntry::Plain(plain) => {
                if let Some(host) = plain.host.filter(|_| !self.has_data_file()) {
                    space.free_after_flush(host >> self.map.header.cluster_bits);
                }
            }
        }
        Ok(())
    }

    /// Makes the cluster at `offset` read as zeros.
    fn make_zero(&self, space: &mut Space, offset: u64) -> Result<()> {
        if self.is_bare_zero(offset)? {
            return Ok(());
        }
        if self.has_data_file() {
            // The data file may be read as a raw image, so it has the zeros too.
            let len = self.bytes_at(offset);
            let stale = storage::length(&**self.data())?.saturating_sub(offset).min(len);
            if stale > 0 {
                clear(self.data(), offset, stale)?;
            }
        }
        if self.map.header.version >= 3 {
            return self.replace(space, offset, QcowEntry::ALL_ZERO);
        }
        if self.info.parent.is_none() {
            return self.replace(space, offset, QcowEntry::ABSENT);
        }
        // Version 2 has no flag for zeros that hide a parent: they are stored.
        self.take(space, 1)?
            .into_iter()
            .try_for_each(|position| self.replace(space, offset, QcowEntry::stored(position)))
    }

    /// Whether the cluster at `offset` reads as zeros already, without a cluster in the file.
    fn is_bare_zero(&self, offset: u64) -> Result<bool> {
        let entry = match self.map.table(offset)? {
            Some((table, _)) => self.map.entry(self.map.entry_at(table, offset))?,
            None => QcowEntry::ABSENT,
        };
        Ok(entry == QcowEntry::ALL_ZERO || entry == QcowEntry::ABSENT && self.info.parent.is_none())
    }
}

impl ImageMut for Qcow {
    fn unit(&self) -> u64 {
        self.map.header.cluster_size()
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len, true)
    }

    fn mark_dirty(&self) -> Result<()> {
        self.state()?.state.mark_dirty(|| {
            // Bits of structures that are not updated here, such as bitmaps of changes.
            let keep = if self.has_data_file() { AUTOCLEAR_RAW } else { 0 };
            let autoclear = self.map.header.autoclear;
            if autoclear & !keep != 0 {
                storage::write_all(&**self.main(), &(autoclear & keep).to_be_bytes(), AUTOCLEAR_AT)?;
                storage::sync(&**self.main())?;
            }
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        let mut space = self.state()?.space();
        if self.has_data_file() {
            return Ok(Allocated::Runs(self.allocate_in_data_file(offset, len)?));
        }
        let size = self.map.header.cluster_size();
        let positions = self.take(&mut space, alloc::units(offset, len, size).count())?;
        Ok(Allocated::Runs(alloc::runs(0, &positions, size, len)))
    }

    fn cancel(&self, _offset: u64, runs: &[Run]) {
        if let Some(writer) = self.writer.as_ref().filter(|_| !self.has_data_file()) {
            alloc::positions(runs).for_each(|(_, positions)| writer.space().cancel(positions));
        }
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut space = self.state()?.space();
        let mut start = offset;
        for run in runs {
            for at in alloc::units(start, run.len, self.map.header.cluster_size()) {
                match run.extent {
                    Extent::Stored { offset: host, .. } => {
                        self.replace(&mut space, at, QcowEntry::stored(host + (at - start)))?;
                    }
                    _ => self.make_zero(&mut space, at)?,
                }
            }
            start += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut space = self.state()?.space();
        alloc::units(offset, len, self.map.header.cluster_size()).try_for_each(|at| self.make_zero(&mut space, at))
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        writer.state.flush(|| {
            self.files.iter().try_for_each(|file| storage::sync(&**file))?;
            let mut space = writer.space();
            space.refs.flush()?;
            self.map.l2.write_through()?;
            self.map.l1.write_through()?;
            space.give_back()?;
            space.refs.flush()
        })
    }

    fn pending(&self) -> usize {
        let space = self.writer.as_ref().map_or(0, |writer| writer.space().pending());
        self.map.l1.pending() + self.map.l2.pending() + space
    }
}
