//! The QED header. Field names and offsets are those of QEMU's `docs/interop/qed_spec.rst`
//! (<https://www.qemu.org/docs/master/interop/qed_spec.html>); all numbers are little-endian.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `magic`, at offset 0.
pub(crate) const MAGIC: [u8; 4] = *b"QED\0";
/// Bytes that hold the header and the backing file's name.
pub(crate) const MAX_HEADER: usize = 64 << 10;
/// Where `features` is.
pub(crate) const FEATURES_AT: u64 = 16;
/// QEMU's bound of a backing file's name, in bytes.
const MAX_NAME: u32 = 1023;
/// `QED_MIN_CLUSTER_SIZE` and `QED_MAX_CLUSTER_SIZE`.
const CLUSTER_SIZES: std::ops::RangeInclusive<u32> = 4096..=64 << 20;
/// `QED_MAX_TABLE_SIZE`, in clusters.
const MAX_TABLE: u32 = 16;

/// `features`: the image has a backing file.
pub(crate) const BACKING_FILE: u64 = 1;
/// `features`: the image was not closed cleanly.
pub(crate) const NEED_CHECK: u64 = 1 << 1;
/// `features`: the backing file is raw, whatever it looks like.
pub(crate) const BACKING_RAW: u64 = 1 << 2;

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QedHeader {
    /// `cluster_size` in bytes: a power of two from 4 KiB to 64 MiB.
    pub cluster_size: u32,
    /// `table_size` in clusters: 1, 2, 4, 8 or 16.
    pub table_size: u32,
    /// `features`, none but known ones.
    pub features: u64,
    /// `autoclear_features`.
    pub autoclear_features: u64,
    /// `l1_table_offset`, a multiple of the cluster size.
    pub l1_table_offset: u64,
    /// `image_size` in bytes, a multiple of 512.
    pub image_size: u64,
    /// The backing file's name, as written.
    pub backing_file: Option<String>,
}

impl QedHeader {
    /// Parses the first bytes of a file: [`MAX_HEADER`] of them, or all when it has fewer.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("QED header", bytes.get(..MAX_HEADER).unwrap_or(bytes), 0);
        if f.bytes(0, 4)? != MAGIC {
            return Err(ParseError::corrupt(0, "QED magic", "0x00444551", format_args!("{:#010x}", f.u32_le(0)?)));
        }
        let cluster_size = f.u32_le(4)?;
        if !cluster_size.is_power_of_two() || !CLUSTER_SIZES.contains(&cluster_size) {
            let expected = "a power of two from 4096 to 67108864";
            return Err(ParseError::corrupt(4, "QED cluster_size", expected, cluster_size));
        }
        let table_size = f.u32_le(8)?;
        if !table_size.is_power_of_two() || table_size > MAX_TABLE {
            return Err(ParseError::corrupt(8, "QED table_size", "1, 2, 4, 8 or 16", table_size));
        }
        let features = f.u64_le(16)?;
        let unknown = features & !(BACKING_FILE | NEED_CHECK | BACKING_RAW);
        if unknown != 0 {
            return Err(ParseError::unsupported(16, "QED features", "none but 0x7", format_args!("{unknown:#x}")));
        }
        let header_end = u64::from(f.u32_le(12)?) * u64::from(cluster_size);
        if header_end == 0 {
            return Err(ParseError::corrupt(12, "QED header_size", "at least 1", 0));
        }
        let l1_table_offset = f.u64_le(40)?;
        let is_aligned = l1_table_offset.is_multiple_of(u64::from(cluster_size));
        if !is_aligned || l1_table_offset < header_end || i64::try_from(l1_table_offset).is_err() {
            let expected = format_args!("a multiple of {cluster_size} from {header_end} to 2^63");
            return Err(ParseError::corrupt(40, "QED l1_table_offset", expected, l1_table_offset));
        }
        let header = Self {
            cluster_size,
            table_size,
            features,
            autoclear_features: f.u64_le(32)?,
            l1_table_offset,
            image_size: f.u64_le(48)?,
            backing_file: backing_name(&f, features, header_end)?,
        };
        let most = header.max_image_size();
        if header.image_size == 0 || !header.image_size.is_multiple_of(512) || header.image_size > most {
            let expected = format_args!("a multiple of 512 from 512 to {most}");
            return Err(ParseError::corrupt(48, "QED image_size", expected, header.image_size));
        }
        Ok(header)
    }

    /// Entries of a table of either level.
    #[must_use]
    pub(crate) fn table_entries(&self) -> u64 {
        u64::from(self.cluster_size) * u64::from(self.table_size) / 8
    }

    /// What two levels of tables can map, in bytes.
    fn max_image_size(&self) -> u64 {
        let entries = self.table_entries();
        let most = entries.saturating_mul(entries).saturating_mul(u64::from(self.cluster_size));
        most.min(i64::MAX.unsigned_abs())
    }
}

fn backing_name(f: &Fields<'_>, features: u64, header_end: u64) -> Result<Option<String>, ParseError> {
    if features & BACKING_FILE == 0 {
        return Ok(None);
    }
    let (offset, size) = (f.u32_le(56)?, f.u32_le(60)?);
    if size == 0 || size > MAX_NAME {
        return Err(ParseError::corrupt(60, "QED backing_filename_size", format_args!("1 to {MAX_NAME}"), size));
    }
    let end = u64::from(offset) + u64::from(size);
    if offset < 64 || end > header_end {
        let expected = format_args!("a name between 64 and {header_end}, in the header");
        return Err(ParseError::corrupt(56, "QED backing_filename_offset", expected, offset));
    }
    if end > MAX_HEADER as u64 {
        let expected = format_args!("within the first {MAX_HEADER} bytes");
        return Err(ParseError::unsupported(56, "QED backing_filename_offset", expected, offset));
    }
    f.text(offset as usize, size as usize).map(Some)
}
