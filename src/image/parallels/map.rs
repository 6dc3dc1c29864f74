//! The block allocation table (BAT): reading entries and checking them against the file.

use super::header::ParallelsHeader;
use crate::image::{Error, Extent, Result, Run};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::MetaCache;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the table cached in memory.
const CACHE: usize = 4 << 20;
/// Entries examined together: a run never spans more clusters than this.
const BATCH: usize = 1024;
/// Bytes of the table read at once when all of it is checked.
const CHECK_CHUNK: usize = 1 << 20;

/// The table of one file. An entry is the position of a cluster in steps of [`ParallelsHeader::entry_unit`]; 0 is a
/// cluster that was never written.
#[derive(Debug)]
pub(super) struct ParallelsMap {
    pub(super) header: ParallelsHeader,
    pub(super) cache: MetaCache,
    /// The file's length in bytes; grows as clusters are allocated.
    pub(super) file_len: AtomicU64,
    /// The file's index in [`Image::files`](crate::image::Image::files).
    pub(super) file: usize,
}

impl ParallelsMap {
    pub(super) fn new(file: File, file_index: usize, header: ParallelsHeader) -> Result<Self> {
        let file_len = storage::length(&*file)?;
        if file_len < header.map_end() {
            return Err(ParseError::corrupt(
                header.entry_at(0),
                "Parallels BAT",
                format_args!("{} entries up to offset {}", header.entries, header.map_end()),
                format_args!("the end of the file at {file_len}"),
            )
            .in_file(file.path()));
        }
        if header.data_offset > file_len.next_multiple_of(header.cluster) {
            let expected = format_args!("at most {file_len}, the end of the file");
            let cause = ParseError::corrupt(48, "offset of the Parallels data", expected, header.data_offset);
            return Err(cause.in_file(file.path()));
        }
        Ok(Self { header, cache: MetaCache::new(file, CACHE), file_len: AtomicU64::new(file_len), file: file_index })
    }

    pub(super) fn storage(&self) -> &File {
        self.cache.file()
    }

    fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.storage().path())
    }

    /// Where the file has a cluster; none when it was never written.
    pub(super) fn position(&self, cluster: u64) -> Result<Option<u64>> {
        let mut raw = [0; 4];
        self.cache.read(self.header.entry_at(cluster), &mut raw, "Parallels BAT entry")?;
        self.check_entry(cluster, u32::from_le_bytes(raw))
    }

    /// Changes the entry of a cluster in memory; the raw value is one of [`raw`](Self::raw) or 0.
    pub(super) fn set(&self, cluster: u64, raw: u32) -> Result<()> {
        self.cache.write(self.header.entry_at(cluster), &raw.to_le_bytes())
    }

    /// The entry for an offset of the file; none when the table cannot express it.
    pub(super) fn raw(&self, position: u64) -> Option<u32> {
        u32::try_from(position / self.header.entry_unit()).ok()
    }

    /// What the table says of the bytes from `offset` on.
    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let size = self.header.cluster;
        let (first, skip) = (offset / size, offset % size);
        let wanted = (skip + len).div_ceil(size).min(u64::from(self.header.entries) - first);
        let count = usize::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH);
        let mut raw = [0; 4 * BATCH];
        let raw = &mut raw[..4 * count];
        self.cache.read(self.header.entry_at(first), raw, "Parallels BAT entry")?;
        let mut entries = raw.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw));

        let first_position = self.check_entry(first, entries.next().unwrap_or(0))?;
        let mut clusters = 1;
        for raw in entries {
            let Ok(position) = self.check_entry(first + clusters, raw) else { break };
            if position != first_position.map(|position| position + clusters * size) {
                break;
            }
            clusters += 1;
        }
        let extent = match first_position {
            None => Extent::Absent,
            Some(position) => Extent::Stored { file: self.file, offset: position + skip },
        };
        Ok(Run { extent, len: (clusters * size - skip).min(len) })
    }

    /// The position that an entry means, which lies after the table and within the file.
    fn check_entry(&self, cluster: u64, raw: u32) -> Result<Option<u64>> {
        if raw == 0 {
            return Ok(None);
        }
        let header = &self.header;
        let at = header.entry_at(cluster);
        let what = || format!("Parallels BAT entry {cluster}");
        let found = format_args!("{raw}");
        let Some(position) = u64::from(raw).checked_mul(header.entry_unit()).filter(|p| *p >= header.map_end()) else {
            let expected = format_args!("an offset after the table, which ends at {}", header.map_end());
            return Err(self.cause(ParseError::corrupt(at, what(), expected, found)));
        };
        let end = position.saturating_add(header.bytes_of_cluster(cluster));
        let file_len = self.file_len.load(Ordering::Acquire);
        if end > file_len {
            return Err(self.cause(ParseError::corrupt(
                at,
                what(),
                format_args!("a cluster within the {file_len} bytes of the file"),
                format_args!("{raw}, a cluster that ends at {end}"),
            )));
        }
        Ok(Some(position))
    }

    /// Checks every entry: each cluster lies in the file and shares no byte with another. Returns where the clusters
    /// are, in order.
    pub(super) fn check(&self) -> Result<Vec<u64>> {
        let mut positions = Vec::new();
        let mut chunk = vec![0; CHECK_CHUNK];
        let mut cluster = 0;
        let entries = u64::from(self.header.entries);
        while cluster < entries {
            let count = usize::try_from(entries - cluster).unwrap_or(CHECK_CHUNK / 4).min(CHECK_CHUNK / 4);
            let raw = &mut chunk[..4 * count];
            storage::read_exact(&**self.storage(), raw, self.header.entry_at(cluster), "Parallels BAT")?;
            for raw in raw.as_chunks::<4>().0 {
                positions.extend(self.check_entry(cluster, u32::from_le_bytes(*raw))?);
                cluster += 1;
            }
        }
        positions.sort_unstable();
        for pair in positions.windows(2) {
            if let [one, next] = *pair
                && next - one < self.header.cluster
            {
                return Err(self.cause(ParseError::corrupt(
                    next,
                    "Parallels cluster",
                    format_args!("none before offset {}, the end of another", one + self.header.cluster),
                    format_args!("one at {next}"),
                )));
            }
        }
        self.check_empty(&positions)?;
        Ok(positions)
    }

    /// An image that says that it is clear must have no clusters: one of the two is wrong.
    fn check_empty(&self, positions: &[u64]) -> Result<()> {
        let header = &self.header;
        if header.flags & super::header::FLAG_EMPTY == 0 || positions.is_empty() {
            return Ok(());
        }
        let found = format_args!("{} clusters and the flag of an empty image", positions.len());
        Err(self.cause(ParseError::corrupt(
            super::header::FLAGS_AT,
            "Parallels flags",
            "no clusters in an empty image",
            found,
        )))
    }
}
