//! Reparse points: symbolic links, junctions, and files that Windows keeps in another form
//! (\[MS-FSCC\], section 2.1.2).

use crate::guestfs::ntfs::record::utf16;
use crate::guestfs::utf16::to_utf8;
use crate::image::Fault;
use crate::image::fields::Fields;

const MOUNT_POINT: u32 = 0xA000_0003;
const SYMLINK: u32 = 0xA000_000C;
const LX_SYMLINK: u32 = 0xA000_001D;
const WOF: u32 = 0x8000_0017;
/// `Flags` of a symbolic link: its target is relative to the folder that it is in.
const RELATIVE: u32 = 1;

/// What a reparse point makes of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A link to a path from the volume's root on, without a slash at its start.
    FromRoot(Vec<u8>),
    /// A link whose target is to be taken as it is.
    AsIs(Vec<u8>),
    /// A file that Windows compressed in a form of its own.
    SystemCompressed,
    /// Nothing for a reader: the file or folder is as it is.
    Other,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Reparse, Fault> {
    let f = Fields::new("reparse point", bytes, 0);
    Ok(match f.u32_le(0)? {
        MOUNT_POINT => target(&f, 16, false)?,
        SYMLINK => target(&f, 20, f.u32_le(16)? & RELATIVE != 0)?,
        LX_SYMLINK => {
            let len = usize::from(f.u16_le(4)?).saturating_sub(4);
            Reparse::AsIs(f.bytes(12, len)?.to_vec())
        }
        WOF => Reparse::SystemCompressed,
        _ => Reparse::Other,
    })
}

/// The target of a link whose texts begin at `base`.
fn target(f: &Fields<'_>, base: usize, relative: bool) -> Result<Reparse, Fault> {
    let start = base + usize::from(f.u16_le(8)?);
    let text = to_utf8(&utf16(f.bytes(start, usize::from(f.u16_le(10)?))?));
    let path: Vec<u8> = text.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    if relative {
        // From the root of the drive that the link is on, where it begins with a backslash.
        return Ok(match path.strip_prefix(b"/") {
            Some(rest) => Reparse::FromRoot(rest.to_vec()),
            None => Reparse::AsIs(path),
        });
    }
    let path = path.strip_prefix(b"/??/").unwrap_or(&path);
    // Which volume a letter means is written in the guest's registry; nearly always it is the one that the link is on.
    Ok(match path {
        [letter, b':', b'/', rest @ ..] if letter.is_ascii_alphabetic() => Reparse::FromRoot(rest.to_vec()),
        _ => Reparse::AsIs(path.to_vec()),
    })
}
