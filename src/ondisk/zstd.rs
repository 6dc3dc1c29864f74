//! zstd frames (<https://www.rfc-editor.org/rfc/rfc8878>) as used in images and guests' file systems: one frame per
//! block, of known size.
//!
//! They are decompressed by zstd's own library, which is five times as fast as the crate ruzstd and has been fuzzed for
//! years.

use std::cell::RefCell;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// `Magic_Number`. Skippable frames have other ones; no block is one of those.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// The largest window that a frame may ask for, as a power of two of bytes. Blocks are far smaller, and memory is only
/// taken for a window when the frame does not say how many bytes it has, or has more than there is space for.
const WINDOW_LOG_MAX: u32 = 24;
/// Memory that a thread keeps for the next frame, in bytes: what is always needed, and a window of a common block.
const CACHED: usize = 1 << 20;

/// The result of decompressing a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes that are decompressed.
    pub(crate) len: usize,
    /// Bytes that it took, packed.
    pub(crate) compressed: usize,
    /// Whether it has more bytes than there was space for.
    pub(crate) has_more: bool,
}

thread_local! {
    /// Making one for each frame costs a third of the time of small ones.
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Decompresses the frame that `compressed` begins with into `out`, up to its end or that of `out`. What follows the
/// frame is not looked at.
///
/// # Errors
/// What is wrong with the frame, to follow "found".
pub(crate) fn decompress(compressed: &[u8], out: &mut [u8]) -> Result<Frame, String> {
    if !compressed.starts_with(&MAGIC) {
        return Err("no zstd frame".to_owned());
    }
    CONTEXT.with_borrow_mut(|cached| {
        let mut context = cached.take().or_else(DCtx::try_create).ok_or("no memory")?;
        context.reset(ResetDirective::SessionAndParameters).map_err(reason)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(reason)?;
        let frame = decompress_with(&mut context, compressed, out);
        if context.sizeof() <= CACHED {
            *cached = Some(context);
        }
        frame
    })
}

fn decompress_with(context: &mut DCtx, compressed: &[u8], out: &mut [u8]) -> Result<Frame, String> {
    let mut input = InBuffer::around(compressed);
    let (len, ended) = fill(context, &mut input, out)?;
    // The end, such as a checksum, may still be unread.
    let (more, ended) = if ended { (0, true) } else { fill(context, &mut input, &mut [0])? };
    if !ended && (len < out.len() || more == 0) {
        return Err(format!("{len} bytes and no end of the frame"));
    }
    Ok(Frame { len, compressed: input.pos(), has_more: more > 0 })
}

/// Decompresses until `out` is full, the frame ends or its bytes do. Tells how many bytes there were, and whether it
/// ended.
fn fill(context: &mut DCtx, input: &mut InBuffer, out: &mut [u8]) -> Result<(usize, bool), String> {
    let mut output = OutBuffer::around(out);
    loop {
        let before = (input.pos(), output.pos());
        let wanted = context.decompress_stream(&mut output, input).map_err(reason)?;
        if wanted == 0 || before == (input.pos(), output.pos()) {
            return Ok((output.pos(), wanted == 0));
        }
    }
}

fn reason(code: usize) -> String {
    get_error_name(code).to_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::ondisk::zstd::*;
    use zstd_safe::CCtx;

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * i / 7 % 251).unwrap()).collect()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
        zstd_safe::compress(&mut compressed, bytes, 3).unwrap();
        compressed
    }

    /// A frame with a checksum that does not say how many bytes it has, as programs make that write as they read.
    fn compress_stream(bytes: &[u8]) -> Vec<u8> {
        let mut context = CCtx::create();
        context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
        let mut compressed = Vec::with_capacity(2 * zstd_safe::compress_bound(bytes.len()));
        let mut output = OutBuffer::around(&mut compressed);
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            context.compress_stream(&mut output, &mut input).unwrap();
        }
        assert_eq!(context.end_stream(&mut output).unwrap(), 0);
        compressed
    }

    #[test]
    fn a_frame_ends_where_it_ends() {
        for len in [0, 1, 511, 4096, 131_072, 1_000_000] {
            let bytes = text(len);
            for compressed in [deflate(&bytes), compress_stream(&bytes)] {
                for after in [&[] as &[u8], &[0; 700], &compressed] {
                    let followed = [&compressed, after].concat();
                    for spare in [0, 1, 5000] {
                        let mut out = vec![0xEE; len + spare];
                        let whole = Frame { len, compressed: compressed.len(), has_more: false };
                        assert_eq!(decompress(&followed, &mut out), Ok(whole));
                        assert_eq!(out[..len], bytes);
                    }
                    if len > 0 {
                        let mut out = vec![0; len - 1];
                        let frame = decompress(&followed, &mut out).unwrap();
                        assert_eq!((frame.len, frame.has_more), (len - 1, true));
                        assert_eq!(out, bytes[..len - 1]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_error_at_every_length() {
        let bytes = text(3000);
        for compressed in [deflate(&bytes), compress_stream(&bytes)] {
            for len in 0..compressed.len() {
                let done = decompress(&compressed[..len], &mut [0; 3000]);
                assert!(done.is_err(), "{len} of {}: {done:?}", compressed.len());
            }
        }
    }

    #[test]
    fn what_is_no_frame_or_asks_for_too_much_is_refused() {
        // A skippable frame, a window of 2^41 bytes, one of 2^25, and a dictionary.
        for (compressed, expected) in [
            (&[][..], "no zstd frame"),
            (&[0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 0], "no zstd frame"),
            (&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 1, 0, 0], "frame requires too much memory for decoding"),
            (&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x78, 1, 0, 0], "frame requires too much memory for decoding"),
            (&[0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x00, 7, 1, 0, 0], "dictionary mismatch"),
        ] {
            assert_eq!(decompress(compressed, &mut [0; 64]).unwrap_err(), expected, "{compressed:?}");
        }
        // What is retained of those does no harm.
        assert_eq!(decompress(&deflate(b"valid"), &mut [0; 5]).map(|frame| frame.len), Ok(5));
    }

    #[test]
    fn a_large_window_is_not_cached() {
        let bytes = text(6 << 20);
        let compressed = compress_stream(&bytes);
        assert!(decompress(&compressed, &mut [0; 64]).unwrap().has_more);
        assert!(CONTEXT.with_borrow(Option::is_none));
        decompress(&deflate(&bytes), &mut vec![0; 6 << 20]).unwrap();
        assert!(CONTEXT.with_borrow(Option::is_some));
    }
}
