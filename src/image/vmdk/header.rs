//! The header of a hosted sparse extent (`SparseExtentHeader`) and its copy at the end of a stream. Field names and
//! offsets are those of VMware's "Virtual Disk Format 5.0"; all numbers are little-endian, all offsets and sizes are
//! sectors of 512 bytes.

use super::geometry::{Geometry, SECTOR};
use crate::image::MAX_CLUSTER;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::Range;

/// `magicNumber`, "VMDK" as a number.
pub(super) const MAGIC: &[u8] = b"KDMV";
/// Where `flags` is.
pub(super) const FLAGS_AT: u64 = 8;
/// Where `uncleanShutdown` is.
pub(super) const UNCLEAN_SHUTDOWN_AT: u64 = 72;
/// `gdOffset` of a stream: the header after the data has the real one (`GD_AT_END`).
const GD_AT_END: u64 = u64::MAX;
/// The header after a stream's data begins this many bytes before the end of the file: one sector follows it.
pub(super) const FOOTER_FROM_END: u64 = 2 * SECTOR;

/// The four bytes after `uncleanShutdown` are right.
const FLAG_NEWLINES: u32 = 1;
/// There is a second grain directory, with grain tables of its own.
pub(super) const FLAG_REDUNDANT: u32 = 1 << 1;
/// Entries of 1 mean zeros.
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;
const KNOWN_FLAGS: u32 = FLAG_NEWLINES | FLAG_REDUNDANT | FLAG_ZERO_GRAINS | FLAG_COMPRESSED | FLAG_MARKERS;

/// `singleEndLineChar`, `nonEndLineChar`, `doubleEndLineChar1` and `2`: a transfer as text changes them.
const NEWLINES: &[u8] = b"\n \r\n";
/// Most entries of a grain table; the specification has 512.
const MAX_TABLE_ENTRIES: u32 = 1 << 16;

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseHeader {
    /// `version`: 1, 2 or 3.
    pub(super) version: u32,
    /// `flags`.
    pub(super) flags: u32,
    /// `capacity`.
    pub(super) capacity: u64,
    /// `grainSize`: a power of two.
    pub(super) grain_size: u64,
    /// `descriptorOffset` and `descriptorSize`, in bytes; empty where there is no descriptor.
    pub(super) descriptor: Range<u64>,
    /// `numGTEsPerGT`.
    pub(super) entries_per_table: u32,
    /// `rgdOffset`.
    pub(super) rgd_offset: u64,
    /// `gdOffset`.
    pub(super) gd_offset: u64,
    /// `overHead`: where the grains begin.
    pub(super) overhead: u64,
    /// `uncleanShutdown`: some program has the file open for writing, or had when it ended.
    pub(super) unclean_shutdown: bool,
}

