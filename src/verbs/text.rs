//! Names, kinds and modes as text.

use crate::listing::printable;
use crate::view::{Attributes, Kind};
use std::borrow::Cow;

/// A name as it is written: byte for byte, but on a terminal without anything that it would obey, and with bytes that
/// are no UTF-8 as `\xFF`.
pub(super) fn name(bytes: &[u8], on_terminal: bool) -> Cow<'_, [u8]> {
    if !on_terminal {
        return Cow::Borrowed(bytes);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable(chunk.valid()));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    Cow::Owned(text.into_bytes())
}

/// What stat(1) calls a kind.
pub(super) fn kind(attributes: &Attributes) -> &'static str {
    match attributes.kind {
        Kind::Directory => "directory",
        Kind::File if attributes.size == 0 => "regular empty file",
        Kind::File => "regular file",
        Kind::Symlink => "symbolic link",
        Kind::CharDevice => "character special file",
        Kind::BlockDevice => "block special file",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    }
}

/// The letter of a kind in a mode; `-` for a file.
pub(super) fn letter(kind: Kind) -> char {
    match kind {
        Kind::Directory => 'd',
        Kind::File => '-',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// Kind and mode as ls(1) has them: `drwxr-xr-t`.
pub(crate) fn mode(attributes: &Attributes) -> String {
    let mode = attributes.mode;
    let mut text = String::from(letter(attributes.kind));
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
