//! Reparse points: symbolic links, junctions, and files that Windows stores in another form (\[MS-FSCC\], section
//! 2.1.2).

use super::wof::Algorithm;
use crate::guestfs::NodeKind;
use crate::guestfs::ntfs::record::utf16;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::ondisk::utf16::to_utf8;

const MOUNT_POINT: u32 = 0xA000_0003;
const SYMLINK: u32 = 0xA000_000C;
const LX_SYMLINK: u32 = 0xA000_001D;
const AF_UNIX: u32 = 0x8000_0023;
const LX_FIFO: u32 = 0x8000_0024;
const LX_CHAR: u32 = 0x8000_0025;
const LX_BLOCK: u32 = 0x8000_0026;
const WOF: u32 = 0x8000_0017;
const DEDUP: u32 = 0x8000_0013;
const SIS: u32 = 0x8000_0007;
const HSM: [u32; 2] = [0xC000_0004, 0x8000_0006];
const WIM: u32 = 0x8000_0008;
/// The tags of cloud files differ in four bits.
const CLOUD: u32 = 0x9000_001A;
const CLOUD_MASK: u32 = 0xFFFF_0FFF;
/// `Flags` of a symbolic link: its target is relative to its directory.
const RELATIVE: u32 = 1;
/// `WOF_CURRENT_VERSION`, `WOF_PROVIDER_FILE`, `FILE_PROVIDER_CURRENT_VERSION`.
const WOF_VERSION: u32 = 1;
const WOF_FILE: u32 = 2;

/// The meaning of a reparse point for its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A link to a path relative to the volume's root, without a leading slash.
    FromRoot(Vec<u8>),
    /// A link whose target is used as it is.
    AsIs(Vec<u8>),
    /// A special file of the Windows subsystem for Linux.
    Special(NodeKind),
    /// A file that Windows compressed like its system files (WOF).
    SystemCompressed(Algorithm),
    /// A file whose bytes are elsewhere; the text completes a sentence that begins with "the file is".
    Elsewhere(&'static str),
    /// A cloud file, whose bytes are on the volume only if its attributes say so.
    Cloud,
    /// Of no relevance for reading: the file or directory is used as it is.
    Other,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Reparse, ParseError> {
    let f = Fields::new("reparse point", bytes, 0);
    Ok(match f.u32_le(0)? {
        MOUNT_POINT => target(&f, 16, false)?,
        SYMLINK => target(&f, 20, f.u32_le(16)? & RELATIVE != 0)?,
        LX_SYMLINK => {
            let len = usize::from(f.u16_le(4)?).saturating_sub(4);
            Reparse::AsIs(f.bytes(12, len)?.to_vec())
        }
        AF_UNIX => Reparse::Special(NodeKind::Socket),
        LX_FIFO => Reparse::Special(NodeKind::Fifo),
        LX_CHAR => Reparse::Special(NodeKind::CharDevice),
        LX_BLOCK => Reparse::Special(NodeKind::BlockDevice),
        WOF => wof(&f)?,
        DEDUP => {
            Reparse::Elsewhere("deduplicated by Windows: its bytes are in the directory System Volume Information")
        }
        SIS => Reparse::Elsewhere("stored once for several files (single instance storage)"),
        WIM => Reparse::Elsewhere("in a WIM image that Windows was started from"),
        tag if HSM.contains(&tag) => Reparse::Elsewhere("moved to another storage (hierarchical storage management)"),
        tag if tag & CLOUD_MASK == CLOUD => Reparse::Cloud,
        _ => Reparse::Other,
    })
}

/// A file of the Windows overlay filter: which provider has its bytes, and how they are compressed.
fn wof(f: &Fields<'_>) -> Result<Reparse, ParseError> {
    let (version, provider) = (f.u32_le(8)?, f.u32_le(12)?);
    if version != WOF_VERSION || provider != WOF_FILE {
        return Ok(Reparse::Elsewhere("in a WIM image that Windows was started from"));
    }
    let (version, id) = (f.u32_le(16)?, f.u32_le(20)?);
    match Algorithm::from_id(id).filter(|_| version == WOF_VERSION) {
        Some(algorithm) => Ok(Reparse::SystemCompressed(algorithm)),
        None => Ok(Reparse::Elsewhere("compressed like Windows' system files, in an unknown form")),
    }
}

/// The target of a link whose path buffer begins at `base`.
fn target(f: &Fields<'_>, base: usize, relative: bool) -> Result<Reparse, ParseError> {
    let start = base + usize::from(f.u16_le(8)?);
    let text = to_utf8(&utf16(f.bytes(start, usize::from(f.u16_le(10)?))?));
    let path: Vec<u8> = text.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    if relative {
        // A leading backslash makes it relative to the root of the link's drive.
        return Ok(match path.strip_prefix(b"/") {
            Some(rest) => Reparse::FromRoot(rest.to_vec()),
            None => Reparse::AsIs(path),
        });
    }
    let path = path.strip_prefix(b"/??/").unwrap_or(&path);
    // The guest's registry maps letters to volumes; nearly always the letter is that of the link's own volume.
    Ok(match path {
        [letter, b':', b'/', rest @ ..] if letter.is_ascii_alphabetic() => Reparse::FromRoot(rest.to_vec()),
        _ => Reparse::AsIs(path.to_vec()),
    })
}
