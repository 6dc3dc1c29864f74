//! LZX (\[MS-PATCH\]) in the form of Windows images: each chunk of 32 KiB is compressed on its own, and call addresses
//! in x86 code are always translated, for a file size of 12,000,000 bytes (<https://wimlib.net/>, `lzx_decompress.c`).

use super::code::{Bits, Code, copy};

/// Bytes in a chunk, and in the window.
pub(super) const CHUNK: u32 = 32 << 10;
const BYTES: usize = 256;
/// Position slots for a window of 32 KiB.
const SLOTS: usize = 30;
/// Lengths in the main code; the last one stands for a longer match with its length in the length code.
const LENGTHS: usize = 8;
const MAIN: usize = BYTES + SLOTS * LENGTHS;
const MORE_LENGTHS: usize = 249;
const SHORTEST: usize = 2;
/// The file size that the translation of addresses assumes.
const CALLS: i32 = 12_000_000;

/// Code lengths, which the next block encodes as differences.
struct Lengths {
    main: [u8; MAIN],
    length: [u8; MORE_LENGTHS],
}

/// Decompresses one chunk, filling `out`. `None` when the bytes are invalid.
pub(super) fn decompress(compressed: &[u8], out: &mut [u8]) -> Option<()> {
    let mut bits = Bits::new(compressed);
    let mut lengths = Lengths { main: [0; MAIN], length: [0; MORE_LENGTHS] };
    let mut recent = [1_u32; 3];
    let mut done = 0;
    while done < out.len() {
        let kind = bits.take(3)?;
        let size = if bits.take(1)? == 1 { CHUNK } else { bits.take(16)? };
        let end = done.checked_add(usize::try_from(size).ok()?).filter(|end| *end <= out.len() && *end > done)?;
        match kind {
            1 | 2 => {
                let aligned = if kind == 2 { Some(aligned_code(&mut bits)?) } else { None };
                let codes = codes(&mut bits, &mut lengths)?;
                block(&mut bits, &codes, aligned.as_ref(), &mut recent, out, done..end)?;
            }
            3 => stored(&mut bits, &mut recent, out.get_mut(done..end)?)?,
            _ => return None,
        }
        done = end;
    }
    undo_calls(out);
    Some(())
}

/// Reads the code of the lower three bits of long distances.
fn aligned_code(bits: &mut Bits<'_>) -> Option<Code> {
    let mut lengths = [0; 8];
    for len in &mut lengths {
        *len = u8::try_from(bits.take(3)?).ok()?;
    }
    Code::new(&lengths)
}

/// Reads the main code and the length code.
fn codes(bits: &mut Bits<'_>, lengths: &mut Lengths) -> Option<(Code, Code)> {
    read_lengths(bits, &mut lengths.main[..BYTES])?;
    read_lengths(bits, &mut lengths.main[BYTES..])?;
    read_lengths(bits, &mut lengths.length)?;
    Some((Code::new(&lengths.main)?, Code::new(&lengths.length)?))
}

/// Reads encoded code lengths: differences from those of the block before, modulo 17, or runs.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Option<()> {
    let mut own = [0; 20];
    for len in &mut own {
        *len = u8::try_from(bits.take(4)?).ok()?;
    }
    let code = Code::new(&own)?;
    let changed = |old: u8, symbol: u16| u8::try_from((u16::from(old) + 17 - symbol) % 17).ok();
    let mut at = 0;
    while at < lengths.len() {
        let symbol = code.symbol(bits)?;
        let (count, value) = match symbol {
            0..=16 => (1, changed(lengths[at], symbol)?),
            17 => (4 + bits.take(4)?, 0),
            18 => (20 + bits.take(5)?, 0),
            _ => {
                let count = 4 + bits.take(1)?;
                let symbol = code.symbol(bits).filter(|symbol| *symbol <= 16)?;
                (count, changed(lengths[at], symbol)?)
            }
        };
        // A run may go past the end, as wimlib allows too.
        let end = at.saturating_add(usize::try_from(count).ok()?).min(lengths.len());
        lengths[at..end].fill(value);
        at = end;
    }
    Some(())
}

fn block(
    bits: &mut Bits<'_>,
    (main, length): &(Code, Code),
    aligned: Option<&Code>,
    recent: &mut [u32; 3],
    out: &mut [u8],
    range: std::ops::Range<usize>,
) -> Option<()> {
    let mut done = range.start;
    while done < range.end {
        let symbol = main.symbol(bits)?;
        if let Ok(byte) = u8::try_from(symbol) {
            out[done] = byte;
            done += 1;
            continue;
        }
        let symbol = usize::from(symbol) - BYTES;
        let (slot, mut len) = (symbol / LENGTHS, symbol % LENGTHS);
        if len == LENGTHS - 1 {
            len += usize::from(length.symbol(bits)?);
        }
        let distance = if slot < 3 {
            recent.swap(0, slot);
            recent[0]
        } else {
            let distance = distance(bits, slot, aligned)?;
            *recent = [distance, recent[0], recent[1]];
            distance
        };
        done = copy(&mut out[..range.end], done, usize::try_from(distance).ok()?, len + SHORTEST)?;
    }
    Some(())
}

/// The distance of a slot: its base plus the value of the following bits.
fn distance(bits: &mut Bits<'_>, slot: usize, aligned: Option<&Code>) -> Option<u32> {
    let slot = u32::try_from(slot).ok()?;
    let extra = if slot < 2 { 0 } else { slot / 2 - 1 };
    let first = if slot < 2 { slot } else { (2 + slot % 2) << extra };
    let more = match aligned {
        Some(code) if extra >= 3 => {
            let upper = bits.take(extra - 3)? << 3;
            upper | u32::from(code.symbol(bits)?)
        }
        _ => bits.take(extra)?,
    };
    // The first three distances stand for recently used ones.
    (first + more).checked_sub(2)
}

/// Reads an uncompressed block, which begins with the three recent distances.
fn stored(bits: &mut Bits<'_>, recent: &mut [u32; 3], out: &mut [u8]) -> Option<()> {
    // At least one bit of padding precedes the block, so at a word boundary a whole word is skipped.
    bits.ensure(1)?;
    bits.align();
    for distance in recent.iter_mut() {
        *distance = u32::from_le_bytes(*bits.bytes(4)?.first_chunk()?);
    }
    out.copy_from_slice(bits.bytes(out.len())?);
    if out.len() % 2 == 1 {
        bits.byte()?;
    }
    Some(())
}

/// Turns absolute addresses after the x86 call instruction back into relative ones.
fn undo_calls(out: &mut [u8]) {
    let Some(last) = out.len().checked_sub(10) else { return };
    let mut at = 0;
    while at < last {
        if out[at] != 0xE8 {
            at += 1;
            continue;
        }
        let position = i32::try_from(at).unwrap_or(i32::MAX);
        let Some(raw) = out.get(at + 1..).and_then(|rest| rest.first_chunk::<4>()) else { return };
        let absolute = i32::from_le_bytes(*raw);
        let relative = match absolute {
            0.. if absolute < CALLS => absolute - position,
            ..0 if absolute >= -position => absolute + CALLS,
            _ => absolute,
        };
        out[at + 1..at + 5].copy_from_slice(&relative.to_le_bytes());
        at += 5;
    }
}
