//! The header of versions 2 and 3. Field names and offsets are those of QEMU's `docs/interop/qcow2.rst`
//! (<https://www.qemu.org/docs/master/interop/qcow2.html>); all numbers are big-endian.

use super::bounds::{MAX_HEADER, within_header};
use super::extensions::Extensions;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `magic`, at offset 0, of all versions.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bytes that a header of version 2 has.
const HEADER_2: u64 = 72;
/// The least that `header_length` may be in version 3.
const HEADER_3: u32 = 104;
/// QEMU's bound of a level 1 table, in entries: 32 MiB.
const MAX_L1: u32 = 4 << 20;
/// QEMU's bound of a refcount table, in bytes.
pub(crate) const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// QEMU's bound of internal snapshots.
const MAX_SNAPSHOTS: u32 = 65536;
/// QEMU's bound of a backing file's name, in bytes.
const MAX_NAME: u32 = 1023;
/// The smallest cluster that can be cut into 32 subclusters of at least a sector.
const MIN_EXTENDED_BITS: u32 = 14;

/// Bits of `incompatible_features`: an image with others must not be opened.
pub(crate) mod incompatible {
    /// Refcounts may be wrong.
    pub(crate) const DIRTY: u64 = 1;
    /// Some structure may be wrong.
    pub(crate) const CORRUPT: u64 = 1 << 1;
    /// Guest data is in another file.
    pub(crate) const DATA_FILE: u64 = 1 << 2;
    /// `compression_type` is not zlib.
    pub(crate) const COMPRESSION: u64 = 1 << 3;
    /// Level 2 entries are 128 bits and describe subclusters.
    pub(crate) const EXTENDED_L2: u64 = 1 << 4;
    /// All that are known here.
    pub(crate) const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;
}

/// Bit 1 of `autoclear_features`: the external data file can be read as a raw image.
pub(crate) const AUTOCLEAR_RAW: u64 = 1 << 1;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Raw deflate (RFC 1951).
    Zlib,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QcowHeader {
    /// `version`: 2 or 3.
    pub version: u32,
    /// The backing file's name at `backing_file_offset`, as written.
    pub backing_file: Option<String>,
    /// `cluster_bits`: 9 to 21.
    pub cluster_bits: u32,
    /// `size` in bytes, rounded down to whole sectors of 512 bytes as QEMU does.
    pub size: u64,
    /// `l1_size`: entries of the level 1 table; enough for the disk.
    pub l1_size: u32,
    /// `l1_table_offset`, a multiple of the cluster size.
    pub l1_table_offset: u64,
    /// `refcount_table_offset`, a multiple of the cluster size.
    pub refcount_table_offset: u64,
    /// `refcount_table_clusters`; at most [`MAX_REFCOUNT_TABLE`] bytes.
    pub refcount_table_clusters: u32,
    /// `nb_snapshots`.
    pub nb_snapshots: u32,
    /// `snapshots_offset`, a multiple of the cluster size.
    pub snapshots_offset: u64,
    /// `incompatible_features`, none but known ones.
    pub incompatible: u64,
    /// `autoclear_features`.
    pub autoclear: u64,
    /// `refcount_order`: a refcount has 2^this bits; 0 to 6.
    pub refcount_order: u32,
    /// `compression_type`.
    pub compression: Compression,
    /// The header extensions.
    pub extensions: Extensions,
}

