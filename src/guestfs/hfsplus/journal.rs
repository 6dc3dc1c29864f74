//! The journal: whole blocks of metadata that are newer than those on the volume. It is replayed in memory. Field names
//! and offsets are from `JournalInfoBlock`, `journal_header`, `block_list_header` and `block_info` in Apple's TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#Journal>). The journal has the byte order of
//! the machine that wrote it.

use super::source::Source;
use crate::guestfs::overlay::Overlay;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// The most bytes of blocks held in memory.
const MAX_BYTES: usize = 256 << 20;
/// Unit of the overlay in bytes.
const SECTOR: u64 = 512;
/// `JournalInfoBlock` as far as it is needed, and bits of its `flags`: on this volume; not initialized yet.
const INFO: usize = 52;
const IN_FS: u32 = 1;
const NEED_INIT: u32 = 4;
/// `journal_header` as far as the checksum covers it.
const HEADER: usize = 44;
const MAGIC: u32 = 0x4A4E_4C78;
const ENDIAN: u32 = 0x1234_5678;
/// Bytes in `block_list_header` before its blocks, in each block entry, and covered by its checksum.
const LIST: usize = 16;
const BLOCK: usize = 16;
const LIST_SUM: usize = 32;
/// Bits of a list's `flags`: blocks have checksums; begins a transaction.
const BLOCKS_SUMMED: u32 = 1;
const FIRST: u32 = 2;
/// Replaces a block number: the block is no longer metadata.
const KILLED: u64 = u64::MAX;

/// Reads numbers in the journal's byte order.
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

/// The checksum of bytes whose own checksum field counts as zero.
fn checksum(bytes: &[u8], field: usize) -> u32 {
    let mut plain = bytes.to_vec();
    plain[field..field + 4].fill(0);
    checksum_of(&plain)
}

struct Journal<'a> {
    source: &'a Source,
    little: bool,
    /// Its offset in the file system in bytes.
    at: u64,
    /// `size`, `jhdr_size`, `blhdr_size`.
    size: u64,
    header: u64,
    list: usize,
}

/// Replays the journal described by the block at byte `info`. Returns the newer bytes and a note for the user. The
/// overlay of `source` is still empty.
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

/// The newer bytes, and the reason why the rest was not replayed.
#[derive(Default)]
struct Replayed {
    overlay: Overlay,
    transactions: u64,
    corrupted: Option<Box<ParseError>>,
}

