//! Bit streams and Huffman codes of XPRESS and LZX: little-endian 16-bit words, read from the most significant bit on,
//! and canonical codes of at most 16 bits.

/// Bits of a code resolved by one table look-up; longer codes are rare.
const QUICK: u32 = 10;
const LONGEST: usize = 16;
/// Bytes that may be missing at the end, as reading ahead goes past the last code.
const BEYOND: usize = 4;

/// A reader of bits with interspersed whole bytes.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, most significant first.
    word: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, word: 0, count: 0 }
    }

    /// Reads ahead until `count` bits (at most 16) are available. Returns zeros for a few bytes past the end, then
    /// fails.
    pub(super) fn ensure(&mut self, count: u32) -> Option<()> {
        while self.count < count {
            if self.at >= self.bytes.len() + BEYOND {
                return None;
            }
            let byte = |at: usize| self.bytes.get(at).copied().map_or(0, u64::from);
            let word = byte(self.at) | byte(self.at + 1) << 8;
            self.word |= word << (48 - self.count);
            self.count += 16;
            self.at += 2;
        }
        Some(())
    }

    /// Returns the next `count` bits (at most 16) without consuming them.
    fn peek(&self, count: u32) -> u32 {
        if count == 0 { 0 } else { u32::try_from(self.word >> (64 - count)).unwrap_or(0) }
    }

    fn drop(&mut self, count: u32) {
        self.word <<= count;
        self.count -= count;
    }

    /// Consumes the next `count` bits (at most 16) as a number.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        self.ensure(count)?;
        let bits = self.peek(count);
        self.drop(count);
        Some(bits)
    }

    /// Consumes the byte after the words read so far.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// Consumes the bytes after the words read so far.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    /// Discards the bits up to the next word.
    pub(super) fn align(&mut self) {
        self.word = 0;
        self.count = 0;
    }
}

/// A canonical Huffman code.
pub(super) struct Code {
    /// Symbol and code length for the next [`QUICK`] bits; length 0 for longer codes.
    quick: Vec<(u16, u8)>,
    /// The number of codes of each length.
    counts: [u32; LONGEST + 1],
    /// Symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    /// Creates the code of symbols with these lengths in bits, 0 for unused ones. `None` when the lengths are not a
    /// valid code.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u32; LONGEST + 1];
        for len in lengths {
            *counts.get_mut(usize::from(*len))? += 1;
        }
        counts[0] = 0;
        let mut code = Self { quick: vec![(0, 0); 1 << QUICK], counts, symbols: Vec::with_capacity(lengths.len()) };
        let mut next = 0_u32;
        for (len, count) in (1_u32..).zip(counts[1..].iter()) {
            next <<= 1;
            if next + count > 1 << len {
                return None;
            }
            let of_len = lengths.iter().zip(0_u16..).filter(|(own, _)| u32::from(**own) == len);
            for (own, symbol) in of_len {
                code.symbols.push(symbol);
                if len <= QUICK {
                    let first = usize::try_from(next << (QUICK - len)).unwrap_or(0);
                    code.quick[first..first + (1 << (QUICK - len))].fill((symbol, *own));
                }
                next += 1;
            }
        }
        Some(code)
    }

    /// The next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u16> {
        bits.ensure(16)?;
        let (symbol, len) = self.quick[usize::try_from(bits.peek(QUICK)).unwrap_or(0)];
        if len > 0 {
            bits.drop(len.into());
            return Some(symbol);
        }
        // The first code of each length follows from those before.
        let (mut first, mut index) = (0_u32, 0_u32);
        for (len, count) in (1_u32..).zip(&self.counts[1..]) {
            first <<= 1;
            let own = bits.peek(len);
            if own < first + count {
                bits.drop(len);
                return self.symbols.get(usize::try_from(index + own.checked_sub(first)?).ok()?).copied();
            }
            first += count;
            index += count;
        }
        None
    }
}

/// Copies `len` bytes within `out` to `at` from `distance` bytes before; the ranges may overlap.
pub(super) fn copy(out: &mut [u8], at: usize, distance: usize, len: usize) -> Option<usize> {
    let start = at.checked_sub(distance).filter(|_| distance > 0)?;
    let end = at.checked_add(len).filter(|end| *end <= out.len())?;
    for i in 0..len {
        out[at + i] = out[start + i];
    }
    Some(end)
}
