//! Conversion of file identifiers to the names that are shown.

use super::volume::utf16;

/// The encoding of a directory's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Identifiers of ISO 9660, possibly longer than it allows.
    Plain,
    /// Big-endian UTF-16.
    Joliet,
}

/// The name for a file identifier: without version number 1, and without the trailing dot of a name without extension.
pub(super) fn shown(identifier: &[u8], naming: Naming) -> Vec<u8> {
    let mut name = match naming {
        Naming::Plain => identifier.to_vec(),
        Naming::Joliet => utf16(identifier).into_bytes(),
    };
    if name.ends_with(b";1") {
        name.truncate(name.len() - 2);
    }
    // Joliet adds no dot to names without extension, so a trailing dot belongs to the name.
    if naming == Naming::Plain && name.len() > 1 && name.ends_with(b".") {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_version_and_trailing_dot() {
        for (identifier, name) in [
            ("README.TXT;1", "README.TXT"),
            ("MAKEFILE.;1", "MAKEFILE"),
            ("A.B;2", "A.B;2"),
            (".;1", "."),
            ("DIR", "DIR"),
        ] {
            assert_eq!(shown(identifier.as_bytes(), Naming::Plain), name.as_bytes());
        }
        let joliet = |name: &str| name.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        for (identifier, name) in [("naïve ☃.txt;1", "naïve ☃.txt"), ("end.;1", "end."), ("😀", "😀")] {
            assert_eq!(shown(&joliet(identifier), Naming::Joliet), name.as_bytes());
        }
        assert_eq!(shown(&[0xD8, 0, 0, b'a'], Naming::Joliet), "\u{FFFD}a".as_bytes());
    }
}
