//! CD sectors that are stored with their headers: locates the user data in each and verifies it. The layouts are those
//! of ECMA-130, clause 14 and annex A, and of the CD-ROM XA extension to it.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// The user's bytes of a sector.
pub(super) const USER: usize = 2048;
/// What a sector begins with.
pub(super) const SYNC: [u8; 12] = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0];
/// The bit of an XA subheader's `submode` for sectors of form 2, which hold 2324 bytes of sound or video.
const FORM_2: u8 = 0x20;

/// How the sectors of a track are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Only the user's data.
    Plain,
    /// `MODE1/2352`: sync, header, data, checksums.
    Mode1,
    /// `MODE2/2352`: sync, header, subheader, data, checksums.
    Mode2,
    /// `MODE2/2336`: the same without sync and header.
    Mode2Bare,
}

impl Layout {
    /// The layout that a cue sheet's word means.
    pub(super) fn of(mode: &str) -> Option<Self> {
        Some(match mode {
            "MODE1/2048" | "MODE2/2048" => Self::Plain,
            "MODE1/2352" => Self::Mode1,
            "MODE2/2352" => Self::Mode2,
            "MODE2/2336" => Self::Mode2Bare,
            _ => return None,
        })
    }

    /// Takes the user's data out of a sector that begins `at` bytes into its file.
    ///
    /// # Errors
    /// [`ParseError`] for a sector of another mode, and one that its checksum says is corrupt.
    pub(super) fn user(self, sector: &[u8], at: u64, out: &mut [u8]) -> Result<(), ParseError> {
        let f = Fields::new("CD sector", sector, at);
        let data = match self {
            Self::Plain => 0,
            Self::Mode1 => {
                check_header(&f, 1)?;
                check_sum(&f, 0, 16 + USER)?;
                16
            }
            Self::Mode2 => {
                check_header(&f, 2)?;
                check_form(&f, 16)?
            }
            Self::Mode2Bare => check_form(&f, 0)?,
        };
        out.copy_from_slice(f.bytes(data, USER)?);
        Ok(())
    }
}

fn check_header(f: &Fields<'_>, mode: u8) -> Result<(), ParseError> {
    if f.bytes(0, SYNC.len())? != SYNC {
        return Err(ParseError::corrupt(f.offset(0), "CD sector", "the sync pattern", "other bytes"));
    }
    let found = f.u8(15)?;
    if found != mode {
        return Err(ParseError::corrupt(f.offset(15), "mode of a CD sector", mode, found));
    }
    Ok(())
}

/// Checks an XA sector whose subheader is at `at`, and answers where its data is.
fn check_form(f: &Fields<'_>, at: usize) -> Result<usize, ParseError> {
    if f.u8(at + 2)? & FORM_2 != 0 {
        let expected = "form 1, which holds data";
        return Err(ParseError::unsupported(
            f.offset(at + 2),
            "form of a CD sector",
            expected,
            "form 2 (sound or video)",
        ));
    }
    check_sum(f, at, at + 8 + USER)?;
    Ok(at + 8)
}

/// Checks the error detection code at `at` of the bytes between it and `from`. Programs that make images may leave it
/// 0.
fn check_sum(f: &Fields<'_>, from: usize, at: usize) -> Result<(), ParseError> {
    let expected = f.u32_le(at)?;
    let found = edc(f.bytes(from, at - from)?);
    if expected != 0 && expected != found {
        let (expected, found) = (format!("{expected:#010x}"), format!("{found:#010x}"));
        return Err(ParseError::corrupt(f.offset(at), "error detection code of a CD sector", expected, found));
    }
    Ok(())
}

/// The error detection code (ECMA-130, 14.3): a CRC of 32 bits with the polynomial
/// (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1), least significant bit first.
pub(super) fn edc(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(0, |crc, byte| crc >> 8 ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize])
}

const fn table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0xD801_8001;
    let mut table = [0; 256];
    let mut seed: u32 = 0;
    while seed < 256 {
        let mut crc = seed;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[seed as usize] = crc;
        seed += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/CD-ROM-EDC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_error_detection_code_has_its_known_value() {
        assert_eq!(edc(b"123456789"), 0x6EC2_EDC4);
    }
}
