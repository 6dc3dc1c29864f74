//! The journal as it lies on the volume: a ring of 512-byte sectors with records, each with a header. The first word of
//! every sector is the number of the round that it was written in; what belongs there is in the record's header
//! (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>, chapter Journaling Log).
use super::superblock::Superblock;
use crate::disk::Disk;
use crate::guestfs::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

pub(super) const SECTOR: u64 = SECTOR_SIZE as u64;
const SECTOR_SIZE: usize = 512;
/// `h_magicno` of a record.
const MAGIC: u32 = 0xFEED_BABE;
/// Bit of `h_version`: large records have more than one sector of header.
const VERSION_2: u32 = 2;
/// `h_fmt`: numbers in the content are little-endian.
const LITTLE_ENDIAN: u32 = 1;
/// Bytes of content whose first words a sector of header holds.
const CONTENT_PER_HEADER: u32 = 32 << 10;
/// The longest record that the kernel writes, in bytes.
const MAX_RECORD: u32 = 256 << 10;
/// Records that the kernel has in flight at most: so many before the end may be there in part.
const RECORDS_IN_FLIGHT: usize = 8;
/// Sectors that these take at most.
const IN_FLIGHT: u64 = RECORDS_IN_FLIGHT as u64 * MAX_RECORD as u64 / SECTOR;
/// Offsets of the fields of `xlog_rec_header`, in bytes.
mod header {
    pub(super) const H_CYCLE: usize = 4;
    pub(super) const H_VERSION: usize = 8;
    pub(super) const H_LEN: usize = 12;
    pub(super) const H_TAIL_LSN: usize = 24;
    pub(super) const H_CRC: usize = 32;
    pub(super) const H_NUM_LOGOPS: usize = 40;
    pub(super) const H_CYCLE_DATA: usize = 44;
    pub(super) const H_FMT: usize = 300;
    pub(super) const H_SIZE: usize = 320;
}
/// Offset of `xh_cycle_data` in `xlog_rec_ext_header`, which the further sectors of a header are.
const XH_CYCLE_DATA: usize = 4;
/// Bytes of an `xlog_rec_ext_header` that count in the checksum.
const EXT_HEADER_SIZE: usize = XH_CYCLE_DATA + 4 * WORDS_PER_HEADER;
/// First words that a sector of header holds.
const WORDS_PER_HEADER: usize = 64;
/// Offset of `oh_flags` in `xlog_op_header`.
const OH_FLAGS: usize = 9;
/// Bytes of a record's header that count in its checksum: as 64-bit and as 32-bit kernels see it.
const HEADER_SIZES: [usize; 2] = [328, 324];
/// Flag of an operation: the file system was unmounted.
const UNMOUNT: u8 = 0x20;
/// Sectors read at once when looking for something.
const CHUNK: u64 = 256;

/// The journal's ring.
pub(super) struct Log<'a> {
    volume: &'a dyn Disk,
    /// In bytes of the volume.
    start: u64,
    pub(super) sectors: u64,
    /// The file system is of version 5: each record has a checksum.
    v5: bool,
}

/// What is to be replayed: `count` sectors from `tail` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) tail: u64,
    pub(super) count: u64,
}

/// A whole record.
pub(super) struct Record {
    /// Operations, with the words that were put aside back in their positions.
    pub(super) content: Vec<u8>,
    /// How many operations.
    pub(super) operations: u32,
    /// Sectors that it takes.
    pub(super) sectors: u64,
    /// Where the oldest record was that was needed then.
    tail: u64,
}

/// The fields of a record's header.
struct Header {
    len: u32,
    tail: u64,
    crc: u32,
    operations: u32,
    format: u32,
    /// Sectors of header.
    sectors: u64,
}

impl<'a> Log<'a> {
    /// The journal that the superblock points to; `None` when it is on another device.
    pub(super) fn new(volume: &'a dyn Disk, sb: &Superblock) -> Option<Self> {
        let size = u64::from(sb.block_size);
        let start = sb.log_start?.saturating_mul(size);
        Some(Self { volume, start, sectors: u64::from(sb.log_blocks) * (size / SECTOR), v5: sb.v5 })
    }

