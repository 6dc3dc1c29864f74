//! Images with a two-level map and no refcounts: QCOW version 1, and QED.

mod map;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use super::check::Report;
use super::{Extent, Image, ImageInfo, ImageMut, Joined, Result, Run};
use crate::storage;
use crate::storage::File;
use map::TwoLevelMap;
use write::Writer;

/// How a format writes its map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// The format's name for messages.
    pub(super) name: &'static str,
    /// Entries are big-endian numbers, or else little-endian ones.
    pub(super) big_endian: bool,
    /// The entry of a cluster that reads as zeros, where the format has one.
    pub(super) zero: Option<u64>,
    /// The flag of an entry whose cluster is compressed; 0 where the format has none.
    pub(super) compressed: u64,
    /// Clusters and tables always begin at multiples of the cluster size, else of 512.
    pub(super) aligned: bool,
}

/// Where the map is and what it describes. All lengths are bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) dialect: Dialect,
    /// Where the level 1 table begins.
    pub(super) l1_offset: u64,
    /// Entries of the level 1 table.
    pub(super) l1_entries: u64,
    /// Entries of a level 2 table.
    pub(super) l2_entries: u64,
    /// A power of two from 512 on.
    pub(super) cluster_size: u64,
}

/// Decodes the compressed cluster with an entry, without its flag, into a buffer of a cluster.
pub(super) type Decode = fn(&File, Shape, u64, &mut [u8]) -> Result<()>;

/// An open image with such a map.
pub(super) struct TwoLevel {
    info: ImageInfo,
    files: [File; 1],
    map: TwoLevelMap,
    decode: Option<Decode>,
    writer: Option<Writer>,
}

/// Reports what is wrong with the map of an image.
///
/// # Errors
/// What keeps the check from going on.
pub(super) fn check(file: &File, shape: Shape, report: Report<'_>) -> Result<()> {
    TwoLevelMap::new(file.clone(), shape)?.check(report).map(drop)
}

impl TwoLevel {
    /// Opens the image that `info` and `shape` describe. For writing, all of the map is checked.
    pub(super) fn open(
        file: File,
        info: ImageInfo,
        shape: Shape,
        decode: Option<Decode>,
        writable: bool,
    ) -> Result<Self> {
        let map = TwoLevelMap::new(file.clone(), shape)?;
        let writer = if writable { Some(Writer::new(map.check(&mut |error, _| Err(error))?)) } else { None };
        Ok(Self { info, files: [file], map, decode, writer })
    }

    fn file(&self) -> &File {
        &self.files[0]
    }
}

impl Image for TwoLevel {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len)
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        match self.decode {
            Some(decode) => decode(self.file(), self.map.shape, cluster, out),
            None => Err(self.map.malformed_entry(cluster, "no compressed cluster", cluster)),
        }
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writer.is_some().then_some(self)
    }
}
