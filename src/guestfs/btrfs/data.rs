//! The bytes of files. Field names and offsets are those of
//! <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html> (`EXTENT_DATA`, `EXTENT_CSUM`).
//!
//! Every sector of data has a checksum and is returned only after that matches, from another copy if need be: such runs
//! are [`FileExtent::Decoded`](crate::guestfs::FileExtent), whatever they are on the volume, and read
//! straight into the caller's buffer all the same. Files without checksums (`nodatasum`, `nodatacow`) are stored runs.

use super::checksum::Sum;
use super::compress::Compression;
use super::node::{Key, Tree};
use super::tree::Item;
use super::{Btrfs, Opened, kind, objectid};
use crate::guestfs::{DecodedFrom, Error, Result};
use crate::ondisk::ParseError;
use quick_cache::Weighter;
use std::sync::Arc;

/// Bytes of an extent before inline data, and of one that is elsewhere.
const HEAD: usize = 21;
pub(super) const SIZE: usize = 53;
/// The largest compressed extent, compressed or not. Those that are written have 128 KiB at most.
const MAX_COMPRESSED: u64 = 1 << 20;

/// An extent that is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Compressed {
    logical: u64,
    len: u64,
    decompressed: u64,
    compression: Compression,
}

#[derive(Clone)]
pub(super) struct ByLength;

impl Weighter<Compressed, Arc<[u8]>> for ByLength {
    fn weight(&self, _key: &Compressed, bytes: &Arc<[u8]>) -> u64 {
        64 + bytes.len() as u64
    }
}

/// What holds a range of a file.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Zero,
    /// The bytes from this one of the item on, which may be compressed.
    Inline(Item, Option<Compression>),
    /// The bytes at this logical address.
    Plain(u64),
    /// Those of an extent from this one on.
    Compressed(Compressed, u64),
}

/// A range of a file and what holds it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) start: u64,
    /// The byte after the last.
    pub(super) end: u64,
    pub(super) content: Content,
}

/// The extent of a file that an item describes.
fn parse(item: &Item) -> Result<Segment> {
    let f = item.fields()?;
    let (inode, start) = (item.key.objectid, item.key.offset);
    let u64_at = |at| f.u64_le(at).map_err(Error::from);
    let bad = |at: usize, what: &str, expected: String, found: String| {
        Error::from(ParseError::corrupt(f.offset(at), format!("{what} of an extent of inode {inode}"), expected, found))
    };
    let compression = match f.u8(16)? {
        0 => None,
        1 => Some(Compression::Zlib),
        2 => Some(Compression::Lzo),
        3 => Some(Compression::Zstd),
        other => {
            return Err(Error::Unsupported(format!("data of inode {inode} is compressed in the unknown way {other}")));
        }
    };
    if f.u8(17)? != 0 || f.u16_le(18)? != 0 {
        return Err(Error::Unsupported(format!("data of inode {inode} is encrypted or encoded")));
    }
    let decompressed = u64_at(8)?;
    if compression.is_some() && !(1..=MAX_COMPRESSED).contains(&decompressed) {
        return Err(bad(8, "decompressed length", format!("1 to {MAX_COMPRESSED}"), decompressed.to_string()));
    }
    let kind = f.u8(20)?;
    if kind == 0 {
        if start != 0 {
            return Err(bad(20, "offset", "0, as it is inline".to_owned(), start.to_string()));
        }
        let end = if compression.is_some() { decompressed } else { f.len().saturating_sub(HEAD) as u64 };
        return Ok(Segment { start, end, content: Content::Inline(item.clone(), compression) });
    }
    let (logical, len, skip, count) = (u64_at(21)?, u64_at(29)?, u64_at(37)?, u64_at(45)?);
    let whole = if compression.is_some() { decompressed } else { len };
    let end = start.checked_add(count).filter(|end| *end > start);
    let end = end.ok_or_else(|| bad(45, "length", "at least 1".to_owned(), count.to_string()))?;
    let hole = logical == 0 || kind == 2;
    if !hole && skip.checked_add(count).is_none_or(|end| end > whole) {
        return Err(bad(37, "range", format!("within {whole} bytes"), format!("{count} bytes at {skip}")));
    }
    let content = match (kind, compression) {
        (1 | 2, _) if hole => Content::Zero,
        (1, None) => Content::Plain(logical.saturating_add(skip)),
        (1, Some(compression)) if (1..=MAX_COMPRESSED).contains(&len) => {
            Content::Compressed(Compressed { logical, len, decompressed, compression }, skip)
        }
        (1, Some(_)) => return Err(bad(29, "compressed length", format!("1 to {MAX_COMPRESSED}"), len.to_string())),
        _ => return Err(bad(20, "type", "0 to 2".to_owned(), kind.to_string())),
    };
    Ok(Segment { start, end, content })
}

