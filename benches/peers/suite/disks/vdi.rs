//! Writes VDI images as VirtualBox lays them out. Fields and offsets are those of VirtualBox's `VDICore.h`
//! (<https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VDICore.h>); nothing of the program's own writer is
//! used, so that each checks the other.

use super::super::noise;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

/// Bytes of a block (`cbBlock`).
pub(crate) const BLOCK: u64 = 1 << 20;
/// A map entry without a block: ask the parent.
pub(crate) const FREE: u32 = 0xFFFF_FFFF;
/// Where the map is (`offBlocks`); VirtualBox aligns map and data to 1 MiB.
const MAP_AT: u64 = 1 << 20;

/// What tells an image from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `uuidCreate`.
    pub(crate) uuid: Uuid,
    /// `uuidModify`.
    pub(crate) modify: Uuid,
}

impl Identity {
    pub(crate) fn random() -> Self {
        Self { uuid: Uuid::new_v4(), modify: Uuid::new_v4() }
    }

    /// That of an image of the cache, which every run must find again.
    pub(crate) fn numbered(number: u64) -> Self {
        let uuid = |part: u64| {
            let words = [noise::mix(2 * number + part), noise::mix(!(2 * number + part))];
            uuid::Builder::from_random_bytes((u128::from(words[0]) << 64 | u128::from(words[1])).to_le_bytes())
                .into_uuid()
        };
        Self { uuid: uuid(0), modify: uuid(1) }
    }
}

/// A new image of a disk of `size` bytes. The data of a map's entry `n` belongs at [`Vdi::block_at`]`(n)`.
pub(crate) fn create(
    path: &Path,
    size: u64,
    identity: Identity,
    parent: Option<Identity>,
    map: &[u32],
) -> io::Result<Vdi> {
    let count = u32::try_from(map.len()).map_err(io::Error::other)?;
    assert_eq!(u64::from(count), size.div_ceil(BLOCK), "the map has an entry for each block");
    let used = map.iter().filter(|entry| **entry != FREE).max().map_or(0, |last| last + 1);
    let data_at = (MAP_AT + 4 * u64::from(count)).next_multiple_of(1 << 20);
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    let nil = Identity { uuid: Uuid::nil(), modify: Uuid::nil() };
    let numbers = [
        (64, 0xBEDA_107F),                          // u32Signature
        (68, 0x0001_0001),                          // u32Version
        (72, 400),                                  // cbHeader
        (76, if parent.is_some() { 4 } else { 1 }), // enmType: difference, normal
        (340, u32::try_from(MAP_AT).unwrap_or(0)),  // offBlocks
        (344, u32::try_from(data_at).unwrap_or(0)), // offData
        (360, 512),                                 // LegacyGeometry.cbSector
        (376, u32::try_from(BLOCK).unwrap_or(0)),   // cbBlock
        (384, count),                               // cBlocks
        (388, used),                                // cBlocksAllocated
        (468, 512),                                 // LCHSGeometry.cbSector
    ];
    numbers.iter().for_each(|(at, number): &(usize, u32)| put(*at, &number.to_le_bytes()));
    put(368, &size.to_le_bytes()); // cbDisk
    let parent = parent.unwrap_or(nil);
    // uuidCreate, uuidModify, uuidLinkage, uuidParentModify
    for (at, uuid) in [(392, identity.uuid), (408, identity.modify), (424, parent.uuid), (440, parent.modify)] {
        put(at, &uuid.to_bytes_le());
    }
    let file = File::create_new(path)?;
    file.write_all_at(&header, 0)?;
    let map: Vec<u8> = map.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    file.write_all_at(&map, MAP_AT)?;
    file.set_len(data_at + u64::from(used) * BLOCK)?;
    Ok(Vdi { file, data_at })
}

/// An image that gets its blocks.
pub(crate) struct Vdi {
    pub(crate) file: File,
    data_at: u64,
}

impl Vdi {
    /// Where a block of the data area is in the file.
    pub(crate) fn block_at(&self, index: u32) -> u64 {
        self.data_at + u64::from(index) * BLOCK
    }
}

/// Copies a raw disk into a new image: a block for each MiB that has anything but zeros.
pub(crate) fn from_raw(raw: &Path, path: &Path, identity: Identity) -> io::Result<()> {
    let source = File::open(raw)?;
    let size = source.metadata()?.len();
    let mut block = vec![0; usize::try_from(BLOCK).map_err(io::Error::other)?];
    let mut map = Vec::new();
    let mut used = 0;
    let each = |number: u64, block: &mut Vec<u8>| -> io::Result<bool> {
        block.resize(usize::try_from(BLOCK.min(size - number * BLOCK)).map_err(io::Error::other)?, 0);
        source.read_exact_at(block, number * BLOCK)?;
        Ok(block.iter().any(|byte| *byte != 0))
    };
    for number in 0..size.div_ceil(BLOCK) {
        let filled = each(number, &mut block)?;
        map.push(if filled { used } else { FREE });
        used += u32::from(filled);
    }
    let image = create(path, size, identity, None, &map)?;
    for (number, entry) in (0..).zip(&map).filter(|(_, entry)| **entry != FREE) {
        each(number, &mut block)?;
        image.file.write_all_at(&block, image.block_at(*entry))?;
    }
    Ok(())
}

/// A block with a partition table in its first sector: one partition of Linux from 1 MiB to the end of a disk of `size`
/// bytes. The real vboximg-mount refuses disks without any.
pub(crate) fn partition_block(size: u64) -> Vec<u8> {
    let sectors = u32::try_from(size / 512).unwrap_or(u32::MAX);
    let mut block = vec![0; 1 << 20];
    block[450] = 0x83;
    block[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    block[458..462].copy_from_slice(&(sectors - 2048).to_le_bytes());
    block[510..512].copy_from_slice(&[0x55, 0xAA]);
    block
}
