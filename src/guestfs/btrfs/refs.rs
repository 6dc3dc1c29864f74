//! The names of an inode, as stored with the inode. Field names and offsets are those of
//! <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html> (`INODE_REF`, `INODE_EXTREF`).

use super::kind;
use super::node::Key;
use super::tree::Item;
use crate::ondisk::ParseError;

/// A name of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ref {
    /// The directory that it is in.
    pub(super) parent: u64,
    /// Where in the directory's listing.
    pub(super) index: u64,
    pub(super) name: Vec<u8>,
}

/// The names in an item.
pub(super) fn refs(item: &Item) -> Result<Vec<Ref>, ParseError> {
    let f = item.fields()?;
    let extended = item.key.kind == kind::INODE_EXTREF;
    let mut all = Vec::new();
    let mut at = 0;
    while at < f.len() {
        let parent = if extended { f.u64_le(at)? } else { item.key.offset };
        let head = if extended { 8 } else { 0 };
        let len = usize::from(f.u16_le(at + head + 8)?);
        let name = f.bytes(at + head + 10, len)?.to_vec();
        all.push(Ref { parent, index: f.u64_le(at + head)?, name });
        at += head + 10 + len;
    }
    Ok(all)
}

/// Names as an item of this kind has them.
pub(super) fn raw(refs: &[Ref], item_kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in refs {
        if item_kind == kind::INODE_EXTREF {
            bytes.extend(entry.parent.to_le_bytes());
        }
        bytes.extend(entry.index.to_le_bytes());
        bytes.extend(u16::try_from(entry.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(&entry.name);
    }
    bytes
}

/// The key of the plain names that an inode has in a directory.
pub(super) fn plain_key(inode: u64, parent: u64) -> Key {
    Key::new(inode, kind::INODE_REF, parent)
}

/// The key of the extended item for a name: its hash begins with the directory's number.
pub(super) fn extended_key(inode: u64, parent: u64, name: &[u8]) -> Key {
    let seed = u32::try_from(parent & 0xFFFF_FFFF).unwrap_or(0);
    Key::new(inode, kind::INODE_EXTREF, u64::from(!crc32c::crc32c_append(!seed, name)))
}
