//! Names in UTF-16, as in Windows' file systems.

/// UTF-16 as UTF-8; a surrogate without its partner, which Windows allows in names, as three bytes of its own (WTF-8),
/// so that different names stay different.
pub(crate) fn to_utf8(name: &[u16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for decoded in char::decode_utf16(name.iter().copied()) {
        match decoded {
            Ok(c) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let [high, low] = lone.unpaired_surrogate().to_be_bytes();
                out.extend([0xE0 | high >> 4, 0x80 | (high & 0xF) << 2 | low >> 6, 0x80 | low & 0x3F]);
            }
        }
    }
    out
}
