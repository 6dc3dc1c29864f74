//! The merged answer of all links, region by region, in a bounded cache: the depth of a chain costs time on the first
//! access to a region, not on each read.

use super::Result;
use super::supply::{Supply, supply};
use crate::image::{Extent, Image};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of the disk that are merged at once.
pub(super) const REGION: u64 = 1 << 20;
/// Bytes of merged runs cached in memory. A region of unfragmented images takes about 100 bytes.
const CACHE: u64 = 16 << 20;
/// How many regions the cache is laid out for.
const CACHE_REGIONS: usize = 64 << 10;
/// Parts of the cache with a lock of their own: two for each thread that answers requests.
const SHARDS: usize = 16;

/// What supplies a range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// An offset in a file of a link (0 is the leaf).
    Stored { link: usize, file: usize, offset: u64 },
    /// Zeros.
    Zero,
    /// A part of a compressed cluster of a link.
    Encoded { link: usize, cluster: u64, skip: u64, size: u64 },
}

impl Source {
    /// The same source, `by` bytes further on.
    pub(super) fn advance(self, by: u64) -> Self {
        match self {
            Self::Stored { link, file, offset } => Self::Stored { link, file, offset: offset.saturating_add(by) },
            Self::Zero => Self::Zero,
            Self::Encoded { link, cluster, skip, size } => Self::Encoded { link, cluster, skip: skip + by, size },
        }
    }
}

/// A source and for how many bytes of the disk it is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) source: Source,
    pub(super) len: u64,
}

impl Chunk {
    /// Extends the chunk by `next` if that continues it.
    pub(super) fn join(&mut self, next: Chunk) -> bool {
        // A part of a cluster is decoded as it is; joining only matters for what is read from files.
        let follows = !matches!(self.source, Source::Encoded { .. }) && self.source.advance(self.len) == next.source;
        if follows {
            self.len += next.len;
        }
        follows
    }
}

#[derive(Clone)]
struct ByRuns;

impl Weighter<u64, Arc<[Chunk]>> for ByRuns {
    fn weight(&self, _region: &u64, chunks: &Arc<[Chunk]>) -> u64 {
        64 + size_of_val::<[Chunk]>(chunks) as u64
    }
}

/// The cache of merged regions.
pub(super) struct Flat {
    regions: Cache<u64, Arc<[Chunk]>, ByRuns>,
    /// Counts changes of the map; see [`Flat::region`].
    changes: AtomicU64,
    /// Counts the changes after which the position of a chunk may come to hold other bytes of the disk.
    moved: AtomicU64,
    /// Held for reading over putting a region in, for writing over taking some out.
    gate: RwLock<()>,
}

impl Flat {
    pub(super) fn new() -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(CACHE_REGIONS)
            .weight_capacity(CACHE)
            .shards(SHARDS)
            .build()
            .expect("both capacities are given");
        Self {
            regions: Cache::with_options(options, ByRuns, DefaultHashBuilder::default(), DefaultLifecycle::default()),
            changes: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            gate: RwLock::new(()),
        }
    }

    /// The chunks of a region of a disk of `size` bytes.
    pub(super) fn region(&self, links: &[Box<dyn Image>], size: u64, index: u64) -> Result<Arc<[Chunk]>> {
        if let Some(chunks) = self.regions.get(&index) {
            return Ok(chunks);
        }
        let changes = self.changes.load(Ordering::Acquire);
        let start = index * REGION;
        let chunks = merge(links, start, REGION.min(size - start))?;
        // An answer from before a change must not be cached after it.
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if self.changes.load(Ordering::Acquire) == changes {
            self.regions.insert(index, chunks.clone());
        }
        Ok(chunks)
    }

    /// Runs `read` until no position that it may have read from was given up meanwhile.
    pub(super) fn stable<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            let moved = self.moved.load(Ordering::Acquire);
            let result = read();
            if self.moved.load(Ordering::Acquire) == moved {
                return result;
            }
        }
    }

    /// Like [`forget`](Self::forget), for positions that may be used again.
    pub(super) fn forget_moved(&self, offset: u64, len: u64) {
        self.forget(offset, len);
        self.moved.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is known of a range, after the map of the leaf has changed there.
    pub(super) fn forget(&self, offset: u64, len: u64) {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::AcqRel);
        let (first, last) = (offset / REGION, offset.saturating_add(len).div_ceil(REGION));
        if last - first > CACHE_REGIONS as u64 {
            self.regions.clear();
            return;
        }
        for index in first..last {
            self.regions.remove(&index);
        }
    }
}

/// The chunks of a range of the disk.
pub(super) fn merge(links: &[Box<dyn Image>], offset: u64, len: u64) -> Result<Arc<[Chunk]>> {
    let (mut at, end) = (offset, offset + len);
    let mut chunks: Vec<Chunk> = Vec::new();
    while at < end {
        let chunk = resolve(links, at, end - at)?;
        at += chunk.len;
        if !chunks.last_mut().is_some_and(|last| last.join(chunk)) {
            chunks.push(chunk);
        }
    }
    Ok(chunks.into())
}

/// What supplies the bytes from `offset` on; the answer holds for at most `len` bytes.
pub(super) fn resolve(links: &[Box<dyn Image>], offset: u64, len: u64) -> Result<Chunk> {
    let Supply { link, extent, len } = supply(links, offset, len)?;
    let source = match (link, extent) {
        (Some(link), Extent::Stored { file, offset }) => Source::Stored { link, file, offset },
        (Some(link), Extent::Encoded { cluster, skip, size }) => Source::Encoded { link, cluster, skip, size },
        (_, Extent::Zero) | (_, Extent::Absent) | (None, _) => Source::Zero,
    };
    Ok(Chunk { source, len })
}
