//! The checksum of headers, region tables and log entries: CRC-32C with the field itself as zeros.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crc32c::{crc32c, crc32c_append};

/// Where `Checksum` is in all structures that have one.
const AT: usize = 4;

/// The checksum that a structure should have.
pub(super) fn of(bytes: &[u8]) -> u32 {
    crc32c_append(crc32c_append(crc32c(&bytes[..AT]), &[0; 4]), &bytes[AT + 4..])
}

/// Puts the right checksum into a structure.
pub(super) fn put(bytes: &mut [u8]) {
    let sum = of(bytes);
    bytes[AT..AT + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Checks the checksum of a structure.
///
/// # Errors
/// [`ParseError`] called `what`.
pub(super) fn check(f: &Fields<'_>, what: &str) -> Result<(), ParseError> {
    let stored = f.u32_le(AT)?;
    let right = of(f.bytes(0, f.len())?);
    if stored == right {
        return Ok(());
    }
    Err(ParseError::corrupt(f.offset(AT), what, format_args!("{right:#010x}"), format_args!("{stored:#010x}")))
}
