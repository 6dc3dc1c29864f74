//! The block tables: which chunk of the file holds which sectors. Field names and offsets are those of `BLKXTable` and
//! `BLKXChunkEntry` in <http://newosxbook.com/DMG.html>; all numbers are big-endian.

use super::plist::Table;
use super::trailer::{Trailer, crc};
use crate::image::{Extent, MAX_CLUSTER, Run};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::fmt;

const SECTOR: u64 = 512;
/// Where the chunks of a table begin; `NumberOfBlockChunks` is right before.
const FIRST_CHUNK: usize = 204;
/// Bytes of a chunk's entry.
const CHUNK: usize = 40;
/// Compressed chunks are hardly larger than what they hold; one that is by more than this is refused.
const SLACK: u64 = 1 << 20;

/// How a chunk stores its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Types 0 and 2: nothing is stored, zeros.
    Zero,
    /// Type 1: the bytes as they are.
    Raw,
    /// Type 0x80000004: Apple Data Compression.
    Adc,
    /// Type 0x80000005.
    Zlib,
    /// Type 0x80000006.
    Bzip2,
    /// Type 0x80000007.
    Lzfse,
    /// Type 0x80000008: LZMA in an xz container.
    Lzma,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Zero => "zero",
            Self::Raw => "raw",
            Self::Adc => "ADC",
            Self::Zlib => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Lzfse => "LZFSE",
            Self::Lzma => "LZMA",
        })
    }
}

/// A chunk. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The first byte of the disk.
    pub(super) start: u64,
    /// How many bytes of the disk, at least 1; at most [`MAX_CLUSTER`] of a compressed chunk.
    pub(super) len: u64,
    pub(super) kind: Kind,
    /// Where the file stores it.
    pub(super) offset: u64,
    /// How many bytes the file stores.
    pub(super) stored: u64,
}

impl Chunk {
    /// The first byte of the disk after the chunk. The values were checked when it was made.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// The chunks of all tables, by their position on the disk.
#[derive(Debug)]
pub(super) struct Chunks {
    list: Vec<Chunk>,
}

impl Chunks {
    /// Parses the tables.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(super) fn parse(tables: &[Table], trailer: &Trailer) -> Result<Self, ParseError> {
        let mut list = Vec::new();
        for table in tables {
            parse_table(table, trailer, &mut list)?;
        }
        list.sort_by_key(|chunk| chunk.start);
        let overlap = list.windows(2).find(|pair| pair[0].end() > pair[1].start);
        if let Some([one, next]) = overlap {
            let expected = format_args!("one after byte {} of the disk, the end of another", one.end());
            let found = format_args!("one from {} to {}", next.start, next.end());
            return Err(ParseError::corrupt(trailer.xml_offset, "UDIF chunk", expected, found));
        }
        Ok(Self { list })
    }

    /// Checks that the chunks make up all of a disk, and that they lie within a file of `file_len` bytes.
    pub(super) fn check(&self, trailer: &Trailer, file_len: u64) -> Result<(), ParseError> {
        let mut end = 0;
        for chunk in &self.list {
            if chunk.start != end {
                let expected = format_args!("a chunk that begins at byte {end} of the disk");
                let found = format_args!("one from {} to {}", chunk.start, chunk.end());
                return Err(ParseError::corrupt(trailer.xml_offset, "sectors without a UDIF chunk", expected, found));
            }
            check_position(chunk, file_len)?;
            end = chunk.end();
        }
        if let Some(size) = trailer.disk_size.filter(|size| *size != end) {
            let expected = format_args!("chunks up to byte {size}, the disk's size");
            return Err(ParseError::corrupt(
                trailer.xml_offset,
                "UDIF chunks",
                expected,
                format_args!("chunks up to {end}"),
            ));
        }
        Ok(())
    }

    /// The first byte after the last chunk.
    pub(super) fn end(&self) -> u64 {
        self.list.last().map_or(0, Chunk::end)
    }

