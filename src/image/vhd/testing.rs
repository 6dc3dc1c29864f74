//! VHDs built byte by byte for tests.

use super::footer::COOKIE;
use uuid::Uuid;

/// Where the table of a built image is.
pub(crate) const TABLE: usize = 1536;
/// A table entry without a block.
pub(crate) const UNUSED: u32 = 0xFFFF_FFFF;

/// A stored block: the byte that its bitmap and the byte that its data is full of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) bits: u8,
    pub(crate) fill: u8,
}

/// What to build. Blocks of the disk name one of `data`, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) kind: u32,
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) map: Vec<Option<usize>>,
    pub(crate) data: Vec<Block>,
    pub(crate) creator: [u8; 4],
    pub(crate) geometry: (u16, u8, u8),
    pub(crate) uuid: Uuid,
    pub(crate) parent: Uuid,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            kind: 3,
            size: 4 * 4096,
            block_size: 4096,
            map: vec![None; 4],
            data: Vec::new(),
            creator: *b"vbox",
            geometry: (1, 2, 17),
            uuid: Uuid::from_u128(1),
            parent: Uuid::nil(),
        }
    }
}

/// Puts the right checksum at `at` of a structure.
pub(crate) fn sum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = bytes.iter().fold(0_u32, |sum, byte| sum + u32::from(*byte));
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

impl Build {
    pub(crate) fn footer(&self) -> [u8; 512] {
        let mut out = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, COOKIE);
        put(8, &2_u32.to_be_bytes());
        put(12, &0x0001_0000_u32.to_be_bytes());
        put(16, &if self.kind == 2 { u64::MAX } else { 512 }.to_be_bytes());
        put(28, &self.creator);
        put(32, &0x0007_0002_u32.to_be_bytes());
        put(40, &self.size.to_be_bytes());
        put(48, &self.size.to_be_bytes());
        put(56, &self.geometry.0.to_be_bytes());
        put(58, &[self.geometry.1, self.geometry.2]);
        put(60, &self.kind.to_be_bytes());
        put(68, &self.uuid.to_bytes_le());
        sum(&mut out, 64);
        out
    }

    fn header(&self) -> [u8; 1024] {
        let mut out = [0; 1024];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"cxsparse\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
        put(16, &(TABLE as u64).to_be_bytes());
        put(24, &0x0001_0000_u32.to_be_bytes());
        put(28, &u32::try_from(self.map.len()).unwrap().to_be_bytes());
        put(32, &self.block_size.to_be_bytes());
        put(40, &self.parent.to_bytes_le());
        sum(&mut out, 36);
        out
    }

    /// Bytes of a bitmap.
    fn bitmap(&self) -> usize {
        (self.block_size as usize / 4096).next_multiple_of(512)
    }

    /// Where a stored block begins in the file.
    pub(crate) fn block_at(&self, index: usize) -> usize {
        let data = (TABLE + 4 * self.map.len()).next_multiple_of(512);
        data + index * (self.bitmap() + self.block_size as usize)
    }

    /// Where the data of a stored block begins in the file.
    pub(crate) fn data_at(&self, index: usize) -> u64 {
        (self.block_at(index) + self.bitmap()) as u64
    }

    /// The file of a dynamic or differencing disk.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.footer().to_vec();
        out.extend(self.header());
        for block in &self.map {
            let sector = block.map_or(UNUSED, |index| u32::try_from(self.block_at(index) / 512).unwrap());
            out.extend(sector.to_be_bytes());
        }
        out.resize(self.block_at(0), 0);
        for block in &self.data {
            out.extend(vec![block.bits; self.bitmap()]);
            out.extend(vec![block.fill; self.block_size as usize]);
        }
        out.extend(self.footer());
        out
    }

    /// The file of a fixed disk full of one byte.
    pub(crate) fn fixed(&self, fill: u8) -> Vec<u8> {
        let mut out = vec![fill; usize::try_from(self.size).unwrap()];
        out.extend(Self { kind: 2, ..self.clone() }.footer());
        out
    }
}
