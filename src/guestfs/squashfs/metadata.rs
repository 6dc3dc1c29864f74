//! Metadata: inodes, directories and tables are streams in compressed blocks of 8 KiB, each with a length of two bytes
//! before it (<https://docs.kernel.org/filesystems/squashfs.html>).

use super::Squashfs;
use crate::guestfs::foreign::guarded;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use std::sync::Arc;

/// Bytes of a block once it is decompressed; only the last one of a stream has fewer.
pub(super) const BLOCK: usize = 8192;
/// Bit of a block's length: the block is not compressed.
const STORED: u16 = 0x8000;

/// A position in a stream: the byte of the volume where its block begins, and a byte within that block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) block: u64,
    pub(super) offset: usize,
}

/// A decompressed block.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// Where the next one begins.
    next: u64,
}

impl Squashfs {
    /// A position as references have it: the block's distance from the start of its table in the upper 32 of 48 bits,
    /// and the byte within the block in the lower 16.
    pub(super) fn position(&self, table: u64, reference: u64, what: &str) -> Result<Position> {
        let block = table.checked_add(reference >> 16).filter(|block| *block < self.sb.bytes_used);
        let offset = usize::try_from(reference & 0xFFFF).ok().filter(|offset| *offset < BLOCK);
        let (Some(block), Some(offset)) = (block, offset) else {
            let expected = format!("a block below {} and a byte below {BLOCK}", self.sb.bytes_used);
            return Err(ParseError::corrupt(table, what, expected, format_args!("{reference:#x}")).into());
        };
        Ok(Position { block, offset })
    }

    /// The metadata block at byte `at` of the volume.
    pub(super) fn block(&self, at: u64, what: &str) -> Result<Arc<Block>> {
        if let Some(block) = self.metadata.get(&at) {
            return Ok(block);
        }
        let bad = |expected: String, found: String| {
            Error::from(ParseError::corrupt(at, format!("block of {what}"), expected, found))
        };
        let start = at.checked_add(2).filter(|start| *start <= self.sb.bytes_used);
        let start = start.ok_or_else(|| bad(format!("one below {}", self.sb.bytes_used), "one after it".to_owned()))?;
        let mut length = [0; 2];
        self.volume.read_at(at, &mut length)?;
        let length = u16::from_le_bytes(length);
        // A length of zero means all of the bits.
        let size = if length & !STORED == 0 { STORED } else { length & !STORED };
        let next = start + u64::from(size);
        if usize::from(size) > BLOCK || next > self.sb.bytes_used {
            return Err(bad(
                format!("at most {BLOCK} bytes that end by {}", self.sb.bytes_used),
                format!("{size} bytes"),
            ));
        }
        let mut bytes = vec![0; usize::from(size)];
        self.volume.read_at(start, &mut bytes)?;
        if length & STORED == 0 {
            let mut out = vec![0; BLOCK];
            let len = self.decompress_block(&bytes, &mut out, at, what)?;
            out.truncate(len);
            bytes = out;
        }
        let block = Arc::new(Block { bytes, next });
        self.metadata.insert(at, block.clone());
        Ok(block)
    }

    /// Decompresses a block that is at byte `at` of the volume and returns how many bytes it has.
    pub(super) fn decompress_block(&self, compressed: &[u8], out: &mut [u8], at: u64, what: &str) -> Result<usize> {
        let compressor = self.sb.compressor;
        let expected = format!("{} of at most {} bytes", compressor.name(), out.len());
        guarded(|| {
            let decompressed = compressor.decompress(compressed, out);
            decompressed
                .map_err(|e| Error::from(ParseError::corrupt(at, format!("compressed block of {what}"), expected, e)))
        })
    }

    /// Reads `len` bytes of a stream and moves the position after them. `len` is small: what is large is read in
    /// segments.
    pub(super) fn read_metadata(&self, position: &mut Position, len: usize, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let block = self.block(position.block, what)?;
            let left = block.bytes.get(position.offset..).unwrap_or_default();
            let now = left.len().min(len - bytes.len());
            bytes.extend_from_slice(&left[..now]);
            position.offset += now;
            if now == left.len() {
                if block.bytes.len() < BLOCK && bytes.len() < len {
                    let expected = format!("{} more bytes of {what}", len - bytes.len());
                    return Err(ParseError::corrupt(
                        position.block,
                        format!("block of {what}"),
                        expected,
                        "the last ones",
                    )
                    .into());
                }
                *position = Position { block: block.next, offset: 0 };
            }
        }
        Ok(bytes)
    }

    /// Entry `index` of a table: the metadata blocks that it fills are listed, eight bytes each, at byte `list` of the
    /// volume. `size` is that of an entry and divides that of a block.
    pub(super) fn table_entry(&self, list: u64, index: u64, size: usize, what: &str) -> Result<(Vec<u8>, u64)> {
        let per_block = (BLOCK / size) as u64;
        let at = list.saturating_add(8 * (index / per_block));
        if at.checked_add(8).is_none_or(|end| end > self.sb.bytes_used) {
            let expected = format!("an entry below byte {}", self.sb.bytes_used);
            return Err(
                ParseError::corrupt(list, format!("list of {what}"), expected, format_args!("number {index}")).into()
            );
        }
        let mut raw = [0; 8];
        self.volume.read_at(at, &mut raw)?;
        let block = u64::from_le_bytes(raw);
        let offset = usize::try_from(index % per_block).unwrap_or(0) * size;
        Ok((self.read_metadata(&mut Position { block, offset }, size, what)?, block))
    }
}
