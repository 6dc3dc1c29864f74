//! VHDXs built byte by byte for tests.

use super::checksum;
use uuid::{Uuid, uuid};

pub(crate) const MIB: usize = 1 << 20;
/// Where the parts of a built image are.
pub(crate) const LOG: usize = MIB;
pub(crate) const METADATA: usize = 2 * MIB;
pub(crate) const TABLE: usize = 3 * MIB;
const BLOCKS: usize = 4 * MIB;
/// Where the items of the metadata are, from its start: file parameters, size, disk id, sector sizes, parent locator.
pub(crate) const ITEMS: usize = METADATA + (64 << 10);

/// What to build. An entry of `map` is a state and, where that has one, a block of `data`.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) sector: u32,
    /// 1: fixed, 2: differencing.
    pub(crate) flags: u32,
    pub(crate) map: Vec<(u64, usize)>,
    /// The byte that each stored block is full of.
    pub(crate) data: Vec<u8>,
    /// The first bytes of the first sector bitmap block.
    pub(crate) bitmap: Option<Vec<u8>>,
    pub(crate) data_write: Uuid,
    pub(crate) locator: Vec<(&'static str, String)>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            size: 4 * MIB as u64,
            block_size: 1 << 20,
            sector: 512,
            flags: 0,
            map: vec![(0, 0); 4],
            data: Vec::new(),
            bitmap: None,
            data_write: Uuid::from_u128(1),
            locator: Vec::new(),
        }
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Puts the right checksum into a structure.
pub(crate) fn sum(bytes: &mut [u8]) {
    checksum::put(bytes);
}

/// A header.
pub(crate) fn header(sequence: u64, data_write: Uuid, log: Uuid) -> Vec<u8> {
    let mut out = vec![0; 4096];
    put(&mut out, 0, b"head");
    put(&mut out, 8, &sequence.to_le_bytes());
    put(&mut out, 16, &Uuid::from_u128(99).to_bytes_le());
    put(&mut out, 32, &data_write.to_bytes_le());
    put(&mut out, 48, &log.to_bytes_le());
    put(&mut out, 66, &1_u16.to_le_bytes());
    put(&mut out, 68, &(1_u32 << 20).to_le_bytes());
    put(&mut out, 72, &(LOG as u64).to_le_bytes());
    sum(&mut out);
    out
}

