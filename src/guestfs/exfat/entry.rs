//! Directory slots, in sets that begin with a primary slot. A file is a set of three or more: times and attributes, the
//! stream of its bytes, and the chunks of its name. Field names and offsets are from Microsoft's specification
//! (<https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification>, sections 6 and 7); all numbers are
//! little-endian.

use crate::guestfs::dos::{SLOT, date_and_time};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;
use crate::ondisk::utf16;

/// Bits of `EntryType`: in use, secondary, and may be skipped when unknown.
const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
const BENIGN: u8 = 0x20;

/// Values of `EntryType`.
pub(super) mod kind {
    pub(in crate::guestfs::exfat) const END: u8 = 0x00;
    pub(in crate::guestfs::exfat) const ALLOCATION_BITMAP: u8 = 0x81;
    pub(in crate::guestfs::exfat) const UP_CASE_TABLE: u8 = 0x82;
    pub(in crate::guestfs::exfat) const VOLUME_LABEL: u8 = 0x83;
    pub(super) const FILE: u8 = 0x85;
    pub(super) const STREAM: u8 = 0xC0;
    pub(super) const NAME: u8 = 0xC1;
}

/// `FileAttributes`
const READ_ONLY: u16 = 0x01;
const DIRECTORY: u16 = 0x10;
/// `GeneralSecondaryFlags`: has clusters; they are contiguous and have no chain in the table.
const ALLOCATION_POSSIBLE: u8 = 1;
const NO_FAT_CHAIN: u8 = 2;
/// Units in a chunk of a name, and the most in a name.
const CHUNK: usize = 15;
const MAX_UNITS: usize = 255;

/// The kind of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Unused, as are all that follow.
    End,
    /// Unused.
    Free,
    /// The first of a file's set, followed by this many others.
    File(usize),
    /// Describes the volume, not a file.
    Volume,
    /// Unknown primary slot that may be skipped with its set.
    Benign,
    /// Unknown primary slot without which the directory cannot be interpreted.
    Critical,
    /// A further slot of a set.
    Secondary,
}

impl SlotKind {
    pub(super) fn of(raw: &[u8; SLOT]) -> Self {
        match raw[0] {
            kind::END => Self::End,
            kind::FILE => Self::File(raw[1].into()), // SecondaryCount
            kind::ALLOCATION_BITMAP | kind::UP_CASE_TABLE | kind::VOLUME_LABEL => Self::Volume,
            free if free & IN_USE == 0 => Self::Free,
            other if other & SECONDARY != 0 => Self::Secondary,
            other if other & BENIGN != 0 => Self::Benign,
            _ => Self::Critical,
        }
    }
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) is_directory: bool,
    pub(super) is_read_only: bool,
    pub(super) created: Time,
    pub(super) modified: Time,
    pub(super) accessed: Time,
    /// Whether its clusters are contiguous and have no chain in the table.
    pub(super) is_run: bool,
    /// `FirstCluster`, not validated; 0 when there is none.
    pub(super) first: u32,
    /// `DataLength`
    pub(super) size: u64,
    /// `ValidDataLength`, at most the size: bytes that were ever written. The rest reads as zeros.
    pub(super) valid: u64,
    /// Its name in UTF-8.
    pub(super) name: Vec<u8>,
}