impl SparseHeader {
    /// Parses a header that begins `base` bytes into its file.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(super) fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VMDK sparse header", bytes, base);
        let corrupt = |at: usize, what: &str, expected: &str, found: String| {
            Err(ParseError::corrupt(f.offset(at), what, expected, found))
        };
        let magic = f.bytes(0, 4)?;
        if magic != MAGIC {
            let found = format!("{:?}", String::from_utf8_lossy(magic));
            return corrupt(0, "VMDK sparse header signature", "\"KDMV\"", found);
        }
        let version = f.u32_le(4)?;
        if !(1..=3).contains(&version) {
            return Err(ParseError::unsupported(f.offset(4), "VMDK sparse header version", "1 to 3", version));
        }
        let flags = f.u32_le(8)?;
        Self::check_flags(&f, flags)?;
        let grain_size = f.u64_le(20)?;
        if !grain_size.is_power_of_two() || grain_size > MAX_CLUSTER / SECTOR {
            let expected = format!("a power of two up to {}", MAX_CLUSTER / SECTOR);
            return corrupt(20, "VMDK grain size", &expected, grain_size.to_string());
        }
        let entries_per_table = f.u32_le(44)?;
        if !(1..=MAX_TABLE_ENTRIES).contains(&entries_per_table) {
            let expected = format!("1 to {MAX_TABLE_ENTRIES}");
            return corrupt(44, "VMDK entries per grain table", &expected, entries_per_table.to_string());
        }
        let bytes_of = |at: usize, what: &str| {
            let sectors = f.u64_le(at)?;
            sectors.checked_mul(SECTOR).ok_or_else(|| {
                ParseError::corrupt(f.offset(at), what, format_args!("at most {}", u64::MAX / SECTOR), sectors)
            })
        };
        if i64::try_from(bytes_of(12, "VMDK capacity")?).is_err() {
            return corrupt(12, "VMDK capacity", "less than 2^63 bytes", f.u64_le(12)?.to_string());
        }
        let descriptor_offset = bytes_of(28, "VMDK descriptor offset")?;
        let descriptor_size = bytes_of(36, "VMDK descriptor size")?;
        let Some(descriptor_end) = descriptor_offset.checked_add(descriptor_size) else {
            return corrupt(36, "VMDK descriptor size", "an end within 64 bits", f.u64_le(36)?.to_string());
        };
        Ok(Self {
            version,
            flags,
            capacity: f.u64_le(12)?,
            grain_size,
            descriptor: if descriptor_offset == 0 { 0..0 } else { descriptor_offset..descriptor_end },
            entries_per_table,
            rgd_offset: f.u64_le(48)?,
            gd_offset: f.u64_le(56)?,
            overhead: f.u64_le(64)?,
            unclean_shutdown: f.u8(72)? != 0,
        })
    }

    fn check_flags(f: &Fields<'_>, flags: u32) -> Result<(), ParseError> {
        if flags & !KNOWN_FLAGS != 0 {
            let known = format!("no others than {KNOWN_FLAGS:#x}");
            return Err(ParseError::unsupported(
                f.offset(8),
                "VMDK sparse header flags",
                known,
                format_args!("{flags:#x}"),
            ));
        }
        let newlines = f.bytes(73, 4)?;
        if flags & FLAG_NEWLINES != 0 && newlines != NEWLINES {
            return Err(ParseError::corrupt(
                f.offset(73),
                "VMDK newline check",
                format_args!("{NEWLINES:x?}"),
                format_args!("{newlines:x?}: the file was copied as text, so get it again with a binary transfer"),
            ));
        }
        let compressed = flags & FLAG_COMPRESSED != 0;
        let method = f.bytes(77, 2)?;
        let method = u16::from_le_bytes([method[0], method[1]]);
        if method != u16::from(compressed) {
            let expected = if compressed { "1 (deflate)" } else { "0, as nothing is compressed" };
            return Err(ParseError::unsupported(f.offset(77), "VMDK compression method", expected, method));
        }
        if compressed && flags & FLAG_MARKERS == 0 {
            return Err(ParseError::unsupported(
                f.offset(8),
                "VMDK sparse header flags",
                "markers (0x20000) with compressed grains",
                format_args!("{flags:#x}"),
            ));
        }
        Ok(())
    }

    /// Whether the grains are compressed.
    pub(super) fn compressed(&self) -> bool {
        self.flags & FLAG_COMPRESSED != 0
    }

    /// Whether the header after the data has to be read for the offset of the grain directory.
    pub(super) fn directory_at_end(&self) -> bool {
        self.gd_offset == GD_AT_END
    }

    /// Holds the header after a stream's data, which begins at `base`, against this one; it is the one to use.
    ///
    /// # Errors
    /// [`ParseError`] when it is about another extent.
    pub(super) fn check_footer(&self, footer: &Self, base: u64) -> Result<(), ParseError> {
        let about = |header: &Self| (header.capacity, header.grain_size, header.entries_per_table, header.flags);
        if about(self) != about(footer) || footer.directory_at_end() {
            return Err(ParseError::corrupt(
                base,
                "VMDK footer",
                format_args!("the numbers of the header and a grain directory: {self:?}"),
                format_args!("{footer:?}"),
            ));
        }
        Ok(())
    }

    /// How the extent is laid out. `base` is where this header begins.
    ///
    /// # Errors
    /// [`ParseError`] for a grain directory whose offset makes no sense.
    pub(super) fn geometry(&self, base: u64) -> Result<Geometry, ParseError> {
        let position = |sector: u64, at: u64, what: &str| {
            sector
                .checked_mul(SECTOR)
                .filter(|at| *at > 0)
                .ok_or_else(|| ParseError::corrupt(base + at, what, format_args!("1 to {}", u64::MAX / SECTOR), sector))
        };
        let redundant = self.flags & FLAG_REDUNDANT != 0;
        Ok(Geometry {
            format: "VMDK",
            capacity: self.capacity * SECTOR,
            grain: self.grain_size * SECTOR,
            table_entries: u64::from(self.entries_per_table),
            directory_at: position(self.gd_offset, 56, "VMDK grain directory offset")?,
            redundant_at: if redundant {
                Some(position(self.rgd_offset, 48, "VMDK redundant grain directory offset")?)
            } else {
                None
            },
            reserved: [0..SECTOR, self.descriptor.clone()],
            data_at: self.overhead.saturating_mul(SECTOR),
            zero_grains: self.flags & FLAG_ZERO_GRAINS != 0,
            compressed: self.compressed(),
        })
    }
}
