//! The journal: whole blocks of metadata that are newer than those on the volume. It is replayed in memory. Field names
//! and offsets are those of `JournalInfoBlock`, `journal_header`, `block_list_header` and `block_info` in Apple's TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#Journal>). What is in the journal has the byte
//! order of the machine that wrote it.
use super::source::Source;
use crate::guestfs::overlay::Overlay;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Bytes of blocks that are kept in memory at most.
const MAX_BYTES: usize = 256 << 20;
/// Unit in which newer bytes are kept.
const SECTOR: u64 = 512;
/// `JournalInfoBlock` as far as it is needed, and bits of its `flags`: on this volume; on another; never used yet.
const INFO: usize = 52;
const IN_FS: u32 = 1;
const NEED_INIT: u32 = 4;
/// `journal_header` as far as its checksum goes.
const HEADER: usize = 44;
const MAGIC: u32 = 0x4A4E_4C78;
const ENDIAN: u32 = 0x1234_5678;
/// Bytes of `block_list_header` before its blocks, of each of those, and of what its checksum is of.
const LIST: usize = 16;
const BLOCK: usize = 16;
const LIST_SUM: usize = 32;
/// Bits of a list's `flags`: its blocks have checksums; it begins a transaction.
const BLOCKS_SUMMED: u32 = 1;
const FIRST: u32 = 2;
/// In place of a block's number: it is no longer metadata.
const KILLED: u64 = u64::MAX;

/// Numbers in the byte order of the journal's writer.
struct Numbers<'a> {
    f: Fields<'a>,
    little: bool,
}

impl Numbers<'_> {
    fn u16(&self, at: usize) -> Result<u16, ParseError> {
        if self.little { self.f.u16_le(at) } else { self.f.u16_be(at) }
    }

    fn u32(&self, at: usize) -> Result<u32, ParseError> {
        if self.little { self.f.u32_le(at) } else { self.f.u32_be(at) }
    }

    fn u64(&self, at: usize) -> Result<u64, ParseError> {
        if self.little { self.f.u64_le(at) } else { self.f.u64_be(at) }
    }
}

fn checksum_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(0_u32, |sum, byte| (sum << 8) ^ sum.wrapping_add(u32::from(*byte)))
}

/// The checksum of bytes whose own field for it counts as zero.
fn checksum(bytes: &[u8], field: usize) -> u32 {
    let mut plain = bytes.to_vec();
    plain[field..field + 4].fill(0);
    checksum_of(&plain)
}

struct Journal<'a> {
    source: &'a Source,
    little: bool,
    /// Where it begins, in bytes of the part.
    at: u64,
    /// `size`, `jhdr_size`, `blhdr_size`.
    size: u64,
    header: u64,
    list: usize,
}

/// Reads the journal that the block at byte `info` of the part describes: what is newer, and what the user should
/// know. `source` has no newer bytes yet.
pub(super) fn replay(source: &Source, info: u64) -> Result<(Overlay, Option<String>)> {
    match read(source, info) {
        Ok(Replayed { transactions: 0, corrupted: None, .. }) => Ok((Overlay::default(), None)),
        Ok(Replayed { overlay, transactions, corrupted }) => {
            let mut note = format!(
                "It was not cleanly unmounted: {transactions} transactions of its journal are replayed in memory"
            );
            if let Some(cause) = corrupted {
                note += &format!("; the rest is corrupt ({cause}): recent changes may be missing");
            }
            Ok((overlay, Some(note)))
        }
        Err(Error::Corrupt(cause)) => {
            let note = format!("Its journal cannot be read ({cause}): recent changes may be missing");
            Ok((Overlay::default(), Some(note)))
        }
        Err(other) => Err(other),
    }
}

/// What is newer, and what was wrong with the rest.
#[derive(Default)]
struct Replayed {
    overlay: Overlay,
    transactions: u64,
    corrupted: Option<Box<ParseError>>,
}

