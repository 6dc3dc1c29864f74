//! Contents that encrypt, join or split volumes: LUKS, BitLocker, LVM, Linux RAID, VMFS.

use super::{Scan, table};
use crate::guestfs::Result;
use crate::guestfs::content::Content;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::volume::boot_sector;

pub(super) fn luks(scan: &Scan<'_>) -> Result<Option<Content>> {
    let parse = |f: &Fields<'_>| -> Result<Content, ParseError> {
        // Version 2 has a label; in version 1 those bytes are the cipher's name.
        let (name, label) = match f.u16_be(6)? {
            1 => ("LUKS1", String::new()),
            _ => ("LUKS2", f.text(24, 48)?),
        };
        Ok(Content { uuid: f.text(168, 40)?, label, ..Content::named(name) })
    };
    Ok(if scan.near().starts_with(b"LUKS\xba\xbe") { parse(&scan.fields()).ok() } else { None })
}

/// A physical volume of LVM, with its label in one of the first four sectors.
pub(super) fn lvm(scan: &Scan<'_>) -> Result<Option<Content>> {
    let f = scan.fields();
    let at = |offset: usize, magic: &[u8]| scan.near().get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let label = (0..4).map(|sector| sector * 512).find(|label| at(*label, b"LABELONE") && at(label + 24, b"LVM2 001"));
    let Some(label) = label else { return Ok(None) };
    let header = f.u32_le(label + 20).ok().and_then(|offset| usize::try_from(offset).ok());
    let uuid = header.and_then(|offset| f.text(label.checked_add(offset)?, 32).ok()).unwrap_or_default();
    // Groups of 6, 4, 4, 4, 4, 4 and 6 characters.
    let parts = [(0, 6), (6, 10), (10, 14), (14, 18), (18, 22), (22, 26), (26, 32)];
    let parts: Option<Vec<&str>> = parts.iter().map(|(start, end)| uuid.get(*start..*end)).collect();
    let uuid = parts.map_or_else(String::new, |parts| parts.join("-"));
    Ok(Some(Content { uuid, ..Content::named("LVM member") }))
}

/// The GUID of BitLocker To Go as stored in the boot sector: 4967D63B-2E29-4AD8-8399-F6A339E3D001.
const BITLOCKER_TO_GO: [u8; 16] =
    [0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01];

/// BitLocker, with the volume's GUID from the first block of metadata
/// (<https://github.com/libyal/libbde/blob/main/documentation>, "BitLocker Drive Encryption (BDE) format").
pub(super) fn bitlocker(scan: &Scan<'_>) -> Result<Option<Content>> {
    let at = |offset: usize, magic: &[u8]| scan.near().get(offset..).is_some_and(|rest| rest.starts_with(magic));
    // The second form is for removable media, and looks like FAT to older versions of Windows.
    let to_go = at(3, b"MSWIN4.1") && at(424, &BITLOCKER_TO_GO);
    if !at(3, boot_sector::BITLOCKER) && !to_go {
        return Ok(None);
    }
    // The byte offset of the block. Windows Vista has a cluster number there, and zeros at 176.
    let metadata = scan.fields().u64_le(if to_go { 440 } else { 176 }).unwrap_or(0);
    let block = scan.bytes(metadata, 96).unwrap_or_default();
    let uuid = Fields::new("BitLocker metadata", &block, metadata).uuid_le(80).ok();
    let uuid = uuid.filter(|uuid| block.starts_with(boot_sector::BITLOCKER) && !uuid.is_nil());
    Ok(Some(Content { uuid: uuid.map(|uuid| uuid.to_string()).unwrap_or_default(), ..Content::named("BitLocker") }))
}

/// `md_magic`
const RAID: u32 = 0xA92B_4EFC;
const RAID_MEMBER: &str = "Linux RAID member";

/// A member of a Linux RAID with metadata of version 1.1 or 1.2.
pub(super) fn raid_at_start(scan: &Scan<'_>) -> Result<Option<Content>> {
    Ok(match raid(scan, 0)? {
        None => raid(scan, 4096)?,
        found => found,
    })
}

/// A member of a Linux RAID with metadata at its end: version 1.0 or 0.90.
pub(super) fn raid_at_end(scan: &Scan<'_>) -> Result<Option<Content>> {
    let size = scan.size();
    if let Some(sector) = (size / 512).checked_sub(16)
        && let Some(found) = raid(scan, (sector & !7) * 512)?
    {
        return Ok(Some(found));
    }
    let Some(at) = (size & !0xFFFF).checked_sub(64 << 10) else { return Ok(None) };
    let bytes = scan.bytes(at, 64)?;
    // The byte order is that of the machine that created it. The UUID has four words, and the first is stored apart
    // from the others (`mdp_superblock_s`).
    let big_endian = bytes.starts_with(&RAID.to_be_bytes());
    if !big_endian && !bytes.starts_with(&RAID.to_le_bytes()) {
        return Ok(None);
    }
    let Some((first, others)) = bytes.get(20..24).zip(bytes.get(52..64)) else { return Ok(None) };
    let mut words = [first, others].concat();
    // The words are written as numbers.
    if !big_endian {
        words.chunks_mut(4).for_each(<[u8]>::reverse);
    }
    Ok(Some(Content {
        uuid: table::uuid(&Fields::new("UUID", &words, 0), 0).unwrap_or_default(),
        ..Content::named(RAID_MEMBER)
    }))
}

/// Version 1 metadata at an offset: `mdp_superblock_1` of the kernel.
fn raid(scan: &Scan<'_>, at: u64) -> Result<Option<Content>> {
    let bytes = scan.bytes(at, 64)?;
    let f = Fields::new("RAID superblock", &bytes, at);
    Ok(bytes.starts_with(&RAID.to_le_bytes()).then(|| Content {
        uuid: table::uuid(&f, 16).unwrap_or_default(),
        label: f.text(32, 32).unwrap_or_default(),
        ..Content::named(RAID_MEMBER)
    }))
}

/// VMFS: a file system, or a volume that belongs to one.
pub(super) fn vmfs(scan: &Scan<'_>) -> Result<Option<Content>> {
    let bytes = scan.bytes(2 << 20, 256)?;
    let f = Fields::new("VMFS", &bytes, 2 << 20);
    if bytes.starts_with(&0x2FAB_F15E_u32.to_le_bytes()) {
        let label = f.text(0x1D, 128).unwrap_or_default();
        return Ok(Some(Content { uuid: vmfs_uuid(&f, 9), label, ..Content::named("VMFS") }));
    }
    let bytes = scan.bytes(1 << 20, 256)?;
    Ok(bytes.starts_with(&0xC001_D00D_u32.to_le_bytes()).then(|| Content::named("VMFS volume member")))
}

/// A UUID as VMware writes it: groups of 8, 8, 4 and 12 digits, the first three little-endian.
fn vmfs_uuid(f: &Fields<'_>, at: usize) -> String {
    let parse = || -> Result<String, ParseError> {
        let rest: String = f.bytes(at + 10, 6)?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{:08x}-{:08x}-{:04x}-{rest}", f.u32_le(at)?, f.u32_le(at + 4)?, f.u16_le(at + 8)?))
    };
    parse().unwrap_or_default()
}
