//! The journal of a file system that was not cleanly unmounted, replayed in memory: which sectors of metadata are newer
//! than those on the volume (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>, chapter
//! Journaling Log). Intents, which plan changes to whole structures, do not matter to a reader.

use super::inode::core_size;
use super::log::{Log, SECTOR};
use super::map;
use super::superblock::Superblock;
use crate::disk::Disk;
use crate::guestfs::overlay::Overlay;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::collections::HashMap;

/// Bytes of transactions and of changed sectors that are retained in memory at most, each.
const MAX_BYTES: usize = 256 << 20;
/// Bytes before the content of an operation, and its flags.
const OPERATION: usize = 12;
const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const WAS_CONTINUED: u8 = 0x08;
/// `oh_clientid` of what belongs to transactions.
const TRANSACTION: u8 = 0x69;
/// Types of items that hold changes.
const ITEM_INODE: u16 = 0x123B;
const ITEM_BUFFER: u16 = 0x123C;
/// Flags of a buffer: only links among unlinked inodes; no longer metadata; quota records of users, projects and
/// groups.
const BUFFER_INODES: u16 = 1;
const BUFFER_CANCEL: u16 = 2;
const BUFFER_QUOTA: u16 = 4 | 8 | 16;
/// Bytes of a buffer that a bit of its map stands for.
const BUFFER_CHUNK: usize = 128;
/// Flags of an inode's item: what follows of the data fork and of the attributes' (bytes, extents, a tree's root).
const DATA_BYTES: u32 = 0x2 | 0x4;
const DATA_ROOT: u32 = 0x8;
const DEVICE: u32 = 0x10;
const ATTRIBUTE_BYTES: u32 = 0x40 | 0x80;
const ATTRIBUTE_ROOT: u32 = 0x100;
/// The only `sb_features_log_incompat` there is: attributes may be logged as intents.
const LOG_FEATURES: u32 = 1;

/// Reads the journal: what is newer, and what the user should know.
pub(super) fn replay(volume: &dyn Disk, sb: &Superblock) -> Result<(Overlay, Option<String>)> {
    let missing = |why: &str| {
        let note = format!("It may not have been cleanly unmounted and {why}: recent changes may be missing");
        Ok((Overlay::default(), Some(note)))
    };
    let Some(log) = Log::new(volume, sb) else { return missing("its journal is on another device") };
    let active = match log.active() {
        Ok(None) => return Ok((Overlay::default(), None)),
        Ok(Some(active)) => active,
        Err(Error::Corrupt(cause)) => return missing(&format!("its journal is corrupt ({cause})")),
        Err(other) => return Err(other),
    };
    if sb.log_features & !LOG_FEATURES != 0 {
        return missing("its journal has unknown features");
    }
    let mut replay =
        Replay { volume, sb, overlay: Overlay::default(), open: HashMap::new(), open_bytes: 0, transactions: 0 };
    match replay.records(&log, active.tail, active.count) {
        Ok(()) => {}
        Err(Error::Corrupt(cause)) => return missing(&format!("its journal cannot be replayed ({cause})")),
        Err(other) => return Err(other),
    }
    let count = replay.transactions;
    let note = format!("It was not cleanly unmounted; {count} transactions of its journal are replayed in memory");
    Ok((replay.overlay, Some(note)))
}

struct Replay<'a> {
    volume: &'a dyn Disk,
    sb: &'a Superblock,
    overlay: Overlay,
    /// Transactions that are not committed yet, by their id: segments of items.
    open: HashMap<u32, Vec<Vec<u8>>>,
    open_bytes: usize,
    transactions: u32,
}

