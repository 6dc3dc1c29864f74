//! The log: finding the entries that were written but may not have been applied. [MS-VHDX] section 2.3.

use super::checksum;
use super::header::VhdxHeader;
use crate::image::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::Storage;
use uuid::Uuid;

/// Bytes of a sector of the log: entries are whole sectors.
pub(super) const SECTOR: usize = 4096;
/// Bytes of an entry's header, before its descriptors.
pub(super) const ENTRY_HEADER: usize = 64;
/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: usize = 32;
/// Offsets of the fields of an entry's header ([MS-VHDX] 2.3.1.1).
mod entry_field {
    pub(super) const SIGNATURE: usize = 0;
    pub(super) const ENTRY_LENGTH: usize = 8;
    pub(super) const TAIL: usize = 12;
    pub(super) const SEQUENCE_NUMBER: usize = 16;
    pub(super) const DESCRIPTOR_COUNT: usize = 24;
    pub(super) const LOG_GUID: usize = 32;
    pub(super) const FLUSHED_FILE_OFFSET: usize = 48;
    pub(super) const LAST_FILE_OFFSET: usize = 56;
}

/// Offsets of the fields of a zero or data descriptor ([MS-VHDX] 2.3.1.2 and 2.3.1.3).
mod descriptor_field {
    pub(super) const SIGNATURE: usize = 0;
    /// Of a data descriptor: the sector's last 4 bytes.
    pub(super) const TRAILING_BYTES: usize = 4;
    /// Of a data descriptor: the sector's first 8 bytes.
    pub(super) const LEADING_BYTES: usize = 8;
    /// Of a zero descriptor.
    pub(super) const ZERO_LENGTH: usize = 8;
    pub(super) const FILE_OFFSET: usize = 16;
    pub(super) const SEQUENCE_NUMBER: usize = 24;
}

/// Offsets of the fields of a data sector ([MS-VHDX] 2.3.1.4); between them is the data.
mod sector_field {
    pub(super) const SIGNATURE: usize = 0;
    pub(super) const SEQUENCE_HIGH: usize = 4;
    pub(super) const SEQUENCE_LOW: usize = super::SECTOR - 4;
}

/// Logs that have to be replayed are held in memory, so larger ones are refused. Hyper-V makes them 1 MiB.
const MAX_LOG: u32 = 64 << 20;
/// How many times the log's length may be read for entries that then prove wrong.
const MAX_WASTE: u64 = 8;

/// A change of the file that an entry describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Zeros; bytes.
    Zero { offset: u64, length: u64 },
    /// The content of one 4 KiB sector.
    Data { offset: u64, bytes: Box<[u8; SECTOR]> },
}

impl Change {
    /// Where the change begins, and how long it is, in bytes.
    pub(super) fn range(&self) -> (u64, u64) {
        match self {
            Self::Zero { offset, length } => (*offset, *length),
            Self::Data { offset, .. } => (*offset, SECTOR as u64),
        }
    }
}

/// A valid entry.
#[derive(Debug)]
struct Entry {
    /// Where it begins in the log, in bytes.
    at: u64,
    /// `EntryLength`: bytes.
    length: u64,
    /// `Tail`: where the oldest entry begins that was not yet applied when this one was written.
    tail: u64,
    /// `SequenceNumber`.
    sequence: u64,
    /// `FlushedFileOffset`: bytes that the file had at least.
    flushed_file_offset: u64,
    /// `LastFileOffset`: bytes that hold all structures of the file.
    last_file_offset: u64,
    changes: Vec<Change>,
}

/// What is to be replayed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replay {
    /// The changes, oldest first.
    pub(super) changes: Vec<Change>,
    /// Bytes that the file must have afterwards.
    pub(super) length: u64,
}

/// The log of a file.
struct Log<'a> {
    file: &'a dyn Storage,
    offset: u64,
    length: u64,
    guid: Uuid,
    /// Bytes that may yet be read for entries that prove wrong.
    budget: u64,
}