impl QcowHeader {
    /// Parses the first bytes of a file: 64 KiB of them, or all when it has fewer.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("QCOW2 header", bytes.get(..MAX_HEADER).unwrap_or(bytes), 0);
        let version = f.u32_be(4)?;
        let cluster_bits = f.u32_be(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(ParseError::corrupt(20, "QCOW2 cluster_bits", "9 to 21", cluster_bits));
        }
        let length = if version == 2 { HEADER_2 } else { header_length(&f, cluster_bits)? };
        let backing = backing_name(&f, cluster_bits, length)?;
        let extensions_end = backing.map_or(1 << cluster_bits, |(offset, _)| offset);
        let extensions = Extensions::parse(&f, length, extensions_end)?;
        let features = Features::parse(&f, version, length, &extensions)?;
        if features.incompatible & incompatible::EXTENDED_L2 != 0 && cluster_bits < MIN_EXTENDED_BITS {
            let expected = "at least 14 with extended level 2 entries";
            return Err(ParseError::corrupt(20, "QCOW2 cluster_bits", expected, cluster_bits));
        }
        let header = Self {
            version,
            backing_file: backing.map(|(_, name)| name.to_owned()),
            cluster_bits,
            size: f.u64_be(24)? & !511,
            l1_size: f.u32_be(36)?,
            l1_table_offset: f.u64_be(40)?,
            refcount_table_offset: f.u64_be(48)?,
            refcount_table_clusters: f.u32_be(56)?,
            nb_snapshots: f.u32_be(60)?,
            snapshots_offset: f.u64_be(64)?,
            incompatible: features.incompatible,
            autoclear: features.autoclear,
            refcount_order: features.refcount_order,
            compression: features.compression,
            extensions,
        };
        header.check_tables()?;
        match f.u32_be(32)? {
            0 => Ok(header),
            1 => Err(ParseError::unsupported(32, "QCOW2 crypt_method", "an image without encryption", "AES")),
            2 => Err(ParseError::unsupported(32, "QCOW2 crypt_method", "an image without encryption", "LUKS")),
            other => Err(ParseError::corrupt(32, "QCOW2 crypt_method", "0 to 2", other)),
        }
    }

    fn check_tables(&self) -> Result<(), ParseError> {
        if self.size == 0 || i64::try_from(self.size).is_err() {
            return Err(ParseError::corrupt(24, "QCOW2 disk size", "512 to 2^63 bytes", self.size));
        }
        let needed = self.l1_needed(self.size);
        if u64::from(self.l1_size) < needed {
            let expected = format_args!("at least {needed} for {} bytes", self.size);
            return Err(ParseError::corrupt(36, "QCOW2 l1_size", expected, self.l1_size));
        }
        check_l1_size(36, self.l1_size)?;
        self.check_table(40, "QCOW2 l1_table_offset", self.l1_table_offset)?;
        self.check_table(48, "QCOW2 refcount_table_offset", self.refcount_table_offset)?;
        let most = MAX_REFCOUNT_TABLE >> self.cluster_bits;
        if self.refcount_table_clusters == 0 || u64::from(self.refcount_table_clusters) > most {
            let found = self.refcount_table_clusters;
            return Err(ParseError::corrupt(56, "QCOW2 refcount_table_clusters", format_args!("1 to {most}"), found));
        }
        if self.nb_snapshots > MAX_SNAPSHOTS {
            let expected = format_args!("at most {MAX_SNAPSHOTS}");
            return Err(ParseError::corrupt(60, "QCOW2 nb_snapshots", expected, self.nb_snapshots));
        }
        if self.nb_snapshots > 0 {
            self.check_table(64, "QCOW2 snapshots_offset", self.snapshots_offset)?;
        }
        Ok(())
    }

    /// Whether a table may begin at `offset`, which the field at `at` says.
    ///
    /// # Errors
    /// [`ParseError`] when it is not a multiple of the cluster size after the header.
    pub(crate) fn check_table(&self, at: u64, what: &str, offset: u64) -> Result<(), ParseError> {
        if offset == 0 || !offset.is_multiple_of(self.cluster_size()) || offset > MAX_OFFSET {
            let expected = format_args!("a multiple of {} from {0} to 2^56", self.cluster_size());
            return Err(ParseError::corrupt(at, what, expected, offset));
        }
        Ok(())
    }

    /// Bytes of a cluster.
    #[must_use]
    pub(crate) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether level 2 entries have bitmaps of subclusters.
    #[must_use]
    pub(crate) fn extended(&self) -> bool {
        self.incompatible & incompatible::EXTENDED_L2 != 0
    }

    /// Whether guest data is in another file.
    #[must_use]
    pub(crate) fn has_data_file(&self) -> bool {
        self.incompatible & incompatible::DATA_FILE != 0
    }

    /// Bytes of a level 2 entry.
    #[must_use]
    pub(crate) fn entry_size(&self) -> u64 {
        if self.extended() { 16 } else { 8 }
    }

    /// Entries of a level 2 table.
    #[must_use]
    pub(crate) fn l2_entries(&self) -> u64 {
        self.cluster_size() / self.entry_size()
    }

    /// Level 1 entries that a disk of `size` bytes needs.
    #[must_use]
    pub(crate) fn l1_needed(&self, size: u64) -> u64 {
        size.div_ceil(self.cluster_size() * self.l2_entries())
    }

    /// Refcounts in a refcount block.
    #[must_use]
    pub(crate) fn refcounts_per_block(&self) -> u64 {
        (self.cluster_size() * 8) >> self.refcount_order
    }
}

