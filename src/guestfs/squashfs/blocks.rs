//! The blocks of a file. They are contiguous and the inode lists their sizes, so the offset of one is the sum of those
//! before it. The sum is cached at regular steps.

use super::Squashfs;
use super::inode::{Content, File, Inode};
use super::metadata::Position;
use crate::guestfs::{Error, FileExtent, FileRun, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::sync::{Arc, PoisonError};

/// Blocks between two whose positions are cached: as many as one block of metadata lists.
const STEP: u64 = 2048;
/// Sizes that are read at once.
const AT_ONCE: u64 = 256;
/// Bit of a block's size: it is not compressed.
const STORED: u32 = 1 << 24;
/// Bytes of an entry of the fragment table.
const FRAGMENT: usize = 16;

/// A block on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Compressed {
    at: u64,
    /// Bytes there; none for a block of zeros.
    size: u32,
    stored: bool,
}

/// What holds a byte of a file.
struct Found {
    compressed: Compressed,
    /// Where the byte is in the block once it is decompressed, and how many of the file's follow in it.
    skip: u64,
    len: u64,
    /// Bytes that the block has of the file; none for a fragment, which other files share.
    whole: Option<u64>,
}

impl Squashfs {
    pub(super) fn file_run(&self, inode: &Inode, offset: u64, len: u64) -> Result<FileRun> {
        let found = self.find_block(inode, offset)?;
        let extent = match &found.compressed {
            Compressed { size: 0, .. } if found.whole.is_some() => FileExtent::Zero,
            Compressed { stored: true, at, size } => {
                let end = found.skip.saturating_add(found.len);
                let wanted = found.whole.unwrap_or(end);
                if u64::from(*size) < end || found.whole.is_some_and(|whole| u64::from(*size) != whole) {
                    return Err(
                        ParseError::corrupt(*at, "block of a file", format_args!("{wanted} bytes"), size).into()
                    );
                }
                FileExtent::Stored(at + found.skip)
            }
            _ => FileExtent::Decoded,
        };
        Ok(FileRun { extent, len: found.len.min(len.max(1)) })
    }

