//! The clusters of a volume, and directories as rows of slots.

use super::chains::Chains;
use super::{FIRST_CLUSTER, table::Table};
use crate::guestfs::Result;
use crate::guestfs::foreign::Blocks;
use crate::ondisk::ParseError;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a directory's slot.
pub(in crate::guestfs) const SLOT: usize = 32;
const SLOT_U64: u64 = SLOT as u64;
/// Bytes of a directory that are read at once.
const STEP: u64 = 16 << 10;

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guestfs) enum Place {
    /// In one piece: from this byte of the volume on, so many.
    Range { at: u64, len: u64 },
    /// In the chain that begins with a cluster of the volume, in so many clusters.
    Chain { first: u32, clusters: u64 },
    /// In all of a chain, which may not have more clusters than so many.
    WholeChain { first: u32, most: u64 },
}

/// A slot of a directory.
pub(in crate::guestfs) struct Slot<'a> {
    /// Its number in the directory.
    pub(in crate::guestfs) number: u64,
    /// Where on the volume it is, in bytes.
    pub(in crate::guestfs) at: u64,
    /// What it holds.
    pub(in crate::guestfs) raw: &'a [u8; SLOT],
}

/// The clusters of a volume.
pub(in crate::guestfs) struct Heap {
    pub(in crate::guestfs) blocks: Arc<Blocks>,
    pub(in crate::guestfs) chains: Chains,
    /// Where on the volume the first cluster begins, in bytes.
    at: u64,
    /// Bytes of a cluster, a power of two.
    pub(in crate::guestfs) cluster: u64,
}

impl Heap {
    pub(in crate::guestfs) fn new(table: Table, at: u64, cluster: u64) -> Self {
        Self { blocks: table.blocks.clone(), chains: Chains::new(table), at, cluster }
    }

    /// Where on the volume a cluster begins, in bytes.
    pub(in crate::guestfs) fn place(&self, cluster: u32) -> u64 {
        let number = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        self.at.saturating_add(number.saturating_mul(self.cluster))
    }

    /// The cluster that a byte of the volume is in, unless it is in none.
    pub(in crate::guestfs) fn cluster_at(&self, at: u64) -> Option<u32> {
        let number = at.checked_sub(self.at)? / self.cluster;
        let cluster = u32::try_from(number).ok()?.checked_add(FIRST_CLUSTER)?;
        self.chains.table.has(cluster).then_some(cluster)
    }

    /// Where on the volume the byte `offset` of a place is, and how many follow it there. `None` behind its end.
    ///
    /// # Errors
    /// Corruption of a chain; what the disk says.
    pub(in crate::guestfs) fn locate(&self, place: Place, offset: u64) -> Result<Option<(u64, u64)>> {
        let (first, needed) = match place {
            Place::Range { at, len } => {
                return Ok(len.checked_sub(offset).filter(|left| *left > 0).map(|left| (at + offset, left)));
            }
            Place::Chain { first, clusters } => (first, clusters),
            Place::WholeChain { first, most } => (first, most.saturating_add(1)),
        };
        let (index, skip) = (offset / self.cluster, offset % self.cluster);
        if index >= needed {
            return Ok(None);
        }
        let Some(run) = self.chains.find(first, index, needed)? else {
            return match place {
                Place::Chain { .. } => Err(self.chains.too_short(first, needed)?),
                _ => Ok(None),
            };
        };
        if let Place::WholeChain { most, .. } = place
            && index >= most
        {
            let what = format!("chain of clusters from {first:#x} on");
            let cause = ParseError::corrupt(self.place(first), what, format!("{most} clusters at most"), "more");
            return Err(cause.into());
        }
        Ok(Some((self.place(run.cluster) + skip, u64::from(run.count) * self.cluster - skip)))
    }

    /// Fills `buf` from byte `offset` of a place on.
    ///
    /// # Errors
    /// Corruption of a chain, or that it ends before; what the disk says.
    pub(in crate::guestfs) fn read(&self, place: Place, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let Some((at, len)) = self.locate(place, offset + done as u64)? else {
                let cause = ParseError::corrupt(0, "bytes in clusters", format!("{} bytes", buf.len()), done);
                return Err(cause.into());
            };
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len() - done);
            self.blocks.read_at(at, &mut buf[done..done + now])?;
            done += now;
        }
        Ok(())
    }

    /// Tells the slots of a directory from the one with number `from` on, until `each` breaks off or there are no more. Of
    /// a part that the disk cannot read it gets the failure instead.
    ///
    /// # Errors
    /// Corruption of a chain; what `each` says.
    pub(in crate::guestfs) fn slots(
        &self,
        directory: Place,
        from: u64,
        each: &mut dyn FnMut(Result<Slot<'_>>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut number = from;
        let mut buf = Vec::new();
        // A place that no listing gave is behind the end.
        while let Some(offset) = number.checked_mul(SLOT_U64)
            && let Some((at, len)) = self.locate(directory, offset)?
        {
            // As the blocks lie that are kept in memory.
            let len = len.min(STEP - at % STEP);
            buf.resize(usize::try_from(len).unwrap_or(0), 0);
            if let Err(error) = self.blocks.read_at(at, &mut buf) {
                if each(Err(error.into()))?.is_break() {
                    return Ok(());
                }
                number += (len / SLOT_U64).max(1);
                continue;
            }
            let (slots, _) = buf.as_chunks::<SLOT>();
            if slots.is_empty() {
                break;
            }
            for (raw, i) in slots.iter().zip(0_u64..) {
                let slot = Slot { number: number + i, at: at + i * SLOT_U64, raw };
                if each(Ok(slot))?.is_break() {
                    return Ok(());
                }
            }
            number += slots.len() as u64;
        }
        Ok(())
    }
}
