//! Copies of superblocks and boot sectors, which reading a file system does not need: whether they are of the same file
//! system.
//!
//! Only fields that never change after formatting are compared: copies are not kept up to date otherwise.

use super::Result;
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// A copy and what it must hold.
struct Copy {
    /// What it is called.
    what: &'static str,
    /// Where the original is, in bytes.
    original: u64,
    /// Where the copy is, in bytes.
    at: u64,
    /// The ranges of the original, in bytes from its start, that the copy must have too.
    same: &'static [(usize, usize)],
}

/// What is wrong with the first copy of the superblock or boot sector of a file system of type `type_name`. Nothing is
/// known of types that keep none, and of a copy that lies past the end of the volume.
///
/// # Errors
/// When the volume cannot be read.
pub(crate) fn check(type_name: &str, volume: &dyn Disk) -> Result<Option<ParseError>> {
    let find = match type_name {
        "ext2" | "ext3" | "ext4" => ext,
        "XFS" => xfs,
        "NTFS" => ntfs,
        "FAT32" => fat32,
        "exFAT" => exfat,
        "btrfs" => btrfs,
        _ => return Ok(None),
    };
    let Some(copy) = find(volume)? else { return Ok(None) };
    let end = copy.same.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let (Some(original), Some(found)) = (read(volume, copy.original, end)?, read(volume, copy.at, end)?) else {
        return Ok(None);
    };
    let differing = copy.same.iter().find(|(from, to)| original[*from..*to] != found[*from..*to]);
    Ok(differing.map(|(from, to)| {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let offset = copy.at + *from as u64;
        let expected = format_args!("{}, as in the first one", hex(&original[*from..*to]));
        ParseError::corrupt(offset, copy.what, expected, hex(&found[*from..*to]))
    }))
}

/// Some bytes of the volume; none where it ends before them.
fn read(volume: &dyn Disk, at: u64, len: usize) -> Result<Option<Vec<u8>>> {
    if at.checked_add(len as u64).is_none_or(|end| end > volume.size()) {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    volume.read_at(at, &mut bytes)?;
    Ok(Some(bytes))
}

/// Linux' `struct ext4_super_block`: the first copy is at the start of group 1.
fn ext(volume: &dyn Disk) -> Result<Option<Copy>> {
    const SPARSE_SUPER2: u32 = 0x200;
    let Some(bytes) = read(volume, 1024, 264)? else { return Ok(None) };
    let f = Fields::new("ext superblock", &bytes, 1024);
    let (first, log, per_group) = (f.u32_le(20)?, f.u32_le(24)?, f.u32_le(32)?);
    // s_feature_compat: the groups with copies are listed elsewhere then. A single group has none.
    if f.u32_le(92)? & SPARSE_SUPER2 != 0 || log > 6 || f.u32_le(4)? <= first.saturating_add(per_group) {
        return Ok(None);
    }
    let at = (u64::from(first) + u64::from(per_group)) << (10 + log);
    // s_log_block_size, s_blocks_per_group, s_magic, s_uuid.
    let same = &[(24, 28), (32, 36), (56, 58), (104, 120)];
    Ok(Some(Copy { what: "copy of the ext superblock", original: 1024, at, same }))
}

/// Linux' `struct xfs_dsb`: each allocation group begins with a copy.
fn xfs(volume: &dyn Disk) -> Result<Option<Copy>> {
    let Some(bytes) = read(volume, 0, 128)? else { return Ok(None) };
    let f = Fields::new("XFS superblock", &bytes, 0);
    let (block, blocks, groups) = (f.u32_be(4)?, f.u32_be(84)?, f.u32_be(88)?);
    let at = u64::from(block) * u64::from(blocks);
    // sb_magicnum and sb_blocksize, sb_uuid, sb_agblocks and sb_agcount.
    let same = &[(0, 8), (32, 48), (84, 92)];
    Ok((groups > 1).then_some(Copy { what: "copy of the XFS superblock", original: 0, at, same }))
}

/// The boot sector has a copy in the last sector, which the number of sectors does not count.
fn ntfs(volume: &dyn Disk) -> Result<Option<Copy>> {
    let Some(bytes) = read(volume, 0, 512)? else { return Ok(None) };
    let f = Fields::new("NTFS boot sector", &bytes, 0);
    let at = f.u64_le(0x28)?.checked_mul(u64::from(f.u16_le(0x0B)?));
    // From the OEM id to the serial number, and the signature.
    let same = &[(3, 0x50), (510, 512)];
    Ok(at.map(|at| Copy { what: "copy of the NTFS boot sector", original: 0, at, same }))
}

/// `BPB_BkBootSec` says where the copy of the boot sector is; 0 for none.
fn fat32(volume: &dyn Disk) -> Result<Option<Copy>> {
    let Some(bytes) = read(volume, 0, 512)? else { return Ok(None) };
    let f = Fields::new("FAT boot sector", &bytes, 0);
    let (sector, copy) = (f.u16_le(11)?, f.u16_le(50)?);
    let at = u64::from(sector) * u64::from(copy);
    // The parameters up to BPB_BkBootSec, the volume's serial number, and the signature.
    let same = &[(11, 52), (67, 71), (510, 512)];
    Ok((copy > 0).then_some(Copy { what: "copy of the FAT boot sector", original: 0, at, same }))
}

/// The backup boot region begins at sector 12.
fn exfat(volume: &dyn Disk) -> Result<Option<Copy>> {
    let Some(bytes) = read(volume, 0, 512)? else { return Ok(None) };
    let shift = Fields::new("exFAT boot sector", &bytes, 0).u8(108)?;
    // From the name of the file system to the serial number, and the shifts; the flags and the use change.
    let same = &[(3, 106), (108, 112), (510, 512)];
    let copy = Copy { what: "backup of the exFAT boot region", original: 0, at: 12 << shift.min(12), same };
    Ok(Some(copy))
}

/// The superblock is at 64 KiB, and its first copy at 64 MiB.
fn btrfs(volume: &dyn Disk) -> Result<Option<Copy>> {
    // fsid, magic.
    let same = &[(32, 48), (64, 72)];
    let copy = Copy { what: "copy of the btrfs superblock", original: 64 << 10, at: 64 << 20, same };
    // A smaller device has none.
    Ok((volume.size() >= (64 << 20) + 4096).then_some(copy))
}
