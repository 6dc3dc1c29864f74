//! What a volume holds, by its content: file systems that can be read here, and others by name.

use super::btrfs::{self, Btrfs};
use super::dos::serial;
use super::exfat::{self, Exfat};
use super::ext::{self, Ext};
use super::fat::{self, Fat};
use super::iso::{self, Iso};
use super::ntfs::{self, Ntfs};
use super::udf::{self, Udf};
use super::xfs::{self, Xfs};
use super::{Error, GuestFs, Result};
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
    if btrfs::probe(&*volume)? {
        return Ok(Some(Box::new(Btrfs::open(volume)?)));
    }
    if exfat::probe(&head) {
        return Ok(Some(Box::new(Exfat::open(volume)?)));
    }
    if fat::probe(&head) {
        return Ok(Some(Box::new(Fat::open(volume)?)));
    // Before HFS+, which hybrid disks have too; after those whose mark is where optical disks have none of their own.
    if let Some(optical) = open_optical(&volume)? {
        return Ok(Some(optical));
    }
    Ok(None)
}

/// Opens the file system of an optical disk; `None` when a volume is none. Of one that has both, UDF is taken, as
/// Windows and Linux do, and ISO 9660 where that is damaged.
///
/// # Errors
/// As [`open`].
pub fn open_optical(volume: &Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    let mut failed = None;
    if udf::probe(&**volume)? {
        match Udf::open(volume.clone()) {
            Ok(udf) => return Ok(Some(Box::new(udf))),
            Err(error @ Error::Disk(_)) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    if iso::probe(&**volume)? {
        let mut iso = Iso::open(volume.clone())?;
        if let Some(error) = failed {
            iso.note(format!("Its ISO 9660 file system is shown in place of UDF: {error}"));
        }
        return Ok(Some(Box::new(iso)));
    }
    failed.map_or(Ok(None), Err)
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
    } else if exfat::probe(head) {
        Content { uuid: serial(f.u32_le(100)?), ..Content::named("exFAT") }
    } else if let Some(content) = fat::content(head) {
        content
    } else if at(4086, b"SWAPSPACE2") {
        Content { uuid: big_endian_uuid(&f, 1036)?, label: f.text(1052, 16)?, ..Content::named("swap") }
    } else if at(1024, b"H+") || at(1024, b"HX") {
        Content::named("HFS+")
    } else if at(32, b"NXSB") {
        Content { uuid: big_endian_uuid(&f, 72)?, ..Content::named("APFS") }
    } else if at(0x8001, b"CD001") {
        Content { label: f.text(0x8028, 32)?.trim_end().to_owned(), ..Content::named("ISO 9660") }
    } else if at(0x8001, b"BEA01") {
        Content::named("UDF")
    } else if at(0, b"hsqs") {
        Content::named("squashfs")
    } else {
        return Ok(None);
    }))
}

/// LUKS 2 has a label; in version 1 those bytes are the cipher's name.
fn luks_label(f: &Fields<'_>) -> Result<String, Fault> {
    if f.u16_be(6)? == 2 { f.text(24, 48) } else { Ok(String::new()) }
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