/// Reads what is newer.
fn read(source: &Source, info: u64) -> Result<Replayed> {
    let mut raw = [0; INFO];
    source.read(info, &mut raw)?;
    let base = source.part.start;
    let f = Fields::new("journal info block", &raw, base + info);
    let flags = f.u32_be(0)?;
    if flags & IN_FS == 0 {
        return Err(
            ParseError::corrupt(base + info, "place of the journal", "on this volume", "on another device").into()
        );
    }
    if flags & NEED_INIT != 0 {
        return Ok(Replayed::default());
    }
    let (at, room) = (f.u64_be(36)?, f.u64_be(44)?);
    let mut raw = [0; HEADER];
    source.read(at, &mut raw)?;
    let f = Fields::new("journal header", &raw, base.saturating_add(at));
    let little = f.u32_le(4)? == ENDIAN;
    let n = Numbers { f, little };
    let marks = (n.u32(0)?, n.u32(4)?);
    if marks != (MAGIC, ENDIAN) {
        let expected = format!("{MAGIC:#x} and {ENDIAN:#x}");
        let found = format!("{:#x} and {:#x}", marks.0, marks.1);
        return Err(ParseError::corrupt(f.offset(0), "magic numbers of the journal", expected, found).into());
    }
    let (start, end, size) = (n.u64(8)?, n.u64(16)?, n.u64(24)?);
    if start == end {
        return Ok(Replayed::default());
    }
    let (stated, found) = (n.u32(36)?, checksum(&raw, 36));
    if stated != found {
        let (expected, found) = (format!("{found:#x}"), format!("{stated:#x}"));
        return Err(ParseError::corrupt(f.offset(36), "checksum of the journal", expected, found).into());
    }
    let list = usize::try_from(n.u32(32)?).unwrap_or(usize::MAX);
    let header = u64::from(n.u32(40)?);
    let inside = |place: u64| (header..=size).contains(&place);
    let sound = header >= SECTOR && header % SECTOR == 0 && size <= room && inside(start) && inside(end);
    if !sound || !(LIST_SUM..=1 << 20).contains(&list) || list as u64 > size - header {
        let found = format!("{start} to {end} of {size} bytes, {header} of header, {list} of lists");
        return Err(ParseError::corrupt(f.offset(8), "numbers of the journal", "ones that fit together", found).into());
    }
    Journal { source, little, at, size, header, list }.lists(start, end)
}

