//! XPRESS with Huffman codes (\[MS-XCA\], sections 2.1 and 2.2).

use super::code::{Bits, Code, copy};

/// Symbols: 256 literals, then 16 lengths for each of 16 distance sizes.
const SYMBOLS: usize = 512;
const SHORTEST: usize = 3;

/// Decompresses one chunk, filling `out`. `None` when the bytes are invalid.
pub(super) fn decompress(compressed: &[u8], out: &mut [u8]) -> Option<()> {
    let (table, rest) = compressed.split_at_checked(SYMBOLS / 2)?;
    let lengths: Vec<u8> = table.iter().flat_map(|two| [two & 15, two >> 4]).collect();
    let code = Code::new(&lengths)?;
    let mut bits = Bits::new(rest);
    let mut done = 0;
    while done < out.len() {
        let symbol = code.symbol(&mut bits)?;
        if let Ok(byte) = u8::try_from(symbol) {
            out[done] = byte;
            done += 1;
            continue;
        }
        let (mut len, distance_bits) = (usize::from(symbol & 15), u32::from(symbol >> 4 & 15));
        // The bytes of a long length follow the words read so far.
        bits.ensure(16)?;
        let distance = 1 << distance_bits | bits.take(distance_bits)?;
        if len == 15 {
            len += usize::from(bits.byte()?);
            if len == 15 + 255 {
                len = usize::from(u16::from_le_bytes([bits.byte()?, bits.byte()?]));
            }
        }
        done = copy(out, done, usize::try_from(distance).ok()?, len + SHORTEST)?;
    }
    Some(())
}
