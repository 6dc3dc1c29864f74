//! The trailer of a UDIF image. Field names and offsets are those of `UDIFResourceFile` in
//! <http://newosxbook.com/DMG.html> and QEMU's `block/dmg.c`; all numbers are big-endian.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `Signature`.
pub(super) const SIGNATURE: &[u8; 4] = b"koly";
/// `HeaderSize`: bytes of the trailer.
pub(super) const SIZE: usize = 512;
/// Property lists longer than this are refused: it describes some 600,000 chunks.
pub(super) const MAX_XML: u64 = 32 << 20;

/// A trailer whose ranges lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the trailer is in the file.
    pub(super) at: u64,
    /// `DataForkOffset`: what the offsets of chunks are relative to, in bytes.
    pub(super) data_fork_offset: u64,
    /// `XMLOffset`, in bytes.
    pub(super) xml_offset: u64,
    /// `XMLLength`, in bytes, at most [`MAX_XML`].
    pub(super) xml_length: usize,
    /// `SectorCount` in bytes: the disk's size. None where it is 0, as some programs leave it.
    pub(super) disk_size: Option<u64>,
    /// `Checksum` when it is a CRC-32: of the checksums of all block tables.
    pub(super) master_crc: Option<u32>,
}

impl Trailer {
    /// Parses a trailer that lies at offset `at` of a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(super) fn parse(bytes: &[u8], at: u64, file_len: u64) -> Result<Self, ParseError> {
        let f = Fields::new("UDIF trailer", bytes, at);
        let signature = f.bytes(0, 4)?;
        if signature != SIGNATURE {
            let found = signature.escape_ascii();
            return Err(ParseError::corrupt(at, "UDIF signature in the last 512 bytes", "koly", found));
        }
        let version = f.u32_be(4)?;
        if version != 4 {
            return Err(ParseError::unsupported(f.offset(4), "UDIF version", 4, version));
        }
        let header_size = f.u32_be(8)?;
        if header_size as usize != SIZE {
            return Err(ParseError::corrupt(f.offset(8), "UDIF trailer size", SIZE, header_size));
        }
        let segments = f.u32_be(60)?;
        if segments > 1 {
            let found = format_args!("segment {} of {segments}", f.u32_be(56)?);
            return Err(ParseError::unsupported(f.offset(60), "UDIF segments", "an image in one file", found));
        }
        let (xml_offset, xml_length) = (f.u64_be(216)?, f.u64_be(224)?);
        if xml_length == 0 {
            let expected = "a property list with the block tables";
            let found = "none (images of Mac OS X 10.1 have them in a resource fork)";
            return Err(ParseError::unsupported(f.offset(224), "length of the UDIF property list", expected, found));
        }
        if xml_offset.checked_add(xml_length).is_none_or(|end| end > file_len) {
            let expected = format_args!("a range within the {file_len} bytes of the file");
            let found = format_args!("{xml_length} bytes at {xml_offset}");
            return Err(ParseError::corrupt(f.offset(216), "UDIF property list", expected, found));
        }
        let length = usize::try_from(xml_length).ok().filter(|_| xml_length <= MAX_XML);
        let xml_length = length.ok_or_else(|| {
            let expected = format_args!("at most {MAX_XML}");
            ParseError::unsupported(f.offset(224), "length of the UDIF property list", expected, xml_length)
        })?;
        let sectors = f.u64_be(492)?;
        let disk_size = sectors.checked_mul(512).filter(|size| i64::try_from(*size).is_ok());
        let disk_size = disk_size.ok_or_else(|| {
            ParseError::corrupt(f.offset(492), "UDIF sector count", "at most 2^54 - 1 sectors", sectors)
        })?;
        let disk_size = Some(disk_size).filter(|size| *size > 0);
        Ok(Self { at, data_fork_offset: f.u64_be(24)?, xml_offset, xml_length, disk_size, master_crc: crc(&f, 352)? })
    }
}

/// The checksum at `at` (type, bits, data) when it is a CRC-32.
///
/// # Errors
/// [`ParseError`] when it lies past the end of the bytes.
pub(super) fn crc(f: &Fields<'_>, at: usize) -> Result<Option<u32>, ParseError> {
    const CRC_32: u32 = 2;
    let is_crc = f.u32_be(at)? == CRC_32 && f.u32_be(at + 4)? == 32;
    Ok(if is_crc { Some(f.u32_be(at + 8)?) } else { None })
}