/// Offsets in the file have 56 bits.
pub(crate) const MAX_OFFSET: u64 = (1 << 56) - 1;

/// Whether a level 1 table may have so many entries, as the field at `at` says.
///
/// # Errors
/// [`ParseError`] when there are more than QEMU's bound.
pub(crate) fn check_l1_size(at: u64, l1_size: u32) -> Result<(), ParseError> {
    if l1_size > MAX_L1 {
        return Err(ParseError::unsupported(at, "QCOW2 l1_size", format_args!("at most {MAX_L1}"), l1_size));
    }
    Ok(())
}

fn header_length(f: &Fields<'_>, cluster_bits: u32) -> Result<u64, ParseError> {
    let length = f.u32_be(100)?;
    if length < HEADER_3 || !length.is_multiple_of(8) || length > 1 << cluster_bits {
        let expected = format_args!("a multiple of 8 from {HEADER_3} to {}", 1_u64 << cluster_bits);
        return Err(ParseError::corrupt(100, "QCOW2 header_length", expected, length));
    }
    Ok(u64::from(length))
}

/// Where the backing file's name is, and the name.
fn backing_name<'a>(f: &Fields<'a>, cluster_bits: u32, length: u64) -> Result<Option<(u64, &'a str)>, ParseError> {
    let (offset, size) = (f.u64_be(8)?, f.u32_be(16)?);
    if offset == 0 {
        return Ok(None);
    }
    if size == 0 || size > MAX_NAME {
        return Err(ParseError::corrupt(16, "QCOW2 backing_file_size", format_args!("1 to {MAX_NAME}"), size));
    }
    let end = offset.saturating_add(u64::from(size));
    if offset < length || end > 1 << cluster_bits {
        let expected = format_args!("a name between {length} and {}, in the first cluster", 1_u64 << cluster_bits);
        return Err(ParseError::corrupt(8, "QCOW2 backing_file_offset", expected, offset));
    }
    let at = within_header(8, "QCOW2 backing file name", offset, end)?;
    let raw = f.bytes(at, size as usize)?;
    let name = std::str::from_utf8(raw).ok().filter(|name| !name.contains('\0'));
    let name = name.ok_or_else(|| {
        ParseError::unsupported(offset, "QCOW2 backing file name", "UTF-8 text", String::from_utf8_lossy(raw))
    })?;
    Ok(Some((offset, name)))
}

/// The fields that version 3 added.
struct Features {
    incompatible: u64,
    autoclear: u64,
    refcount_order: u32,
    compression: Compression,
}

impl Features {
    fn parse(f: &Fields<'_>, version: u32, length: u64, extensions: &Extensions) -> Result<Self, ParseError> {
        if version == 2 {
            return Ok(Self { incompatible: 0, autoclear: 0, refcount_order: 4, compression: Compression::Zlib });
        }
        let incompatible = f.u64_be(72)?;
        let unknown = incompatible & !incompatible::KNOWN;
        if unknown != 0 {
            return Err(ParseError::unsupported(
                72,
                "QCOW2 incompatible_features",
                "none but bits 0 to 4",
                extensions.names_of(unknown),
            ));
        }
        let refcount_order = f.u32_be(96)?;
        if refcount_order > 6 {
            return Err(ParseError::corrupt(96, "QCOW2 refcount_order", "0 to 6", refcount_order));
        }
        let stated = if length > u64::from(HEADER_3) { f.u8(104)? } else { 0 };
        let compression = match stated {
            0 => Compression::Zlib,
            1 => Compression::Zstd,
            other => return Err(ParseError::unsupported(104, "QCOW2 compression_type", "0 (zlib) or 1 (zstd)", other)),
        };
        let flagged = incompatible & incompatible::COMPRESSION != 0;
        if flagged != (compression != Compression::Zlib) {
            let expected =
                if flagged { "another than zlib, as feature bit 3 says" } else { "0, as feature bit 3 says" };
            return Err(ParseError::corrupt(104, "QCOW2 compression_type", expected, stated));
        }
        Ok(Self { incompatible, autoclear: f.u64_be(88)?, refcount_order, compression })
    }
}
