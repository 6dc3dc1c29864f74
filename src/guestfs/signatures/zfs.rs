//! ZFS: the first of the four labels of a member. It has a list of names and values, and a ring of uberblocks, whose
//! magic number is checked (<https://github.com/openzfs/zfs>, `include/sys/vdev_impl.h`).

use super::Scan;
use crate::guestfs::Result;
use crate::guestfs::content::Content;
use crate::ondisk::fields::Fields;

/// Offsets of the list, encoded as XDR, and of the ring.
const LIST: usize = 16 << 10;
const RING: usize = 128 << 10;
const RING_LEN: usize = 128 << 10;
/// `ub_magic`.
const MAGIC: u64 = 0x00BA_B10C;
/// `DATA_TYPE_UINT64`, `DATA_TYPE_STRING`.
const NUMBER: u32 = 8;
const TEXT: u32 = 9;

pub(super) fn find(scan: &Scan<'_>) -> Result<Option<Content>> {
    let ring = scan.bytes(RING as u64, RING_LEN)?;
    // An uberblock takes at least 1 KiB.
    let is_uberblock =
        |block: &[u8]| block.starts_with(&MAGIC.to_le_bytes()) || block.starts_with(&MAGIC.to_be_bytes());
    if !ring.chunks(1024).any(is_uberblock) {
        return Ok(None);
    }
    let mut content = Content::named("ZFS");
    // A corrupt list yields no name.
    let _ = list(&Fields::new("ZFS label", &scan.bytes(0, RING)?, 0), &mut content);
    Ok(Some(content))
}

/// Takes the pool's name and GUID out of the list. Its entries follow 12 bytes, and each begins with its length.
fn list(f: &Fields<'_>, content: &mut Content) -> Option<()> {
    let number = |at: usize| f.u32_be(at).ok();
    let size = |at: usize| number(at).and_then(|n| usize::try_from(n).ok());
    let mut at = LIST + 12;
    while at < RING {
        let entry = size(at).filter(|len| *len >= 20)?;
        let name_len = size(at + 8).filter(|len| *len <= entry)?;
        let name = f.bytes(at + 12, name_len).ok()?;
        let value = at + 12 + name_len.next_multiple_of(4);
        match (name, number(value)?) {
            (b"name", TEXT) => content.label = f.text(value + 12, size(value + 8)?).ok()?,
            (b"pool_guid", NUMBER) => content.uuid = f.u64_be(value + 8).ok()?.to_string(),
            _ => {}
        }
        at += entry;
    }
    Some(())
}
