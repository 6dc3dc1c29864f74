//! LZNT1, the compression of files on NTFS (\[MS-XCA\], section 2.5): chunks of 4 KiB, each stored or compressed.

/// Bytes in a decompressed chunk.
const CHUNK: usize = 4096;

/// Decompresses into `out` and fills the rest with zeros when the compressed bytes end early. `None` when they are
/// invalid.
pub(super) fn decompress(compressed: &[u8], out: &mut [u8]) -> Option<()> {
    let mut rest = compressed;
    let mut chunks = out.chunks_mut(CHUNK);
    while let Some((header, after)) = rest.split_first_chunk::<2>() {
        let header = u16::from_le_bytes(*header);
        if header == 0 {
            break;
        }
        let Some(chunk) = chunks.next() else { break };
        let (body, next) = after.split_at_checked(usize::from(header & 0xFFF) + 1)?;
        if header & 0x8000 == 0 {
            let len = body.len().min(chunk.len());
            chunk[..len].copy_from_slice(&body[..len]);
            chunk[len..].fill(0);
        } else {
            decompress_chunk(body, chunk)?;
        }
        rest = next;
    }
    chunks.for_each(|chunk| chunk.fill(0));
    Some(())
}

fn decompress_chunk(compressed: &[u8], out: &mut [u8]) -> Option<()> {
    let mut bytes = compressed.iter().copied();
    let mut done = 0;
    'groups: while let Some(flags) = bytes.next() {
        for bit in 0..8 {
            let Some(first) = bytes.next() else { break 'groups };
            if flags >> bit & 1 == 0 {
                *out.get_mut(done)? = first;
                done += 1;
                continue;
            }
            let token = u16::from_le_bytes([first, bytes.next()?]);
            // The further into the chunk, the more bits of the token are the distance, and the fewer the length.
            let distance_bits = (4..=12).find(|bits| done <= 1 << bits)?;
            let distance = usize::from(token >> (16 - distance_bits)) + 1;
            let len = usize::from(token & (0xFFFF >> distance_bits)) + 3;
            let start = done.checked_sub(distance)?;
            // Byte by byte, as source and target may overlap.
            for i in 0..len {
                let byte = *out.get(start + i)?;
                *out.get_mut(done)? = byte;
                done += 1;
            }
        }
    }
    out[done..].fill(0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of \[MS-XCA\], section 3.3.
    #[test]
    fn decompresses_example_of_specification() {
        let compressed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01, 0xa0, 0x45,
            0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4,
            0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00,
            0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let text = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D \
                    E A F# F# G A A G F# E D D E F# E D D\0";
        let mut out = vec![0xAA; 4096];
        decompress(&compressed, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out[..text.len()]), text);
        assert!(out[text.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn refuses_invalid_bytes() {
        let mut out = [0; 4096];
        assert!(decompress(&[0x01, 0xB0, 0x01, 0xFF], &mut out).is_none(), "a distance before the chunk");
        assert!(decompress(&[0xFF, 0xBF, 0x00], &mut out).is_none(), "a chunk past the end");
    }
}