impl Btrfs {
    /// The range of a file that byte `offset` is in.
    pub(super) fn segment(&self, tree: &Tree, inode: u64, offset: u64) -> Result<Segment> {
        let key = Key::new(inode, kind::EXTENT_DATA, offset);
        let mut cursor = self.nodes.cursor(tree, key)?;
        // Zeros where there is no extent.
        let mut hole = Segment { start: offset, end: u64::MAX, content: Content::Zero };
        while let Some(item) = cursor.next()? {
            let ours = (item.key.objectid, item.key.kind) == (key.objectid, key.kind);
            if item.key > key {
                if ours {
                    hole.end = item.key.offset;
                }
                break;
            }
            if ours {
                let segment = parse(&item)?;
                if segment.end > offset {
                    return Ok(segment);
                }
            }
        }
        Ok(hole)
    }

    /// Fills `buf` with a file's bytes from `offset` on, checked.
    pub(super) fn fill(&self, file: &Opened, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let segment = self.segment(&file.tree, file.number, at)?;
            let now = usize::try_from(segment.end - at).unwrap_or(usize::MAX).min(buf.len() - done);
            let part = &mut buf[done..done + now];
            let into = at - segment.start;
            match &segment.content {
                Content::Zero => part.fill(0),
                Content::Plain(logical) => {
                    self.read_data(logical.saturating_add(into), part, file.inode.has_sums, file.number)?;
                }
                Content::Inline(item, compression) => {
                    let f = item.fields()?;
                    let stored = f.bytes(HEAD, f.len().saturating_sub(HEAD))?;
                    match compression {
                        None => copy(stored, into, part, f.offset(HEAD))?,
                        Some(compression) => {
                            let bytes = self.decompress(*compression, stored, segment.end, f.offset(HEAD))?;
                            copy(&bytes, into, part, f.offset(HEAD))?;
                        }
                    }
                }
                Content::Compressed(compressed, skip) => {
                    let bytes = self.decompressed(compressed, file)?;
                    copy(&bytes, into.saturating_add(*skip), part, compressed.logical)?;
                }
            }
            done += now;
        }
        Ok(())
    }

    /// What decides the bytes of a file, within one segment. Checksums decide only whether they can be read.
    pub(super) fn made_of(&self, file: &Opened, offset: u64, len: u64) -> Option<DecodedFrom> {
        let segment = self.segment(&file.tree, file.number, offset).ok()?;
        let into = offset - segment.start;
        let (how, logical, len) = match segment.content {
            Content::Plain(logical) => (Vec::new(), logical.checked_add(into)?, len),
            Content::Compressed(Compressed { logical, len, decompressed, compression }, skip) => {
                (vec![compression as u64, decompressed, into.checked_add(skip)?], logical, len)
            }
            Content::Zero | Content::Inline(..) => return None,
        };
        // All copies: another one may be read where the first is corrupt.
        let ranges = self.nodes.chunks.copies(logical, len).ok()?.map(|at| (at, len)).collect();
        Some(DecodedFrom { how, ranges })
    }

    /// The bytes of a compressed extent. Readers that want the same one at once wait for the first of them.
    fn decompressed(&self, compressed: &Compressed, file: &Opened) -> Result<Arc<[u8]>> {
        self.decompressed.get_or_insert_with(compressed, || {
            let mut stored = vec![0; usize::try_from(compressed.len).unwrap_or(0)];
            self.read_data(compressed.logical, &mut stored, file.inode.has_sums, file.number)?;
            let offset = self.nodes.chunks.copies(compressed.logical, compressed.len)?.next().unwrap_or(0);
            Ok(self.decompress(compressed.compression, &stored, compressed.decompressed, offset)?.into())
        })
    }

    fn decompress(&self, compression: Compression, stored: &[u8], len: u64, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let sector = usize::try_from(self.sb.sector_size).unwrap_or(1);
        compression.decompress(stored, sector, &mut bytes).map_err(|found| {
            ParseError::corrupt(offset, "compressed extent", format_args!("{len} bytes when decompressed"), found)
        })?;
        Ok(bytes)
    }

    /// Fills `buf` with the data at a logical address.
    fn read_data(&self, logical: u64, buf: &mut [u8], has_sums: bool, inode: u64) -> Result<()> {
        if !has_sums {
            let copies: Vec<u64> = self.nodes.chunks.copies(logical, buf.len() as u64)?.collect();
            // Of a volume that is cut short, the first may be missing.
            let inside = |offset: &&u64| offset.saturating_add(buf.len() as u64) <= self.nodes.volume.size();
            let offset = copies.iter().find(inside).or(copies.first()).copied().unwrap_or(u64::MAX);
            return Ok(self.nodes.volume.read_at(offset, buf)?);
        }
        let size = usize::try_from(self.sb.sector_size).unwrap_or(1);
        let (mut at, mut rest) = (logical, buf);
        while !rest.is_empty() {
            let skip = usize::try_from(at % size as u64).unwrap_or(0);
            let whole = rest.len() - rest.len() % size;
            let now = if skip == 0 && whole > 0 { whole } else { rest.len().min(size - skip) };
            let (part, later) = std::mem::take(&mut rest).split_at_mut(now);
            if skip == 0 && whole > 0 {
                self.read_sectors(at, part, inode)?;
            } else {
                let mut sector = vec![0; size];
                self.read_sectors(at - skip as u64, &mut sector, inode)?;
                part.copy_from_slice(&sector[skip..skip + now]);
            }
            at = at.saturating_add(now as u64);
            rest = later;
        }
        Ok(())
    }

    /// Fills `buf` with whole sectors, each from the first copy that fits its checksum.
    fn read_sectors(&self, logical: u64, buf: &mut [u8], inode: u64) -> Result<()> {
        let size = usize::try_from(self.sb.sector_size).unwrap_or(1);
        let sums = self.sums(logical, buf.len() / size, inode)?;
        let copies: Vec<u64> = self.nodes.chunks.copies(logical, buf.len() as u64)?.collect();
        let (checksum, volume) = (self.nodes.checksum, &self.nodes.volume);
        let first = volume.read_at(copies.first().copied().unwrap_or(u64::MAX), buf);
        let failed = first.is_err();
        let mut repaired = 0;
        for ((skip, part), stated) in (0..).step_by(size).zip(buf.chunks_mut(size)).zip(sums.chunks(checksum.size())) {
            let fits = |part: &[u8]| checksum.of(part).is(stated);
            if !failed && fits(part) {
                continue;
            }
            let found = checksum.of(part);
            if copies.iter().skip(1).any(|copy| volume.read_at(copy + skip, part).is_ok() && fits(part)) {
                repaired += 1;
                continue;
            }
            first?;
            let offset = copies.first().map_or(0, |copy| copy + skip);
            let what = format!("checksum of data of inode {inode}");
            return Err(ParseError::corrupt(offset, what, Sum::stored(stated), found).into());
        }
        if repaired > 0 {
            log::warn!("{repaired} corrupt sectors of inode {inode} are read from their other copy");
        }
        Ok(())
    }

    /// The checksums of `count` sectors, one after the other.
    fn sums(&self, logical: u64, count: usize, inode: u64) -> Result<Vec<u8>> {
        let (size, sector) = (self.nodes.checksum.size(), u64::from(self.sb.sector_size));
        let mut sums = Vec::with_capacity(count * size);
        while sums.len() < count * size {
            let at = logical.saturating_add((sums.len() / size) as u64 * sector);
            let known = sums.len();
            // Those in the log are newer.
            match self.logged_sums.range(at..).next() {
                Some((next, sum)) if *next == at => sums.extend_from_slice(sum.bytes(size)),
                next => {
                    let end = next.map_or(u64::MAX, |(next, _)| *next);
                    let most = usize::try_from((end - at) / sector).unwrap_or(usize::MAX).saturating_mul(size);
                    self.stored_sums(at, sector, most.min(count * size - known), &mut sums)?;
                }
            }
            if sums.len() == known {
                let what = format!("checksum of data of inode {inode}");
                let found = format!("none of logical address {at}");
                return Err(ParseError::corrupt(0, what, "one for each sector", found).into());
            }
        }
        Ok(sums)
    }

    /// Adds the checksums from those of logical address `at` on that one item of the tree has, `most` bytes at most.
    fn stored_sums(&self, at: u64, sector: u64, most: usize, sums: &mut Vec<u8>) -> Result<()> {
        let tree = self.subvolume(objectid::CSUM_TREE)?.tree;
        let key = Key::new(objectid::EXTENT_CSUM, kind::EXTENT_CSUM, at);
        let item = self.nodes.cursor(&tree, key)?.next()?;
        let ours = |item: &Item| (item.key.objectid, item.key.kind) == (key.objectid, key.kind);
        if let Some(item) = item.filter(|item| ours(item) && item.key <= key) {
            let f = item.fields()?;
            let size = self.nodes.checksum.size();
            let start = usize::try_from((at - item.key.offset) / sector).unwrap_or(usize::MAX).saturating_mul(size);
            let len = f.len().saturating_sub(start).min(most);
            sums.extend_from_slice(f.bytes(start.min(f.len()), len - len % size)?);
        }
        Ok(())
    }
}

/// Fills `out` with the bytes from `from` on.
fn copy(bytes: &[u8], from: u64, out: &mut [u8], offset: u64) -> Result<()> {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let part = from.checked_add(out.len()).and_then(|end| bytes.get(from..end)).ok_or_else(|| {
        let expected = format!("{} bytes", from.saturating_add(out.len()));
        ParseError::corrupt(offset, "data of an extent", expected, bytes.len())
    })?;
    out.copy_from_slice(part);
    Ok(())
}
