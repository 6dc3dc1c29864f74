//! What a volume holds, by its content: file systems that can be read here, and others by name.

use super::apfs::{self, Apfs};
use super::ext::{self, Ext};
use super::hfsplus::{self, HfsPlus};
use super::ntfs::{self, Ntfs};
use super::squashfs::{self, Squashfs};
use super::xfs::{self, Xfs};
use super::{GuestFs, Result};
use crate::disk::Disk;
use crate::image::Fault;
use crate::image::fields::Fields;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes from the start of the volume that most marks are in.
const HEAD: u64 = 68 << 10;
/// Where btrfs has its superblock.
const BTRFS: u64 = 64 << 10;
/// Where ZFS has the ring of its uberblocks in its first label, and how long that is.
const ZFS_RING: u64 = 128 << 10;
const ZFS_RING_LEN: u64 = 128 << 10;
/// `ub_magic`.
const ZFS_MAGIC: u64 = 0x00BA_B10C;

/// What a volume holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The type, such as `ext4` or `LUKS`; empty when nothing known is there.
    pub type_name: String,
    /// The label; empty when it has none or it is encrypted.
    pub label: String,
    /// The UUID or serial number, as the system's own tools write it; empty when it has none.
    pub uuid: String,
}

impl Content {
    fn named(type_name: &str) -> Self {
        Self { type_name: type_name.to_owned(), ..Self::default() }
    }
}

/// What a volume holds, as far as its first bytes tell.
///
/// # Errors
/// When the volume cannot be read.
pub fn detect(volume: &dyn Disk) -> Result<Content> {
    let mut head = vec![0; usize::try_from(volume.size().min(HEAD)).unwrap_or(0)];
    volume.read_at(0, &mut head)?;
    let mut ring = vec![0; usize::try_from(volume.size().saturating_sub(ZFS_RING).min(ZFS_RING_LEN)).unwrap_or(0)];
    if !ring.is_empty() {
        volume.read_at(ZFS_RING, &mut ring)?;
    }
    // A mark that the volume is too small for is not there.
    Ok(of_head(&head).unwrap_or_default().or_else(|| zfs(&ring)).unwrap_or_default())
}

/// Opens the file system of a volume; `None` when there is none that can be read here.
///
/// # Errors
/// Damage, unknown features, and when the volume cannot be read.
pub fn open(volume: Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    let mut head = vec![0; usize::try_from(volume.size().min(4096)).unwrap_or(0)];
    volume.read_at(0, &mut head)?;
    if ext::probe(&head) {
        return Ok(Some(Box::new(Ext::open(volume)?)));
    }
    if ntfs::probe(&head) {
        return Ok(Some(Box::new(Ntfs::open(volume)?)));
    }
    if xfs::probe(&head) {
        return Ok(Some(Box::new(Xfs::open(volume)?)));
    }
    if hfsplus::probe(&head) {
        return Ok(Some(Box::new(HfsPlus::open(volume)?)));
    }
    if apfs::probe(&head) {
        return Ok(Some(Box::new(Apfs::open(volume)?)));
    }
    if squashfs::probe(&head) {
        return Ok(Some(Box::new(Squashfs::open(volume)?)));
    }
    Ok(None)
}

