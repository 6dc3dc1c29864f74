//! The chain as one flat disk.

use super::{Disk, Result, Span};
use crate::image::Image;

/// A chain of images, merged.
pub struct ChainDisk {
    links: Vec<Box<dyn Image>>,
    warnings: Vec<String>,
}

impl ChainDisk {
    /// The images, leaf first.
    #[must_use]
    pub fn links(&self) -> &[Box<dyn Image>] {
        &self.links
    }

    /// What the user should know of the chain, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Disk for ChainDisk {
    fn size(&self) -> u64 {
        todo!()
    }
    fn sector_size(&self) -> u32 {
        todo!()
    }
    fn writable(&self) -> bool {
        todo!()
    }
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        todo!()
    }
    fn span(&self, _offset: u64) -> Result<Span> {
        todo!()
    }
    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        todo!()
    }
    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        todo!()
    }
    fn flush(&self) -> Result<()> {
        todo!()
    }
}
