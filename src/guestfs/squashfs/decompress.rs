//! Decompressing one block. A volume has one compressor for all of its blocks.

use crate::ondisk::zstd;
use std::io::{self, Read};

/// Memory that LZMA may take, in KiB: its window is as large as a block, and mksquashfs makes none of more than 1 MiB.
const LZMA_MEMORY: u32 = 16 << 10;

/// `compression` of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compressor {
    Gzip,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    pub(super) fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Gzip,
            2 => Self::Lzma,
            3 => Self::Lzo,
            4 => Self::Xz,
            5 => Self::Lz4,
            6 => Self::Zstd,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lzma => "LZMA",
            Self::Lzo => "LZO",
            Self::Xz => "XZ",
            Self::Lz4 => "LZ4",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses a block into `out` and returns how many bytes it has.
    ///
    /// # Errors
    /// When the block is corrupt, or has more bytes than `out` has room for.
    pub(super) fn decompress(self, compressed: &[u8], out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip => fill(flate2::bufread::ZlibDecoder::new(compressed), out),
            Self::Lzma => fill(lzma_rust2::LzmaReader::new_mem_limit(compressed, LZMA_MEMORY, None)?, out),
            Self::Lzo => lzokay::decompress::decompress(compressed, out).map_err(|e| io::Error::other(e.to_string())),
            Self::Xz => fill(lzma_rust2::XzReader::new_mem_limit(compressed, false, LZMA_MEMORY), out),
            Self::Lz4 => lz4_flex::block::decompress_into(compressed, out).map_err(io::Error::other),
            Self::Zstd => unzstd(compressed, out).map_err(io::Error::other),
        }
    }
}

fn unzstd(compressed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    let frame = zstd::decompress(compressed, out)?;
    match compressed.len() - frame.compressed {
        _ if frame.has_more => Err("more bytes".to_owned()),
        0 => Ok(frame.len),
        rest => Err(format!("{rest} bytes after the frame")),
    }
}

/// Reads all that `reader` gives, which must have room in `out`.
fn fill(mut reader: impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match reader.read(&mut out[done..])? {
            0 => return Ok(done),
            more => done += more,
        }
    }
    // Also makes the decoder look at the checksum after the data.
    match reader.read(&mut [0])? {
        0 => Ok(done),
        _ => Err(io::Error::other("more bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lzo_blocks_that_are_cut_short_or_lie_are_refused() {
        // Four literals, then eight more from four back, then the end.
        let compressed = [21, b'a', b'b', b'c', b'd', 32 + 6, 3 << 2, 0, 17, 0, 0];
        let mut out = [0; 12];
        assert_eq!(Compressor::Lzo.decompress(&compressed, &mut out).unwrap(), 12);
        assert_eq!(&out, b"abcdabcdabcd");
        assert!(Compressor::Lzo.decompress(&compressed, &mut [0; 11]).is_err());
        for len in 0..compressed.len() {
            assert!(Compressor::Lzo.decompress(&compressed[..len], &mut out).is_err(), "{len}");
        }
        // From before the start, and more after the end.
        for compressed in [&[18, b'a', 32 + 6, 3 << 2, 0, 17, 0, 0][..], &[17, 0, 0, 0]] {
            assert!(Compressor::Lzo.decompress(compressed, &mut out).is_err(), "{compressed:?}");
        }
    }
}