/// Reads the newer bytes.
fn read(source: &Source, info: u64) -> Result<Replayed> {
    let mut raw = [0; INFO];
    source.read(info, &mut raw)?;
    let base = source.bounds.start;
    let f = Fields::new("journal info block", &raw, base + info);
    let flags = f.u32_be(0)?;
    if flags & IN_FS == 0 {
        return Err(
            ParseError::corrupt(base + info, "location of the journal", "on this volume", "on another device").into()
        );
    }
    if flags & NEED_INIT != 0 {
        return Ok(Replayed::default());
    }
    let (at, available) = (f.u64_be(36)?, f.u64_be(44)?);
    let mut raw = [0; HEADER];
    source.read(at, &mut raw)?;
    let f = Fields::new("journal header", &raw, base.saturating_add(at));
    let little = f.u32_le(4)? == ENDIAN;
    let n = Numbers { f, little };
    let magic = (n.u32(0)?, n.u32(4)?);
    if magic != (MAGIC, ENDIAN) {
        let expected = format!("{MAGIC:#x} and {ENDIAN:#x}");
        let found = format!("{:#x} and {:#x}", magic.0, magic.1);
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
    let inside = |position: u64| (header..=size).contains(&position);
    let valid = header >= SECTOR && header % SECTOR == 0 && size <= available && inside(start) && inside(end);
    if !valid || !(LIST_SUM..=1 << 20).contains(&list) || list as u64 > size - header {
        let found = format!("{start} to {end} of {size} bytes, {header} of header, {list} of lists");
        return Err(ParseError::corrupt(f.offset(8), "numbers of the journal", "ones that fit together", found).into());
    }
    Journal { source, little, at, size, header, list }.lists(start, end)
}

impl Journal<'_> {
    /// Wraps a position in the journal, which continues after its header at the end.
    fn wrapped(&self, position: u64) -> u64 {
        if position >= self.size { position % self.size + self.header } else { position }
    }

    fn read(&self, position: &mut u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            *position = self.wrapped(*position);
            let now = usize::try_from(self.size - *position).unwrap_or(usize::MAX).min(buf.len() - done);
            let at = self.at.saturating_add(*position);
            self.source.read(at, &mut buf[done..done + now])?;
            *position += now as u64;
            done += now;
        }
        Ok(())
    }

    /// Applies all block lists from `start` to `end`, and those after that continue the sequence, as `replay_journal`
    /// in Apple's `bsd/vfs/vfs_journal.c` does: the header may be older than the last transactions. A corrupt list ends
    /// the replay and discards the transaction that it may belong to.
    fn lists(&self, start: u64, end: u64) -> Result<Replayed> {
        let mut replayed = Replayed::default();
        // Blocks of the transaction being read.
        let mut open: Option<Vec<(u64, Vec<u8>)>> = None;
        let (mut position, end) = (self.wrapped(start), self.wrapped(end));
        if position == end {
            return Ok(replayed);
        }
        let (mut used, mut total, mut sequence, mut is_past) = (0_u64, 0_usize, 0_u32, false);
        loop {
            is_past |= position == end && used > 0;
            if is_past && (sequence == 0 || used >= self.size) {
                break;
            }
            let list = match self.list(position) {
                Ok(list) => list,
                // After the end are the remains of an earlier round.
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
            // More bytes than the journal's size mean that the end is never reached.
            if !follows || (used > self.size && !is_past) {
                let at = self.byte(position);
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
            match self.blocks(position, &list, &mut total) {
                Ok(blocks) => open.get_or_insert_default().extend(blocks),
                // A list after the end was not written completely.
                Err(Error::Corrupt(_)) if is_past => return Ok(replayed),
                Err(Error::Corrupt(cause)) => {
                    replayed.corrupted = Some(cause);
                    return Ok(replayed);
                }
                Err(other) => return Err(other),
            }
            position = self.wrapped(position + list.len);
        }
        open.into_iter().for_each(|done| replayed.take(done));
        Ok(replayed)
    }

    /// Reads a block list without its blocks.
    fn list(&self, start: u64) -> Result<List> {
        let mut position = start;
        let mut raw = vec![0; self.list];
        self.read(&mut position, &mut raw)?;
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

    /// Reads the blocks of a list. Returns their target offsets in the file system and their bytes; `total` accumulates
    /// the bytes of all lists.
    fn blocks(&self, start: u64, list: &List, total: &mut usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let f = Fields::new("block list of the journal", &list.raw, self.byte(start));
        let n = Numbers { f, little: self.little };
        let bad = |what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(self.byte(start), what, expected, found))
        };
        let count = usize::from(n.u16(2)?);
        let mut position = start + self.list as u64;
        let mut stored = self.list as u64;
        let mut blocks = Vec::new();
        // The first entry describes the list itself.
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
            self.read(&mut position, &mut bytes)?;
            if number == KILLED {
                continue;
            }
            // 0 stands for no checksum.
            let found = checksum_of(&bytes);
            if list.flags & BLOCKS_SUMMED != 0 && stated != 0 && stated != found {
                let what = format!("checksum of block {number} in the journal");
                return Err(bad(&what, format!("{found:#x}"), format!("{stated:#x}")));
            }
            // Block numbers are in sectors of the header's size.
            let to = number.checked_mul(self.header);
            let to = to.filter(|to| to.checked_add(size.into()).is_some_and(|end| end <= self.source.bounds.size));
            let Some(to) = to else {
                let expected = format!("within {} bytes", self.source.bounds.size);
                return Err(bad("offset of a block", expected, number.to_string()));
            };
            blocks.push((to, bytes));
        }
        Ok(blocks)
    }

    /// Converts a position in the journal to an offset on the volume.
    fn byte(&self, position: u64) -> u64 {
        self.source.bounds.start.saturating_add(self.at.saturating_add(position))
    }
}

/// One block list.
struct List {
    /// `bytes_used`: including its blocks.
    len: u64,
    /// `sequence_num` of its transaction; 0 in old journals.
    sequence: u32,
    flags: u32,
    is_first: bool,
    /// The list including its header.
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
