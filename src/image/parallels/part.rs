//! A part of a disk: the files that hold it, from the newest snapshot to the base.

use super::map::ParallelsMap;
use super::writer::Writer;
use crate::image::{Extent, Result, Run};

/// The file of one snapshot.
#[derive(Debug)]
pub(super) enum Layer {
    /// The bytes as they are, in the file with this index.
    Plain(usize),
    /// With a header and a map.
    Mapped(ParallelsMap),
}

/// A part of a disk. A single image is one part with one layer.
pub(super) struct ParallelsStorage {
    /// The part's first byte on the disk.
    pub(super) start: u64,
    /// The first byte after it.
    pub(super) end: u64,
    /// What shows the current state.
    pub(super) top: Layer,
    /// Its parents, the base last.
    pub(super) below: Vec<Layer>,
    /// Allocates in [`top`](Self::top), when that has a map and is open for writing.
    pub(super) writer: Option<Writer>,
}

impl Layer {
    /// What the layer alone says; `offset` is relative to the part.
    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        match self {
            Self::Plain(file) => Ok(Run { extent: Extent::Stored { file: *file, offset }, len }),
            Self::Mapped(map) => map.extent(offset, len),
        }
    }
}

impl ParallelsStorage {
    /// What the top alone says of a range within the part; `offset` is relative to the part.
    pub(super) fn top_extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.top.extent(offset, len)
    }

    /// What the top's parents say.
    pub(super) fn below_extent(&self, offset: u64, len: u64) -> Result<Run> {
        let mut len = len;
        for layer in &self.below {
            let run = layer.extent(offset, len)?;
            if run.extent != Extent::Absent {
                return Ok(run);
            }
            len = run.len;
        }
        Ok(Run { extent: Extent::Absent, len })
    }

    /// What all layers together say.
    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let run = self.top_extent(offset, len)?;
        if run.extent == Extent::Absent { self.below_extent(offset, run.len) } else { Ok(run) }
    }
}
