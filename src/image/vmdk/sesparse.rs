//! Space-efficient sparse extents (`SESPARSE`): VMware's snapshots on VMFS 6. VMware has not published the format; the
//! field names and offsets are those that QEMU's reader (`block/vmdk.c`) found. All numbers are little-endian 64-bit
//! ones, all offsets and sizes sectors of 512 bytes. Only read here.

use super::geometry::SECTOR;
use super::grains::{Grain, GrainRun, same};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;
use crate::storage::meta::MetaCache;

/// `magic` of the constant header.
pub(super) const MAGIC: u64 = 0x0000_0000_CAFE_BABE;
/// `magic` of the volatile header.
const VOLATILE_MAGIC: u64 = 0x0000_0000_CAFE_CAFE;
/// `version` 2.1.
const VERSION: u64 = 0x0000_0002_0000_0001;
/// `grain_size`, the only one known, in sectors.
const GRAIN_SECTORS: u64 = 8;
const GRAIN: u64 = GRAIN_SECTORS * SECTOR;
/// `grain_table_size`, the only one known, in sectors.
const TABLE_SECTORS: u64 = 64;
const TABLE: u64 = TABLE_SECTORS * SECTOR;
/// Bytes of an entry of directory and tables.
const ENTRY: u64 = 8;
/// Entries of a grain table.
const TABLE_ENTRIES: u64 = TABLE / ENTRY;
/// The disk is smaller than 64 TiB, so that directory entries fit into 32 bits.
const MAX_SECTORS: u64 = (64 << 40) / SECTOR;
/// Entries examined together.
const BATCH: usize = 1024;

/// The constant header, at the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConstHeader {
    /// `capacity`, in sectors.
    pub(super) capacity: u64,
    volatile_at: u64,
    directory_at: u64,
    directory_len: u64,
    tables_at: u64,
    tables_len: u64,
    grains_at: u64,
}

impl ConstHeader {
    /// Parses the first 512 bytes of a file.
    ///
    /// # Errors
    /// [`ParseError`] for numbers that are not known: the format is not documented.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("SESPARSE header", bytes, 0);
        let magic = f.u64_le(0)?;
        if magic != MAGIC {
            let (expected, found) = (format_args!("{MAGIC:#x}"), format_args!("{magic:#x}"));
            return Err(ParseError::corrupt(0, "SESPARSE header signature", expected, found));
        }
        for (at, what, expected) in [
            (8, "SESPARSE version", VERSION),
            (24, "SESPARSE grain size", GRAIN_SECTORS),
            (32, "SESPARSE grain table size", TABLE_SECTORS),
            (40, "SESPARSE flags", 0),
            (48, "SESPARSE reserved field", 0),
            (56, "SESPARSE reserved field", 0),
            (64, "SESPARSE reserved field", 0),
            (72, "SESPARSE reserved field", 0),
        ] {
            let found = f.u64_le(at)?;
            if found != expected {
                let (expected, found) = (format_args!("{expected:#x}"), format_args!("{found:#x}"));
                return Err(ParseError::unsupported(at as u64, what, expected, found));
            }
        }
        let capacity = f.u64_le(16)?;
        if capacity >= MAX_SECTORS {
            return Err(ParseError::corrupt(
                16,
                "SESPARSE capacity",
                format_args!("less than {MAX_SECTORS}"),
                capacity,
            ));
        }
        let position = |at: usize, what: &str| {
            let sector = f.u64_le(at)?;
            sector
                .checked_mul(SECTOR)
                .filter(|at| *at > 0 && i64::try_from(*at).is_ok())
                .ok_or_else(|| ParseError::corrupt(at as u64, what, "1 to 2^54", sector))
        };
        let header = Self {
            capacity,
            volatile_at: position(80, "SESPARSE volatile header offset")?,
            directory_at: position(128, "SESPARSE grain directory offset")?,
            directory_len: position(136, "SESPARSE grain directory size")?,
            tables_at: position(144, "SESPARSE grain tables offset")?,
            tables_len: position(152, "SESPARSE grain tables size")?,
            grains_at: position(192, "SESPARSE grains offset")?,
        };
        let needed = capacity.div_ceil(GRAIN_SECTORS * TABLE_ENTRIES) * ENTRY;
        if header.directory_len < needed {
            let expected = format!("at least {} for {capacity} sectors", needed.div_ceil(SECTOR));
            let found = header.directory_len / SECTOR;
            return Err(ParseError::corrupt(136, "SESPARSE grain directory size", expected, found));
        }
        Ok(header)
    }

    /// Checks the volatile header: whether the journal holds changes that the tables lack.
    fn check_volatile(&self, bytes: &[u8]) -> Result<(), ParseError> {
        let f = Fields::new("SESPARSE volatile header", bytes, self.volatile_at);
        let magic = f.u64_le(0)?;
        if magic != VOLATILE_MAGIC {
            let (expected, found) = (format_args!("{VOLATILE_MAGIC:#x}"), format_args!("{magic:#x}"));
            return Err(ParseError::corrupt(f.offset(0), "SESPARSE volatile header signature", expected, found));
        }
        let replay = f.u64_le(24)?;
        if replay != 0 {
            let expected = "0: a disk that was cleanly closed; open and close it with VMware first";
            return Err(ParseError::unsupported(f.offset(24), "SESPARSE journal to be replayed", expected, replay));
        }
        Ok(())
    }
}

