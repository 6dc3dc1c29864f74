//! The two headers, of which the one with the higher sequence number is current.
//!
//! Field names and offsets are those of Microsoft's "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format", section
//! 2.2.2 (<https://learn.microsoft.com/openspecs/windows_protocols/ms-vhdx>); all numbers are little-endian.

use super::checksum;
use crate::image::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::Storage;
use uuid::Uuid;

/// Bytes of a header.
pub(super) const SIZE: usize = 4096;
/// Where the two headers are.
pub(super) const OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
/// Everything else in the file lies at multiples of this.
pub(super) const MIB: u64 = 1 << 20;

/// A header whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VhdxHeader {
    /// `SequenceNumber`, at 8.
    pub(super) sequence: u64,
    /// `FileWriteGuid`, at 16: another after each opening for writing.
    pub(super) file_write: Uuid,
    /// `DataWriteGuid`, at 32: another when the disk's data changed.
    pub(super) data_write: Uuid,
    /// `LogGuid`, at 48: that of the log's entries; nil for an empty log.
    pub(super) log_guid: Uuid,
    /// `LogLength`, at 68: bytes.
    pub(super) log_length: u32,
    /// `LogOffset`, at 72: bytes.
    pub(super) log_offset: u64,
}

impl VhdxHeader {
    fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHDX header", bytes, base);
        let signature = f.bytes(0, 4)?;
        if signature != b"head" {
            let found = String::from_utf8_lossy(signature);
            return Err(ParseError::corrupt(base, "VHDX header signature", "\"head\"", format_args!("{found:?}")));
        }
        checksum::check(&f, "VHDX header checksum")?;
        let version = f.u16_le(66)?;
        if version != 1 {
            return Err(ParseError::unsupported(f.offset(66), "VHDX version", 1, version));
        }
        let log_guid = f.uuid_le(48)?;
        let log_version = f.u16_le(64)?;
        if log_version != 0 && !log_guid.is_nil() {
            return Err(ParseError::unsupported(f.offset(64), "VHDX log version", 0, log_version));
        }
        let log_length = f.u32_le(68)?;
        if !u64::from(log_length).is_multiple_of(MIB) {
            return Err(ParseError::corrupt(f.offset(68), "VHDX log length", "a multiple of 1 MiB", log_length));
        }
        let log_offset = f.u64_le(72)?;
        if !log_offset.is_multiple_of(MIB) || log_length > 0 && log_offset < MIB {
            return Err(ParseError::corrupt(
                f.offset(72),
                "VHDX log offset",
                "a multiple of 1 MiB, at least 1 MiB",
                log_offset,
            ));
        }
        Ok(Self {
            sequence: f.u64_le(8)?,
            file_write: f.uuid_le(16)?,
            data_write: f.uuid_le(32)?,
            log_guid,
            log_length,
            log_offset,
        })
    }

    /// The header's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; SIZE];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"head");
        put(8, &self.sequence.to_le_bytes());
        put(16, &self.file_write.to_bytes_le());
        put(32, &self.data_write.to_bytes_le());
        put(48, &self.log_guid.to_bytes_le());
        put(66, &1_u16.to_le_bytes());
        put(68, &self.log_length.to_le_bytes());
        put(72, &self.log_offset.to_le_bytes());
        checksum::put(&mut out);
        out
    }
}

/// What is wrong with one of the headers whose other one is right. A disk that was just made may have only one.
pub(super) fn check(file: &dyn Storage) -> Result<Option<ParseError>> {
    let parse =
        |at: u64| Ok::<_, crate::image::Error>(VhdxHeader::parse(&storage::read_up_to(file, at, SIZE)?, at).err());
    let (first, second) = (parse(OFFSETS[0])?, parse(OFFSETS[1])?);
    Ok(if first.is_some() && second.is_some() { None } else { first.or(second) })
}

/// The current header and which of [`OFFSETS`] it has.
pub(super) fn read(file: &dyn Storage) -> Result<(VhdxHeader, usize)> {
    let parse = |at: u64| {
        let bytes = storage::read_up_to(file, at, SIZE)?;
        Ok::<_, crate::image::Error>(
            Fields::new("VHDX header", &bytes, at).bytes(0, SIZE).and_then(|b| VhdxHeader::parse(b, at)),
        )
    };
    match (parse(OFFSETS[0])?, parse(OFFSETS[1])?) {
        (Ok(first), Ok(second)) if first.sequence == second.sequence && first != second => Err(ParseError::corrupt(
            OFFSETS[1] + 8,
            "VHDX header sequence number",
            "another than in the first header, which differs",
            second.sequence,
        )
        .in_file(file.path())),
        (Ok(first), Ok(second)) if first.sequence >= second.sequence => Ok((first, 0)),
        (_, Ok(second)) => Ok((second, 1)),
        (Ok(first), Err(_)) => Ok((first, 0)),
        (Err(cause), Err(_)) => Err(cause.in_file(file.path())),
    }
}
