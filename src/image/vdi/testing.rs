//! VDI files built byte by byte, for tests.

use super::header::{SIGNATURE, SIGNATURE_AT};
use uuid::Uuid;

/// Where a version has its fields, in bytes from the start of the file.
struct Offsets {
    kind: usize,
    comment: usize,
    disk_size: usize,
    block_size: usize,
    blocks: usize,
    blocks_allocated: usize,
    /// The UUIDs of the image, of its last change and of its parent, one after the other.
    uuids: usize,
}

/// Version 0 of the header.
const V0: Offsets =
    Offsets { kind: 72, comment: 80, disk_size: 352, block_size: 360, blocks: 364, blocks_allocated: 368, uuids: 372 };
/// Where version 0 has its map.
const V0_MAP: usize = 420;
/// Version 1 of the header.
const V1: Offsets =
    Offsets { kind: 76, comment: 84, disk_size: 368, block_size: 376, blocks: 384, blocks_allocated: 388, uuids: 392 };
const VERSION_AT: usize = 68;
/// Fields that only version 1 has.
const HEADER_SIZE_AT: usize = 72;
const BLOCKS_OFFSET_AT: usize = 340;
const DATA_OFFSET_AT: usize = 344;
const BLOCK_EXTRA_AT: usize = 380;
const PARENT_MODIFY_AT: usize = 440;

/// What a test image should be.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// `u32Version`; 2 is version 0.
    pub(crate) version: u32,
    pub(crate) header_size: u32,
    pub(crate) kind: u32,
    pub(crate) disk_size: u64,
    pub(crate) block_size: u32,
    pub(crate) block_extra: u32,
    pub(crate) blocks_offset: u32,
    /// The map; indices of the data area must lie within `data`.
    pub(crate) map: Vec<u32>,
    /// The blocks of the data area, each filled with one byte.
    pub(crate) data: Vec<u8>,
    pub(crate) uuid: Uuid,
    pub(crate) parent: Uuid,
    pub(crate) parent_modify: Uuid,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            version: 0x0001_0001,
            header_size: 400,
            kind: 1,
            disk_size: 4 * 4096,
            block_size: 4096,
            block_extra: 0,
            blocks_offset: 512,
            map: vec![0xFFFF_FFFF; 4],
            data: Vec::new(),
            uuid: Uuid::from_u128(1),
            parent: Uuid::nil(),
            parent_modify: Uuid::nil(),
        }
    }
}

impl Build {
    /// Where the data area begins: directly after the map in version 0, at the next multiple of 512 otherwise.
    pub(crate) fn data_offset(&self) -> usize {
        let map = 4 * self.map.len();
        if self.version == 2 { V0_MAP + map } else { (self.blocks_offset as usize + map).next_multiple_of(512) }
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.data_offset()];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"<<< test >>>\n");
        put(SIGNATURE_AT, &SIGNATURE.to_le_bytes());
        put(VERSION_AT, &self.version.to_le_bytes());
        let used = u32::try_from(self.data.len()).unwrap();
        let count = u32::try_from(self.map.len()).unwrap();
        let (at, map_at) = if self.version == 2 { (V0, V0_MAP) } else { (V1, self.blocks_offset as usize) };
        put(at.kind, &self.kind.to_le_bytes());
        put(at.comment, b"a comment");
        put(at.disk_size, &self.disk_size.to_le_bytes());
        put(at.block_size, &self.block_size.to_le_bytes());
        put(at.blocks, &count.to_le_bytes());
        put(at.blocks_allocated, &used.to_le_bytes());
        put(at.uuids, &self.uuid.to_bytes_le());
        put(at.uuids + 16, &Uuid::from_u128(2).to_bytes_le());
        put(at.uuids + 32, &self.parent.to_bytes_le());
        for (i, entry) in self.map.iter().enumerate() {
            put(map_at + 4 * i, &entry.to_le_bytes());
        }
        if self.version != 2 {
            put(HEADER_SIZE_AT, &self.header_size.to_le_bytes());
            put(BLOCKS_OFFSET_AT, &self.blocks_offset.to_le_bytes());
            put(DATA_OFFSET_AT, &u32::try_from(self.data_offset()).unwrap().to_le_bytes());
            put(BLOCK_EXTRA_AT, &self.block_extra.to_le_bytes());
            put(PARENT_MODIFY_AT, &self.parent_modify.to_bytes_le());
        }
        for fill in &self.data {
            out.extend(vec![0xEE; self.block_extra as usize]);
            out.extend(vec![*fill; self.block_size as usize]);
        }
        out
    }
}
