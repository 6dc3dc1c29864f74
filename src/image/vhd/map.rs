//! The block allocation table and the sector bitmaps: where the sectors of the disk are in the file.

use super::header::{SECTOR, VhdHeader};
use crate::image::{Error, Extent, Result, Run};
use crate::ondisk::ParseError;
use crate::ondisk::bitmap::BitOrder;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::MetaCache;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A table entry whose block is not in the file.
const UNUSED: u32 = 0xFFFF_FFFF;
/// Bytes of the table and the bitmaps cached in memory: a disk of 1 TiB in blocks of 2 MiB has a table of 2 MiB.
const CACHE: usize = 8 << 20;
/// Entries examined together: a run of unused blocks never spans more blocks than this.
const BATCH: usize = 1024;
/// Bytes of a bitmap examined together.
const BITMAP_CHUNK: usize = 512;
/// Bytes of the table read at once when all of it is checked.
const CHECK_CHUNK: usize = 1 << 20;
/// The check holds the offset of each block in memory (64 MiB); files with space for more blocks are refused. That is a
/// file of 32 TiB with the usual blocks, where the format ends at 2 TiB.
const MAX_BLOCKS: u64 = 1 << 24;

/// The map of an open dynamic or differencing VHD.
#[derive(Debug)]
pub(super) struct VhdMap {
    pub(super) header: VhdHeader,
    pub(super) cache: MetaCache,
    /// The disk's size in bytes.
    disk_size: u64,
    /// Where the footer at the end of the file begins: blocks end before it. Grows as blocks are allocated.
    pub(super) data_end: AtomicU64,
    /// The sectors at which blocks begin that overlap others, sorted: whose data they are, nobody knows. None in a map
    /// that was found valid.
    shared: Vec<u32>,
}

impl VhdMap {
    pub(super) fn new(file: File, header: VhdHeader, disk_size: u64, data_end: u64) -> Result<Self> {
        let (cache, data_end_now) = (MetaCache::new(file, CACHE), AtomicU64::new(data_end));
        let map = Self { header, cache, disk_size, data_end: data_end_now, shared: Vec::new() };
        let header = &map.header;
        let blocks = map.blocks();
        if u64::from(header.max_table_entries) < blocks {
            return Err(map.cause(ParseError::corrupt(
                header.offset + 28,
                "VHD max table entries",
                format_args!("at least {blocks} for a disk of {disk_size} bytes"),
                header.max_table_entries,
            )));
        }
        match header.table_offset.checked_add(4 * blocks) {
            Some(end) if end <= data_end => Ok(map),
            _ => Err(map.cause(ParseError::corrupt(
                header.offset + 16,
                "VHD table offset",
                format_args!("{blocks} entries before offset {data_end}, the end of the data"),
                header.table_offset,
            ))),
        }
    }

    fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.cache.file().path())
    }

    /// How many blocks the disk has.
    pub(super) fn blocks(&self) -> u64 {
        self.disk_size.div_ceil(u64::from(self.header.block_size))
    }

    /// The sector of the file at which a block begins; none for a block that is not in the file.
    pub(super) fn entry(&self, block: u64) -> Result<Option<u32>> {
        let mut raw = [0; 4];
        self.cache.read(self.header.entry_at(block), &mut raw, "VHD table entry")?;
        Ok(Some(u32::from_be_bytes(raw)).filter(|sector| *sector != UNUSED))
    }

    /// Changes the entry of a block in memory.
    pub(super) fn set_entry(&self, block: u64, sector: u32) -> Result<()> {
        self.cache.write(self.header.entry_at(block), &sector.to_be_bytes())
    }

    /// Where the data of a block that begins at `sector` is in the file.
    pub(super) fn data_at(&self, sector: u32) -> u64 {
        u64::from(sector) * SECTOR + self.header.bitmap_size()
    }

    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let size = u64::from(self.header.block_size);
        let (block, skip) = (offset / size, offset % size);
        match self.entry(block)? {
            None => self.unused(block, skip, len),
            Some(sector) => {
                self.check_entry(block, sector)?;
                self.sectors(sector, skip, len.min(size - skip))
            }
        }
    }

    /// The run that begins `skip` bytes after the start of `block`, which is unused.
    fn unused(&self, block: u64, skip: u64, len: u64) -> Result<Run> {
        let size = u64::from(self.header.block_size);
        let wanted = (skip + len).div_ceil(size).min(self.blocks() - block);
        let count = usize::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH);
        let mut raw = [0; 4 * BATCH];
        let raw = &mut raw[..4 * count];
        self.cache.read(self.header.entry_at(block), raw, "VHD table entry")?;
        let unused = raw.as_chunks::<4>().0.iter().take_while(|raw| u32::from_be_bytes(**raw) == UNUSED).count();
        // The first entry may have been set meanwhile; it was unused when the answer was asked for.
        let run = (unused.max(1) as u64) * size - skip;
        Ok(Run { extent: Extent::Absent, len: run.min(len) })
    }

    /// The run that begins `skip` bytes after the start of the block at `sector`; `len` bytes stay within the block.
    fn sectors(&self, sector: u32, skip: u64, len: u64) -> Result<Run> {
        let first = skip / SECTOR;
        let last = (skip + len).div_ceil(SECTOR);
        let mut chunk = [0; BITMAP_CHUNK];
        let from = first / 8;
        let bytes = usize::try_from(last.div_ceil(8) - from).unwrap_or(BITMAP_CHUNK).min(BITMAP_CHUNK);
        let chunk = &mut chunk[..bytes];
        self.cache.read(u64::from(sector) * SECTOR + from, chunk, "VHD sector bitmap")?;
        let most = usize::try_from(last - first).unwrap_or(usize::MAX);
        let (stored, count) = BitOrder::HighestFirst.run(chunk, bit_of(first), most);
        let run = (count as u64 * SECTOR - skip % SECTOR).min(len);
        let extent =
            if stored { Extent::Stored { file: 0, offset: self.data_at(sector) + skip } } else { Extent::Absent };
        Ok(Run { extent, len: run })
    }

    /// Sets, in memory, the bits of a range of bytes within the block at `sector`.
    pub(super) fn set_bits(&self, sector: u32, range: Range<u64>) -> Result<()> {
        let bits = range.start / SECTOR..range.end.div_ceil(SECTOR);
        let at = u64::from(sector) * SECTOR + bits.start / 8;
        let len = usize::try_from(bits.end.div_ceil(8) - bits.start / 8).unwrap_or(usize::MAX);
        let first = bit_of(bits.start);
        let count = usize::try_from(bits.end - bits.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.cache.read(at, &mut bytes, "VHD sector bitmap")?;
        BitOrder::HighestFirst.set(&mut bytes, first..first + count);
        self.cache.write(at, &bytes)
    }

    /// Whether the block that an entry points to lies between the header's sector and the footer.
    fn check_entry(&self, block: u64, sector: u32) -> Result<()> {
        let start = u64::from(sector) * SECTOR;
        let size = u64::from(self.header.block_size);
        let end = self.data_at(sector) + self.disk_size.saturating_sub(block * size).min(size);
        let data_end = self.data_end.load(Ordering::Acquire);
        if end > data_end {
            return Err(self.cause(ParseError::corrupt(
                self.header.entry_at(block),
                format!("VHD table entry {block}"),
                format_args!("a block that ends before offset {data_end}, the end of the data"),
                format_args!("sector {sector}, a block that ends at offset {end}"),
            )));
        }
        if self.shared.binary_search(&sector).is_ok() {
            return Err(self.cause(ParseError::corrupt(
                self.header.entry_at(block),
                format!("VHD table entry {block}"),
                "a block of its own",
                format_args!("sector {sector}, a block that overlaps another one"),
            )));
        }
        let header = self.header.offset..self.header.offset + super::header::SIZE as u64;
        let table = self.header.table_offset..self.header.entry_at(self.blocks());
        for (name, taken) in [("footer's copy", 0..SECTOR), ("dynamic disk header", header), ("table", table)] {
            if start < taken.end && end > taken.start {
                return Err(self.cause(ParseError::corrupt(
                    self.header.entry_at(block),
                    format!("VHD table entry {block}"),
                    format_args!("a block outside of the {name} at offset {}", taken.start),
                    format_args!("sector {sector}, a block from offset {start} to {end}"),
                )));
            }
        }
        Ok(())
    }

    /// Checks every entry: each block lies in the file and shares no byte with another one.
    pub(super) fn check(&self) -> Result<()> {
        let stride = self.header.stride();
        let cells = self.data_end.load(Ordering::Acquire).div_ceil(stride);
        if cells > MAX_BLOCKS {
            return Err(self.cause(ParseError::unsupported(
                self.header.offset + 32,
                "VHD block size",
                format_args!("blocks so large that at most {MAX_BLOCKS} fit into the file"),
                format_args!("{} bytes, of which {cells} fit", self.header.block_size),
            )));
        }
        // The file in slots as long as a block: no two blocks can begin in one of them, so the neighbours of a
        // block are found at once. 0: none begins there.
        let mut starts = vec![0_u32; usize::try_from(cells).unwrap_or(0) + 2];
        self.sectors_in_use(&mut |block, sector| {
            self.check_entry(block, sector)?;
            self.check_apart(block, sector, &mut starts)
        })
    }

    /// Makes reads of blocks fail that share bytes, in a map that did not pass the check.
    pub(super) fn refuse_shared(&mut self) -> Result<()> {
        let mut sectors = Vec::new();
        self.sectors_in_use(&mut |block, sector| {
            if sectors.len() as u64 >= MAX_BLOCKS {
                let expected = format_args!("at most {MAX_BLOCKS} blocks in use");
                let at = self.header.entry_at(block);
                return Err(self.cause(ParseError::unsupported(at, "VHD table", expected, "more")));
            }
            sectors.push(sector);
            Ok(())
        })?;
        sectors.sort_unstable();
        // Blocks have one length, so one that overlaps any overlaps one next to it.
        let overlap = |pair: &&[u32]| u64::from(pair[1] - pair[0]) * SECTOR < self.header.stride();
        let mut shared: Vec<u32> = sectors.windows(2).filter(overlap).flatten().copied().collect();
        shared.dedup();
        self.shared = shared;
        Ok(())
    }

    /// Calls `each` with the blocks that are in the file, and the sectors at which they begin.
    fn sectors_in_use(&self, each: &mut dyn FnMut(u64, u32) -> Result<()>) -> Result<()> {
        let mut chunk = vec![0; CHECK_CHUNK];
        let (mut block, blocks) = (0, self.blocks());
        while block < blocks {
            let count = usize::try_from(blocks - block).unwrap_or(CHECK_CHUNK / 4).min(CHECK_CHUNK / 4);
            let raw = &mut chunk[..4 * count];
            storage::read_exact(&**self.cache.file(), raw, self.header.entry_at(block), "VHD table")?;
            for raw in raw.as_chunks::<4>().0 {
                let sector = u32::from_be_bytes(*raw);
                if sector != UNUSED {
                    each(block, sector)?;
                }
                block += 1;
            }
        }
        Ok(())
    }

    /// Adds a block to `starts`, unless it overlaps one that is there.
    fn check_apart(&self, block: u64, sector: u32, starts: &mut [u32]) -> Result<()> {
        let stride = self.header.stride();
        let start = u64::from(sector) * SECTOR;
        // One further, so that the cell before the first one exists.
        let cell = usize::try_from(start / stride).unwrap_or(usize::MAX).saturating_add(1);
        for other in &starts[cell - 1..=(cell + 1).min(starts.len() - 1)] {
            if *other != 0 && start.abs_diff(u64::from(*other) * SECTOR) < stride {
                return Err(self.cause(ParseError::corrupt(
                    self.header.entry_at(block),
                    format!("VHD table entry {block}"),
                    "a block of its own",
                    format_args!("sector {sector}, within {stride} bytes of the block that begins at sector {other}"),
                )));
            }
        }
        starts[cell] = sector;
        Ok(())
    }
}

/// Which bit of its byte a sector of a block has.
fn bit_of(sector: u64) -> usize {
    usize::try_from(sector % 8).unwrap_or(0)
}
