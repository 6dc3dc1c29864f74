//! Decompressing compressed extents: zlib and zstd streams, and LZO in segments
//! (<https://btrfs.readthedocs.io/en/latest/Compression.html>). Only data up to the end of
//! the file is compressed; the rest of the extent is zeros.

use crate::ondisk::zstd;
use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of a length in LZO extents.
const LENGTH: usize = 4;

/// How an extent is compressed (`compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Compression {
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "LZO",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses into `out`, which is zeros. `sector` is the size of the file system's sectors.
    ///
    /// # Errors
    /// What is wrong with the stream, to follow "found".
    pub(super) fn decompress(self, compressed: &[u8], sector: usize, out: &mut [u8]) -> Result<(), String> {
        let done = match self {
            Self::Zlib => inflate(compressed, out),
            Self::Lzo => unlzo(compressed, sector, out),
            // As the kernel does: what follows the frame, and what it has after the end of the extent, is passed over.
            Self::Zstd => zstd::decompress(compressed, out).map(|_| ()),
        };
        done.map_err(|found| format!("{found} in its {} stream", self.name()))
    }
}

fn inflate(compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut stream = Decompress::new(true);
    let status = stream.decompress(compressed, out, FlushDecompress::Finish).map_err(|e| e.to_string())?;
    if status == Status::StreamEnd || stream.total_out() == out.len() as u64 {
        return Ok(());
    }
    Err("no end".to_owned())
}

/// The length of all, then segments of a length and that many bytes, each of which decompresses to a sector at most. A
/// length never crosses from one sector to the next.
fn unlzo(compressed: &[u8], sector: usize, out: &mut [u8]) -> Result<(), String> {
    let length = |at: usize| {
        let raw = compressed.get(at..).and_then(|rest| rest.first_chunk::<LENGTH>());
        raw.map(|raw| usize::try_from(u32::from_le_bytes(*raw)).unwrap_or(usize::MAX))
    };
    let total = length(0).filter(|total| *total <= compressed.len()).ok_or("a wrong length")?;
    let (mut at, mut done) = (LENGTH, 0);
    while at < total && done < out.len() {
        let len = length(at).ok_or("a segment without length")?;
        let start = at + LENGTH;
        let segment = start.checked_add(len).filter(|end| *end <= total).map(|end| &compressed[start..end]);
        let segment = segment.ok_or_else(|| format!("a segment of {len} bytes"))?;
        let end = done.saturating_add(sector).min(out.len());
        done += lzokay::decompress::decompress(segment, &mut out[done..end]).map_err(|e| e.to_string())?;
        at = start + len;
        let left = sector - at % sector;
        if left < LENGTH {
            at += left;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_end_early_or_lie_are_refused() {
        let mut out = [0; 4096];
        for compression in [Compression::Zlib, Compression::Lzo, Compression::Zstd] {
            for compressed in
                [&[] as &[u8], &[0; 3], &[0xFF; 4096], &[0x78, 0x9C, 0x4B], &[0x28, 0xB5, 0x2F, 0xFD, 0x24]]
            {
                let done = compression.decompress(compressed, 4096, &mut out);
                assert!(done.as_ref().is_err_and(|e| e.contains("stream")), "{compression:?} {compressed:?}: {done:?}");
            }
        }
        // A segment that leaves its stream, and one that gives more than a sector.
        for compressed in [&[12, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3, 4][..], &[8, 0, 0, 0, 255, 255, 255, 255]] {
            assert!(Compression::Lzo.decompress(compressed, 4096, &mut out).is_err(), "{compressed:?}");
        }
    }
}
