//! Directory slots: short DOS names with all attributes of a file, preceded by the chunks of a long name. Field names
//! and offsets are from Microsoft's specification
//! (<https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>, chapters 6 and 7); all numbers are
//! little-endian.

use super::code_page;
use crate::guestfs::dos::SLOT;
use crate::ondisk::utf16;

/// `DIR_Attr`.
pub(super) mod attr {
    pub(in crate::guestfs::fat) const READ_ONLY: u8 = 0x01;
    pub(in crate::guestfs::fat) const VOLUME_ID: u8 = 0x08;
    pub(in crate::guestfs::fat) const DIRECTORY: u8 = 0x10;
    /// Read-only, hidden, system and label combined: a chunk of a long name.
    pub(super) const LONG_NAME: u8 = 0x0F;
    pub(super) const LONG_NAME_MASK: u8 = 0x3F;
}

/// The first byte of a slot: free; free like all that follow; stands for the character 0xE5, which would mean free.
const FREE: u8 = 0xE5;
const END: u8 = 0;
const IS_E5: u8 = 0x05;
/// `DIR_NTRes`: the name, or the extension, is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;
/// `LDIR_Ord`: the last chunk, which is stored first.
const LAST_CHUNK: u8 = 0x40;
/// UTF-16 units in a chunk, and their offsets.
const CHUNK: usize = 13;
const UNITS: [usize; CHUNK] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The most chunks, and the most units in a name.
const MAX_CHUNKS: u8 = 20;
const MAX_UNITS: usize = 255;

/// A slot with a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    /// `DIR_Name`
    name: [u8; 11],
    /// `DIR_Attr`
    pub(super) attributes: u8,
    /// `DIR_NTRes`
    lower: u8,
    /// `DIR_CrtDate`, `DIR_CrtTime`, `DIR_CrtTimeTenth`
    pub(super) created: (u16, u16, u8),
    /// `DIR_LstAccDate`
    pub(super) accessed: u16,
    /// `DIR_WrtDate`, `DIR_WrtTime`
    pub(super) written: (u16, u16),
    /// `DIR_FstClusHI`, `DIR_FstClusLO`; the upper half has another meaning when cluster numbers are narrower.
    high: u16,
    low: u16,
    /// `DIR_FileSize`
    pub(super) size: u32,
}

/// The kind of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Unused.
    Free,
    /// Unused, as are all that follow.
    End,
    /// A chunk of the long name of the file that follows.
    Chunk,
    /// A file, a directory or the volume's label.
    Short(Short),
}

fn word(raw: &[u8; SLOT], at: usize) -> u16 {
    u16::from_le_bytes([raw[at], raw[at + 1]])
}

impl SlotKind {
    pub(super) fn of(raw: &[u8; SLOT]) -> Self {
        match raw[0] {
            END => return Self::End,
            FREE => return Self::Free,
            _ => {}
        }
        if raw[11] & attr::LONG_NAME_MASK == attr::LONG_NAME {
            return Self::Chunk;
        }
        let mut name = [0; 11];
        name.copy_from_slice(&raw[..11]);
        Self::Short(Short {
            name,
            attributes: raw[11],
            lower: raw[12],
            created: (word(raw, 16), word(raw, 14), raw[13]),
            accessed: word(raw, 18),
            written: (word(raw, 24), word(raw, 22)),
            high: word(raw, 20),
            low: word(raw, 26),
            size: u32::from(word(raw, 28)) | u32::from(word(raw, 30)) << 16,
        })
    }
}

impl Short {
    pub(super) fn is_label(&self) -> bool {
        self.attributes & attr::VOLUME_ID != 0
    }

    pub(super) fn is_directory(&self) -> bool {
        self.attributes & attr::DIRECTORY != 0
    }

    /// Whether this is `.` or `..`.
    pub(super) fn is_dots(&self) -> bool {
        self.name == *b".          " || self.name == *b"..         "
    }

    /// The first cluster, not validated; 0 when there is none.
    pub(super) fn first(&self, is_wide: bool) -> u32 {
        if is_wide { u32::from(self.high) << 16 | u32::from(self.low) } else { self.low.into() }
    }

    /// The name in the form the kernel shows; empty when there is none.
    pub(super) fn name(&self) -> String {
        let mut raw = self.name;
        if raw[0] == IS_E5 {
            raw[0] = 0xE5;
        }
        let component = |bytes: &[u8], is_lower: bool| {
            let text = code_page::decode(bytes);
            let text = text.trim_end_matches(' ');
            if is_lower { text.chars().map(lower_case).collect() } else { text.to_owned() }
        };
        let base = component(&raw[..8], self.lower & LOWER_BASE != 0);
        let extension = component(&raw[8..], self.lower & LOWER_EXTENSION != 0);
        if extension.is_empty() { base } else { format!("{base}.{extension}") }
    }

    /// The label that the slot holds: all eleven characters.
    pub(super) fn label(&self) -> String {
        let mut raw = self.name;
        if raw[0] == IS_E5 {
            raw[0] = 0xE5;
        }
        code_page::decode(&raw).trim_end_matches(' ').to_owned()
    }

    /// The checksum of the short name that each chunk of the long name records.
    fn checksum(&self) -> u8 {
        self.name.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
    }
}

fn lower_case(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// A long name while its chunks are collected, the last one first.
#[derive(Debug, Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    /// Number of chunks still to come.
    left: u8,
    checksum: u8,
    /// The slot of the first chunk seen, if any.
    start: Option<u64>,
}

impl LongName {
    /// Drops the chunks: they belong to no file.
    pub(super) fn clear(&mut self) {
        self.start = None;
    }

