//! A disk in memory for tests: zeros, except where bytes were put.

use crate::disk::{self, Allocation, Disk, slice::check_range};
use std::collections::BTreeMap;

/// Bytes of the pages that hold what is not zero.
const PAGE: u64 = 512;

#[derive(Clone)]
pub(super) struct TestDisk {
    size: u64,
    sector_size: u32,
    pages: BTreeMap<u64, [u8; 512]>,
}

impl TestDisk {
    pub(super) fn new(size: u64, sector_size: u32) -> Self {
        Self { size, sector_size, pages: BTreeMap::new() }
    }

    /// Puts bytes at an offset.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let page = self.pages.entry(at / PAGE).or_insert([0; 512]);
            page[usize::try_from(at % PAGE).unwrap()] = *byte;
        }
    }

    /// Inverts the bits of a byte.
    pub(super) fn corrupt(&mut self, offset: u64) {
        let mut byte = [0];
        self.read_at(offset, &mut byte).unwrap();
        self.put(offset, &[!byte[0]]);
    }

    /// The same bytes on a disk that claims another sector size.
    pub(super) fn with_sector_size(self, sector_size: u32) -> Self {
        Self { sector_size, ..self }
    }

    /// The same bytes on a disk of another size.
    pub(super) fn resized(mut self, size: u64) -> Self {
        self.size = size;
        self.pages.retain(|page, _| *page < size / PAGE);
        self
    }
}

impl Disk for TestDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> disk::Result<()> {
        check_range(offset, buf.len() as u64, self.size)?;
        for (at, byte) in (offset..).zip(buf.iter_mut()) {
            let page = self.pages.get(&(at / PAGE));
            *byte = page.map_or(0, |page| page[usize::try_from(at % PAGE).unwrap()]);
        }
        Ok(())
    }

    fn allocation(&self, offset: u64) -> disk::Result<Allocation> {
        Ok(Allocation::Data(self.size - offset))
    }
}
