//! The header of a member of a gzip file: RFC 1952, section 2.3 (<https://www.rfc-editor.org/rfc/rfc1952#section-2.3>).

use crate::ondisk::ParseError;

/// ID1 and ID2.
pub(super) const MAGIC: [u8; 2] = [0x1F, 0x8B];
/// CM: deflate.
const DEFLATE: u8 = 8;
/// Bytes before the optional fields.
const FIXED: usize = 10;
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xE0;

/// The length in bytes of the header that `bytes` begin with, which are at `offset` of the file.
///
/// # Errors
/// What is wrong with it; a header that goes on past `bytes` is corrupt.
pub(super) fn length(bytes: &[u8], offset: u64) -> Result<usize, ParseError> {
    let wrong = |at: usize, what: &str, expected: &str, found: String| {
        Err(ParseError::corrupt(offset + at as u64, format!("gzip {what}"), expected, found))
    };
    if bytes.get(..2) != Some(&MAGIC) {
        return wrong(0, "ID1, ID2", "1f 8b", format!("{:02x?}", bytes.get(..2).unwrap_or(bytes)));
    }
    let Some(&[_, _, method, flags, ..]) = bytes.first_chunk::<FIXED>() else {
        return wrong(0, "header", "10 bytes", format!("{}", bytes.len()));
    };
    if method != DEFLATE {
        let found = format!("{method}");
        return Err(ParseError::unsupported(offset + 2, "gzip CM", "8 (deflate)", found));
    }
    if flags & RESERVED != 0 {
        return wrong(3, "FLG", "its upper bits to be 0", format!("{flags:#04x}"));
    }
    let mut at = FIXED;
    if flags & FEXTRA != 0 {
        let length = bytes.get(at..).and_then(<[u8]>::first_chunk);
        at += length.map_or(bytes.len(), |xlen| 2 + usize::from(u16::from_le_bytes(*xlen)));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let text = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0));
            at += text.map_or(bytes.len(), |zero| zero + 1);
        }
    }
    if flags & FHCRC != 0 {
        let stated = bytes.get(at..).and_then(<[u8]>::first_chunk).map(|raw| u16::from_le_bytes(*raw));
        let computed = bytes.get(..at).map(|head| crc32fast::hash(head) & 0xFFFF);
        if stated.map(u32::from) != computed {
            return wrong(at, "CRC16", &format!("{computed:x?}"), format!("{stated:x?}"));
        }
        at += 2;
    }
    if at > bytes.len() {
        return wrong(0, "header", "one that ends", format!("none within {} bytes", bytes.len()));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_headers_with_all_fields() {
        let plain = [0x1F, 0x8B, 8, 0, 1, 2, 3, 4, 0, 3];
        assert_eq!(length(&plain, 0).unwrap(), 10);
        let mut full = plain.to_vec();
        full[3] = FEXTRA | FNAME | FCOMMENT | FHCRC;
        full.extend([3, 0, 7, 7, 7]);
        full.extend(b"name\0comment\0");
        let sum = crc32fast::hash(&full).to_le_bytes();
        full.extend(&sum[..2]);
        assert_eq!(length(&full, 0).unwrap(), full.len());
        for end in 0..full.len() {
            assert!(length(&full[..end], 0).is_err(), "{end}");
        }
        full[11] ^= 1;
        assert!(length(&full, 0).is_err());
    }

    #[test]
    fn refuses_other_methods_and_flags() {
        let bzip = length(&[0x1F, 0x8B, 9, 0, 0, 0, 0, 0, 0, 0], 7).unwrap_err();
        assert_eq!(bzip.to_string(), "gzip CM at offset 9 (0x9): expected 8 (deflate), found 9");
        let flags = length(&[0x1F, 0x8B, 8, 0x80, 0, 0, 0, 0, 0, 0], 0).unwrap_err();
        assert!(flags.to_string().contains("found 0x80"), "{flags}");
        assert!(length(b"PK", 0).unwrap_err().to_string().contains("expected 1f 8b"));
    }
}