    /// How often each kind occurs, for `-v`.
    pub(super) fn summary(&self) -> String {
        let kinds = [Kind::Zero, Kind::Raw, Kind::Adc, Kind::Zlib, Kind::Bzip2, Kind::Lzfse, Kind::Lzma];
        let counts = kinds.map(|kind| (kind, self.list.iter().filter(|chunk| chunk.kind == kind).count()));
        let words = counts.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// Whether any chunk is compressed.
    pub(super) fn compressed(&self) -> bool {
        self.list.iter().any(|chunk| !matches!(chunk.kind, Kind::Zero | Kind::Raw))
    }

    /// The chunk with an index, as [`Extent::Encoded`] has it.
    pub(super) fn get(&self, index: u64) -> Option<&Chunk> {
        self.list.get(usize::try_from(index).ok()?)
    }

    /// What holds the bytes of the disk from `offset` on; none when no chunk does.
    pub(super) fn extent(&self, offset: u64, len: u64) -> Option<Run> {
        let after = self.list.partition_point(|chunk| chunk.start <= offset);
        let index = after.checked_sub(1)?;
        let chunk = self.list.get(index)?;
        let skip = offset - chunk.start;
        let left = chunk.len.checked_sub(skip).filter(|left| *left > 0)?;
        let extent = match chunk.kind {
            Kind::Zero => Extent::Zero,
            Kind::Raw => Extent::Stored { file: 0, offset: chunk.offset + skip },
            _ => Extent::Encoded { cluster: index as u64, skip, size: chunk.len },
        };
        Some(Run { extent, len: len.min(left) })
    }
}

/// Whether the file stores all of a chunk.
pub(super) fn check_position(chunk: &Chunk, file_len: u64) -> Result<(), ParseError> {
    if chunk.kind == Kind::Zero || chunk.offset.checked_add(chunk.stored).is_some_and(|end| end <= file_len) {
        return Ok(());
    }
    let expected = format_args!("a range within the {file_len} bytes of the file");
    let found = format_args!("{} bytes at {}", chunk.stored, chunk.offset);
    Err(ParseError::corrupt(chunk.offset, format!("UDIF chunk of byte {} of the disk", chunk.start), expected, found))
}

/// Checks the CRC-32 that the trailer has of the tables' own checksums. (Those are of the sectors, and are not checked:
/// it would mean to decode all of the disk.)
pub(super) fn check_master(tables: &[Table], trailer: &Trailer) -> Result<(), ParseError> {
    let Some(expected) = trailer.master_crc else { return Ok(()) };
    let mut crcs = Vec::new();
    for table in tables {
        match crc(&Fields::new("UDIF block table", &table.bytes, table.at), 64)? {
            Some(crc) => crcs.extend(crc.to_be_bytes()),
            None => return Ok(()),
        }
    }
    let found = crc32fast::hash(&crcs);
    if found != expected {
        let (expected, found) = (format!("{expected:08x}"), format!("{found:08x}"));
        let what = "CRC-32 of the checksums of the UDIF block tables";
        return Err(ParseError::corrupt(trailer.at.saturating_add(360), what, expected, found));
    }
    Ok(())
}

fn parse_table(table: &Table, trailer: &Trailer, list: &mut Vec<Chunk>) -> Result<(), ParseError> {
    // Offsets in the decoded table mean little to a user, so faults name where its text is.
    let f = Fields::new("UDIF block table", &table.bytes, table.at);
    let signature = f.bytes(0, 4)?;
    if signature != b"mish" {
        return Err(ParseError::corrupt(table.at, "signature of a UDIF block table", "mish", signature.escape_ascii()));
    }
    let version = f.u32_be(4)?;
    if version != 1 {
        return Err(ParseError::unsupported(table.at, "version of a UDIF block table", 1, version));
    }
    let (first_sector, data_offset) = (f.u64_be(8)?, f.u64_be(24)?);
    let count = f.u32_be(FIRST_CHUNK - 4)?;
    for index in 0..count as usize {
        let at = index.saturating_mul(CHUNK).saturating_add(FIRST_CHUNK);
        let entry = Fields::new("chunk of a UDIF block table", f.bytes(at, CHUNK)?, table.at);
        let base = [trailer.data_fork_offset, data_offset];
        list.extend(parse_chunk(&entry, first_sector, base)?);
    }
    Ok(())
}

/// A chunk; none for entries that stand for no sectors.
fn parse_chunk(f: &Fields<'_>, first_sector: u64, base: [u64; 2]) -> Result<Option<Chunk>, ParseError> {
    const COMMENT: u32 = 0x7FFF_FFFE;
    const TERMINATOR: u32 = 0xFFFF_FFFF;
    let kind = match f.u32_be(0)? {
        0 | 2 => Kind::Zero,
        1 => Kind::Raw,
        0x8000_0004 => Kind::Adc,
        0x8000_0005 => Kind::Zlib,
        0x8000_0006 => Kind::Bzip2,
        0x8000_0007 => Kind::Lzfse,
        0x8000_0008 => Kind::Lzma,
        COMMENT | TERMINATOR => return Ok(None),
        other => {
            let expected = "raw, zero, ADC, zlib, bzip2, LZFSE or LZMA";
            return Err(ParseError::unsupported(
                f.offset(0),
                "type of a UDIF chunk",
                expected,
                format_args!("{other:#010x}"),
            ));
        }
    };
    let (sector, sectors) = (f.u64_be(8)?, f.u64_be(16)?);
    let (offset, stored) = (f.u64_be(24)?, f.u64_be(32)?);
    let bytes = |sectors: u64| sectors.checked_mul(SECTOR);
    let position = || {
        let start = bytes(first_sector.checked_add(sector)?)?;
        let len = bytes(sectors)?;
        start.checked_add(len)?;
        let offset = base[0].checked_add(base[1])?.checked_add(offset)?;
        Some(Chunk { start, len, kind, offset, stored })
    };
    let what = || format!("UDIF chunk of sector {sector} after {first_sector}");
    let chunk = position().ok_or_else(|| {
        let found = format_args!("{sectors} sectors, {stored} bytes at {offset}");
        ParseError::corrupt(f.offset(0), what(), "numbers below 2^64 bytes", found)
    })?;
    let (expected, found) = match kind {
        Kind::Raw if stored != chunk.len => (format!("{} stored bytes", chunk.len), stored),
        Kind::Zero | Kind::Raw => return Ok(Some(chunk).filter(|chunk| chunk.len > 0)),
        _ if chunk.len > MAX_CLUSTER => (format!("at most {MAX_CLUSTER} bytes of the disk"), chunk.len),
        _ if stored > chunk.len.saturating_add(SLACK) => (format!("about {} stored bytes", chunk.len), stored),
        _ => return Ok(Some(chunk).filter(|chunk| chunk.len > 0)),
    };
    Err(ParseError::corrupt(f.offset(0), what(), expected, found))
}