/// The first mark that fits. Encryption and volume managers come first: what lies under them is theirs.
fn of_head(head: &[u8]) -> Result<Option<Content>, Fault> {
    let f = Fields::new("start of the volume", head, 0);
    let at = |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    Ok(Some(if at(0, b"LUKS\xba\xbe") {
        Content { uuid: f.text(168, 40)?, label: luks_label(&f)?, ..Content::named("LUKS") }
    } else if at(3, b"-FVE-FS-") {
        Content::named("BitLocker")
    } else if (0..4).any(|sector| at(sector * 512, b"LABELONE") && at(sector * 512 + 24, b"LVM2 001")) {
        Content::named("LVM member")
    } else if at(4096, &0xA92B_4EFC_u32.to_le_bytes()) || at(0, &0xA92B_4EFC_u32.to_le_bytes()) {
        Content::named("Linux RAID member")
    } else if ext::probe(head) {
        Content {
            type_name: ext::type_name(head).to_owned(),
            label: f.text(1024 + 0x78, 16)?,
            uuid: big_endian_uuid(&f, 1024 + 0x68)?,
        }
    } else if xfs::probe(head) {
        Content { label: f.text(108, 12)?, uuid: big_endian_uuid(&f, 32)?, ..Content::named("XFS") }
    } else if at(usize::try_from(BTRFS).unwrap_or(0) + 64, b"_BHRfS_M") {
        let base = usize::try_from(BTRFS).unwrap_or(0);
        Content { label: f.text(base + 299, 256)?, uuid: big_endian_uuid(&f, base + 32)?, ..Content::named("btrfs") }
    } else if at(3, b"NTFS    ") {
        Content { uuid: format!("{:016X}", f.u64_le(72)?), ..Content::named("NTFS") }
    } else if at(3, b"ReFS\0") {
        Content::named("ReFS")
    } else if at(3, b"EXFAT   ") {
        Content { uuid: serial(f.u32_le(100)?), ..Content::named("exFAT") }
    } else if let Some(content) = fat(&f, head)? {
        content
    } else if at(4086, b"SWAPSPACE2") {
        Content { uuid: big_endian_uuid(&f, 1036)?, label: f.text(1052, 16)?, ..Content::named("swap") }
    } else if hfsplus::probe(head) {
        Content::named("HFS+")
    } else if hfsplus::probe_classic(head) {
        Content::named("HFS")
    } else if apfs::probe(head) {
        Content { uuid: big_endian_uuid(&f, 72)?, ..Content::named("APFS") }
    } else if at(0x8001, b"CD001") {
        Content { label: f.text(0x8028, 32)?.trim_end().to_owned(), ..Content::named("ISO 9660") }
    } else if at(0x8001, b"BEA01") {
        Content::named("UDF")
    } else if squashfs::probe(head) {
        Content::named("squashfs")
    } else {
        return Ok(None);
    }))
}

/// LUKS 2 has a label; in version 1 those bytes are the cipher's name.
fn luks_label(f: &Fields<'_>) -> Result<String, Fault> {
    if f.u16_be(6)? == 2 { f.text(24, 48) } else { Ok(String::new()) }
}

/// FAT12, FAT16 and FAT32 have no magic number: the boot sector's numbers must make sense together.
fn fat(f: &Fields<'_>, head: &[u8]) -> Result<Option<Content>, Fault> {
    if head.len() < 512 || !head[510..].starts_with(&[0x55, 0xAA]) {
        return Ok(None);
    }
    let sector = f.u16_le(11)?;
    let cluster = f.u8(13)?;
    let (reserved, tables) = (f.u16_le(14)?, f.u8(16)?);
    let sane = matches!(sector, 512 | 1024 | 2048 | 4096) && cluster.is_power_of_two() && reserved > 0;
    if !sane || !matches!(tables, 1 | 2) || !matches!(f.u8(21)?, 0xF0 | 0xF8..=0xFF) {
        return Ok(None);
    }
    let wide = f.u16_le(22)? == 0;
    let table = if wide { f.u32_le(36)? } else { u32::from(f.u16_le(22)?) };
    let all = match f.u16_le(19)? {
        0 => f.u32_le(32)?,
        small => u32::from(small),
    };
    let root = (u32::from(f.u16_le(17)?) * 32).div_ceil(u32::from(sector));
    let before = u64::from(reserved) + u64::from(tables) * u64::from(table) + u64::from(root);
    let clusters = u64::from(all).saturating_sub(before) / u64::from(cluster);
    let (type_name, extended) = match clusters {
        _ if wide => ("FAT32", 66),
        0..=4084 => ("FAT12", 38),
        _ => ("FAT16", 38),
    };
    let has_more = matches!(f.u8(extended)?, 0x28 | 0x29);
    Ok(Some(Content {
        uuid: if has_more { serial(f.u32_le(extended + 1)?) } else { String::new() },
        label: if has_more { f.text(extended + 5, 11)?.trim_end().replace("NO NAME", "") } else { String::new() },
        ..Content::named(type_name)
    }))
}

/// A volume's serial number as DOS writes it.
fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}

fn big_endian_uuid(f: &Fields<'_>, at: usize) -> Result<String, Fault> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(at, 16)?);
    Ok(if raw == [0; 16] { String::new() } else { Uuid::from_bytes(raw).to_string() })
}

fn zfs(ring: &[u8]) -> Option<Content> {
    let magic = ring
        .chunks(1024)
        .any(|block| block.starts_with(&ZFS_MAGIC.to_le_bytes()) || block.starts_with(&ZFS_MAGIC.to_be_bytes()));
    magic.then(|| Content::named("ZFS"))
}