impl Journal<'_> {
    /// A place in the journal, which goes on behind its header where it ends.
    fn wrapped(&self, place: u64) -> u64 {
        if place >= self.size { place % self.size + self.header } else { place }
    }

    fn read(&self, place: &mut u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            *place = self.wrapped(*place);
            let now = usize::try_from(self.size - *place).unwrap_or(usize::MAX).min(buf.len() - done);
            let at = self.at.saturating_add(*place);
            self.source.read(at, &mut buf[done..done + now])?;
            *place += now as u64;
            done += now;
        }
        Ok(())
    }

    /// Takes all block lists from `start` to `end`, and those behind that go on from there, as `replay_journal` in
    /// Apple's `bsd/vfs/vfs_journal.c` does: the header may be older than the last transactions. A corrupt list ends it,
    /// without the transaction that it may be a part of.
    fn lists(&self, start: u64, end: u64) -> Result<Replayed> {
        let mut replayed = Replayed::default();
        // Blocks of the transaction that is being read.
        let mut open: Option<Vec<(u64, Vec<u8>)>> = None;
        let (mut place, end) = (self.wrapped(start), self.wrapped(end));
        if place == end {
            return Ok(replayed);
        }
        let (mut used, mut total, mut sequence, mut is_past) = (0_u64, 0_usize, 0_u32, false);
        loop {
            is_past |= place == end && used > 0;
            if is_past && (sequence == 0 || used >= self.size) {
                break;
            }
            let list = match self.list(place) {
                Ok(list) => list,
                // Behind the end is what an earlier round left.
                Err(Error::Corrupt(_)) if is_past => break,
                Err(Error::Corrupt(cause)) if open.is_some() => {
                    replayed.corrupted = Some(cause);
                    return Ok(replayed);
                }
                Err(other) => return Err(other),
            };
            let follows = sequence == 0 || [0, sequence, sequence.wrapping_add(1)].contains(&list.sequence);
            if is_past && (!follows || list.sequence == 0) {
                break;
            }
            used = used.saturating_add(list.len);
            // More than there is room for means that the end is never met.
            if !follows || (used > self.size && !is_past) {
                let at = self.byte(place);
                let expected = format!("number {sequence} or the next one, up to an end at {end}");
                let found = format!("number {} after {used} bytes", list.sequence);
                replayed.corrupted =
                    Some(Box::new(ParseError::corrupt(at, "block lists of the journal", expected, found)));
                return Ok(replayed);
            }
            sequence = list.sequence;
            if list.is_first
                && let Some(done) = open.take()
            {
                replayed.take(done);
            }
            match self.blocks(place, &list, &mut total) {
                Ok(blocks) => open.get_or_insert_default().extend(blocks),
                // One behind the end was not written whole.
                Err(Error::Corrupt(_)) if is_past => return Ok(replayed),
                Err(Error::Corrupt(cause)) => {
                    replayed.corrupted = Some(cause);
                    return Ok(replayed);
                }
                Err(other) => return Err(other),
            }
            place = self.wrapped(place + list.len);
        }
        open.into_iter().for_each(|done| replayed.take(done));
        Ok(replayed)
    }

    /// Reads one block list without its blocks.
    fn list(&self, start: u64) -> Result<List> {
        let mut place = start;
        let mut raw = vec![0; self.list];
        self.read(&mut place, &mut raw)?;
        let n = Numbers { f: Fields::new("block list of the journal", &raw, self.byte(start)), little: self.little };
        let bad = |what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(self.byte(start), what, expected, found))
        };
        let (stated, found) = (n.u32(8)?, checksum(&raw[..LIST_SUM], 8));
        if stated != found {
            return Err(bad("checksum of a block list", format!("{found:#x}"), format!("{stated:#x}")));
        }
        let len = u64::from(n.u32(4)?);
        if len < self.list as u64 || len > self.size {
            return Err(bad("length of a block list", format!("{} to {}", self.list, self.size), len.to_string()));
        }
        let (flags, sequence) = (n.u32(12)?, n.u32(LIST + 12)?);
        Ok(List { len, sequence, flags, is_first: flags & FIRST != 0, raw })
    }

    /// Reads the blocks of a list; `total` counts the bytes of all. Where they belong, in bytes of the part, and what
    /// they are.
    fn blocks(&self, start: u64, list: &List, total: &mut usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let f = Fields::new("block list of the journal", &list.raw, self.byte(start));
        let n = Numbers { f, little: self.little };
        let bad = |what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(self.byte(start), what, expected, found))
        };
        let count = usize::from(n.u16(2)?);
        let mut place = start + self.list as u64;
        let mut stored = self.list as u64;
        let mut blocks = Vec::new();
        // The first one is of the list itself.
        for index in 1..count {
            let block = LIST + BLOCK * index;
            let (number, size) = (n.u64(block)?, n.u32(block + 8)?);
            let stated = n.u32(block + 12)?;
            stored += u64::from(size);
            *total = total.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
            if stored > list.len || *total > MAX_BYTES || !u64::from(size).is_multiple_of(SECTOR) {
                let expected = format!("ones of {} bytes, and of {MAX_BYTES} in all", list.len);
                return Err(bad("blocks of a block list", expected, format!("a block of {size} bytes")));
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            self.read(&mut place, &mut bytes)?;
            if number == KILLED {
                continue;
            }
            // 0 is for one that was not summed.
            let found = checksum_of(&bytes);
            if list.flags & BLOCKS_SUMMED != 0 && stated != 0 && stated != found {
                let what = format!("checksum of block {number} in the journal");
                return Err(bad(&what, format!("{found:#x}"), format!("{stated:#x}")));
            }
            // Numbers count sectors of the size that the header has.
            let to = number.checked_mul(self.header);
            let to = to.filter(|to| to.checked_add(size.into()).is_some_and(|end| end <= self.source.part.size));
            let Some(to) = to else {
                let expected = format!("within {} bytes", self.source.part.size);
                return Err(bad("place of a block", expected, number.to_string()));
            };
            blocks.push((to, bytes));
        }
        Ok(blocks)
    }

    /// A place in the journal, in bytes of the volume.
    fn byte(&self, place: u64) -> u64 {
        self.source.part.start.saturating_add(self.at.saturating_add(place))
    }
}

/// One block list.
struct List {
    /// `bytes_used`: with its blocks.
    len: u64,
    /// `sequence_num` of its transaction; 0 in old journals.
    sequence: u32,
    flags: u32,
    is_first: bool,
    /// With the header.
    raw: Vec<u8>,
}

impl Replayed {
    fn take(&mut self, transaction: Vec<(u64, Vec<u8>)>) {
        self.transactions += 1;
        for (to, bytes) in transaction {
            self.overlay.insert(to, &bytes);
        }
    }
}
