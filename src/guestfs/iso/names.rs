//! Names as they are shown.

use super::volume::utf16;

/// What a directory's names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Identifiers of ISO 9660, or longer ones in their place.
    Plain,
    /// Big-endian UTF-16.
    Joliet,
}

/// The name that a file's identifier stands for: without the first version's number, and without the dot of a name
/// that has no extension.
pub(super) fn shown(identifier: &[u8], naming: Naming) -> Vec<u8> {
    let mut name = match naming {
        Naming::Plain => identifier.to_vec(),
        Naming::Joliet => utf16(identifier).into_bytes(),
    };
    if name.ends_with(b";1") {
        name.truncate(name.len() - 2);
    }
    // Joliet has no dot where there is no extension, so that one is of the name.
    if naming == Naming::Plain && name.len() > 1 && name.ends_with(b".") {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_needless_dots_are_not_shown() {
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
