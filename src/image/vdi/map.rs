//! The block map: reading entries and checking them against the file.

use super::header::{BLOCK_FREE, BLOCK_ZERO, VdiHeader};
use crate::image::alloc::UnitSet;
use crate::image::{Error, Extent, Result, Run};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::MetaCache;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// Bytes of the map cached in memory: one MiB is the map of a 256 GiB disk with blocks of 1 MiB.
const CACHE: usize = 4 << 20;
/// Entries examined together: a run never spans more blocks than this.
const BATCH: usize = 1024;
/// Bytes of the map read at once when all of it is checked.
const CHECK_CHUNK: usize = 64 << 10;
/// From so many entries on, two threads check a half each: starting one takes as long as some ten thousand entries.
const CHECK_TOGETHER: u64 = 128 << 10;

/// What a map entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VdiEntry {
    Free,
    Zero,
    Index(u32),
}

impl VdiEntry {
    pub(super) fn decode(raw: u32) -> Self {
        match raw {
            BLOCK_FREE => Self::Free,
            BLOCK_ZERO => Self::Zero,
            index => Self::Index(index),
        }
    }

    pub(super) fn encode(self) -> u32 {
        match self {
            Self::Free => BLOCK_FREE,
            Self::Zero => BLOCK_ZERO,
            Self::Index(index) => index,
        }
    }
}

/// The map of an open VDI.
#[derive(Debug)]
pub(super) struct VdiMap {
    pub(super) header: VdiHeader,
    pub(super) cache: MetaCache,
    /// The file's length in bytes; grows as blocks are allocated.
    pub(super) file_len: AtomicU64,
    /// Indices that two entries have: whose data they are, nobody knows. None in a map that was found to be valid.
    shared: Option<UnitSet>,
}

impl VdiMap {
    pub(super) fn new(file: File, header: VdiHeader) -> Result<Self> {
        let file_len = storage::length(&*file)?;
        let map_end = header.entry_at(u64::from(header.blocks));
        if file_len < map_end {
            return Err(ParseError::corrupt(
                header.blocks_offset,
                "VDI block map",
                format_args!("{} entries up to offset {map_end}", header.blocks),
                format_args!("the end of the file at {file_len}"),
            )
            .in_file(file.path()));
        }
        Ok(Self { header, cache: MetaCache::new(file, CACHE), file_len: AtomicU64::new(file_len), shared: None })
    }

    fn cause(&self, cause: ParseError) -> Error {
        cause.in_file(self.cache.file().path())
    }

    /// The entry of one block.
    pub(super) fn entry(&self, block: u64) -> Result<VdiEntry> {
        let mut raw = [0; 4];
        self.cache.read(self.header.entry_at(block), &mut raw, "VDI block map entry")?;
        Ok(VdiEntry::decode(u32::from_le_bytes(raw)))
    }

    /// Changes the entry of one block in memory.
    pub(super) fn set(&self, block: u64, entry: VdiEntry) -> Result<()> {
        self.cache.write(self.header.entry_at(block), &entry.encode().to_le_bytes())
    }

