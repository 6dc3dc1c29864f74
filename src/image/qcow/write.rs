//! Allocating, discarding and flushing.
//!
//! The order that keeps the image whole at any moment, each on the disk before the next: data; refcounts of new
//! clusters; level 2 tables; the level 1 table; refcounts of clusters that nothing points to any more. Whatever is
//! lost in between is a cluster that is counted and not used, never one that is used and not counted.

use super::Qcow;
use super::check::packed_clusters;
use super::entry::{Entry, own_table};
use super::header::AUTOCLEAR_RAW;
use super::space::{Space, clear};
use crate::image::{Error, Extent, ImageMut, Result, Run};
use crate::storage;
use crate::storage::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `autoclear_features` in the header.
const AUTOCLEAR_AT: u64 = 88;

/// What a writable image keeps beside its map.
pub(super) struct Writer {
    space: Mutex<Space>,
    /// Something was written since the last flush.
    written: AtomicBool,
    /// Feature bits that a writer must clear were cleared.
    marked: Mutex<bool>,
}

impl Writer {
    pub(super) fn new(space: Space) -> Self {
        Self { space: Mutex::new(space), written: AtomicBool::new(false), marked: Mutex::new(false) }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Qcow {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::Refused {
            path: self.info.path.clone(),
            reason: "it was opened read-only".to_owned(),
        })
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

    /// Where the clusters of a range begin on the disk.
    fn clusters(&self, offset: u64, len: u64) -> impl Iterator<Item = u64> + use<> {
        let size = self.map.header.cluster_size();
        (offset / size..offset.saturating_add(len).div_ceil(size)).map(move |cluster| cluster * size)
    }

    /// Bytes of the disk that the cluster at `offset` holds.
    fn bytes_at(&self, offset: u64) -> u64 {
        self.map.header.cluster_size().min(self.info.size - offset)
    }

    /// Takes clusters that read as zeros for `count` clusters of the disk. Joins those that follow each other.
    fn take(&self, space: &mut Space, count: usize) -> Result<Vec<Range<u64>>> {
        let mut taken: Vec<Range<u64>> = Vec::new();
        let result = (0..count).try_for_each(|_| {
            let cluster = space.take()?;
            match taken.last_mut() {
                Some(last) if last.end == cluster => last.end += 1,
                _ => taken.push(cluster..cluster + 1),
            }
            Ok(())
        });
        let bits = self.map.header.cluster_bits;
        let cleared = result.and_then(|()| {
            taken.iter().try_for_each(|run| clear(self.main(), run.start << bits, (run.end - run.start) << bits))
        });
        if let Err(error) = cleared {
            taken.into_iter().flatten().for_each(|cluster| space.put_back(cluster));
            return Err(error);
        }
        Ok(taken)
    }

    /// In a data file each cluster has the place that it has on the disk. What is stored there already stays: it may
    /// be subclusters beside the ones to be written.
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

    /// The level 2 table for a place of the disk, which only the current state uses: the one there is, a copy of it,
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
            space.leave(table >> self.map.header.cluster_bits);
        }
        Ok(table)
    }

    /// Puts an entry for the cluster at `offset` in place of the old one, which gives its space back.
    fn replace(&self, space: &mut Space, offset: u64, entry: Entry) -> Result<()> {
        let table = self.own_table(space, offset)?;
        let at = self.map.entry_at(table, offset);
        let old = self.map.entry(at)?;
        if let Entry::Plain(plain) = entry
            && let Some(host) = plain.host
            && !self.has_data_file()
        {
            space.reference(host >> self.map.header.cluster_bits)?;
        }
        self.map.set_entry(at, entry)?;
        match old {
            Entry::Compressed(descriptor) => {
                packed_clusters(descriptor, &self.map.header).for_each(|cluster| space.leave(cluster));
            }
            Entry::Plain(plain) => {
                if let Some(host) = plain.host.filter(|_| !self.has_data_file()) {
                    space.leave(host >> self.map.header.cluster_bits);
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
            return self.replace(space, offset, Entry::ALL_ZERO);
        }
        if self.info.parent.is_none() {
            return self.replace(space, offset, Entry::ABSENT);
        }
        // Version 2 has no mark for zeros that hide a parent: they are stored.
        for cluster in self.take(space, 1)?.into_iter().flatten() {
            self.replace(space, offset, Entry::stored(cluster << self.map.header.cluster_bits))?;
        }
        Ok(())
    }

    /// Whether the cluster at `offset` reads as zeros already, without a place in the file.
    fn is_bare_zero(&self, offset: u64) -> Result<bool> {
        let entry = match self.map.table(offset)? {
            Some((table, _)) => self.map.entry(self.map.entry_at(table, offset))?,
            None => Entry::ABSENT,
        };
        Ok(entry == Entry::ALL_ZERO || entry == Entry::ABSENT && self.info.parent.is_none())
    }
}

impl ImageMut for Qcow {
    fn unit(&self) -> u64 {
        self.map.header.cluster_size()
    }

    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len, true)
    }

    fn touch(&self) -> Result<()> {
        let writer = self.state()?;
        let mut marked = writer.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*marked {
            // Bits of structures that are not kept up to date here, such as bitmaps of changes.
            let keep = if self.has_data_file() { AUTOCLEAR_RAW } else { 0 };
            let autoclear = self.map.header.autoclear;
            if autoclear & !keep != 0 {
                storage::write_all(&**self.main(), &(autoclear & keep).to_be_bytes(), AUTOCLEAR_AT)?;
                storage::sync(&**self.main())?;
            }
            *marked = true;
        }
        writer.written.store(true, Ordering::Release);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Vec<Run>> {
        let mut space = self.state()?.space();
        if self.has_data_file() {
            return self.allocate_in_data_file(offset, len);
        }
        let bits = self.map.header.cluster_bits;
        let mut at = offset;
        let mut runs = Vec::new();
        for taken in self.take(&mut space, self.clusters(offset, len).count())? {
            let run_len = ((taken.end - taken.start) << bits).min(self.info.size - at);
            runs.push(Run { extent: Extent::Stored { file: 0, offset: taken.start << bits }, len: run_len });
            at += run_len;
        }
        Ok(runs)
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut space = self.state()?.space();
        let mut start = offset;
        for run in runs {
            for at in self.clusters(start, run.len) {
                match run.extent {
                    Extent::Stored { offset: host, .. } => {
                        self.replace(&mut space, at, Entry::stored(host + (at - start)))?;
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
        for at in self.clusters(offset, len) {
            self.make_zero(&mut space, at)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let writer = self.state()?;
        if !writer.written.load(Ordering::Acquire) {
            return Ok(());
        }
        for file in &self.files {
            storage::sync(&**file)?;
        }
        let mut space = writer.space();
        space.refs.flush()?;
        for table in [&self.map.l2, &self.map.l1] {
            if table.pending() > 0 {
                table.write_back()?;
                storage::sync(&**self.main())?;
            }
        }
        space.give_back()?;
        space.refs.flush()?;
        writer.written.store(false, Ordering::Release);
        Ok(())
    }

    fn pending(&self) -> usize {
        let space = self.writer.as_ref().map_or(0, |writer| writer.space().pending());
        self.map.l1.pending() + self.map.l2.pending() + space
    }
}
