//! Directory records (ECMA-119, 9.1; <https://ecma-international.org/publications-and-standards/standards/ecma-119/>).

use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::calendar::Date;
use crate::ondisk::fields::Fields;

/// Records do not cross sector boundaries.
pub(super) const SECTOR: u64 = 2048;
/// Bytes in a record before its identifier.
const FIXED: usize = 33;
/// Bytes in a recorded date and time.
const DATE: usize = 7;

/// Bits of `File Flags`.
mod flags {
    pub(super) const DIRECTORY: u8 = 0x02;
    pub(super) const ASSOCIATED: u8 = 0x04;
    pub(super) const MULTI_EXTENT: u8 = 0x80;
}

/// One directory record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Its offset on the volume in bytes.
    pub(super) at: u64,
    /// Its length in bytes.
    pub(super) len: u64,
    /// `Extended Attribute Record Length`: blocks before the data.
    extended: u8,
    /// `Location of Extent`, in logical blocks.
    location: u32,
    /// `Data Length`, in bytes.
    pub(super) data_len: u32,
    /// `Recording Date and Time`.
    pub(super) recorded: Time,
    flags: u8,
    /// Whether the data are interleaved with those of other files (`File Unit Size`, `Interleave Gap Size`).
    pub(super) interleaved: bool,
    /// `File Identifier`.
    pub(super) identifier: Vec<u8>,
    /// `System Use`.
    pub(super) system_use: Vec<u8>,
    /// Offset of the system use on the volume.
    pub(super) system_use_at: u64,
}

impl Record {
    /// Parses the bytes of a record, as many as its first byte states, which are at byte `at` of the volume.
    pub(super) fn parse(bytes: &[u8], at: u64) -> Result<Self, ParseError> {
        let f = Fields::new("directory record", bytes, at);
        let name_len = usize::from(f.u8(32)?);
        if name_len == 0 {
            return Err(ParseError::corrupt(f.offset(32), "length of a name in a directory record", "at least 1", 0));
        }
        let identifier = f.bytes(FIXED, name_len)?.to_vec();
        // Names of even length are padded by a byte.
        let rest = FIXED + name_len + usize::from(name_len.is_multiple_of(2));
        Ok(Self {
            at,
            len: bytes.len() as u64,
            extended: f.u8(1)?,
            location: f.u32_le(2)?,
            data_len: f.u32_le(10)?,
            recorded: short_date(f.bytes(18, DATE)?).unwrap_or_default(),
            flags: f.u8(25)?,
            interleaved: f.u8(26)? != 0 || f.u8(27)? != 0,
            identifier,
            system_use: bytes.get(rest..).unwrap_or_default().to_vec(),
            system_use_at: f.offset(rest),
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags & flags::DIRECTORY != 0
    }

    /// Whether it describes a file associated with another of the same name, such as a resource fork.
    pub(super) fn is_associated(&self) -> bool {
        self.flags & flags::ASSOCIATED != 0
    }

    /// Whether the next record continues the same file.
    pub(super) fn has_more(&self) -> bool {
        self.flags & flags::MULTI_EXTENT != 0
    }

    /// Whether it describes the directory itself.
    pub(super) fn is_self(&self) -> bool {
        self.identifier == [0]
    }

    /// Whether it describes the parent directory.
    pub(super) fn is_parent(&self) -> bool {
        self.identifier == [1]
    }

    /// The offset of its data on the volume in bytes.
    pub(super) fn data_at(&self, block_size: u64) -> u64 {
        (u64::from(self.location) + u64::from(self.extended)) * block_size
    }
}

/// Converts seven bytes: years since 1900, month, day, hour, minute, second, quarters of an hour ahead of UTC
/// (ECMA-119, 9.1.5).
pub(super) fn short_date(raw: &[u8]) -> Option<Time> {
    let &[year, month, day, hour, minute, second, quarters] = raw else { return None };
    let year = 1900 + i32::from(year);
    let offset = offset(quarters);
    Date { year, month, day, hour, minute, second, offset, ..Date::default() }.time()
}

/// Converts seventeen bytes: the digits `YYYYMMDDHHMMSScc` and quarters of an hour ahead of UTC (ECMA-119, 8.4.26.1).
pub(super) fn long_date(raw: &[u8]) -> Option<Time> {
    let (digits, quarters) = (raw.get(..16)?, *raw.get(16)?);
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        digits[from..to].iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let small = |from: usize| u8::try_from(number(from, from + 2)).unwrap_or(u8::MAX);
    Date {
        year: i32::try_from(number(0, 4)).unwrap_or(0),
        month: small(4),
        day: small(6),
        hour: small(8),
        minute: small(10),
        second: small(12),
        nanosecond: number(14, 16) * 10_000_000,
        offset: offset(quarters),
    }
    .time()
}

/// Minutes ahead of UTC. Impossible zones count as 0, as in the kernel: genisoimage writes -24 hours for dates that its
/// system's zone database does not cover.
fn offset(quarters: u8) -> i32 {
    let quarters = i32::from(quarters.cast_signed());
    if (-52..=52).contains(&quarters) { quarters * 15 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_dates_with_zone() {
        // 2024-01-02 03:04:05 +05:30
        let seconds = 1_704_144_845;
        assert_eq!(short_date(&[124, 1, 2, 3, 4, 5, 22]).unwrap().seconds, seconds);
        let long = long_date(b"2024010203040567\x16").unwrap();
        assert_eq!((long.seconds, long.nanoseconds), (seconds, 670_000_000));
        assert_eq!(short_date(&[124, 1, 1, 0, 0, 0, 0xF0]).unwrap().seconds, 1_704_067_200 + 4 * 3600);
        assert_eq!(short_date(&[133, 3, 3, 3, 3, 3, 0xA0]).unwrap().seconds, 1_993_431_783);
        assert!(short_date(&[0; 7]).is_none() && long_date(b"0000000000000000\0").is_none());
        assert!(long_date(b"2024 10203040567\0").is_none());
    }

    #[test]
    fn refuses_record_shorter_than_its_name() {
        let mut bytes = [0; 40];
        bytes[32] = 8;
        assert!(Record::parse(&bytes, 0).is_err());
        bytes[32] = 0;
        assert!(Record::parse(&bytes, 0).is_err());
        bytes[32] = 7;
        assert!(Record::parse(&bytes, 0).is_ok());
        assert!(Record::parse(&bytes[..20], 0).is_err());
    }
}
