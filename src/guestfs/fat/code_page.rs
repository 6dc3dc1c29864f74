//! The code page of short names and labels. A volume does not record which one it was written with; this is 437, that
//! of DOS in the United States, which is also the kernel's default
//! (<https://www.unicode.org/Public/MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT>).

/// The characters of bytes 0x80 to 0xFF.
const UPPER_HALF: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û',
    'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡',
    '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐', '└', '┴', '┬', '├', '─',
    '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█',
    '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥',
    '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
];

/// Decodes text in code page 437.
pub(super) fn decode(bytes: &[u8]) -> String {
    let upper = |byte: u8| UPPER_HALF[usize::from(byte & 0x7F)];
    bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { upper(*byte) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_code_page_437() {
        assert_eq!(decode(b"A\x80\x9a\xe1\xe6\xff"), "AÇÜßµ\u{a0}");
        // Compared with iconv of the C library.
        let all: Vec<u8> = (0x80..=0xFF).collect();
        let iconv = std::process::Command::new("bash")
            .args(["-c", "printf \"$(printf '\\\\x%02x' $(seq 128 255))\" | iconv -f CP437 -t UTF-8"])
            .output()
            .expect("iconv of the C library runs");
        assert_eq!(decode(&all), String::from_utf8(iconv.stdout).unwrap());
    }
}
