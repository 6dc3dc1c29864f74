//! The tag that every descriptor begins with (ECMA-167, 3/7.2 and 4/7.2;
//! <https://ecma-international.org/publications-and-standards/standards/ecma-167/>).

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Bytes in a tag.
pub(super) const TAG: usize = 16;

/// `TagIdentifier`.
pub(super) mod id {
    pub(crate) const SPARING_TABLE: u16 = 0;
    pub(crate) const PRIMARY_VOLUME: u16 = 1;
    pub(crate) const ANCHOR: u16 = 2;
    pub(crate) const POINTER: u16 = 3;
    pub(crate) const PARTITION: u16 = 5;
    pub(crate) const LOGICAL_VOLUME: u16 = 6;
    pub(crate) const TERMINATING: u16 = 8;
    pub(crate) const INTEGRITY: u16 = 9;
    pub(crate) const FILE_SET: u16 = 256;
    pub(crate) const FILE_IDENTIFIER: u16 = 257;
    pub(crate) const ALLOCATION_EXTENT: u16 = 258;
    pub(crate) const FILE_ENTRY: u16 = 261;
    pub(crate) const EXTENDED_FILE_ENTRY: u16 = 266;
}

/// The expected kind and location of a tagged structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// Its name for messages.
    pub(super) what: &'a str,
    /// The allowed identifiers; empty for any.
    pub(super) ids: &'a [u16],
    /// `TagLocation`; `None` for any.
    pub(super) location: Option<u32>,
}

/// Verifies the tag of a structure at byte `at` of the volume: checksum, CRC, identifier and location. Returns the
/// identifier.
pub(super) fn check(bytes: &[u8], at: u64, expected: &Expected<'_>) -> Result<u16, ParseError> {
    let f = Fields::new("descriptor tag", bytes, at);
    let what = |field: &str| format!("{field} of the {}", expected.what);
    let raw = f.bytes(0, TAG)?;
    let sum =
        raw.iter().enumerate().filter(|(index, _)| *index != 4).fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    let id = f.u16_le(0)?;
    if sum != raw[4] || raw.iter().all(|byte| *byte == 0) {
        return Err(ParseError::corrupt(at, what("tag"), "one with the right checksum", format_args!("{raw:02x?}")));
    }
    if !expected.ids.is_empty() && !expected.ids.contains(&id) {
        return Err(ParseError::corrupt(at, what("tag"), format_args!("{:?}", expected.ids), id));
    }
    let location = f.u32_le(12)?;
    if let Some(wanted) = expected.location
        && wanted != location
    {
        return Err(ParseError::corrupt(f.offset(12), what("own location"), wanted, location));
    }
    let len = usize::from(f.u16_le(10)?);
    let stated = f.u16_le(8)?;
    let body = bytes.get(TAG..TAG + len).ok_or_else(|| {
        ParseError::corrupt(f.offset(10), what("length"), format_args!("at most {}", bytes.len() - TAG), len)
    })?;
    let found = crc(body);
    if found == stated {
        return Ok(id);
    }
    Err(ParseError::corrupt(f.offset(8), what("CRC"), format_args!("{found:#06x}"), format_args!("{stated:#06x}")))
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256; no other conversion works in a constant")]
        let mut value = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 0x8000 == 0 { value << 1 } else { value << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The CRC of ITU-T V.41 with initial value 0.
pub(super) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| TABLE[usize::from((crc >> 8) ^ u16::from(*byte))] ^ crc << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_crc_of_standard() {
        // The example of ECMA-167, 7.2.6.
        assert_eq!(crc(&[0x70, 0x6A, 0x77]), 0x3299);
    }
}
