//! The two-level map from the disk to the file.

use super::entry::{Compressed, QcowEntry, table};
use super::header::QcowHeader;
use crate::image::{Error, Extent, Joined, Result, Run};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::{MetaCache, PAGE};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of level 2 tables cached in memory: 4 MiB are the map of 32 GiB with clusters of 64 KiB.
const L2_CACHE: usize = 4 << 20;
/// Bytes of the level 1 table cached in memory.
const L1_CACHE: usize = 1 << 20;
/// Bytes of level 2 entries examined together.
const BATCH: usize = 4096;
/// Level 2 tables examined together, most of which may be missing.
const TABLES: u64 = 1024;

/// The map of the current state or of a snapshot.
#[derive(Debug)]
pub(super) struct QcowMap {
    pub(super) header: QcowHeader,
    pub(super) l1: MetaCache,
    pub(super) l2: MetaCache,
    l1_offset: u64,
    /// Where the data is: the main file (0) or the data file (1).
    pub(super) data_file: usize,
    data: File,
    /// The length of `data` when last asked.
    data_len: AtomicU64,
}

impl QcowMap {
    pub(super) fn new(file: &File, data_file: Option<&File>, header: QcowHeader, l1_offset: u64) -> Result<Self> {
        let page = PAGE.min(1 << header.cluster_bits);
        let data = data_file.unwrap_or(file);
        Ok(Self {
            l1: MetaCache::with_pages(file.clone(), L1_CACHE, page),
            l2: MetaCache::with_pages(file.clone(), L2_CACHE, page),
            header,
            l1_offset,
            data_file: usize::from(data_file.is_some()),
            data: data.clone(),
            data_len: AtomicU64::new(storage::length(&**data)?),
        })
    }

    pub(super) fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.l1.file().path())
    }

    /// Bytes of the disk that a level 2 table maps.
    fn table_reach(&self) -> u64 {
        self.header.cluster_size() * self.header.l2_entries()
    }

    /// Where the level 1 entry for an offset of the disk is.
    pub(super) fn l1_entry_at(&self, offset: u64) -> u64 {
        self.l1_offset + 8 * (offset / self.table_reach())
    }

    /// The level 2 table for an offset of the disk, and whether it may be changed.
    pub(super) fn table(&self, offset: u64) -> Result<Option<(u64, bool)>> {
        let at = self.l1_entry_at(offset);
        let mut raw = [0; 8];
        self.l1.read(at, &mut raw, "QCOW2 level 1 entry")?;
        table(u64::from_be_bytes(raw), &self.header, at).map_err(|cause| self.cause(cause))
    }

    /// Where in a level 2 table at `table` the entry for an offset of the disk is.
    pub(super) fn entry_at(&self, table: u64, offset: u64) -> u64 {
        let index = offset / self.header.cluster_size() % self.header.l2_entries();
        table + index * self.header.entry_size()
    }

    /// The entry at `at` in the file.
    pub(super) fn entry(&self, at: u64) -> Result<QcowEntry> {
        let mut raw = [0; 16];
        let len = usize::try_from(self.header.entry_size()).unwrap_or(16);
        self.l2.read(at, &mut raw[..len], "QCOW2 level 2 entry")?;
        QcowEntry::decode(&raw[..len], &self.header, at).map_err(|cause| self.cause(cause))
    }

    /// Changes the entry at `at` in memory.
    pub(super) fn set_entry(&self, at: u64, entry: QcowEntry) -> Result<()> {
        let raw = entry.encode(&self.header);
        let len = usize::try_from(self.header.entry_size()).unwrap_or(16);
        self.l2.write(at, &raw[..len])
    }

    /// What holds the bytes from `offset` on; with `in_place`, what may not be overwritten counts as absent.
    pub(super) fn extent(&self, offset: u64, len: u64, in_place: bool) -> Result<Run> {
        let end = offset.saturating_add(len);
        let mut joined = Joined::default();
        let mut at = offset;
        for _ in 0..TABLES {
            if at >= end {
                break;
            }
            let table_end = (at - at % self.table_reach()).saturating_add(self.table_reach()).min(end);
            match self.add_table(at, table_end, in_place, &mut joined) {
                Ok(true) => at = table_end,
                Err(error) if joined.is_empty() => return Err(error),
                // What came before the end or the corruption is a good answer.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(joined.or(Run { extent: Extent::Absent, len }))
    }

    /// Adds what one level 2 table says of a range that it maps; false when the run ends before the range does.
    fn add_table(&self, start: u64, end: u64, in_place: bool, joined: &mut Joined) -> Result<bool> {
        let Some((table, own)) = self.table(start)? else {
            return Ok(joined.add(Run { extent: Extent::Absent, len: end - start }));
        };
        let hidden = in_place && !own && self.data_file == 0;
        let cluster_size = self.header.cluster_size();
        let entry_size = usize::try_from(self.header.entry_size()).unwrap_or(16);
        let first_at = self.entry_at(table, start);
        let wanted = (end.div_ceil(cluster_size) - start / cluster_size) * self.header.entry_size();
        let mut raw = [0; BATCH];
        let raw = &mut raw[..usize::try_from(wanted).unwrap_or(BATCH).min(BATCH)];
        self.l2.read(first_at, raw, "QCOW2 level 2 entry")?;
        let mut at = start;
        for (index, raw) in raw.chunks_exact(entry_size).enumerate() {
            let entry_at = first_at + (index * entry_size) as u64;
            let entry = QcowEntry::decode(raw, &self.header, entry_at).map_err(|cause| self.cause(cause))?;
            let cluster = at - at % cluster_size;
            let cluster_end = cluster.saturating_add(cluster_size).min(end);
            while at < cluster_end {
                let (extent, to) = self.within(entry, at - cluster, hidden, in_place);
                let len = (cluster + to).min(cluster_end) - at;
                self.check_end(entry_at, extent, len)?;
                if !joined.add(Run { extent, len }) {
                    return Ok(false);
                }
                at += len;
            }
        }
        Ok(at >= end)
    }

    /// What holds the bytes from `skip` bytes after a cluster's start on, and where in the cluster that ends.
    fn within(&self, entry: QcowEntry, skip: u64, hidden: bool, in_place: bool) -> (Extent, u64) {
        let size = self.header.cluster_size();
        match entry {
            QcowEntry::Compressed(cluster) => (Extent::Encoded { cluster, skip, size }, size),
            QcowEntry::Plain(plain) => {
                let (extent, to) = plain.extent(&self.header, skip, self.data_file);
                let stored = matches!(extent, Extent::Stored { .. });
                let shared = in_place && !plain.exclusive && self.data_file == 0;
                if stored && (hidden || shared) { (Extent::Absent, to) } else { (extent, to) }
            }
        }
    }

    /// Whether stored bytes lie within their file.
    fn check_end(&self, at: u64, extent: Extent, len: u64) -> Result<()> {
        let end = match extent {
            Extent::Stored { offset, .. } => offset + len,
            // Its length is rounded up to sectors, and the file may end before that.
            Extent::Encoded { cluster, .. } => Compressed::decode(cluster, self.header.cluster_bits).offset + 1,
            Extent::Zero | Extent::Absent => return Ok(()),
        };
        if end <= self.data_len.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = storage::length(&*self.data)?;
        self.data_len.store(now, Ordering::Release);
        if end > now {
            let expected = format_args!("data up to offset {end}");
            let found = format_args!("the end of {} at {now}", self.data.path().display());
            return Err(self.cause(ParseError::corrupt(at, "QCOW2 level 2 entry", expected, found)));
        }
        Ok(())
    }
}
