//! Text and timestamps of UDF (<http://www.osta.org/specs/pdf/udf260.pdf>, 2.1.1 to 2.1.4).

use crate::ondisk::Time;
use crate::ondisk::calendar::Date;

/// Decodes OSTA CS0: a byte with the width of characters in bits, then the characters. Invalid characters are replaced;
/// `None` for an unknown width.
pub(super) fn cs0(bytes: &[u8]) -> Option<String> {
    let (width, text) = bytes.split_first()?;
    match width {
        8 => Some(text.iter().map(|byte| char::from(*byte)).collect()),
        16 => {
            let units: Vec<u16> = text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            Some(String::from_utf16_lossy(&units))
        }
        _ => None,
    }
}

/// Decodes a fixed-size field with CS0 text, whose length is in the last byte.
pub(super) fn dstring(field: &[u8]) -> String {
    let text = field.split_last().and_then(|(len, rest)| rest.get(..usize::from(*len)));
    text.and_then(cs0).unwrap_or_default().trim_end_matches('\0').to_owned()
}

/// Converts twelve bytes: zone and its kind, year, month, day, hour, minute, second, then hundredths, ten thousandths
/// and millionths of a second (ECMA-167, 1/7.3).
pub(super) fn time(raw: &[u8]) -> Option<Time> {
    let &[zone_low, zone_high, year_low, year_high, month, day, hour, minute, second, a, b, c] = raw else {
        return None;
    };
    let zone = u16::from_le_bytes([zone_low, zone_high]);
    // Signed 12-bit minutes; -2047 stands for no zone.
    let offset = match (zone << 4).cast_signed() >> 4 {
        offset @ -1440..=1440 => i32::from(offset),
        _ => 0,
    };
    let nanosecond = u32::from(a) * 10_000_000 + u32::from(b) * 100_000 + u32::from(c) * 1000;
    let year = i32::from(i16::from_le_bytes([year_low, year_high]));
    Date { year, month, day, hour, minute, second, nanosecond, offset }.time()
}

/// Derives the volume's UUID from the volume set identifier like blkid: 16 hexadecimal digits, either the first
/// characters or made from the first bytes.
pub(super) fn uuid(volume_set: &str) -> String {
    let bytes = volume_set.as_bytes();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digits = bytes.iter().take(16).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let lower = |len: usize| String::from_utf8_lossy(&bytes[..len]).to_ascii_lowercase();
    match digits {
        16 => lower(16),
        8.. if bytes.len() >= 12 => lower(8) + &hex(&bytes[8..12]),
        _ if bytes.len() >= 8 => hex(&bytes[..8]),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_one_and_two_byte_characters() {
        assert_eq!(cs0(b"\x08na\xEFve").unwrap(), "naïve");
        assert_eq!(cs0(&[16, 0x26, 0x03, 0xD8, 0x3D, 0xDE, 0x00]).unwrap(), "☃😀");
        assert_eq!(cs0(&[16, 0xD8, 0x3D]).unwrap(), "\u{FFFD}");
        assert!(cs0(&[255, 0]).is_none() && cs0(&[]).is_none());
        assert_eq!(dstring(b"\x08LAB\0\0\0\x04"), "LAB");
        assert_eq!((dstring(&[0; 32]), dstring(&[8, 65, 200])), (String::new(), String::new()));
    }

    #[test]
    fn converts_zone_and_fraction() {
        let zone = |zone: u16| {
            let [low, high] = zone.to_le_bytes();
            time(&[low, high, 0xE8, 7, 1, 2, 3, 4, 5, 12, 34, 56]).unwrap()
        };
        assert_eq!(zone(0x1000), Time { seconds: 1_704_164_645, nanoseconds: 123_456_000 });
        assert_eq!(zone(0x1000 | 330).seconds, 1_704_164_645 - 330 * 60);
        assert_eq!(zone(0x1000 | 0xE98).seconds, 1_704_164_645 + 360 * 60);
        assert_eq!(zone(0x1801).seconds, 1_704_164_645);
        assert!(time(&[0; 12]).is_none());
    }

    #[test]
    fn derives_uuid_like_blkid() {
        assert_eq!(uuid("6A271B2CLinuxUDF"), "6a271b2c4c696e75");
        assert_eq!(uuid("0123456789ABCDEFx"), "0123456789abcdef");
        assert_eq!(uuid("Label of set"), "4c6162656c206f66");
        assert_eq!(uuid("abc"), "");
    }
}
