//! The clusters of a volume, and directories as sequences of slots.

use super::chains::Chains;
use super::{FIRST_CLUSTER, table::Table};
use crate::guestfs::Result;
use crate::guestfs::foreign::Blocks;
use crate::ondisk::ParseError;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes in a directory slot.
pub(in crate::guestfs) const SLOT: usize = 32;
const SLOT_U64: u64 = SLOT as u64;
/// Bytes of a directory read at once.
const STEP: u64 = 16 << 10;

/// The location of the bytes of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guestfs) enum Location {
    /// Contiguous: `len` bytes at byte `at` of the volume.
    Range { at: u64, len: u64 },
    /// The first `clusters` clusters of the chain that begins with cluster `first`.
    Chain { first: u32, clusters: u64 },
    /// A whole chain, which may not have more than `most` clusters.
    WholeChain { first: u32, most: u64 },
}

/// A directory slot.
pub(in crate::guestfs) struct Slot<'a> {
    /// Its index in the directory.
    pub(in crate::guestfs) index: u64,
    /// Its offset on the volume in bytes.
    pub(in crate::guestfs) at: u64,
    /// Its bytes.
    pub(in crate::guestfs) raw: &'a [u8; SLOT],
}

/// The clusters of a volume.
pub(in crate::guestfs) struct Heap {
    pub(in crate::guestfs) blocks: Arc<Blocks>,
    pub(in crate::guestfs) chains: Chains,
    /// Offset of the first cluster on the volume in bytes.
    at: u64,
    /// Bytes in a cluster, a power of two.
    pub(in crate::guestfs) cluster: u64,
}

impl Heap {
    pub(in crate::guestfs) fn new(table: Table, at: u64, cluster: u64) -> Self {
        Self { blocks: table.blocks.clone(), chains: Chains::new(table), at, cluster }
    }

    /// The offset of a cluster on the volume in bytes.
    pub(in crate::guestfs) fn offset_of(&self, cluster: u32) -> u64 {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        self.at.saturating_add(index.saturating_mul(self.cluster))
    }

    /// The cluster that holds a byte of the volume; `None` when the byte is outside of all clusters.
    pub(in crate::guestfs) fn cluster_at(&self, at: u64) -> Option<u32> {
        let index = at.checked_sub(self.at)? / self.cluster;
        let cluster = u32::try_from(index).ok()?.checked_add(FIRST_CLUSTER)?;
        self.chains.table.has(cluster).then_some(cluster)
    }

    /// Maps byte `offset` of a location to its offset on the volume, with the number of contiguous bytes from there on.
    /// `None` past the end.
    ///
    /// # Errors
    /// A corrupt chain; any error of the disk.
    pub(in crate::guestfs) fn locate(&self, location: Location, offset: u64) -> Result<Option<(u64, u64)>> {
        let (first, needed) = match location {
            Location::Range { at, len } => {
                return Ok(len.checked_sub(offset).filter(|left| *left > 0).map(|left| (at + offset, left)));
            }
            Location::Chain { first, clusters } => (first, clusters),
            Location::WholeChain { first, most } => (first, most.saturating_add(1)),
        };
        let (index, skip) = (offset / self.cluster, offset % self.cluster);
        if index >= needed {
            return Ok(None);
        }
        let Some(run) = self.chains.find(first, index, needed)? else {
            return match location {
                Location::Chain { .. } => Err(self.chains.too_short(first, needed)?),
                _ => Ok(None),
            };
        };
        if let Location::WholeChain { most, .. } = location
            && index >= most
        {
            let what = format!("chain of clusters from {first:#x} on");
            let cause = ParseError::corrupt(self.offset_of(first), what, format!("{most} clusters at most"), "more");
            return Err(cause.into());
        }
        Ok(Some((self.offset_of(run.cluster) + skip, u64::from(run.count) * self.cluster - skip)))
    }

    /// Fills `buf` with the bytes of a location from `offset` on.
    ///
    /// # Errors
    /// A chain that is corrupt or too short; any error of the disk.
    pub(in crate::guestfs) fn read(&self, location: Location, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let Some((at, len)) = self.locate(location, offset + done as u64)? else {
                let cause = ParseError::corrupt(0, "bytes in clusters", format!("{} bytes", buf.len()), done);
                return Err(cause.into());
            };
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len() - done);
            self.blocks.read_at(at, &mut buf[done..done + now])?;
            done += now;
        }
        Ok(())
    }

    /// Calls `each` for the slots of a directory from index `from` on, until it breaks or there are no more. For a
    /// range that the disk cannot read, `each` gets the error instead.
    ///
    /// # Errors
    /// A corrupt chain; whatever `each` returns.
    pub(in crate::guestfs) fn slots(
        &self,
        directory: Location,
        from: u64,
        each: &mut dyn FnMut(Result<Slot<'_>>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut index = from;
        let mut buf = Vec::new();
        // An index that no listing returned is past the end.
        while let Some(offset) = index.checked_mul(SLOT_U64)
            && let Some((at, len)) = self.locate(directory, offset)?
        {
            // Aligned to the blocks of the cache.
            let len = len.min(STEP - at % STEP);
            buf.resize(usize::try_from(len).unwrap_or(0), 0);
            if let Err(error) = self.blocks.read_at(at, &mut buf) {
                if each(Err(error.into()))?.is_break() {
                    return Ok(());
                }
                index += (len / SLOT_U64).max(1);
                continue;
            }
            let (slots, _) = buf.as_chunks::<SLOT>();
            if slots.is_empty() {
                break;
            }
            for (raw, i) in slots.iter().zip(0_u64..) {
                let slot = Slot { index: index + i, at: at + i * SLOT_U64, raw };
                if each(Ok(slot))?.is_break() {
                    return Ok(());
                }
            }
            index += slots.len() as u64;
        }
        Ok(())
    }
}
