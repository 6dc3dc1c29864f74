//! Decoding one chunk.

use super::adc;
use super::chunks::Kind;
use std::io::{self, Read};

/// Memory that the LZMA decoder may take, in KiB: a dictionary as large as the largest chunk, and its tables.
const LZMA_MEMORY: u32 = 80 << 10;

/// Decodes `compressed` into `out`.
///
/// # Errors
/// What is wrong with the bytes, also when they give fewer or more than `out` has.
pub(super) fn decode(kind: Kind, compressed: &[u8], out: &mut [u8]) -> io::Result<()> {
    match kind {
        // Neither has anything to decode.
        Kind::Zero | Kind::Raw => Err(io::Error::other("a chunk that is not compressed")),
        Kind::Adc if adc::decode(compressed, out) => Ok(()),
        Kind::Adc => Err(io::Error::other("codes that give other bytes")),
        Kind::Zlib => fill(flate2::bufread::ZlibDecoder::new(compressed), out),
        Kind::Bzip2 => fill(bzip2::bufread::BzDecoder::new(compressed), out),
        Kind::Lzfse => fill(lzfse_rust::LzfseRingDecoder::default().reader_bytes(compressed), out),
        Kind::Lzma => fill(lzma_rust2::XzReader::new_mem_limit(compressed, false, LZMA_MEMORY), out),
    }
}

/// Reads exactly as many bytes as `out` has, up to the end of what `reader` gives.
fn fill(mut reader: impl Read, out: &mut [u8]) -> io::Result<()> {
    reader.read_exact(out)?;
    // Also makes the decoder look at the checksum after the data.
    match reader.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more bytes")),
    }
}
