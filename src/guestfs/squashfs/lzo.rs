//! LZO1X (<https://docs.kernel.org/staging/lzo.html>): literals, and copies of what was unpacked before.

/// What may follow: a run of literals, or short copies whose form depends on what came last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No literals came last.
    None,
    /// One to three came with the last copy.
    Few,
    /// A run of at least four came last.
    Run,
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<usize> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte.into())
    }

    fn pair(&mut self) -> Option<usize> {
        Some(self.byte()? | self.byte()? << 8)
    }

    /// A length that goes on in further bytes when its own bits are zero.
    fn length(&mut self, bits: usize, all: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = all;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(last),
            }
        }
    }
}

struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    fn literals(&mut self, input: &mut Input<'_>, count: usize) -> Option<()> {
        let from = input.bytes.get(input.at..input.at.checked_add(count)?)?;
        self.bytes.get_mut(self.at..self.at.checked_add(count)?)?.copy_from_slice(from);
        input.at += count;
        self.at += count;
        Some(())
    }

    /// Repeats `count` bytes from `distance` back; they may overlap what is written.
    fn copy(&mut self, distance: usize, count: usize) -> Option<()> {
        let from = self.at.checked_sub(distance)?;
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        for (to, from) in (self.at..end).zip(from..) {
            self.bytes[to] = self.bytes[from];
        }
        self.at = end;
        Some(())
    }
}

/// Unpacks all of `packed` into `out` and tells how many bytes there were; none when it is damaged or gives more than
/// `out` has room for.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut input = Input { bytes: packed, at: 0 };
    let mut output = Output { bytes: out, at: 0 };
    let mut state = State::None;
    if let Some(first @ 18..) = packed.first() {
        let count = usize::from(*first) - 17;
        input.at = 1;
        output.literals(&mut input, count)?;
        state = if count < 4 { State::Few } else { State::Run };
    }
    loop {
        let code = input.byte()?;
        let (distance, count, tail) = match code {
            0..16 if state == State::None => {
                let count = 3 + input.length(code, 15)?;
                output.literals(&mut input, count)?;
                state = State::Run;
                continue;
            }
            0..16 => {
                let distance = (code >> 2) + (input.byte()? << 2) + 1;
                if state == State::Run { (distance + 0x800, 3, code) } else { (distance, 2, code) }
            }
            16..32 => {
                let count = 2 + input.length(code & 7, 7)?;
                let pair = input.pair()?;
                let distance = ((code & 8) << 11) + (pair >> 2);
                if distance == 0 {
                    // The end.
                    return (input.at == packed.len()).then_some(output.at);
                }
                (distance + 0x4000, count, pair)
            }
            32..64 => {
                let count = 2 + input.length(code & 31, 31)?;
                let pair = input.pair()?;
                ((pair >> 2) + 1, count, pair)
            }
            _ => (((code >> 2) & 7) + (input.byte()? << 3) + 1, (code >> 5) + 1, code),
        };
        output.copy(distance, count)?;
        let few = tail & 3;
        output.literals(&mut input, few)?;
        state = if few == 0 { State::None } else { State::Few };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_copies_and_the_end() {
        // Four literals, then eight more from four back, then the end.
        let packed = [21, b'a', b'b', b'c', b'd', 32 + 6, 3 << 2, 0, 17, 0, 0];
        let mut out = [0; 12];
        assert_eq!(unpack(&packed, &mut out), Some(12));
        assert_eq!(&out, b"abcdabcdabcd");
        assert_eq!(unpack(&packed, &mut [0; 11]), None);
        for len in 0..packed.len() {
            assert_eq!(unpack(&packed[..len], &mut out), None, "{len}");
        }
        // From before the start.
        assert_eq!(unpack(&[18, b'a', 32 + 6, 3 << 2, 0, 17, 0, 0], &mut out), None);
        // More behind the end.
        assert_eq!(unpack(&[17, 0, 0, 0], &mut out), None);
    }
}
