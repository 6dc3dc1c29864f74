//! The journal of a file system that was not cleanly unmounted, replayed in memory: which sectors of metadata are newer
//! than those on the volume (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>, chapter
//! Journaling Log). Changes to whole structures that were only planned (intents) don't matter to a reader.

use super::inode::core_size;
use super::log::{Log, SECTOR};
use super::superblock::Superblock;
use crate::disk::Disk;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::collections::HashMap;

/// Bytes of transactions and of changed sectors that are kept in memory at most, each.
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
/// Flags of a buffer: only links among unlinked inodes; no longer metadata; quota records of users, projects and groups.
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

/// Sectors of metadata that are newer than the volume's, by their number.
#[derive(Default)]
pub(super) struct Overlay(HashMap<u64, [u8; 512]>);

impl Overlay {
    /// Puts the newer sectors into bytes that were read from byte `at` of the volume; whether there were any.
    pub(super) fn patch(&self, at: u64, bytes: &mut [u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let mut any = false;
        for (number, sector) in (at / SECTOR..).zip(bytes.chunks_mut(512)) {
            if let Some(newer) = self.0.get(&number) {
                sector.copy_from_slice(&newer[..sector.len()]);
                any = true;
            }
        }
        any
    }
}

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
    /// Transactions that are not committed yet, by their number: pieces of items.
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
                return Err(ParseError::corrupt(log.place(at), "journal record", "a whole one", found).into());
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

    /// Applies a transaction: a header, then items of as many pieces as their first one says. Buffers come first and
    /// those that are no longer metadata last, as the kernel has it.
    fn commit(&mut self, chunks: &[Vec<u8>]) -> Result<()> {
        let mut items = Vec::new();
        let mut rest = chunks.get(1..).unwrap_or_default();
        while let Some(first) = rest.first() {
            let f = Fields::new("journal item", first, 0);
            let (kind, count) = (f.u16_le(0)?, usize::from(f.u16_le(2)?));
            let Some((item, after)) = rest.split_at_checked(count).filter(|_| count > 0) else {
                let expected = format!("1 to {}", rest.len());
                return Err(ParseError::corrupt(0, "pieces of a journal item", expected, count).into());
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

    /// `struct xfs_buf_log_format` and the changed parts of a buffer, as a map of 128-byte chunks says.
    fn buffer(&mut self, item: &[Vec<u8>]) -> Result<()> {
        let Some((head, mut parts)) = item.split_first() else { return Ok(()) };
        let f = Fields::new("journal item", head, 0);
        let flags = f.u16_le(4)?;
        let (sectors, first) = (u64::from(f.u16_le(6)?), f.u64_le(8)?);
        let end = first.checked_add(sectors).and_then(|end| end.checked_mul(SECTOR));
        let most = self.sb.blocks * u64::from(self.sb.block_size);
        if end.is_none_or(|end| end > most) {
            let expected = format!("within {most} bytes");
            return Err(ParseError::corrupt(0, "place of a journalled buffer", expected, first).into());
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
                return Err(ParseError::corrupt(0, "part of a journalled buffer", expected, part.len()).into());
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
        let number_at = if head.len() == 52 { 12 } else { 16 };
        let number = f.u64_le(number_at)?;
        let place = self
            .sb
            .inode_place(number)
            .ok_or_else(|| ParseError::corrupt(0, "journalled inode", "one in a group", format_args!("{number:#x}")))?;
        let mut raw = vec![0; usize::try_from(self.sb.inode_size).unwrap_or(0)];
        self.volume.read_at(place, &mut raw)?;
        self.overlay.patch(place, &mut raw);

        let core = disk_core(core)?;
        let version = core[4];
        let start = core_size(version);
        let fork = usize::from(core[82]) * 8;
        let room = raw.len().saturating_sub(start);
        if fork >= room {
            return Err(ParseError::corrupt(
                0,
                "place of the attributes of a journalled inode",
                format_args!("below {room}"),
                fork,
            )
            .into());
        }
        raw[..start].copy_from_slice(&core[..start]);
        let mut forks = forks.iter();
        let (data, attributes) = raw[start..].split_at_mut(if fork == 0 { room } else { fork });
        if changed & DEVICE != 0 {
            let device = f.u32_le(number_at + 8)?;
            data[..4].copy_from_slice(&device.to_be_bytes());
        }
        if changed & (DATA_BYTES | DATA_ROOT) != 0 {
            self.fork(data, forks.next(), changed & DATA_ROOT != 0)?;
        }
        if changed & (ATTRIBUTE_BYTES | ATTRIBUTE_ROOT) != 0 {
            self.fork(attributes, forks.next(), changed & ATTRIBUTE_ROOT != 0)?;
        }
        self.write(place, &raw)
    }

    /// Puts a logged fork into its place in the inode. A tree's root is logged as it is in memory, with the header of a
    /// block, and with room for another number of keys.
    fn fork(&self, place: &mut [u8], logged: Option<&Vec<u8>>, root: bool) -> Result<()> {
        let Some(logged) = logged else { return Ok(()) };
        let room = place.len();
        let too_long = || Error::from(ParseError::corrupt(0, "fork of a journalled inode", room, logged.len()));
        if !root {
            place.get_mut(..logged.len()).ok_or_else(too_long)?.copy_from_slice(logged);
            return Ok(());
        }
        let f = Fields::new("journalled tree", logged, 0);
        let header = if self.sb.v5 { 72 } else { 24 };
        let count = usize::from(f.u16_be(6)?);
        let (room, logged_room) = (place.len().saturating_sub(4) / 16, logged.len().saturating_sub(header) / 16);
        if count > room || count > logged_room {
            return Err(too_long());
        }
        place[..4].copy_from_slice(f.bytes(4, 4)?);
        place[4..4 + 8 * count].copy_from_slice(f.bytes(header, 8 * count)?);
        let children = f.bytes(header + 8 * logged_room, 8 * count)?;
        place[4 + 8 * room..4 + 8 * (room + count)].copy_from_slice(children);
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

/// An inode's fields are logged in the kernel's own byte order; this is how the volume has them.
fn disk_core(logged: &[u8]) -> Result<Vec<u8>, ParseError> {
    /// Large times, in the flags at 120: one number each, else two.
    const BIGTIME: u64 = 1 << 3;
    /// Offset and width of each number; the others are single bytes, or the UUID at 160.
    const NUMBERS: [(usize, usize); 29] = [
        (0, 2),
        (2, 2),
        (6, 2),
        (8, 4),
        (12, 4),
        (16, 4),
        (20, 2),
        (22, 2),
        (56, 8),
        (64, 8),
        (72, 4),
        (76, 4),
        (80, 2),
        (84, 4),
        (88, 2),
        (90, 2),
        (92, 4),
        (96, 4),
        (100, 4),
        (104, 8),
        (112, 8),
        (120, 8),
        (128, 4),
        (152, 8),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 8),
        (144, 8),
    ];
    let f = Fields::new("journalled inode", logged, 0);
    let v3 = f.u8(4)? >= 3;
    let big = v3 && f.u64_le(120)? & BIGTIME != 0;
    let mut core = f.bytes(0, core_size(f.u8(4)?))?.to_vec();
    for (at, width) in NUMBERS {
        let Some(number) = core.get_mut(at..at + width) else { continue };
        match at {
            // Only version 3 has a number here, of extents.
            24 if !v3 => {}
            32 | 40 | 48 | 144 if !big => number.chunks_mut(4).for_each(<[u8]>::reverse),
            _ => number.reverse(),
        }
    }
    Ok(core)
}