/// Reads what the log holds; none for an empty one.
///
/// # Errors
/// [`Error::Corrupt`](crate::image::Error::Corrupt) for a log without a whole sequence of entries, and for a file that
/// was cut.
pub(super) fn read(file: &dyn Storage, header: &VhdxHeader) -> Result<Option<Replay>> {
    if header.log_guid.is_nil() {
        return Ok(None);
    }
    if header.log_length == 0 || header.log_length > MAX_LOG {
        let expected = format_args!("1 to {MAX_LOG} bytes for a log that is not empty");
        return Err(
            ParseError::unsupported(header.log_offset, "VHDX log", expected, header.log_length).in_file(file.path())
        );
    }
    let length = u64::from(header.log_length);
    let mut log = Log { file, offset: header.log_offset, length, guid: header.log_guid, budget: length * MAX_WASTE };
    let mut active: Vec<Entry> = Vec::new();
    let mut start = 0;
    while start < length {
        let (entries, end) = log.sequence(start)?;
        if entries.last().is_some_and(|head| {
            entries.iter().any(|entry| entry.at == head.tail)
                && active.last().is_none_or(|known| head.sequence > known.sequence)
        }) {
            active = entries;
        }
        start = end;
    }
    let Some(head) = active.last() else {
        let found = format_args!("none with the header's LogGuid {}", log.guid);
        let cause = ParseError::corrupt(log.offset, "VHDX log", "a whole sequence of valid entries", found);
        return Err(cause.in_file(file.path()));
    };
    let file_len = storage::length(file)?;
    if file_len < head.flushed_file_offset {
        let expected = format_args!("at least {} bytes, as the log says", head.flushed_file_offset);
        return Err(ParseError::corrupt(file_len, "end of the VHDX file", expected, file_len).in_file(file.path()));
    }
    let (tail, last) = (head.tail, head.last_file_offset);
    let changes = active.into_iter().skip_while(|entry| entry.at != tail).flat_map(|entry| entry.changes);
    let changes: Vec<Change> = changes.filter(|change| change.range().1 > 0).collect();
    let end = changes.iter().map(|change| change.range().0 + change.range().1).max().unwrap_or(0);
    Ok(Some(Replay { changes, length: file_len.max(last).max(end) }))
}

impl Log<'_> {
    /// The longest run of entries in sequence from `start` on, and where to look for the next one.
    fn sequence(&mut self, start: u64) -> Result<(Vec<Entry>, u64)> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut end = start;
        while end < start + self.length
            && let Some(entry) = self.entry(end % self.length)?
            && entries.last().is_none_or(|last| last.sequence.checked_add(1) == Some(entry.sequence))
            && end + entry.length <= start + self.length
        {
            end += entry.length;
            entries.push(entry);
        }
        // An entry that did not fit the sequence is tried again, as the start of another one.
        Ok((entries, end.max(start + SECTOR as u64)))
    }

    /// Reads bytes of the log, which goes on at its start where it ends.
    fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let first = usize::try_from(self.length - at).unwrap_or(len).min(len);
        let (head, rest) = bytes.split_at_mut(first);
        storage::read_exact(self.file, head, self.offset + at, "VHDX log")?;
        storage::read_exact(self.file, rest, self.offset, "VHDX log")?;
        Ok(bytes)
    }

    /// The entry that begins `at` bytes into the log, if there is a valid one.
    fn entry(&mut self, at: u64) -> Result<Option<Entry>> {
        let head = self.bytes(at, SECTOR)?;
        let Ok(Some(length)) = entry_length(&head, self.guid, self.length) else { return Ok(None) };
        let bytes = self.bytes(at, length)?;
        let entry = parse(&bytes, at);
        if entry.is_none() {
            self.budget = self.budget.checked_sub(length as u64).ok_or_else(|| {
                let found = "more that are torn than a crash leaves";
                ParseError::corrupt(self.offset, "VHDX log", "valid entries", found).in_file(self.file.path())
            })?;
        }
        Ok(entry)
    }
}