    /// Fills `buf` with the bytes of a file from `offset` on.
    pub(super) fn decompress_file(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let found = self.find_block(inode, offset + done as u64)?;
            let bytes = self.data.get_or_insert_with(&found.compressed, || self.decompress(found.compressed))?;
            if let Some(whole) = found.whole.filter(|whole| *whole != bytes.len() as u64) {
                let what = "decompressed block of a file";
                let expected = format!("{whole} bytes");
                return Err(ParseError::corrupt(found.compressed.at, what, expected, bytes.len()).into());
            }
            let skip = usize::try_from(found.skip).unwrap_or(usize::MAX);
            let now = usize::try_from(found.len).unwrap_or(usize::MAX).min(buf.len() - done);
            let part = skip.checked_add(now).and_then(|end| bytes.get(skip..end)).ok_or_else(|| {
                let expected = format!("{} bytes", found.skip.saturating_add(found.len));
                ParseError::corrupt(found.compressed.at, "decompressed block of fragments", expected, bytes.len())
            })?;
            buf[done..done + now].copy_from_slice(part);
            done += now;
        }
        Ok(())
    }

    fn decompress(&self, compressed: Compressed) -> Result<Arc<[u8]>> {
        let mut bytes = vec![0; usize::try_from(compressed.size).unwrap_or(0)];
        self.volume.read_at(compressed.at, &mut bytes)?;
        if compressed.stored {
            return Ok(bytes.into());
        }
        let mut out = vec![0; usize::try_from(self.sb.block_size).unwrap_or(0)];
        let len = self.decompress_block(&bytes, &mut out, compressed.at, "a file")?;
        out.truncate(len);
        Ok(out.into())
    }

    /// What holds the byte `offset` of a file, which is below its size.
    fn find_block(&self, inode: &Inode, offset: u64) -> Result<Found> {
        let Content::File(file) = &inode.content else { return Err(Error::NotFile) };
        if offset >= file.size {
            return Err(
                ParseError::corrupt(inode.at, "size of a file", format_args!("above {offset}"), file.size).into()
            );
        }
        let block_size = u64::from(self.sb.block_size);
        let (number, skip) = (offset / block_size, offset % block_size);
        if number < file.blocks {
            let compressed = self.own_block(inode, file, number)?;
            let whole = block_size.min(file.size - number * block_size);
            return Ok(Found { compressed, skip, len: whole - skip, whole: Some(whole) });
        }
        let (fragment, start) = file.fragment.unwrap_or_default();
        let compressed = self.fragment(inode, fragment)?;
        Ok(Found { compressed, skip: u64::from(start) + skip, len: file.size - offset, whole: None })
    }

    /// The block of fragments `number`.
    fn fragment(&self, inode: &Inode, number: u32) -> Result<Compressed> {
        if number >= self.sb.fragments {
            let expected = format!("below {}", self.sb.fragments);
            return Err(ParseError::corrupt(inode.at, "number of a file's fragment", expected, number).into());
        }
        let (raw, at) = self.table_entry(self.sb.fragment_table, number.into(), FRAGMENT, "fragments")?;
        let f = Fields::new("fragment", &raw, at);
        self.compressed(f.u64_le(0)?, f.u32_le(8)?)
    }

    /// A file's block `number`.
    fn own_block(&self, inode: &Inode, file: &File, number: u64) -> Result<Compressed> {
        let (mut at_step, (mut position, mut at)) = nearest(file, number / STEP);
        let mut next = at_step * STEP;
        loop {
            // The last ones may be fewer, and the blocks after the wanted one are not needed.
            let count = AT_ONCE.min(number + 1 - next);
            let sizes = self.read_metadata(&mut position, usize::try_from(4 * count).unwrap_or(0), "inodes")?;
            let sizes: Vec<u32> = sizes.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw)).collect();
            if next + count > number {
                let (last, before) = sizes.split_last().unwrap_or((&0, &[]));
                return self.compressed(sum(at, before, inode)?, *last);
            }
            at = sum(at, &sizes, inode)?;
            next += count;
            if next.is_multiple_of(STEP) {
                at_step += 1;
                remember(file, at_step, (position, at));
            }
        }
    }

    /// A block by its offset and size as they are stored.
    fn compressed(&self, at: u64, size: u32) -> Result<Compressed> {
        let compressed = Compressed { at, size: size & !STORED, stored: size & STORED != 0 };
        let end = at.checked_add(compressed.size.into()).filter(|end| *end <= self.sb.bytes_used);
        if end.is_none() || compressed.size > self.sb.block_size {
            let expected = format!("at most {} bytes that end by {}", self.sb.block_size, self.sb.bytes_used);
            return Err(ParseError::corrupt(
                at,
                "block of a file",
                expected,
                format_args!("{} bytes", compressed.size),
            )
            .into());
        }
        Ok(compressed)
    }
}

/// The last of the positions that are known up to step `wanted`: the list's and the block's.
fn nearest(file: &File, wanted: u64) -> (u64, (Position, u64)) {
    let known = file.known.lock().unwrap_or_else(PoisonError::into_inner);
    let step = usize::try_from(wanted).unwrap_or(usize::MAX).min(known.len());
    match step.checked_sub(1).and_then(|before| known.get(before)) {
        Some(positions) => (step as u64, *positions),
        None => (0, (file.sizes, file.start)),
    }
}

/// Caches the positions of a step, unless another thread was faster.
fn remember(file: &File, step: u64, positions: (Position, u64)) {
    let mut known = file.known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() as u64 + 1 == step {
        known.push(positions);
    }
}

/// Where the blocks end that begin at `at` and have these sizes.
fn sum(at: u64, sizes: &[u32], inode: &Inode) -> Result<u64> {
    let end = sizes.iter().try_fold(at, |at, size| at.checked_add(u64::from(size & !STORED)));
    end.ok_or_else(|| {
        Error::from(ParseError::corrupt(inode.at, "sizes of a file's blocks", "those of a volume", "too large ones"))
    })
}