impl File {
    /// Parses a set of slots. The first is at byte `at` of the volume; the others may be elsewhere.
    pub(super) fn parse(set: &[u8], at: u64) -> Result<Self, ParseError> {
        let f = Fields::new("set of slots of a file", set, at);
        let (primary, stream) = (f.bytes(0, SLOT)?, Fields::new("stream of a file", f.bytes(SLOT, SLOT)?, at));
        let stated = f.u16_le(2)?; // SetChecksum
        let found = checksum(set);
        if found != stated {
            let (found, stated) = (format!("{found:#06x}"), format!("{stated:#06x}"));
            return Err(ParseError::corrupt(f.offset(2), "checksum of a file's slots", found, stated));
        }
        let (name, is_directory) = title(set, at)?;
        let flags = stream.u8(1)?; // GeneralSecondaryFlags
        let (size, valid) = (stream.u64_le(24)?, stream.u64_le(8)?); // DataLength, ValidDataLength
        if valid > size {
            let found = format!("{valid} of {size}");
            return Err(ParseError::corrupt(at, "written bytes of a file", "at most all of them", found));
        }
        let attributes = f.u16_le(4)?; // FileAttributes
        let has_clusters = flags & ALLOCATION_POSSIBLE != 0 && size > 0;
        Ok(Self {
            is_directory,
            is_read_only: attributes & READ_ONLY != 0,
            created: moment(f.u32_le(8)?, primary[20], primary[22]), // CreateTimestamp, Create10ms…, CreateUtcOffset
            modified: moment(f.u32_le(12)?, primary[21], primary[23]), // LastModified…
            accessed: moment(f.u32_le(16)?, 0, primary[24]),         // LastAccessed…
            is_run: flags & NO_FAT_CHAIN != 0,
            first: if has_clusters { stream.u32_le(20)? } else { 0 }, // FirstCluster
            size,
            valid,
            name,
        })
    }
}

/// The name of a set of slots, and whether it is a directory.
pub(super) fn title(set: &[u8], at: u64) -> Result<(Vec<u8>, bool), ParseError> {
    let f = Fields::new("set of slots of a file", set, at);
    let stream = Fields::new("stream of a file", f.bytes(SLOT, SLOT)?, at);
    if stream.u8(0)? != kind::STREAM {
        let found = format!("{:#04x}", stream.u8(0)?);
        return Err(ParseError::corrupt(
            at,
            "type of a file's second slot",
            format_args!("{:#04x}", kind::STREAM),
            found,
        ));
    }
    // NameLength, FileAttributes
    Ok((name(set, stream.u8(3)?.into(), at)?, f.u16_le(4)? & DIRECTORY != 0))
}

/// Joins the chunks of a set to a name of `len` units.
fn name(set: &[u8], len: usize, at: u64) -> Result<Vec<u8>, ParseError> {
    let (slots, _) = set.as_chunks::<SLOT>();
    let mut units = Vec::with_capacity(MAX_UNITS + CHUNK);
    for raw in slots.iter().skip(2) {
        match raw[0] {
            kind::NAME if units.len() < len => {
                let (pairs, _) = raw[2..].as_chunks::<2>();
                units.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
            }
            // Vendor extensions, and slots no longer in use.
            other if other & BENIGN != 0 || other & IN_USE == 0 => {}
            other => {
                let expected = "a chunk of a name or one that may be skipped";
                let found = format!("{other:#04x}");
                return Err(ParseError::unsupported(at, "type of a slot of a file", expected, found));
            }
        }
    }
    if len == 0 || units.len() < len {
        let found = format!("{} in {} chunks", len, units.len() / CHUNK);
        return Err(ParseError::corrupt(at, "characters of a name", "at least 1, and as many in its chunks", found));
    }
    Ok(utf16::to_utf8(&units[..len]))
}