/// The length of an entry in a log of `log_length` bytes, whose first sector is `head`; none when its header shows
/// already that it is not an entry of this log.
fn entry_length(head: &[u8], guid: Uuid, log_length: u64) -> Result<Option<usize>, ParseError> {
    let f = Fields::new("VHDX log entry", head, 0);
    let length = f.u32_le(entry_field::ENTRY_LENGTH)?;
    let sectors = u64::from(f.u32_le(entry_field::TAIL)?) | u64::from(length);
    let valid = f.bytes(entry_field::SIGNATURE, 4)? == b"loge"
        && f.uuid_le(entry_field::LOG_GUID)? == guid
        && length > 0
        && sectors.is_multiple_of(SECTOR as u64)
        && u64::from(length) <= log_length;
    Ok(valid.then_some(length as usize))
}

/// Parses a whole entry that begins `at` bytes into its log; none when anything about it is wrong.
fn parse(bytes: &[u8], at: u64) -> Option<Entry> {
    let f = Fields::new("VHDX log entry", bytes, at);
    checksum::check(&f, "VHDX log entry checksum").ok()?;
    let sequence = f.u64_le(entry_field::SEQUENCE_NUMBER).ok().filter(|sequence| *sequence > 0)?;
    let count = f.u32_le(entry_field::DESCRIPTOR_COUNT).ok()? as usize;
    let descriptors = count.checked_mul(DESCRIPTOR)?.checked_add(ENTRY_HEADER)?.next_multiple_of(SECTOR);
    let mut sectors = bytes.get(descriptors..)?.as_chunks::<SECTOR>().0.iter();
    let mut changes = Vec::with_capacity(count);
    for index in 0..count {
        changes.push(change(&f, ENTRY_HEADER + DESCRIPTOR * index, sequence, &mut sectors)?);
    }
    sectors.next().is_none().then_some(())?;
    let entry = Entry {
        at,
        length: bytes.len() as u64,
        tail: u64::from(f.u32_le(entry_field::TAIL).ok()?),
        sequence,
        flushed_file_offset: f.u64_le(entry_field::FLUSHED_FILE_OFFSET).ok()?,
        last_file_offset: f.u64_le(entry_field::LAST_FILE_OFFSET).ok()?,
        changes,
    };
    i64::try_from(entry.last_file_offset).is_ok().then_some(entry)
}

/// The change that the descriptor at `at` describes; takes its content from `sectors`.
fn change<'a>(
    f: &Fields<'_>,
    at: usize,
    sequence: u64,
    sectors: &mut impl Iterator<Item = &'a [u8; SECTOR]>,
) -> Option<Change> {
    let (middle, offset) =
        (f.bytes(at + descriptor_field::LEADING_BYTES, 8).ok()?, f.u64_le(at + descriptor_field::FILE_OFFSET).ok()?);
    let whole = |bytes: u64| bytes.is_multiple_of(SECTOR as u64);
    if f.u64_le(at + descriptor_field::SEQUENCE_NUMBER).ok()? != sequence || !whole(offset) {
        return None;
    }
    match f.bytes(at + descriptor_field::SIGNATURE, 4).ok()? {
        b"zero" => {
            let length = f.u64_le(at + descriptor_field::ZERO_LENGTH).ok()?;
            i64::try_from(offset.checked_add(length)?).ok()?;
            whole(length).then_some(Change::Zero { offset, length })
        }
        b"desc" => {
            i64::try_from(offset.checked_add(SECTOR as u64)?).ok()?;
            let sector = sectors.next()?;
            let s = Fields::new("VHDX log data sector", sector, 0);
            let high = u64::from(s.u32_le(sector_field::SEQUENCE_HIGH).ok()?) << 32;
            let low = u64::from(s.u32_le(sector_field::SEQUENCE_LOW).ok()?);
            if s.bytes(sector_field::SIGNATURE, 4).ok()? != b"data" || (high | low) != sequence {
                return None;
            }
            // LeadingBytes and TrailingBytes stand where the signature and the sequence number are.
            let mut bytes = Box::new(*sector);
            bytes[..8].copy_from_slice(middle);
            bytes[sector_field::SEQUENCE_LOW..]
                .copy_from_slice(f.bytes(at + descriptor_field::TRAILING_BYTES, 4).ok()?);
            Some(Change::Data { offset, bytes })
        }
        _ => None,
    }
}