impl Replay<'_> {
    /// Replays the records in `count` sectors from `tail` on, up to one that was never written whole. A corrupt one
    /// before that leaves nothing to rely on: what follows it may be on the volume already, in part.
    fn records(&mut self, log: &Log<'_>, tail: u64, count: u64) -> Result<()> {
        let (mut at, mut left) = (tail, count);
        while left > 0 {
            let Some(record) = log.record(at, left)? else {
                if log.may_be_torn(at, left)? {
                    break;
                }
                let found = "one that is not, before others";
                return Err(ParseError::corrupt(log.offset(at), "journal record", "a whole one", found).into());
            };
            self.operations(&record.content, record.operations)?;
            at = (at + record.sectors) % log.sectors;
            left -= record.sectors;
        }
        Ok(())
    }

    fn operations(&mut self, content: &[u8], count: u32) -> Result<()> {
        let f = Fields::new("journal record", content, 0);
        let mut at = 0;
        for _ in 0..count {
            let len = usize::try_from(f.u32_be(at + 4)?).unwrap_or(usize::MAX);
            let (number, client) = (f.u32_be(at)?, f.u8(at + 8)?);
            let flags = f.u8(at + 9)?;
            let chunk = f.bytes(at + OPERATION, len)?;
            if client == TRANSACTION {
                self.operation(number, flags, chunk)?;
            }
            at += OPERATION + len;
        }
        Ok(())
    }

    fn operation(&mut self, number: u32, flags: u8, chunk: &[u8]) -> Result<()> {
        if flags & START != 0 {
            self.open_bytes -= size_of_chunks(&self.open.insert(number, Vec::new()).unwrap_or_default());
        }
        if flags & COMMIT != 0 {
            if let Some(chunks) = self.open.remove(&number) {
                self.open_bytes -= size_of_chunks(&chunks);
                self.commit(&chunks)?;
                self.transactions += 1;
            }
            return Ok(());
        }
        // What began before the tail is on the volume already.
        let Some(chunks) = self.open.get_mut(&number).filter(|_| !chunk.is_empty()) else { return Ok(()) };
        self.open_bytes += chunk.len();
        if self.open_bytes > MAX_BYTES {
            return Err(too_large());
        }
        match chunks.last_mut().filter(|_| flags & WAS_CONTINUED != 0) {
            Some(last) => last.extend_from_slice(chunk),
            None => chunks.push(chunk.to_vec()),
        }
        Ok(())
    }

    /// Applies a transaction: a header, then items of as many segments as their first one says. Buffers come first and
    /// those that are no longer metadata last, as the kernel has it.
    fn commit(&mut self, chunks: &[Vec<u8>]) -> Result<()> {
        let mut items = Vec::new();
        let mut rest = chunks.get(1..).unwrap_or_default();
        while let Some(first) = rest.first() {
            let f = Fields::new("journal item", first, 0);
            let (kind, count) = (f.u16_le(0)?, usize::from(f.u16_le(2)?));
            let Some((item, after)) = rest.split_at_checked(count).filter(|_| count > 0) else {
                let expected = format!("1 to {}", rest.len());
                return Err(ParseError::corrupt(0, "segments of a journal item", expected, count).into());
            };
            let cancel = kind == ITEM_BUFFER && f.u16_le(4)? & BUFFER_CANCEL != 0;
            items.push((kind, cancel, item));
            rest = after;
        }
        for (_, _, item) in items.iter().filter(|(kind, cancel, _)| *kind == ITEM_BUFFER && !cancel) {
            self.buffer(item)?;
        }
        for (_, _, item) in items.iter().filter(|(kind, ..)| *kind == ITEM_INODE) {
            self.inode(item)?;
        }
        for (_, _, item) in items.iter().filter(|(_, cancel, _)| *cancel) {
            self.buffer(item)?;
        }
        Ok(())
    }

    /// `struct xfs_buf_log_format` and the changed chunks of 128 bytes of a buffer, given by a bitmap.
    fn buffer(&mut self, item: &[Vec<u8>]) -> Result<()> {
        let Some((head, mut parts)) = item.split_first() else { return Ok(()) };
        let f = Fields::new("journal item", head, 0);
        let flags = f.u16_le(4)?;
        let (sectors, first) = (u64::from(f.u16_le(6)?), f.u64_le(8)?);
        let end = first.checked_add(sectors).and_then(|end| end.checked_mul(SECTOR));
        let most = self.sb.blocks * u64::from(self.sb.block_size);
        if end.is_none_or(|end| end > most) {
            let expected = format!("within {most} bytes");
            return Err(ParseError::corrupt(0, "offset of a journalled buffer", expected, first).into());
        }
        if flags & BUFFER_CANCEL != 0 {
            for number in first..first + sectors {
                self.overlay.0.remove(&number);
            }
            return Ok(());
        }
        if flags & (BUFFER_INODES | BUFFER_QUOTA) != 0 {
            return Ok(());
        }
        let bits = 32 * usize::try_from(f.u32_le(16)?).unwrap_or(usize::MAX).min(head.len());
        let mut bit = 0;
        while bit < bits {
            if f.u32_le(20 + bit / 32 * 4)? >> (bit % 32) & 1 == 0 {
                bit += 1;
                continue;
            }
            let Some((part, more)) = parts.split_first() else { break };
            parts = more;
            let end = (bit * BUFFER_CHUNK).saturating_add(part.len()) as u64;
            if part.len() < BUFFER_CHUNK || end > sectors * SECTOR {
                let expected = format!("{BUFFER_CHUNK} up to {} bytes", sectors * SECTOR);
                return Err(ParseError::corrupt(0, "segment of a journalled buffer", expected, part.len()).into());
            }
            self.write(first * SECTOR + (bit * BUFFER_CHUNK) as u64, part)?;
            bit += part.len() / BUFFER_CHUNK;
        }
        Ok(())
    }

    /// `struct xfs_inode_log_format`, the inode's fields, and what changed of its forks.
    fn inode(&mut self, item: &[Vec<u8>]) -> Result<()> {
        let [head, core, forks @ ..] = item else { return Ok(()) };
        let f = Fields::new("journal item", head, 0);
        let changed = f.u32_le(4)?;
        // 32-bit kernels don't pad before the inode's number.
        let id_at = if head.len() == 52 { 12 } else { 16 };
        let number = f.u64_le(id_at)?;
        let offset = self
            .sb
            .inode_offset(number)
            .ok_or_else(|| ParseError::corrupt(0, "journalled inode", "one in a group", format_args!("{number:#x}")))?;
        let mut raw = vec![0; usize::try_from(self.sb.inode_size).unwrap_or(0)];
        self.volume.read_at(offset, &mut raw)?;
        self.overlay.patch(offset, &mut raw);

        let core = disk_core(core)?;
        let start = core_size(core[di::VERSION]);
        let fork = usize::from(core[di::FORKOFF]) * 8;
        let room = raw.len().saturating_sub(start);
        if fork >= room {
            return Err(ParseError::corrupt(
                0,
                "offset of the attributes of a journalled inode",
                format_args!("below {room}"),
                fork,
            )
            .into());
        }
        raw[..start].copy_from_slice(&core[..start]);
        let mut forks = forks.iter();
        let (data, attributes) = raw[start..].split_at_mut(if fork == 0 { room } else { fork });
        if changed & DEVICE != 0 {
            let device = f.u32_le(id_at + 8)?;
            data[..4].copy_from_slice(&device.to_be_bytes());
        }
        if changed & (DATA_BYTES | DATA_ROOT) != 0 {
            self.fork(data, forks.next(), changed & DATA_ROOT != 0)?;
        }
        if changed & (ATTRIBUTE_BYTES | ATTRIBUTE_ROOT) != 0 {
            self.fork(attributes, forks.next(), changed & ATTRIBUTE_ROOT != 0)?;
        }
        self.write(offset, &raw)
    }

    /// Copies a logged fork to its position in the inode. A tree's root is logged as it is in memory, with the header
    /// of a block, and with room for another number of keys.
    fn fork(&self, target: &mut [u8], logged: Option<&Vec<u8>>, root: bool) -> Result<()> {
        let Some(logged) = logged else { return Ok(()) };
        let room = target.len();
        let too_long = || Error::from(ParseError::corrupt(0, "fork of a journalled inode", room, logged.len()));
        if !root {
            target.get_mut(..logged.len()).ok_or_else(too_long)?.copy_from_slice(logged);
            return Ok(());
        }
        let f = Fields::new("journalled tree", logged, 0);
        let header = if self.sb.v5 { map::HEADER_V5 } else { map::HEADER_V4 };
        let count = usize::from(f.u16_be(6)?);
        let (room, logged_room) = (
            target.len().saturating_sub(map::ROOT_HEADER) / map::RECORD,
            logged.len().saturating_sub(header) / map::RECORD,
        );
        if count > room || count > logged_room {
            return Err(too_long());
        }
        let keys = map::ROOT_HEADER;
        target[..keys].copy_from_slice(f.bytes(4, keys)?); // bb_level, bb_numrecs
        target[keys..keys + 8 * count].copy_from_slice(f.bytes(header, 8 * count)?);
        let children = f.bytes(header + 8 * logged_room, 8 * count)?;
        target[keys + 8 * room..keys + 8 * (room + count)].copy_from_slice(children);
        Ok(())
    }

    /// Notes newer bytes for byte `at` of the volume.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (number, skip) =
                ((at + done as u64) / SECTOR, usize::try_from((at + done as u64) % SECTOR).unwrap_or(0));
            let count = (512 - skip).min(bytes.len() - done);
            if !self.overlay.0.contains_key(&number) {
                if self.overlay.0.len() >= MAX_BYTES / 512 {
                    return Err(too_large());
                }
                let mut sector = [0; 512];
                self.volume.read_at(number * SECTOR, &mut sector)?;
                self.overlay.0.insert(number, sector);
            }
            if let Some(sector) = self.overlay.0.get_mut(&number) {
                sector[skip..skip + count].copy_from_slice(&bytes[done..done + count]);
            }
            done += count;
        }
        Ok(())
    }
}

