//! Version 1: a two-level map without refcounts. Field names and offsets are those of QEMU's `block/qcow.c`
//! (<https://gitlab.com/qemu-project/qemu/-/blob/master/block/qcow.c>); all numbers are big-endian.

use super::bounds::{MAX_HEADER, within_header};
use super::compressed;
use super::header::Compression;
use crate::image::check::Report;
use crate::image::two_level::{self, Dialect, Shape, TwoLevel};
use crate::image::{Format, Image, ImageInfo, OpenOptions, Result, Variant};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;
use std::path::Path;

/// Bytes of the header.
const HEADER: u64 = 48;
/// QEMU's bound of a backing file's name, in bytes.
const MAX_NAME: u32 = 1023;

const DIALECT: Dialect = Dialect { name: "QCOW", big_endian: true, zero: None, compressed: 1 << 63, aligned: false };

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QcowHeader {
    /// The backing file's name at `backing_file_offset`, as written.
    backing_file: Option<String>,
    /// `size` in bytes, rounded down to whole sectors of 512 bytes as QEMU does.
    size: u64,
    /// `cluster_bits`: 9 to 16.
    cluster_bits: u8,
    /// `l2_bits`: a level 2 table has 2^this entries; 6 to 13.
    l2_bits: u8,
    /// `l1_table_offset`.
    l1_table_offset: u64,
}

impl QcowHeader {
    /// Parses the first bytes of a file: [`MAX_HEADER`] of them, or all when it has fewer.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("QCOW header", bytes.get(..MAX_HEADER).unwrap_or(bytes), 0);
        let size = f.u64_be(24)? & !511;
        if size == 0 || i64::try_from(size).is_err() {
            return Err(ParseError::corrupt(24, "QCOW disk size", "512 to 2^63 bytes", size));
        }
        let bits = |at: usize, what: &str, range: std::ops::RangeInclusive<u8>| {
            let bits = f.u8(at)?;
            if range.contains(&bits) {
                return Ok(bits);
            }
            Err(ParseError::corrupt(at as u64, what, format_args!("{} to {}", range.start(), range.end()), bits))
        };
        let header = Self {
            backing_file: backing_name(&f)?,
            size,
            cluster_bits: bits(32, "QCOW cluster_bits", 9..=16)?,
            l2_bits: bits(33, "QCOW l2_bits", 6..=13)?,
            l1_table_offset: f.u64_be(40)?,
        };
        if header.l1_table_offset < HEADER || i64::try_from(header.l1_table_offset).is_err() {
            let expected = format_args!("{HEADER} to 2^63");
            return Err(ParseError::corrupt(40, "QCOW l1_table_offset", expected, header.l1_table_offset));
        }
        match f.u32_be(36)? {
            0 => Ok(header),
            1 => Err(ParseError::unsupported(36, "QCOW crypt_method", "an image without encryption", "AES")),
            other => Err(ParseError::corrupt(36, "QCOW crypt_method", "0 or 1", other)),
        }
    }

    /// Reports what is wrong with the map.
    pub(super) fn check(&self, file: &File, report: Report<'_>) -> Result<()> {
        two_level::check(file, self.shape(), report)
    }

    fn shape(&self) -> Shape {
        let span_bits = self.cluster_bits + self.l2_bits;
        Shape {
            dialect: DIALECT,
            l1_offset: self.l1_table_offset,
            l1_entries: self.size.div_ceil(1 << span_bits),
            l2_entries: 1 << self.l2_bits,
            cluster_size: 1 << self.cluster_bits,
        }
    }

    pub(super) fn info(&self, path: &Path, stored_size: u64) -> Result<ImageInfo> {
        let parent = self.backing_file.as_deref().map(|name| super::parent(path, name, None)).transpose()?;
        let cluster_size = 1_u64 << self.cluster_bits;
        Ok(ImageInfo {
            path: path.to_path_buf(),
            format: Format::Qcow,
            variant: if parent.is_some() { Variant::Differencing } else { Variant::Dynamic },
            details: format!("version 1, clusters of {cluster_size} bytes"),
            size: self.size,
            sector_size: 512,
            block_size: cluster_size,
            uuid: None,
            modification: None,
            content_id: None,
            parent,
            comment: String::new(),
            notes: Vec::new(),
            stored_size,
        })
    }
}

fn backing_name(f: &Fields<'_>) -> Result<Option<String>, ParseError> {
    let (offset, size) = (f.u64_be(8)?, f.u32_be(16)?);
    if offset == 0 {
        return Ok(None);
    }
    if size == 0 || size > MAX_NAME {
        return Err(ParseError::corrupt(16, "QCOW backing_file_size", format_args!("1 to {MAX_NAME}"), size));
    }
    let end = offset.saturating_add(u64::from(size));
    let at = within_header(8, "QCOW backing file name", offset, end)?;
    f.text(at, size as usize).map(Some)
}

/// Opens an image with this header.
pub(super) fn open(file: &File, header: QcowHeader, options: &OpenOptions) -> Result<Box<dyn Image>> {
    options.refuse_snapshot(file.path())?;
    let info = header.info(file.path(), storage::length(&**file)?)?;
    let image = TwoLevel::open(file.clone(), info, header.shape(), Some(decode), options.writable)?;
    Ok(Box::new(image))
}

/// An entry has the offset in its lower `63 - cluster_bits` bits, and above these the compressed length in bytes.
fn decode(file: &File, shape: Shape, entry: u64, out: &mut [u8]) -> Result<()> {
    let offset_bits = 63 - shape.cluster_size.trailing_zeros();
    let offset = entry & ((1 << offset_bits) - 1);
    // Less than a cluster.
    let len = usize::try_from(entry >> offset_bits).unwrap_or(0);
    let mut encoded = vec![0; len];
    storage::read_exact(&**file, &mut encoded, offset, "compressed QCOW cluster")?;
    compressed::decode(Compression::Zlib, &encoded, offset, out).in_file(file.path())
}