    /// Adds the chunk in this slot.
    pub(super) fn push(&mut self, slot: u64, raw: &[u8; SLOT]) {
        let (order, checksum) = (raw[0], raw[13]); // LDIR_Ord, LDIR_Chksum
        if order & LAST_CHUNK != 0 {
            let count = order & !LAST_CHUNK;
            self.start = (1..=MAX_CHUNKS).contains(&count).then_some(slot);
            self.left = count;
            self.checksum = checksum;
            self.units.clear();
            self.units.resize(usize::from(count) * CHUNK, 0);
        } else if order != self.left || checksum != self.checksum {
            self.clear();
        }
        if self.start.is_some() && self.left > 0 {
            self.left -= 1;
            let into = self.units.iter_mut().skip(usize::from(self.left) * CHUNK);
            for (unit, at) in into.zip(UNITS) {
                *unit = word(raw, at);
            }
        }
    }

    /// Returns the slot of the first chunk and the whole name when all chunks are present and belong to this short
    /// name. `None` also when the text is not a valid name.
    pub(super) fn take(&mut self, short: &Short) -> Option<(u64, Vec<u8>)> {
        let start = self.start.take()?;
        if self.left > 0 || self.checksum != short.checksum() {
            return None;
        }
        let end = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        let name = utf16::to_utf8(&self.units[..end]);
        let is_name = (1..=MAX_UNITS).contains(&end) && !name.contains(&b'/') && name != b"." && name != b"..";
        is_name.then_some((start, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], lower: u8) -> Short {
        let mut raw = [0; SLOT];
        raw[..11].copy_from_slice(name);
        raw[12] = lower;
        match SlotKind::of(&raw) {
            SlotKind::Short(short) => short,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn formats_short_names_like_the_kernel() {
        assert_eq!(short(b"README  TXT", 0).name(), "README.TXT");
        assert_eq!(short(b"README  TXT", LOWER_BASE).name(), "readme.TXT");
        assert_eq!(short(b"README  TXT", LOWER_EXTENSION).name(), "README.txt");
        assert_eq!(short(b"A B     C  ", 0).name(), "A B.C");
        assert_eq!(short(b"NOEXT      ", LOWER_BASE | LOWER_EXTENSION).name(), "noext");
        assert_eq!(short(b"\x05BER\x9a\x80  \xe1  ", LOWER_BASE).name(), "σberüç.ß");
        assert_eq!(short(b"           ", 0).name(), "");
        assert_eq!(short(b"\x05LABEL  ONE", 0).label(), "σLABEL  ONE");
        assert!(short(b".          ", 0).is_dots() && short(b"..         ", 0).is_dots());
        assert!(!short(b".X         ", 0).is_dots());
    }

    /// The slots of a long name for a short one, the last chunk first.
    fn chunks(name: &str, checksum: u8) -> Vec<[u8; SLOT]> {
        let mut units: Vec<u16> = name.encode_utf16().collect();
        let count = units.len().div_ceil(CHUNK);
        if units.len() < count * CHUNK {
            units.push(0);
            units.resize(count * CHUNK, 0xFFFF);
        }
        let chunk = |(i, part): (usize, &[u16])| {
            let mut raw = [0; SLOT];
            raw[0] = u8::try_from(i + 1).unwrap() | if i + 1 == count { LAST_CHUNK } else { 0 };
            (raw[11], raw[13]) = (attr::LONG_NAME, checksum);
            for (unit, at) in part.iter().zip(UNITS) {
                raw[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            raw
        };
        units.chunks(CHUNK).enumerate().map(chunk).rev().collect()
    }

    fn assembled(chunks: &[[u8; SLOT]], short: &Short) -> Option<(u64, String)> {
        let mut long = LongName::default();
        for (raw, slot) in chunks.iter().zip(40..) {
            assert_eq!(SlotKind::of(raw), SlotKind::Chunk);
            long.push(slot, raw);
        }
        long.take(short).map(|(start, name)| (start, String::from_utf8(name).unwrap()))
    }

    #[test]
    fn assembles_long_names() {
        let short = short(b"LONGNA~1TXT", 0);
        let names = ["a", "exactly 13 un", "fourteen units", "emoji 😀 and ünïcode ☃.txt"];
        for name in names.into_iter().map(str::to_owned).chain(["n".repeat(255)]) {
            let chunks = chunks(&name, short.checksum());
            assert_eq!(assembled(&chunks, &short), Some((40, name)));
        }
    }

    #[test]
    fn refuses_chunks_that_do_not_belong_together() {
        let short = short(b"LONGNA~1TXT", 0);
        let good = chunks("a name of three chunks, no more", short.checksum());
        assert_eq!(good.len(), 3);
        assert!(assembled(&good, &short).is_some());
        assert_eq!(assembled(&good[1..], &short), None);
        assert_eq!(assembled(&good[..2], &short), None);
        assert_eq!(assembled(&[good[0], good[2], good[1]], &short), None);
        assert_eq!(assembled(&chunks("a name of three chunks, no more", short.checksum() ^ 1), &short), None);
        // Chunks of a deleted file, followed by those of this one.
        let again: Vec<_> = good[..2].iter().chain(&good).copied().collect();
        assert_eq!(assembled(&again, &short), Some((42, "a name of three chunks, no more".to_owned())));
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(assembled(&chunks(name, short.checksum()), &short), None, "{name}");
        }
        assert_eq!(assembled(&chunks(&"n".repeat(256), short.checksum()), &short), None);
        let mut too_many = good[0];
        too_many[0] = LAST_CHUNK | 21;
        assert_eq!(assembled(&[too_many], &short), None);
        too_many[0] = LAST_CHUNK;
        assert_eq!(assembled(&[too_many], &short), None);
    }
}
