//! Files compressed like Windows' system files (WOF, the Windows overlay filter, as created by `compact /exe`). The
//! unnamed stream is a hole of the file's size. The bytes are in the stream `WofCompressedData`: a table with the
//! offsets of the chunks after the first, relative to its own end, then the chunks. A chunk that did not get smaller is
//! stored uncompressed. The reparse point names the algorithm (`FILE_PROVIDER_EXTERNAL_INFO_V1` of the Windows SDK).

mod code;
mod lzx;
mod xpress;

use super::Ntfs;
use super::Opened;
use super::file::Stream;
use super::record::kind;
use crate::guestfs::{Error, Node, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::sync::Arc;

/// The stream with the compressed bytes.
pub(super) const STREAM: &str = "WofCompressedData";
/// Files larger than this many bytes have 8-byte offsets in the table.
const WIDE: u64 = 0xFFFF_FFFF;

/// How the chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// XPRESS with Huffman codes, in chunks of 4, 8 or 16 KiB.
    Xpress { chunk: u32 },
    /// LZX in chunks of 32 KiB.
    Lzx,
}

impl Algorithm {
    /// The algorithm with this ID in the reparse point.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::Xpress { chunk: 4 << 10 },
            1 => Self::Lzx,
            2 => Self::Xpress { chunk: 8 << 10 },
            3 => Self::Xpress { chunk: 16 << 10 },
            _ => return None,
        })
    }

    fn chunk(self) -> u32 {
        match self {
            Self::Xpress { chunk } => chunk,
            Self::Lzx => lzx::CHUNK,
        }
    }

    /// Decompresses one chunk; `None` when the bytes are invalid.
    fn decompress(self, compressed: &[u8], out: &mut [u8]) -> Option<()> {
        match self {
            Self::Xpress { .. } => xpress::decompress(compressed, out),
            Self::Lzx => lzx::decompress(compressed, out),
        }
    }
}

impl Ntfs {
    /// Fills `buf` with the bytes of a file from `offset` on, which lie within it.
    pub(super) fn read_wof(
        &self,
        node: Node,
        opened: &Opened,
        algorithm: Algorithm,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let chunk = u64::from(algorithm.chunk());
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = usize::try_from(at % chunk).unwrap_or(0);
            let bytes = self.wof_chunk(node, opened, algorithm, at / chunk)?;
            let rest = bytes.get(skip..).unwrap_or_default();
            let now = rest.len().min(buf.len() - done);
            if now == 0 {
                let expected = format!("more than {at} bytes");
                return Err(ParseError::corrupt(0, "size of a compressed file", expected, at).into());
            }
            buf[done..done + now].copy_from_slice(&rest[..now]);
            done += now;
        }
        Ok(())
    }

    /// Returns a decompressed chunk.
    fn wof_chunk(&self, node: Node, opened: &Opened, algorithm: Algorithm, index: u64) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.units.get(&(node.0, index)) {
            return Ok(bytes);
        }
        let size = opened.data.as_ref().map_or(0, Stream::size);
        let chunk = u64::from(algorithm.chunk());
        let record = opened.file.number;
        let bad = |what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(
                0,
                format!("{what} of the compressed file with record {record}"),
                expected,
                found,
            ))
        };
        let Some(compressed) = &opened.compressed else {
            return Err(bad("bytes", format!("a stream {STREAM}"), "none".to_owned()));
        };
        let (start, end) = self.chunk_range(compressed, size, chunk, index)?;
        let len = size.saturating_sub(index * chunk).min(chunk);
        // A chunk is never longer than its decompressed bytes.
        let Some(compressed_len) =
            end.checked_sub(start).filter(|compressed_len| *compressed_len <= len && *compressed_len > 0)
        else {
            let expected = format!("from {start} on at most {len} bytes for chunk {index}");
            return Err(bad("chunk table", expected, format!("up to {end}")));
        };
        let mut bytes = vec![0; usize::try_from(compressed_len).unwrap_or(0)];
        let volume_at = self.read_stream(compressed, start, &mut bytes)?;
        let bytes: Arc<[u8]> = if compressed_len == len {
            bytes.into()
        } else {
            let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
            algorithm.decompress(&bytes, &mut out).ok_or_else(|| {
                let what = format!("chunk {index} of the compressed file with record {record}");
                ParseError::corrupt(volume_at, what, format_args!("{algorithm:?}"), "bytes that do not decompress")
            })?;
            out.into()
        };
        self.units.insert((node.0, index), bytes.clone());
        Ok(bytes)
    }

    /// The start and end of a chunk in the stream.
    fn chunk_range(&self, compressed: &Stream, size: u64, chunk: u64, chunk_index: u64) -> Result<(u64, u64)> {
        let entry: u64 = if size > WIDE { 8 } else { 4 };
        let last = size.div_ceil(chunk).saturating_sub(1);
        let table = last.saturating_mul(entry);
        let offset_of = |index: u64| -> Result<u64> {
            let mut raw = [0; 8];
            let raw = &mut raw[..usize::try_from(entry).unwrap_or(8)];
            self.read_stream(compressed, index * entry, raw)?;
            let f = Fields::new("chunk table", raw, 0);
            let found = if entry == 8 { f.u64_le(0) } else { f.u32_le(0).map(u64::from) };
            Ok(found?.saturating_add(table))
        };
        let start = if chunk_index == 0 { table } else { offset_of(chunk_index - 1)? };
        let end = if chunk_index >= last { compressed.size() } else { offset_of(chunk_index)? };
        Ok((start, end))
    }
}

/// The compressed stream of a file.
pub(super) fn stream(file: &super::file::File) -> Result<Option<Stream>> {
    file.stream(kind::DATA, &STREAM.encode_utf16().collect::<Vec<_>>())
}
