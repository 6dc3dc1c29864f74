//! Special files created by Linux programs: device numbers of the Windows subsystem for Linux, and the Interix form
//! that ntfs-3g writes (<https://github.com/tuxera/ntfs-3g>, `struct INTX_FILE`).

use super::file::{File, Stream};
use super::record::utf16;
use super::reparse::Reparse;
use super::{MAX_TARGET, Ntfs};
use crate::guestfs::{NodeKind, Result};
use crate::ondisk::utf16::to_utf8;

/// Bytes of a device file, and of the signature at the start of a device file or link.
const DEVICE: usize = 24;
const SIGNATURE: usize = 8;

/// A special file in the form of Interix.
pub(super) struct Special {
    pub(super) kind: NodeKind,
    /// A link's target.
    pub(super) reparse: Reparse,
    pub(super) device: (u32, u32),
}

/// The device numbers recorded by the Windows subsystem for Linux.
pub(super) fn device_of_linux(file: &File) -> (u32, u32) {
    let raw = file.old_attribute(b"$LXDEV").and_then(|raw| raw.first_chunk::<8>());
    let word = |at: usize, raw: &[u8; 8]| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    raw.map_or((0, 0), |raw| (word(0, raw), word(4, raw)))
}

impl Ntfs {
    /// Interprets a file with the system attribute by its content: an Interix link or device, or `None`.
    pub(super) fn interix(&self, data: &Stream) -> Result<Option<Special>> {
        if !(SIGNATURE as u64 + 1..=MAX_TARGET).contains(&data.size()) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(data.size()).unwrap_or(0)];
        self.read_stream(data, 0, &mut bytes)?;
        let (signature, rest) = bytes.split_at(SIGNATURE);
        let number =
            |at: usize| rest.get(at..).and_then(|raw| raw.first_chunk()).map_or(0, |raw| u32::from_le_bytes(*raw));
        let device = |kind| Special { kind, reparse: Reparse::Other, device: (number(0), number(8)) };
        Ok(match signature {
            b"IntxLNK\x01" => {
                let reparse = Reparse::AsIs(to_utf8(&utf16(rest)));
                Some(Special { kind: NodeKind::Symlink, reparse, device: (0, 0) })
            }
            b"IntxCHR\0" if bytes.len() == DEVICE => Some(device(NodeKind::CharDevice)),
            b"IntxBLK\0" if bytes.len() == DEVICE => Some(device(NodeKind::BlockDevice)),
            _ => None,
        })
    }
}