    /// `count` sectors from `first` on, around the ring's end.
    fn read(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count * SECTOR).unwrap_or(0)];
        let first = first % self.sectors;
        let before_end = usize::try_from((self.sectors - first).min(count) * SECTOR).unwrap_or(0);
        let (head, rest) = bytes.split_at_mut(before_end);
        self.volume.read_at(self.start + first * SECTOR, head)?;
        if !rest.is_empty() {
            self.volume.read_at(self.start, rest)?;
        }
        Ok(bytes)
    }

    /// A sector, in bytes of the volume.
    pub(super) fn offset(&self, sector: u64) -> u64 {
        self.start + sector % self.sectors * SECTOR
    }

    /// The round that a sector was written in.
    fn round(&self, sector: u64) -> Result<u32> {
        Ok(round_of(&self.read(sector, 1)?))
    }

    /// The first sector from `first` to before `end` that was written in this round.
    fn first_of_round(&self, first: u64, end: u64, wanted: u32) -> Result<Option<u64>> {
        let mut at = first;
        while at < end {
            let count = CHUNK.min(end - at);
            let bytes = self.read(at, count)?;
            if let Some(i) = bytes.chunks(SECTOR_SIZE).position(|sector| round_of(sector) == wanted) {
                return Ok(Some(at + i as u64));
            }
            at += count;
        }
        Ok(None)
    }

    /// Where the newest round ends; none in a journal that was never written.
    fn head(&self) -> Result<Option<u64>> {
        let (first, last) = (self.round(0)?, self.round(self.sectors - 1)?);
        if first == 0 {
            return Ok(None);
        }
        let mut head = self.sectors;
        if first != last {
            // Sectors before the head are of the newest round, those from it on of the one before, which is 0 in a
            // journal that was not filled yet.
            let (mut low, mut high) = (0, self.sectors - 1);
            while low + 1 < high {
                let middle = u64::midpoint(low, high);
                if self.round(middle)? == first {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            head = high;
        }
        // Records in flight may have been written out of order: the first gap counts.
        let before = if first == last { last.wrapping_sub(1) } else { last };
        let gap = self.first_of_round(head.saturating_sub(IN_FLIGHT), head, before)?;
        let head = gap.unwrap_or(head);
        if head >= IN_FLIGHT || first <= 1 {
            return Ok(Some(head));
        }
        // What is in flight reaches around the end of the ring, where the round before the newest is whole.
        let from = self.sectors.saturating_sub(IN_FLIGHT - head);
        Ok(Some(self.first_of_round(from, self.sectors, before.wrapping_sub(1))?.unwrap_or(head)))
    }

    /// Where the last `most` headers of records before `head` are, the last one first.
    fn headers_before(&self, head: u64, most: usize) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut left = self.sectors;
        let mut end = head + self.sectors;
        while left > 0 && found.len() < most {
            let count = CHUNK.min(left);
            let bytes = self.read(end - count, count)?;
            let marked = (end - count..).zip(bytes.chunks(SECTOR_SIZE)).filter(|(_, sector)| is_header(sector));
            let mut marked: Vec<u64> = marked.map(|(at, _)| at % self.sectors).collect();
            marked.reverse();
            found.append(&mut marked);
            end -= count;
            left -= count;
        }
        found.truncate(most);
        Ok(found)
    }

    /// Whether what is wrong with the record at a sector, `left` sectors before the end, can be that it was never
    /// written whole.
    pub(super) fn may_be_torn(&self, at: u64, left: u64) -> Result<bool> {
        let (mut records, mut done) = (0, 0);
        while done < left && records <= RECORDS_IN_FLIGHT {
            let count = CHUNK.min(left - done);
            records += self.read(at + done, count)?.chunks(SECTOR_SIZE).filter(|sector| is_header(sector)).count();
            done += count;
        }
        Ok(records <= RECORDS_IN_FLIGHT)
    }

    fn header_fields(&self, sector: &[u8], at: u64) -> Result<Header, ParseError> {
        let f = Fields::new("journal record", sector, self.offset(at));
        let version = f.u32_be(header::H_VERSION)?;
        let (len, size) = (f.u32_be(header::H_LEN)?, f.u32_be(header::H_SIZE)?);
        if len > MAX_RECORD || size > MAX_RECORD || len == 0 {
            let found = format!("{len} of {size}");
            return Err(ParseError::corrupt(
                f.offset(header::H_LEN),
                "length of a journal record",
                "1 to 256 KiB",
                found,
            ));
        }
        let sectors = if version & VERSION_2 != 0 { size.div_ceil(CONTENT_PER_HEADER).max(1) } else { 1 };
        Ok(Header {
            len,
            tail: f.u64_be(header::H_TAIL_LSN)? & u64::from(u32::MAX),
            crc: f.u32_le(header::H_CRC)?,
            operations: f.u32_be(header::H_NUM_LOGOPS)?,
            format: f.u32_be(header::H_FMT)?,
            sectors: sectors.into(),
        })
    }

    /// What has to be replayed; none after a clean unmount. As in the kernel's `xlog_verify_head`, what is not whole at
    /// the end was never written.
    pub(super) fn active(&self) -> Result<Option<Active>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let last = self.headers_before(head, RECORDS_IN_FLIGHT + 1)?;
        let Some(first) = last.first() else {
            let cause = ParseError::corrupt(self.start, "journal", "a record", "none");
            return Err(cause.into());
        };
        let head = head % self.sectors;
        if self.is_unmount(*first, head)? {
            return Ok(None);
        }
        // The newest whole record has the offset at which to begin.
        for at in last {
            if let Some(record) = self.record(at, self.count(at, head))? {
                if record.tail >= self.sectors {
                    let expected = format!("below {}", self.sectors);
                    let cause = ParseError::corrupt(
                        self.offset(at) + header::H_TAIL_LSN as u64,
                        "tail of the journal",
                        expected,
                        record.tail,
                    );
                    return Err(cause.into());
                }
                return Ok(Some(Active { tail: record.tail, count: self.count(record.tail, head) }));
            }
        }
        let found = format!("{RECORDS_IN_FLIGHT} that are not");
        Err(ParseError::corrupt(self.offset(head), "records at the journal's end", "a whole one", found).into())
    }

    /// Sectors from one to before another, which is never the same.
    fn count(&self, from: u64, to: u64) -> u64 {
        match (to + self.sectors - from) % self.sectors {
            0 => self.sectors,
            count => count,
        }
    }

    /// Whether the last record, which ends at `head`, records that the file system was unmounted.
    fn is_unmount(&self, at: u64, head: u64) -> Result<bool> {
        let Ok(header) = self.header_fields(&self.read(at, 1)?, at) else { return Ok(false) };
        let end = (at + header.sectors + u64::from(header.len).div_ceil(SECTOR)) % self.sectors;
        Ok(header.operations == 1 && end == head && self.read(at + header.sectors, 1)?[OH_FLAGS] & UNMOUNT != 0)
    }

    /// The record at a sector, of at most `most` sectors; none where there is no whole one.
    pub(super) fn record(&self, at: u64, most: u64) -> Result<Option<Record>> {
        let first = self.read(at, 1)?;
        if !is_header(&first) {
            return Ok(None);
        }
        let Ok(header) = self.header_fields(&first, at) else { return Ok(None) };
        let data = u64::from(header.len).div_ceil(SECTOR);
        let sectors = header.sectors + data;
        if sectors > most {
            return Ok(None);
        }
        if header.format != LITTLE_ENDIAN {
            let cause = ParseError::corrupt(
                self.offset(at) + header::H_FMT as u64,
                "format of a journal record",
                LITTLE_ENDIAN,
                header.format,
            );
            return Err(cause.into());
        }
        let headers = self.read(at, header.sectors)?;
        let mut content = self.read(at + header.sectors, data)?;
        let len = usize::try_from(header.len).unwrap_or(0).min(content.len());
        // Old kernels leave the checksum 0 in version 4.
        if (self.v5 || header.crc != 0) && !sum_fits(&headers, &content[..len], header.crc) {
            return Ok(None);
        }
        let round = &first[header::H_CYCLE..][..4];
        for (i, sector) in content.chunks_mut(SECTOR_SIZE).enumerate() {
            if sector[..4] != *round {
                return Ok(None);
            }
            sector[..4].copy_from_slice(first_word(&headers, i));
        }
        content.truncate(len);
        Ok(Some(Record { content, operations: header.operations, sectors, tail: header.tail }))
    }
}