/// A region table.
fn regions() -> Vec<u8> {
    let mut out = vec![0; 64 << 10];
    put(&mut out, 0, b"regi");
    put(&mut out, 8, &2_u32.to_le_bytes());
    let entries = [
        (uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08"), TABLE),
        (uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e"), METADATA),
    ];
    for (i, (guid, offset)) in entries.iter().enumerate() {
        let at = 16 + 32 * i;
        put(&mut out, at, &guid.to_bytes_le());
        put(&mut out, at + 16, &(*offset as u64).to_le_bytes());
        put(&mut out, at + 24, &(1_u32 << 20).to_le_bytes());
        put(&mut out, at + 28, &1_u32.to_le_bytes());
    }
    sum(&mut out);
    out
}

/// A parent locator with these keys and values.
fn locator(pairs: &[(&str, String)]) -> Vec<u8> {
    let mut out = vec![0; 20 + 12 * pairs.len()];
    put(&mut out, 0, &uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913").to_bytes_le());
    put(&mut out, 18, &u16::try_from(pairs.len()).unwrap().to_le_bytes());
    for (i, (key, value)) in pairs.iter().enumerate() {
        for (j, text) in [*key, value].into_iter().enumerate() {
            let at = u32::try_from(out.len()).unwrap();
            let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put(&mut out, 20 + 12 * i + 4 * j, &at.to_le_bytes());
            put(&mut out, 28 + 12 * i + 2 * j, &u16::try_from(utf16.len()).unwrap().to_le_bytes());
            out.extend(utf16);
        }
    }
    out
}

impl Build {
    /// Where a stored block is in the file.
    pub(crate) fn block_at(&self, index: usize) -> u64 {
        (BLOCKS + index * self.block_size as usize) as u64
    }

    fn metadata(&self) -> Vec<u8> {
        let mut items: Vec<(Uuid, Vec<u8>)> = vec![
            (
                uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b"),
                [self.block_size.to_le_bytes(), self.flags.to_le_bytes()].concat(),
            ),
            (uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8"), self.size.to_le_bytes().to_vec()),
            (uuid!("beca12ab-b2e6-4523-93ef-c309e000c746"), vec![7; 16]),
            (uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f"), self.sector.to_le_bytes().to_vec()),
            (uuid!("cda348c7-445d-4471-9cc9-e9885251c556"), 4096_u32.to_le_bytes().to_vec()),
        ];
        if self.flags & 2 == 2 {
            items.push((uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"), locator(&self.locator)));
        }
        let mut out = vec![0; MIB];
        put(&mut out, 0, b"metadata");
        put(&mut out, 10, &u16::try_from(items.len()).unwrap().to_le_bytes());
        let mut position = 64 << 10;
        for (i, (guid, bytes)) in items.iter().enumerate() {
            let at = 32 + 32 * i;
            put(&mut out, at, &guid.to_bytes_le());
            put(&mut out, at + 16, &u32::try_from(position).unwrap().to_le_bytes());
            put(&mut out, at + 20, &u32::try_from(bytes.len()).unwrap().to_le_bytes());
            put(&mut out, at + 24, &4_u32.to_le_bytes());
            put(&mut out, position, bytes);
            position += 32;
        }
        out
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; BLOCKS];
        put(&mut out, 0, b"vhdxfile");
        put(&mut out, 64 << 10, &header(1, Uuid::nil(), Uuid::nil()));
        put(&mut out, 128 << 10, &header(2, self.data_write, Uuid::nil()));
        put(&mut out, 192 << 10, &regions());
        put(&mut out, 256 << 10, &regions());
        put(&mut out, METADATA, &self.metadata());
        let ratio = ((self.sector as usize) << 23) / self.block_size as usize;
        for (block, (state, index)) in self.map.iter().enumerate() {
            let position = if *state >= 6 { self.block_at(*index) } else { 0 };
            put(&mut out, TABLE + 8 * (block + block / ratio), &(position | state).to_le_bytes());
        }
        for fill in &self.data {
            out.extend(vec![*fill; self.block_size as usize]);
        }
        if let Some(bitmap) = &self.bitmap {
            let at = out.len();
            put(&mut out, TABLE + 8 * ratio, &(at as u64 | 6).to_le_bytes());
            out.resize(at + MIB, 0);
            put(&mut out, at, bitmap);
        }
        out
    }
}

/// A change in an entry of the log: zeros of a length, or a sector full of one byte but for its first and last.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Zero(u64, u64),
    Fill(u64, u8),
}

/// The sector that [`Change::Fill`] writes.
pub(crate) fn filled(fill: u8) -> Vec<u8> {
    let mut sector = vec![fill; 4096];
    (sector[0], sector[4095]) = (!fill, !fill);
    sector
}

/// An entry of the log; `lengths` are its `FlushedFileOffset` and `LastFileOffset`.
pub(crate) fn entry(guid: Uuid, sequence: u64, tail: u32, lengths: (u64, u64), changes: &[Change]) -> Vec<u8> {
    let mut out = vec![0; (64 + 32 * changes.len()).next_multiple_of(4096)];
    put(&mut out, 0, b"loge");
    put(&mut out, 12, &tail.to_le_bytes());
    put(&mut out, 16, &sequence.to_le_bytes());
    put(&mut out, 24, &u32::try_from(changes.len()).unwrap().to_le_bytes());
    put(&mut out, 32, &guid.to_bytes_le());
    put(&mut out, 48, &lengths.0.to_le_bytes());
    put(&mut out, 56, &lengths.1.to_le_bytes());
    for (i, change) in changes.iter().enumerate() {
        let at = 64 + 32 * i;
        put(&mut out, at + 24, &sequence.to_le_bytes());
        match *change {
            Change::Zero(offset, length) => {
                put(&mut out, at, b"zero");
                put(&mut out, at + 8, &length.to_le_bytes());
                put(&mut out, at + 16, &offset.to_le_bytes());
            }
            Change::Fill(offset, fill) => {
                let mut sector = filled(fill);
                put(&mut out, at, b"desc");
                put(&mut out, at + 4, &sector[4092..]);
                put(&mut out, at + 8, &sector[..8]);
                put(&mut out, at + 16, &offset.to_le_bytes());
                put(&mut sector, 0, b"data");
                put(&mut sector, 4, &sequence.to_le_bytes()[4..]);
                put(&mut sector, 4092, &sequence.to_le_bytes()[..4]);
                out.extend(sector);
            }
        }
    }
    let length = u32::try_from(out.len()).unwrap();
    put(&mut out, 8, &length.to_le_bytes());
    sum(&mut out);
    out
}