fn too_large() -> Error {
    let expected = format!("at most {MAX_BYTES} bytes");
    ParseError::corrupt(0, "changes in the journal", expected, "more").into()
}

fn size_of_chunks(chunks: &[Vec<u8>]) -> usize {
    chunks.iter().map(Vec::len).sum()
}

/// Offsets of the fields of `struct xfs_dinode` (`xfs_log_dinode` in the journal) that replaying looks at.
mod di {
    pub(super) const VERSION: usize = 4;
    /// The number of extents from version 3 on, with `NREXT64`.
    pub(super) const BIG_NEXTENTS: usize = 24;
    pub(super) const ATIME: usize = 32;
    pub(super) const MTIME: usize = 40;
    pub(super) const CTIME: usize = 48;
    /// Where the fork of attributes begins, in units of 8 bytes from the end of the fields.
    pub(super) const FORKOFF: usize = 82;
    pub(super) const FLAGS2: usize = 120;
    pub(super) const CRTIME: usize = 144;
}

/// An inode's fields are logged in the kernel's own byte order; this is how the volume has them.
fn disk_core(logged: &[u8]) -> Result<Vec<u8>, ParseError> {
    /// Large times, in `di_flags2`: one number each, else two.
    const BIGTIME: u64 = 1 << 3;
    /// Offset and width of each number; the others are single bytes, or `di_uuid` at 160.
    const NUMBERS: [(usize, usize); 29] = [
        (0, 2),  // di_magic
        (2, 2),  // di_mode
        (6, 2),  // di_onlink
        (8, 4),  // di_uid
        (12, 4), // di_gid
        (16, 4), // di_nlink
        (20, 2), // di_projid_lo
        (22, 2), // di_projid_hi
        (di::BIG_NEXTENTS, 8),
        (di::ATIME, 8),
        (di::MTIME, 8),
        (di::CTIME, 8),
        (56, 8),  // di_size
        (64, 8),  // di_nblocks
        (72, 4),  // di_extsize
        (76, 4),  // di_nextents
        (80, 2),  // di_anextents
        (84, 4),  // di_dmevmask
        (88, 2),  // di_dmstate
        (90, 2),  // di_flags
        (92, 4),  // di_gen
        (96, 4),  // di_next_unlinked
        (100, 4), // di_crc
        (104, 8), // di_changecount
        (112, 8), // di_lsn
        (di::FLAGS2, 8),
        (128, 4), // di_cowextsize
        (di::CRTIME, 8),
        (152, 8), // di_ino
    ];
    let f = Fields::new("journalled inode", logged, 0);
    let version = f.u8(di::VERSION)?;
    let v3 = version >= 3;
    let big = v3 && f.u64_le(di::FLAGS2)? & BIGTIME != 0;
    let mut core = f.bytes(0, core_size(version))?.to_vec();
    for (at, width) in NUMBERS {
        let Some(number) = core.get_mut(at..at + width) else { continue };
        match at {
            // Only version 3 has a number here, of extents.
            di::BIG_NEXTENTS if !v3 => {}
            di::ATIME | di::MTIME | di::CTIME | di::CRTIME if !big => number.chunks_mut(4).for_each(<[u8]>::reverse),
            _ => number.reverse(),
        }
    }
    Ok(core)
}
