//! Files compressed block by block with zlib (zisofs, versions 1 and 2, described in
//! <https://dev.lovelyhq.com/libburnia/libisofs/raw/branch/master/doc/zisofs2_format.txt>).

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use flate2::{Decompress, FlushDecompress, Status};

/// Magic numbers at the start of a file in version 1 and 2.
const MAGIC_1: [u8; 8] = [0x37, 0xE4, 0x53, 0x96, 0xC9, 0xDB, 0xD6, 0x07];
const MAGIC_2: [u8; 8] = [0xEF, 0x22, 0x55, 0xA1, 0xBC, 0x1B, 0x95, 0xA0];
/// The algorithm zlib in version 1 and 2, and its ID in the header of version 2.
const ZLIB_1: &[u8; 2] = b"pz";
const ZLIB_2: &[u8; 2] = b"PZ";
const ZLIB_ID: u8 = 1;
/// Smallest and largest binary logarithm of the block size.
const MIN_BLOCK: u8 = 15;
const MAX_BLOCK: u8 = 20;

/// The field `ZF` or `Z2` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compression {
    version: u8,
    algorithm: [u8; 2],
    /// Bytes in the header of the file.
    pub(super) header: usize,
    /// Binary logarithm of the block size in bytes.
    block: u8,
    /// Size of the decompressed file in bytes.
    pub(super) size: u64,
}

impl Compression {
    /// Parses the field, whose version is `version`.
    pub(super) fn parse(version: u8, f: &Fields<'_>) -> Result<Self, ParseError> {
        let size = if version == 1 { u64::from(f.u32_le(8)?) } else { f.u64_le(8)? };
        let (header, block) = (usize::from(f.u8(6)?) * 4, f.u8(7)?);
        let how = Self { version, algorithm: [f.u8(4)?, f.u8(5)?], header, block, size };
        let shortest = if version == 1 { 16 } else { 24 };
        if header < shortest {
            let expected = format!("at least {shortest}");
            return Err(ParseError::corrupt(f.offset(6), "length of a compressed file's header", expected, header));
        }
        if !(MIN_BLOCK..=MAX_BLOCK).contains(&block) {
            let expected = format!("from 2^{MIN_BLOCK} to 2^{MAX_BLOCK}");
            let found = format_args!("2^{block}");
            return Err(ParseError::corrupt(f.offset(7), "block size of a compressed file", expected, found));
        }
        Ok(how)
    }

    /// Describes a form that cannot be decompressed here; `None` for known ones.
    pub(super) fn unknown(&self) -> Option<String> {
        let known = matches!((self.version, &self.algorithm), (1, ZLIB_1) | (2, ZLIB_2));
        let algorithm = self.algorithm.escape_ascii();
        (!known).then(|| format!("is compressed with {algorithm} in version {} of zisofs", self.version))
    }

    /// Bytes in a decompressed block; the last one may be shorter.
    pub(super) fn block_size(&self) -> u64 {
        1 << self.block
    }

    /// The number of bytes in a block; block 0 is the first.
    pub(super) fn len_of(&self, block: u64) -> usize {
        let start = block.saturating_mul(self.block_size());
        usize::try_from(self.size.saturating_sub(start).min(self.block_size())).unwrap_or(0)
    }

    /// Compares the header of the file, which is at byte `at` of the volume, with the field.
    pub(super) fn check(&self, header: &[u8], at: u64) -> Result<(), ParseError> {
        let f = Fields::new("header of a compressed file", header, at);
        let magic = if self.version == 1 { MAGIC_1 } else { MAGIC_2 };
        if f.bytes(0, 8)? != magic {
            let what = "start of a compressed file";
            return Err(ParseError::corrupt(
                at,
                what,
                format_args!("{magic:02x?}"),
                format_args!("{:02x?}", f.bytes(0, 8)?),
            ));
        }
        let (size, block, algorithm) = match self.version {
            1 => (u64::from(f.u32_le(8)?), f.u8(13)?, ZLIB_ID),
            _ => (f.u64_le(12)?, f.u8(11)?, f.u8(10)?),
        };
        let found = (size, block, algorithm);
        let expected = (self.size, self.block, ZLIB_ID);
        if found == expected {
            return Ok(());
        }
        let what = "size, block size and algorithm of a compressed file";
        Err(ParseError::corrupt(at, what, format_args!("{expected:?}"), format_args!("{found:?}")))
    }

    /// Offset in the file and total length of the pointers to a block and its end.
    pub(super) fn pointers_of(&self, block: u64) -> (u64, usize) {
        let width = self.pointer();
        ((self.header as u64).saturating_add(block.saturating_mul(width as u64)), 2 * width)
    }

    fn pointer(&self) -> usize {
        if self.version == 1 { 4 } else { 8 }
    }

    /// Offset and length of a compressed block in the file; `raw` has its pointers, which are at byte `at` of the
    /// volume.
    pub(super) fn stored(&self, raw: &[u8], at: u64) -> Result<(u64, usize), ParseError> {
        let f = Fields::new("pointers of a compressed file", raw, at);
        let pointer = |index: usize| match self.version {
            1 => f.u32_le(index * 4).map(u64::from),
            _ => f.u64_le(index * 8),
        };
        let (start, end) = (pointer(0)?, pointer(1)?);
        // Incompressible data grows by a few bytes.
        let most = 2 * self.block_size();
        let len = end.checked_sub(start).filter(|len| *len <= most);
        let len = len.and_then(|len| usize::try_from(len).ok()).ok_or_else(|| {
            let expected = format!("an end from {start} to {}", start.saturating_add(most));
            ParseError::corrupt(at, "block of a compressed file", expected, end)
        })?;
        Ok((start, len))
    }
}

/// Decompresses a block, filling `out`; `at` is its offset on the volume. An empty block stands for zeros.
pub(super) fn decompress(compressed: &[u8], at: u64, out: &mut [u8]) -> Result<(), ParseError> {
    if compressed.is_empty() {
        out.fill(0);
        return Ok(());
    }
    let mut state = Decompress::new(true);
    let done = state.decompress(compressed, out, FlushDecompress::Finish);
    if matches!(done, Ok(Status::StreamEnd)) && state.total_out() == out.len() as u64 {
        return Ok(());
    }
    let expected = format!("zlib of {} bytes", out.len());
    let found = match done {
        Ok(_) => format!("{} bytes and no end", state.total_out()),
        Err(error) => error.to_string(),
    };
    Err(ParseError::corrupt(at, "block of a compressed file", expected, found))
}
