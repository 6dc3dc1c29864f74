//! Free clusters of the file.

use super::refcount::Refcounts;
use crate::image::alloc::{self, Taken, UnitSet};
use crate::image::{Error, Result};
use crate::storage;
use crate::storage::File;
use std::ops::Range;

/// Which clusters are in use, and what waits to be given back.
pub(super) struct Space {
    pub(super) refs: Refcounts,
    cluster_bits: u32,
    clusters: alloc::Space,
    /// References that the map in memory has no more, but the one on the disk still may have.
    pending_free: Vec<u64>,
}

impl Space {
    /// `used` are the clusters that something points to.
    pub(super) fn new(refs: Refcounts, cluster_bits: u32, used: UnitSet) -> Self {
        let end = used.end();
        let clusters = alloc::Space::new(0, 1 << cluster_bits, used, end, u64::MAX);
        Self { refs, cluster_bits, clusters, pending_free: Vec::new() }
    }

    /// Where a cluster is in the file.
    fn range(&self, cluster: u64) -> Range<u64> {
        cluster << self.cluster_bits..(cluster + 1) << self.cluster_bits
    }

    /// A free cluster, for which there is a refcount, still 0.
    pub(super) fn take(&mut self) -> Result<u64> {
        loop {
            let Taken::Unit(cluster) = self.clusters.take(1) else {
                let reason = "its file would have too many clusters; convert it to larger clusters";
                return Err(Error::full(self.refs.blocks.file().path(), reason));
            };
            match self.use_for_counting(cluster) {
                Ok(false) => return Ok(cluster),
                Ok(true) => self.clusters.commit(&self.range(cluster)),
                Err(error) => {
                    self.clusters.release(cluster);
                    return Err(error);
                }
            }
        }
    }

    /// Whether a cluster goes to the refcounts, because there is none for it yet, or is counted already: a leak, or a
    /// structure of no interest here.
    fn use_for_counting(&mut self, cluster: u64) -> Result<bool> {
        if cluster >= self.refs.table_end() {
            let (end, old) = self.refs.grow()?;
            self.clusters.claim(&(cluster << self.cluster_bits..end << self.cluster_bits));
            self.pending_free.extend(old);
            return Ok(true);
        }
        if !self.refs.has_block(cluster) {
            self.refs.add_block(cluster)?;
            return Ok(true);
        }
        Ok(self.refs.get(cluster)? > 0)
    }

    /// Gives back what is still reserved of a range of the file.
    pub(super) fn cancel(&mut self, positions: Range<u64>) {
        self.clusters.cancel(positions);
    }

    /// Counts the first reference to a cluster from [`take`](Self::take).
    pub(super) fn reference(&mut self, cluster: u64) -> Result<()> {
        self.refs.set(cluster, 1)?;
        self.clusters.commit(&self.range(cluster));
        Ok(())
    }

    /// Takes a reference away with the next [`give_back`](Self::give_back).
    pub(super) fn free_after_flush(&mut self, cluster: u64) {
        self.pending_free.push(cluster);
    }

    /// Counts the references that are gone, now that no map on the disk has them, and returns the file's space.
    pub(super) fn give_back(&mut self) -> Result<()> {
        let file = self.refs.blocks.file().clone();
        while let Some(cluster) = self.pending_free.last().copied() {
            let count = self.refs.get(cluster)?.saturating_sub(1);
            self.refs.set(cluster, count)?;
            self.pending_free.pop();
            if count == 0 {
                self.clusters.release(cluster);
                let position = self.range(cluster);
                alloc::give_back(&*file, position.start, position.end - position.start);
            }
        }
        Ok(())
    }

    pub(super) fn pending(&self) -> usize {
        self.refs.pending() + self.pending_free.len() * size_of::<u64>()
    }
}

/// Makes a range of a file read as zeros and the file long enough to hold it.
pub(super) fn clear(file: &File, start: u64, len: u64) -> Result<()> {
    storage::clear(&**file, storage::length(&**file)?, start, len).map(drop)
}
