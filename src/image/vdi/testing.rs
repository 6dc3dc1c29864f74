//! VDI files built byte by byte, for tests.

use super::header::{SIGNATURE, SIGNATURE_AT};
use uuid::Uuid;

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
        if self.version == 2 { 420 + map } else { (self.blocks_offset as usize + map).next_multiple_of(512) }
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.data_offset()];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"<<< test >>>\n");
        put(SIGNATURE_AT, &SIGNATURE.to_le_bytes());
        put(68, &self.version.to_le_bytes());
        let used = u32::try_from(self.data.len()).unwrap();
        let count = u32::try_from(self.map.len()).unwrap();
        // Type, flags, comment, disk size, block size, blocks, allocated, UUIDs; then the map.
        let at = if self.version == 2 {
            [72, 80, 352, 360, 364, 368, 372, 420]
        } else {
            [76, 84, 368, 376, 384, 388, 392, self.blocks_offset as usize]
        };
        put(at[0], &self.kind.to_le_bytes());
        put(at[1], b"a comment");
        put(at[2], &self.disk_size.to_le_bytes());
        put(at[3], &self.block_size.to_le_bytes());
        put(at[4], &count.to_le_bytes());
        put(at[5], &used.to_le_bytes());
        put(at[6], &self.uuid.to_bytes_le());
        put(at[6] + 16, &Uuid::from_u128(2).to_bytes_le());
        put(at[6] + 32, &self.parent.to_bytes_le());
        for (i, entry) in self.map.iter().enumerate() {
            put(at[7] + 4 * i, &entry.to_le_bytes());
        }
        if self.version != 2 {
            put(72, &self.header_size.to_le_bytes());
            put(340, &self.blocks_offset.to_le_bytes());
            put(344, &u32::try_from(self.data_offset()).unwrap().to_le_bytes());
            put(380, &self.block_extra.to_le_bytes());
            put(440, &self.parent_modify.to_bytes_le());
        }
        for fill in &self.data {
            out.extend(vec![0xEE; self.block_extra as usize]);
            out.extend(vec![*fill; self.block_size as usize]);
        }
        out
    }
}
