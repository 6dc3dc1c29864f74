//! Compressed clusters.

use super::header::Compression;
use crate::image::Fault;
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::Read;

/// The largest window that a zstd frame may ask for, in bytes. A cluster has at most 2 MiB.
const MAX_WINDOW: u64 = 16 << 20;

/// Decompresses `packed`, which lies at `offset` in the file, to exactly the length of `out`. Bytes after the end of
/// the compressed stream are ignored: its length is stored in whole sectors.
///
/// # Errors
/// [`Fault`] when the stream is damaged, or does not hold exactly that many bytes.
pub(in crate::image) fn decode(
    compression: Compression,
    packed: &[u8],
    offset: u64,
    out: &mut [u8],
) -> Result<(), Fault> {
    let (name, result) = match compression {
        Compression::Zlib => ("zlib", inflate(packed, out)),
        Compression::Zstd => ("zstd", unzstd(packed, out)),
    };
    let expected = format_args!("{name} data of {} bytes", out.len());
    result.map_err(|found| Fault::corrupt(offset, "compressed QCOW cluster", expected, found))
}

fn inflate(packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut stream = Decompress::new(false);
    let mut status = stream.decompress(packed, out, FlushDecompress::Finish).map_err(|e| e.to_string())?;
    if status != Status::StreamEnd && stream.total_out() == out.len() as u64 {
        // The end of the stream may still be unread.
        let used = usize::try_from(stream.total_in()).unwrap_or(packed.len());
        let rest = packed.get(used..).unwrap_or_default();
        status = stream.decompress(rest, &mut [0], FlushDecompress::Finish).map_err(|e| e.to_string())?;
    }
    match stream.total_out() {
        n if n > out.len() as u64 => Err("more".to_owned()),
        n if n < out.len() as u64 => Err(format!("{n} bytes")),
        _ if status == Status::StreamEnd => Ok(()),
        _ => Err("no end of the stream".to_owned()),
    }
}

fn unzstd(packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut frame = FrameDecoder::new();
    frame.set_max_window_size(MAX_WINDOW);
    let mut stream = StreamingDecoder::new_with_decoder(packed, frame).map_err(|e| e.to_string())?;
    stream.read_exact(out).map_err(|e| e.to_string())?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("more".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