    pub(super) fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let size = u64::from(self.header.block_size);
        let (first, skip) = (offset / size, offset % size);
        let wanted = (skip + len).div_ceil(size).min(u64::from(self.header.blocks) - first);
        let count = usize::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH);
        let mut raw = [0; 4 * BATCH];
        let raw = &mut raw[..4 * count];
        self.cache.read(self.header.entry_at(first), raw, "VDI block map entry")?;
        let mut entries = raw.as_chunks::<4>().0.iter().map(|raw| VdiEntry::decode(u32::from_le_bytes(*raw)));

        let Some(first_entry) = entries.next() else { return Ok(Run { extent: Extent::Absent, len }) };
        self.check_entry(first, first_entry)?;
        let mut blocks = 1;
        for entry in entries {
            let follows = match (first_entry, entry) {
                (VdiEntry::Free, VdiEntry::Free) | (VdiEntry::Zero, VdiEntry::Zero) => true,
                (VdiEntry::Index(a), VdiEntry::Index(b)) => {
                    self.header.block_extra == 0 && u64::from(b) == u64::from(a) + blocks
                }
                _ => false,
            };
            if !follows || self.check_entry(first + blocks, entry).is_err() {
                break;
            }
            blocks += 1;
        }
        let extent = match first_entry {
            VdiEntry::Free => Extent::Absent,
            VdiEntry::Zero => Extent::Zero,
            VdiEntry::Index(index) => Extent::Stored { file: 0, offset: self.header.data_at(index) + skip },
        };
        Ok(Run { extent, len: (blocks * size - skip).min(len) })
    }

    /// Whether the block that an entry points to lies within the file.
    fn check_entry(&self, block: u64, entry: VdiEntry) -> Result<()> {
        let VdiEntry::Index(index) = entry else { return Ok(()) };
        let at = self.header.entry_at(block);
        if index >= self.header.blocks {
            return Err(self.cause(ParseError::corrupt(
                at,
                format!("VDI block map entry {block}"),
                format_args!("an index below {}", self.header.blocks),
                index,
            )));
        }
        if self.shared.as_ref().is_some_and(|shared| shared.contains(index.into())) {
            return Err(self.cause(ParseError::corrupt(
                at,
                format!("VDI block map entry {block}"),
                "a block of its own",
                format_args!("index {index}, which another entry has too"),
            )));
        }
        let end = self.header.data_at(index) + self.header.bytes_of_block(block);
        let file_len = self.file_len.load(Ordering::Acquire);
        if end > file_len {
            return Err(self.cause(ParseError::corrupt(
                at,
                format!("VDI block {block}, index {index} of the data area,"),
                format_args!("its data up to offset {end}"),
                format_args!("the end of the file at {file_len}"),
            )));
        }
        Ok(())
    }

    /// How many blocks of the data area lie in the file with all of their bytes: a map entry below this, and below the
    /// values that are no index, is valid.
    fn whole_blocks(&self) -> u32 {
        let header = &self.header;
        let first_end = header.data_at(0) + u64::from(header.block_size);
        let after_first = self.file_len.load(Ordering::Acquire).checked_sub(first_end);
        let whole = after_first.map_or(0, |len| len / header.stride() + 1);
        u32::try_from(whole).unwrap_or(u32::MAX).min(header.blocks).min(BLOCK_ZERO)
    }

    /// Checks every entry: each block lies in the file and is used only once. Returns the indices of the data area that
    /// the map uses.
    pub(super) fn check(&self) -> Result<UnitSet> {
        let blocks = u64::from(self.header.blocks);
        if blocks < CHECK_TOGETHER {
            return self.check_part(0..blocks);
        }
        let half = blocks / 2;
        let (first, second) = thread::scope(|scope| {
            let second = thread::Builder::new().spawn_scoped(scope, || self.check_part(half..blocks));
            (self.check_part(0..half), second.map(ScopedJoinHandle::join))
        });
        let merged = match (first, second) {
            (Ok(used), Ok(Ok(Ok(others)))) => used.merged(&others),
            _ => None,
        };
        // Says which entry it is that is wrong; and checks where there can be no other thread.
        merged.map_or_else(|| self.check_part(0..blocks), Ok)
    }

    fn check_part(&self, part: Range<u64>) -> Result<UnitSet> {
        // A header with more blocks than a set can hold is refused.
        let mut used = UnitSet::new(self.header.blocks.into()).unwrap_or_default();
        let whole = self.whole_blocks();
        self.indices(part, &mut |block, index| {
            // Most are below it, and a disk of 2 TiB has two million of them.
            if index >= whole {
                self.check_entry(block, VdiEntry::Index(index))?;
            }
            if used.insert(index.into()) {
                return Ok(());
            }
            Err(self.cause(ParseError::corrupt(
                self.header.entry_at(block),
                format!("VDI block map entry {block}"),
                "a block of its own",
                format_args!("index {index}, which an earlier entry has too"),
            )))
        })?;
        Ok(used)
    }

    /// One more than the largest index that an entry has.
    pub(super) fn end(&self) -> Result<u64> {
        let mut end = 0;
        self.indices(0..u64::from(self.header.blocks), &mut |_, index| {
            end = end.max(u64::from(index) + 1);
            Ok(())
        })?;
        Ok(end)
    }

    /// Makes reads of blocks fail that two entries share, in a map that did not pass the check.
    pub(super) fn refuse_shared(&mut self) -> Result<()> {
        let mut used = UnitSet::new(self.header.blocks.into()).unwrap_or_default();
        let mut shared = UnitSet::new(self.header.blocks.into()).unwrap_or_default();
        self.indices(0..u64::from(self.header.blocks), &mut |_, index| {
            // Larger ones are refused wherever they are.
            if index < self.header.blocks && !used.insert(index.into()) {
                shared.insert(index.into());
            }
            Ok(())
        })?;
        self.shared = Some(shared);
        Ok(())
    }

    /// Calls `each` with the entries of a range of blocks that are indices, and their blocks.
    fn indices(&self, part: Range<u64>, each: &mut impl FnMut(u64, u32) -> Result<()>) -> Result<()> {
        let mut chunk = vec![0; CHECK_CHUNK];
        let mut block = part.start;
        while block < part.end {
            let count = usize::try_from(part.end - block).unwrap_or(CHECK_CHUNK / 4).min(CHECK_CHUNK / 4);
            let raw = &mut chunk[..4 * count];
            storage::read_exact(&**self.cache.file(), raw, self.header.entry_at(block), "VDI block map")?;
            for raw in raw.as_chunks::<4>().0 {
                if let VdiEntry::Index(index) = VdiEntry::decode(u32::from_le_bytes(*raw)) {
                    each(block, index)?;
                }
                block += 1;
            }
        }
        Ok(())
    }
}