/// Whether a sector is the first one of a record.
fn is_header(sector: &[u8]) -> bool {
    sector.starts_with(&MAGIC.to_be_bytes())
}

/// The round that a sector was written in: its first word, or the second one in a record's header.
fn round_of(sector: &[u8]) -> u32 {
    let at = if is_header(sector) { header::H_CYCLE } else { 0 };
    sector.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}

/// The first word of the content's sector `i`, which the header holds.
fn first_word(headers: &[u8], i: usize) -> &[u8] {
    let list = match i / WORDS_PER_HEADER {
        0 => header::H_CYCLE_DATA,
        more => more * SECTOR_SIZE + XH_CYCLE_DATA,
    };
    let at = list + 4 * (i % WORDS_PER_HEADER);
    headers.get(at..at + 4).unwrap_or(&[0; 4])
}

/// The sum is of the first header with `h_crc` as zeros, of what the others hold, and of the content.
fn sum_fits(headers: &[u8], content: &[u8], stated: u32) -> bool {
    HEADER_SIZES.into_iter().any(|size| {
        let mut sum = crc32c::crc32c_append(crc32c::crc32c(&headers[..header::H_CRC]), &[0; 4]);
        sum = crc32c::crc32c_append(sum, &headers[header::H_CRC + 4..size]);
        for more in headers.chunks(SECTOR_SIZE).skip(1) {
            sum = crc32c::crc32c_append(sum, &more[..EXT_HEADER_SIZE]);
        }
        crc32c::crc32c_append(sum, content) == stated
    })
}
