//! Where the bytes of the disk are in the file.

use super::bat::{Layout, Payload, SECTORS_PER_BITMAP, decode_bitmap, encode_bitmap, position_in};
use super::header::{MIB, VhdxHeader};
use super::metadata::Metadata;
use super::region::{Region, Regions};
use crate::image::alloc::{Space, UnitSet};
use crate::image::{Error, Extent, Result, Run};
use crate::ondisk::ParseError;
use crate::ondisk::bitmap::BitOrder;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::MetaCache;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the table cached in memory. A disk of 1 TiB in blocks of 32 MiB has 256 KiB of table.
const CACHE: usize = 4 << 20;
/// Entries examined together: a run of blocks that are not there never spans more than this.
const BATCH: u64 = 512;
/// Bytes of a bitmap examined together.
const BITMAP_CHUNK: u64 = 512;
/// Bytes of the table read at once when all of it is checked.
const CHECK_CHUNK: usize = 1 << 20;
/// The check keeps a bit for each MiB of the file in memory (16 MiB); longer files are refused. A full disk of 64 TiB,
/// the largest, takes half of it.
const MAX_FILE: u64 = 128 << 40;
/// Bytes of sector bitmaps cached in memory.
const BITMAP_CACHE: usize = 4 << 20;

/// The map of an open VHDX.
pub(super) struct VhdxMap {
    /// The table.
    pub(super) cache: MetaCache,
    /// The sector bitmaps.
    pub(super) bitmaps: MetaCache,
    pub(super) metadata: Metadata,
    layout: Layout,
    bat: Region,
    /// The file's length in bytes; grows as blocks are allocated.
    pub(super) file_len: AtomicU64,
}

impl VhdxMap {
    pub(super) fn new(file: File, metadata: Metadata, regions: &Regions) -> Result<Self> {
        let file_len = AtomicU64::new(storage::length(&*file)?);
        let layout = Layout::new(&metadata);
        let bitmaps = MetaCache::new(file.clone(), BITMAP_CACHE);
        let map = Self { cache: MetaCache::new(file, CACHE), bitmaps, metadata, layout, bat: regions.bat, file_len };
        let needed = layout.entries * 8;
        if needed > map.bat.length {
            return Err(map.cause(ParseError::corrupt(
                map.bat.offset,
                "VHDX block allocation table",
                format_args!("at least {needed} bytes for a disk of {} bytes", map.metadata.disk_size),
                map.bat.length,
            )));
        }
        Ok(map)
    }

    fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.cache.file().path())
    }

    pub(super) fn block_size(&self) -> u64 {
        u64::from(self.metadata.block_size)
    }

    pub(super) fn differencing(&self) -> bool {
        self.metadata.parent.is_some()
    }

    fn entry_at(&self, entry: u64) -> u64 {
        self.bat.offset + 8 * entry
    }

    fn raw(&self, entry: u64) -> Result<u64> {
        let mut raw = [0; 8];
        self.cache.read(self.entry_at(entry), &mut raw, "VHDX table entry")?;
        Ok(u64::from_le_bytes(raw))
    }

    fn decode(&self, raw: u64, block: u64) -> Result<Payload> {
        let at = self.entry_at(self.layout.payload(block));
        Payload::decode(raw, block, at, self.differencing()).map_err(|cause| self.cause(cause))
    }

    /// What the table says of a block.
    pub(super) fn payload(&self, block: u64) -> Result<Payload> {
        self.decode(self.raw(self.layout.payload(block))?, block)
    }

    /// Changes the entry of a block in memory.
    pub(super) fn set_payload(&self, block: u64, payload: Payload) -> Result<()> {
        self.cache.write(self.entry_at(self.layout.payload(block)), &payload.encode().to_le_bytes())
    }

    /// Where the bitmap block with a block's bits is in the file.
    pub(super) fn bitmap(&self, block: u64) -> Result<Option<u64>> {
        let entry = self.layout.bitmap(block);
        let position = decode_bitmap(self.raw(entry)?, self.entry_at(entry)).map_err(|cause| self.cause(cause))?;
        if let Some(position) = position {
            self.check_position(entry, "VHDX sector bitmap block", position, MIB)?;
        }
        Ok(position)
    }

    /// Changes the entry of the bitmap block with a block's bits, on the disk too: an entry of a block that is
    /// partially present must not get there first.
    pub(super) fn set_bitmap(&self, block: u64, position: u64) -> Result<()> {
        let (at, entry) = (self.entry_at(self.layout.bitmap(block)), encode_bitmap(position).to_le_bytes());
        let file = &**self.cache.file();
        storage::sync(file)?;
        storage::write_all(file, &entry, at)?;
        storage::sync(file)?;
        self.cache.write(at, &entry)
    }

    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let size = self.block_size();
        let (block, skip) = (offset / size, offset % size);
        let within = len.min(size - skip);
        match self.payload(block)? {
            Payload::NotPresent => self.alike(block, skip, len, Payload::NotPresent, Extent::Absent),
            Payload::Zero => self.alike(block, skip, len, Payload::Zero, Extent::Zero),
            Payload::Full(position) => {
                self.check_block(block, position)?;
                Ok(Run { extent: Extent::Stored { file: 0, offset: position + skip }, len: within })
            }
            Payload::Partial(position) => {
                self.check_block(block, position)?;
                let (stored, run) = self.sectors(block, skip..skip + within)?;
                let extent = if stored { Extent::Stored { file: 0, offset: position + skip } } else { Extent::Absent };
                Ok(Run { extent, len: run })
            }
        }
    }

    /// The run that begins `skip` bytes after the start of `block`, where all blocks are `payload`.
    fn alike(&self, block: u64, skip: u64, len: u64, payload: Payload, extent: Extent) -> Result<Run> {
        let size = self.block_size();
        let last = (block + (skip + len).div_ceil(size).clamp(1, BATCH)).min(self.layout.blocks);
        let entries = self.layout.payload(block)..=self.layout.payload(last - 1);
        let mut raw = vec![0; usize::try_from(8 * (entries.end() - entries.start() + 1)).unwrap_or(8)];
        self.cache.read(self.entry_at(*entries.start()), &mut raw, "VHDX table entry")?;
        let mut end = block + 1;
        for (entry, raw) in entries.zip(raw.as_chunks::<8>().0).skip(1) {
            let Some(next) = self.layout.block(entry) else { continue };
            // A wrong entry is reported when it is asked for.
            if self.decode(u64::from_le_bytes(*raw), next).ok() != Some(payload) {
                break;
            }
            end = next + 1;
        }
        Ok(Run { extent, len: ((end - block) * size - skip).min(len) })
    }

    /// The bits of a range of bytes of a block: where they are in the file, and the index of the first one in its byte.
    fn bits(&self, block: u64, within: &Range<u64>) -> Result<(u64, Range<u64>)> {
        let sector = u64::from(self.metadata.logical_sector);
        let start = (block * self.block_size() + within.start) / sector % SECTORS_PER_BITMAP;
        let end = start + (within.end.div_ceil(sector) - within.start / sector);
        let Some(position) = self.bitmap(block)? else {
            return Err(self.cause(ParseError::corrupt(
                self.entry_at(self.layout.bitmap(block)),
                format!("sector bitmap of VHDX block {block}, which is partially present,"),
                "a block of the file",
                "none",
            )));
        };
        Ok((position + start / 8, start % 8..start % 8 + (end - start)))
    }

    /// Whether the first sector of a range of bytes within a block is in this file, and for how many bytes that holds.
    fn sectors(&self, block: u64, within: Range<u64>) -> Result<(bool, u64)> {
        let (at, bits) = self.bits(block, &within)?;
        let mut chunk = vec![0; count(bits.end.div_ceil(8).min(BITMAP_CHUNK))];
        self.bitmaps.read(at, &mut chunk, "VHDX sector bitmap")?;
        let (stored, run) = BitOrder::LowestFirst.run(&chunk, count(bits.start), count(bits.end - bits.start));
        let sector = u64::from(self.metadata.logical_sector);
        let end = (within.start / sector + run as u64) * sector;
        Ok((stored, end.min(within.end) - within.start))
    }

    /// Sets, in memory, the bits of a range of bytes within a block.
    pub(super) fn set_bits(&self, block: u64, within: &Range<u64>) -> Result<()> {
        let (at, bits) = self.bits(block, within)?;
        let mut bytes = vec![0; count(bits.end.div_ceil(8))];
        self.bitmaps.read(at, &mut bytes, "VHDX sector bitmap")?;
        BitOrder::LowestFirst.set(&mut bytes, count(bits.start)..count(bits.end));
        self.bitmaps.write(at, &bytes)
    }

    /// Clears, in memory, all bits of a block. Blocks have at least 256 sectors, so their bits are whole bytes.
    pub(super) fn clear_bits(&self, block: u64) -> Result<()> {
        let (at, bits) = self.bits(block, &(0..self.block_size()))?;
        self.bitmaps.write(at, &vec![0; count(bits.end / 8)])
    }

    /// Bytes of the disk that a block holds: fewer for the last one where the disk ends within it.
    fn bytes_of_block(&self, block: u64) -> u64 {
        self.metadata.disk_size.saturating_sub(block * self.block_size()).min(self.block_size())
    }

    fn check_block(&self, block: u64, position: u64) -> Result<()> {
        self.check_position(self.layout.payload(block), "VHDX block", position, self.bytes_of_block(block))
    }

    /// Whether `len` bytes at a position that an entry names lie after the headers and in the file.
    fn check_position(&self, entry: u64, what: &str, position: u64, len: u64) -> Result<()> {
        let file_len = self.file_len.load(Ordering::Acquire);
        if position >= MIB && position.checked_add(len).is_some_and(|end| end <= file_len) {
            return Ok(());
        }
        Err(self.cause(ParseError::corrupt(
            self.entry_at(entry),
            format!("offset of a {what} in table entry {entry}"),
            format_args!("{len} bytes from 1 MiB to the end of the file at {file_len}"),
            format_args!("offset {position}"),
        )))
    }

    /// Checks every entry: each block lies in the file and shares no byte with another one, the log or a region.
    /// Returns the space of the file, in units of 1 MiB.
    pub(super) fn check(&self, header: &VhdxHeader, regions: &Regions) -> Result<Space> {
        let file_len = self.file_len.load(Ordering::Acquire);
        if file_len > MAX_FILE {
            let expected = format_args!("at most {MAX_FILE} bytes");
            return Err(self.cause(ParseError::unsupported(0, "length of the VHDX file", expected, file_len)));
        }
        let mut used = Space::new(0, MIB, UnitSet::default(), file_len.div_ceil(MIB), u64::MAX);
        used.claim(&(0..MIB));
        let log = Region { offset: header.log_offset, length: u64::from(header.log_length) };
        for region in [log, regions.bat, regions.metadata].iter().chain(&regions.others) {
            let end = region.offset.saturating_add(region.length);
            if end > file_len || !used.claim(&(region.offset..end)) {
                return Err(self.cause(ParseError::corrupt(
                    region.offset,
                    "VHDX log or region",
                    format_args!("{} bytes of its own in a file of {file_len} bytes", region.length),
                    "another one's bytes, or the end of the file",
                )));
            }
        }
        self.each_entry(&mut |entry, raw| self.check_entry(entry, raw, &mut used))?;
        Ok(used)
    }

    /// Calls `each` with the index and the value of every entry.
    fn each_entry(&self, each: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        let mut chunk = vec![0; CHECK_CHUNK];
        let mut entry = 0;
        while entry < self.layout.entries {
            let raw = &mut chunk[..count((8 * (self.layout.entries - entry)).min(CHECK_CHUNK as u64))];
            storage::read_exact(&**self.cache.file(), raw, self.entry_at(entry), "VHDX block allocation table")?;
            for raw in raw.as_chunks::<8>().0 {
                each(entry, u64::from_le_bytes(*raw))?;
                entry += 1;
            }
        }
        Ok(())
    }

    /// Takes what entries of blocks that are not there name: their program may reserve it for them.
    pub(super) fn claim_named(&self, space: &mut Space) -> Result<()> {
        self.each_entry(&mut |_, raw| {
            let position = position_in(raw);
            if position > 0 && position < self.file_len.load(Ordering::Acquire) {
                space.claim(&(position..position + self.block_size()));
            }
            Ok(())
        })
    }

    fn check_entry(&self, entry: u64, raw: u64, used: &mut Space) -> Result<()> {
        let (position, len) = match self.layout.block(entry) {
            Some(block) if block < self.layout.blocks => match self.decode(raw, block)? {
                Payload::Full(position) | Payload::Partial(position) => {
                    self.check_block(block, position)?;
                    if matches!(self.decode(raw, block)?, Payload::Partial(_)) {
                        self.bits(block, &(0..1))?;
                    }
                    (position, self.block_size())
                }
                Payload::NotPresent | Payload::Zero => return Ok(()),
            },
            // Other disks have no bitmaps; QEMU before 8.1 left anything in these entries.
            None if self.differencing() => {
                let position = decode_bitmap(raw, self.entry_at(entry)).map_err(|cause| self.cause(cause))?;
                let Some(position) = position else { return Ok(()) };
                self.check_position(entry, "VHDX sector bitmap block", position, MIB)?;
                (position, MIB)
            }
            _ => return Ok(()),
        };
        if used.claim(&(position..position + len)) {
            return Ok(());
        }
        Err(self.cause(ParseError::corrupt(
            self.entry_at(entry),
            format!("offset of table entry {entry}"),
            "bytes of its own",
            format_args!("offset {position}, where another block, the log or a region is too"),
        )))
    }
}

/// Values here are bounded by the sizes of blocks, bitmaps and segments, so they fit.
fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
