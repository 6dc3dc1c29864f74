//! Free clusters of the file.

use super::refcount::Refcounts;
use crate::image::clusters::ClusterSet;
use crate::image::{Error, Result};
use crate::storage;
use crate::storage::File;

/// Which clusters are in use, and what waits to be given back.
pub(super) struct Space {
    pub(super) refs: Refcounts,
    cluster_bits: u32,
    /// What something points to, and what was handed out.
    used: ClusterSet,
    /// No cluster before this one is free.
    next: u64,
    /// References that the map in memory has no more, but the one on the disk still may have.
    leaving: Vec<u64>,
}

impl Space {
    pub(super) fn new(refs: Refcounts, cluster_bits: u32, used: ClusterSet) -> Self {
        Self { refs, cluster_bits, used, next: 0, leaving: Vec::new() }
    }

    /// A free cluster, for which there is a refcount, still 0.
    pub(super) fn take(&mut self) -> Result<u64> {
        loop {
            let cluster = self.used.first_free(self.next);
            self.next = cluster;
            if cluster >= self.refs.table_end() {
                let (end, old) = self.refs.grow()?;
                for cluster in cluster..end {
                    self.used.insert(cluster);
                }
                self.leaving.extend(old);
            } else if !self.refs.has_block(cluster) {
                self.insert(cluster)?;
                self.refs.add_block(cluster)?;
            } else if self.refs.get(cluster)? > 0 {
                // A leak, or a structure of no interest here.
                self.insert(cluster)?;
            } else {
                self.insert(cluster)?;
                return Ok(cluster);
            }
        }
    }

    fn insert(&mut self, cluster: u64) -> Result<()> {
        if self.used.insert(cluster) {
            return Ok(());
        }
        let reason = "its file would have too many clusters; convert it to larger clusters".to_owned();
        Err(Error::Refused { path: self.refs.blocks.file().path().to_path_buf(), reason })
    }

    /// Gives back a cluster from [`take`](Self::take) that nothing points to.
    pub(super) fn put_back(&mut self, cluster: u64) {
        self.used.remove(cluster);
        self.next = self.next.min(cluster);
    }

    /// Counts the first reference to a cluster from [`take`](Self::take).
    pub(super) fn reference(&self, cluster: u64) -> Result<()> {
        self.refs.set(cluster, 1)
    }

    /// Takes a reference away with the next [`give_back`](Self::give_back).
    pub(super) fn leave(&mut self, cluster: u64) {
        self.leaving.push(cluster);
    }

    /// Counts the references that are gone, now that no map on the disk has them, and returns the file's space.
    pub(super) fn give_back(&mut self) -> Result<()> {
        let file = self.refs.blocks.file().clone();
        while let Some(cluster) = self.leaving.last().copied() {
            let count = self.refs.get(cluster)?.saturating_sub(1);
            self.refs.set(cluster, count)?;
            self.leaving.pop();
            if count == 0 {
                self.put_back(cluster);
                self.punch(&file, cluster);
            }
        }
        Ok(())
    }

    /// Only gives space back: a cluster is cleared again before it is used.
    fn punch(&self, file: &File, cluster: u64) {
        let (start, len) = (cluster << self.cluster_bits, 1 << self.cluster_bits);
        if let Err(e) = file.zero(start, len) {
            log::debug!("Cannot give back {len} bytes at offset {start} of {}: {e}", file.path().display());
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.refs.pending() + self.leaving.len() * size_of::<u64>()
    }
}

/// Makes a range of a file read as zeros and the file long enough to hold it.
pub(super) fn clear(file: &File, start: u64, len: u64) -> Result<()> {
    let (now, end) = (storage::length(&**file)?, start + len);
    // Past its old end a file grows with zeros; before it there may be bytes of a cluster that was given back.
    let stale = now.saturating_sub(start).min(len);
    if stale > 0 {
        let action = || format!("clear {stale} bytes at offset {start} of");
        file.zero(start, stale).map_err(|e| Error::io(file.path(), action(), e))?;
    }
    if end > now {
        file.set_len(end).map_err(|e| Error::io(file.path(), format!("grow to {end} bytes"), e))?;
    }
    Ok(())
}