/// `SetChecksum`: over all bytes except its own.
pub(super) fn checksum(set: &[u8]) -> u16 {
    let summed = set.iter().enumerate().filter(|(i, _)| !matches!(i, 2 | 3));
    summed.fold(0, |sum: u16, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

/// Converts a timestamp, its hundredths of a second and its zone: quarters of an hour ahead of UTC, a signed 7-bit
/// number. An unrecorded zone is taken to be UTC.
fn moment(stamp: u32, hundredths: u8, zone: u8) -> Time {
    let (date, time) = (u16::try_from(stamp >> 16).unwrap_or(0), u16::try_from(stamp & 0xFFFF).unwrap_or(0));
    let local = date_and_time(date, time, hundredths);
    let quarters = match zone {
        0..0x80 => 0,
        ahead @ 0x80..0xC0 => i64::from(ahead) - 0x80,
        after => i64::from(after) - 0x100,
    };
    Time { seconds: local.seconds - quarters * 15 * 60, ..local }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots of a file with this name, followed by slots of the types in `more`.
    fn set(name: &str, more: &[u8]) -> Vec<u8> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut set = vec![0; SLOT * 2];
        set[0] = kind::FILE;
        set[SLOT] = kind::STREAM;
        set[SLOT + 1] = ALLOCATION_POSSIBLE | NO_FAT_CHAIN;
        set[SLOT + 3] = u8::try_from(units.len()).unwrap();
        set[SLOT + 8] = 100;
        set[SLOT + 20] = 9;
        set[SLOT + 24] = 200;
        for part in units.chunks(CHUNK) {
            let mut raw = vec![kind::NAME, 0];
            raw.extend(part.iter().flat_map(|unit| unit.to_le_bytes()));
            raw.resize(SLOT, 0);
            set.extend(raw);
        }
        for kind in more {
            set.push(*kind);
            set.extend([7; SLOT - 1]);
        }
        set[1] = u8::try_from(set.len() / SLOT - 1).unwrap();
        summed(set)
    }

    fn summed(mut set: Vec<u8>) -> Vec<u8> {
        let sum = checksum(&set).to_le_bytes();
        set[2..4].copy_from_slice(&sum);
        set
    }

    #[test]
    fn parses_set_of_slots() {
        for name in ["x", "fifteen letters", "sixteen letters!", "emoji 😀 and ünïcode ☃"] {
            let file = File::parse(&set(name, &[]), 0).unwrap();
            assert_eq!(file.name, name.as_bytes());
            assert_eq!((file.size, file.valid, file.first, file.is_run, file.is_directory), (200, 100, 9, true, false));
        }
        assert_eq!(File::parse(&set(&"n".repeat(255), &[]), 0).unwrap().name.len(), 255);
        // Slots of vendors are skipped; other unknown ones are refused.
        assert!(File::parse(&set("x", &[0xE0, 0xE1, 0x41]), 0).is_ok());
        let error = File::parse(&set("x", &[0xC2]), 0).unwrap_err().to_string();
        assert!(error.contains("0xc2"), "{error}");
        assert!(File::parse(&set("x", &[kind::NAME]), 0).is_err());
    }

    #[test]
    fn refuses_invalid_set() {
        let good = set("a name", &[]);
        for (at, value) in [(SLOT, kind::NAME), (SLOT + 3, 0), (SLOT + 3, 16), (SLOT + 8, 201)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(File::parse(&bad, 0).unwrap_err().to_string().contains("checksum"));
            assert!(File::parse(&summed(bad), 0).is_err(), "{at}");
        }
        assert!(File::parse(&good[..SLOT], 0).is_err() && File::parse(&[], 0).is_err());
    }

    #[test]
    fn converts_hundredths_and_zone() {
        // 2000-03-01 12:00:00.
        let stamp = (20 << 9 | 3 << 5 | 1) << 16 | 12 << 11;
        let noon = 951_868_800 + 12 * 3600;
        assert_eq!(moment(stamp, 0, 0), Time { seconds: noon, nanoseconds: 0 });
        assert_eq!(moment(stamp, 199, 0x80), Time { seconds: noon + 1, nanoseconds: 990_000_000 });
        assert_eq!(moment(stamp, 0, 0x84).seconds, noon - 3600);
        assert_eq!(moment(stamp, 0, 0xE0).seconds, noon + 8 * 3600);
        // The zone is not recorded, whatever its other bits.
        assert_eq!(moment(stamp, 0, 0x04).seconds, noon);
    }

    #[test]
    fn classifies_slots_by_type() {
        let kind = |byte| SlotKind::of(&[byte; SLOT]);
        assert_eq!(kind(0), SlotKind::End);
        assert_eq!(kind(0x05), SlotKind::Free);
        assert_eq!(kind(0x85), SlotKind::File(0x85));
        assert_eq!(kind(0x83), SlotKind::Volume);
        assert_eq!(kind(0xA0), SlotKind::Benign);
        assert_eq!(kind(0x86), SlotKind::Critical);
        assert_eq!(kind(0xC0), SlotKind::Secondary);
        assert_eq!(kind(0xE0), SlotKind::Secondary);
    }
}
