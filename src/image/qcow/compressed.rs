//! Compressed clusters.

use super::header::Compression;
use crate::ondisk::{ParseError, zstd};
use flate2::{Decompress, FlushDecompress, Status};

/// Decompresses `compressed`, which lies at `offset` in the file, to exactly the length of `out`. Bytes after the end
/// of the compressed stream are ignored: its length is stored in whole sectors.
///
/// # Errors
/// [`ParseError`] when the stream is corrupt, or does not hold exactly that many bytes.
pub(in crate::image) fn decode(
    compression: Compression,
    compressed: &[u8],
    offset: u64,
    out: &mut [u8],
) -> Result<(), ParseError> {
    let (name, result) = match compression {
        Compression::Zlib => ("zlib", inflate(compressed, out)),
        Compression::Zstd => ("zstd", unzstd(compressed, out)),
    };
    let expected = format_args!("{name} data of {} bytes", out.len());
    result.map_err(|found| ParseError::corrupt(offset, "compressed QCOW cluster", expected, found))
}

fn inflate(compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut stream = Decompress::new(false);
    let mut status = stream.decompress(compressed, out, FlushDecompress::Finish).map_err(|e| e.to_string())?;
    if status != Status::StreamEnd && stream.total_out() == out.len() as u64 {
        // The end of the stream may still be unread.
        let used = usize::try_from(stream.total_in()).unwrap_or(compressed.len());
        let rest = compressed.get(used..).unwrap_or_default();
        status = stream.decompress(rest, &mut [0], FlushDecompress::Finish).map_err(|e| e.to_string())?;
    }
    match stream.total_out() {
        n if n > out.len() as u64 => Err("more".to_owned()),
        n if n < out.len() as u64 => Err(format!("{n} bytes")),
        _ if status == Status::StreamEnd => Ok(()),
        _ => Err("no end of the stream".to_owned()),
    }
}

fn unzstd(compressed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let frame = zstd::decompress(compressed, out)?;
    match frame.len {
        _ if frame.has_more => Err("more".to_owned()),
        n if n < out.len() => Err(format!("{n} bytes")),
        _ => Ok(()),
    }
}
