//! Apple Data Compression: literal bytes, and copies of what was decoded before. The codes are described in
//! <https://en.wikipedia.org/wiki/Apple_Data_Compression>.

/// Decodes `compressed` into `out`. False when it does not give exactly as many bytes as `out` has.
pub(super) fn decode(compressed: &[u8], out: &mut [u8]) -> bool {
    let mut input = compressed.iter().copied();
    let mut done = 0;
    while done < out.len() {
        let Some(step) = step(&mut input, out, done) else { return false };
        done += step;
    }
    input.next().is_none()
}

/// Carries out one code; answers how many bytes it gave, none when it cannot be.
fn step(input: &mut impl Iterator<Item = u8>, out: &mut [u8], done: usize) -> Option<usize> {
    let code = usize::from(input.next()?);
    let mut next = || input.next().map(usize::from);
    let (len, back) = match code {
        0x80.. => {
            let len = (code & 0x7F) + 1;
            for byte in out.get_mut(done..done + len)? {
                *byte = input.next()?;
            }
            return Some(len);
        }
        0x40.. => ((code & 0x3F) + 4, next()? << 8 | next()?),
        _ => ((code >> 2) + 3, (code & 3) << 8 | next()?),
    };
    let from = done.checked_sub(back + 1)?;
    out.get(done..done + len)?;
    // Byte by byte: a copy may overlap what it gives, which repeats it.
    for i in 0..len {
        out[done + i] = out[from + i];
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_example_decodes() {
        let compressed = [0x83, 0xFE, 0xED, 0xFA, 0xCE, 0x00, 0x00, 0x40, 0x00, 0x06];
        let mut out = [0; 11];
        assert!(decode(&compressed, &mut out));
        assert_eq!(out, [0xFE, 0xED, 0xFA, 0xCE, 0xCE, 0xCE, 0xCE, 0xFE, 0xED, 0xFA, 0xCE]);
    }

    #[test]
    fn what_does_not_give_exactly_the_bytes_is_refused() {
        let compressed = [0x83, 0xFE, 0xED, 0xFA, 0xCE, 0x00, 0x00, 0x40, 0x00, 0x06];
        for len in (0..20).filter(|len| *len != 11) {
            assert!(!decode(&compressed, &mut vec![0; len]), "{len} bytes");
        }
        for end in 0..compressed.len() {
            assert!(!decode(&compressed[..end], &mut [0; 11]), "cut to {end} bytes");
        }
        assert!(!decode(&[0x00, 0x00], &mut [0; 3]), "a copy of what is before the start");
    }
}