/// The map of an open extent.
#[derive(Debug)]
pub(super) struct SeSparse {
    header: ConstHeader,
    cache: MetaCache,
    file_len: u64,
}

impl SeSparse {
    /// Opens the map, caching at most `cache` bytes of it.
    pub(super) fn new(file: File, header: ConstHeader, cache: usize) -> Result<Self> {
        let mut volatile = [0; 512];
        storage::read_exact(&*file, &mut volatile, header.volatile_at, "SESPARSE volatile header")?;
        header.check_volatile(&volatile).in_file(file.path())?;
        let file_len = storage::length(&*file)?;
        let directory_end = header.directory_at.saturating_add(header.directory_len);
        if directory_end > file_len {
            let expected = format!("its end at {directory_end}");
            let found = format!("the end of the file at {file_len}");
            return Err(ParseError::corrupt(header.directory_at, "SESPARSE grain directory", expected, found)
                .in_file(file.path()));
        }
        Ok(Self { header, cache: MetaCache::new(file, cache), file_len })
    }

    fn cause(&self, at: u64, what: String, expected: impl std::fmt::Display, raw: u64) -> Error {
        ParseError::corrupt(at, what, expected, format_args!("{raw:#018x}")).in_file(self.cache.file().path())
    }

    fn read(&self, at: u64, raw: &mut [u8]) -> Result<()> {
        self.cache.read(at, raw, "SESPARSE grain table")
    }

    /// Where a grain table is.
    fn table(&self, table: u64) -> Result<Option<u64>> {
        let entry_at = self.header.directory_at + ENTRY * table;
        let mut raw = [0; 8];
        self.read(entry_at, &mut raw)?;
        let raw = u64::from_le_bytes(raw);
        if raw == 0 {
            return Ok(None);
        }
        // 1 in the top four bits means allocated; the tables' numbers have 32.
        let skip = (raw & 0xFFFF_FFFF) * TABLE;
        if raw >> 32 != 0x1000_0000 || skip >= self.header.tables_len {
            let what = format!("SESPARSE grain directory entry {table}");
            let most = self.header.tables_len / TABLE;
            return Err(self.cause(entry_at, what, format_args!("a grain table below {most}"), raw));
        }
        Ok(Some(self.header.tables_at.saturating_add(skip)))
    }

    fn grain(&self, index: u64, raw: u64, entry_at: u64) -> Result<Grain> {
        let malformed = |expected: &str| {
            Err(self.cause(entry_at, format!("SESPARSE grain table entry of grain {index}"), expected, raw))
        };
        match raw >> 60 {
            0 if raw == 0 => Ok(Grain::Absent),
            // Unmapped by the guest, and written with zeros.
            1 | 2 => Ok(Grain::Zero),
            3 => {
                // The number's low 12 bits are in front of its high 48.
                let number = (raw >> 48 & 0xFFF) | (raw & 0xFFFF_FFFF_FFFF) << 12;
                let at = number.checked_mul(GRAIN).and_then(|skip| self.header.grains_at.checked_add(skip));
                let bytes = (self.header.capacity * SECTOR).saturating_sub(index * GRAIN).min(GRAIN);
                match at {
                    Some(at) if at.checked_add(bytes).is_some_and(|end| end <= self.file_len) => Ok(Grain::At(at)),
                    _ => malformed(&format!("a grain that ends before offset {}, the end of the file", self.file_len)),
                }
            }
            _ => malformed("0, or 1, 2 or 3 in the top four bits"),
        }
    }

    /// What holds the bytes of the extent from `offset` on, for at most `len` bytes.
    pub(super) fn run(&self, offset: u64, len: u64) -> Result<GrainRun> {
        let (first, skip) = (offset / GRAIN, offset % GRAIN);
        let (table, entry) = (first / TABLE_ENTRIES, first % TABLE_ENTRIES);
        let wanted = (skip + len).div_ceil(GRAIN).min(TABLE_ENTRIES - entry);
        let Some(table_at) = self.table(table)? else {
            let left = (TABLE_ENTRIES - entry) * GRAIN - skip;
            return Ok(GrainRun { grain: Grain::Absent, len: left.min(len) });
        };
        let at = table_at + ENTRY * entry;
        let count = usize::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH);
        let mut raw = [0; 8 * BATCH];
        let raw = &mut raw[..8 * count];
        self.read(at, raw)?;
        let entries = (0..).zip(raw.as_chunks::<8>().0);
        let mut grains = entries.map(|(i, raw)| self.grain(first + i, u64::from_le_bytes(*raw), at + ENTRY * i));
        let grain = grains.next().unwrap_or(Ok(Grain::Absent))?;
        // A later grain that is corrupt is for whoever reads it.
        let count = same(std::iter::once(grain).chain(grains.map_while(Result::ok)), GRAIN);
        Ok(GrainRun { grain: grain.advance(skip), len: (count * GRAIN - skip).min(len) })
    }
}
