//! The size of the disk: two fields of the footer state it, and programs disagree on which one is right.

use super::footer::Footer;
use super::map::VhdMap;
use crate::image::{Extent, Result};
use crate::storage;
use crate::storage::File;

/// Programs for which the geometry is the disk. Virtual PC and Virtual Server show a guest whole cylinders only, and
/// QEMU followed them until it got a signature of its own (`qem2`) for images where it does not; see the table of
/// creators in its `block/vpc.c` (<https://gitlab.com/qemu-project/qemu/-/blob/master/block/vpc.c>). All others,
/// VirtualBox among them, go by the current size.
const BY_GEOMETRY: [&[u8; 4]; 3] = [b"vpc ", b"vs  ", b"qemu"];
/// Cylinders, heads and sectors per track at which the geometry ends: larger disks have this one too.
const LARGEST: (u16, u8, u8) = (65535, 16, 255);
/// No program counts more heads.
const MAX_HEADS: u8 = 16;

/// The disk's size as its geometry has it, in bytes, where its creator goes by that: less than the current size, by
/// less than one cylinder.
fn by_geometry(footer: &Footer) -> Option<u64> {
    let geometry = (footer.cylinders, footer.heads, footer.sectors);
    if !BY_GEOMETRY.contains(&&footer.creator) || geometry == LARGEST || footer.heads > MAX_HEADS {
        return None;
    }
    let cylinder = u64::from(footer.heads) * u64::from(footer.sectors) * 512;
    let size = u64::from(footer.cylinders) * cylinder;
    let rest = footer.current_size.checked_sub(size)?;
    (size > 0 && rest > 0 && rest < cylinder).then_some(size)
}

/// The size of a fixed disk, in bytes.
pub(super) fn fixed(footer: &Footer, file: &File) -> Result<u64> {
    let Some(size) = by_geometry(footer) else { return Ok(footer.current_size) };
    // Bytes after the last cylinder come from a program that goes by the current size, as VirtualBox does. Hiding
    // them would lose them.
    let len = usize::try_from(footer.current_size - size).unwrap_or(usize::MAX);
    let rest = storage::read_up_to(&**file, size, len)?;
    Ok(if rest.iter().all(|byte| *byte == 0) { size } else { footer.current_size })
}

/// The size of a dynamic or differencing disk, in bytes; `map` is for the current size.
pub(super) fn mapped(footer: &Footer, map: &VhdMap) -> Result<u64> {
    let Some(size) = by_geometry(footer) else { return Ok(footer.current_size) };
    let mut at = size;
    while at < footer.current_size {
        let run = map.extent(at, footer.current_size - at)?;
        if run.extent != Extent::Absent {
            return Ok(footer.current_size);
        }
        at += run.len;
    }
    Ok(size)
}
