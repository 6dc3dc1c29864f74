//! What a volume holds, by its content: file systems that can be read here, and others by name.

use super::apfs::{self, Apfs};
use super::btrfs::{self, Btrfs};
use super::exfat::{self, Exfat};
use super::ext::{self, Ext};
use super::fat::{self, Fat};
use super::hfsplus::{self, HfsPlus};
use super::iso::{self, Iso};
use super::marks;
use super::ntfs::{self, Ntfs};
use super::squashfs::{self, Squashfs};
use super::udf::{self, Udf};
use super::xfs::{self, Xfs};
use super::{Error, GuestFs, Result};
use crate::disk::Disk;
use crate::error_kind::message;
use std::fmt;
use std::sync::Arc;

/// What a volume holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The type, such as `ext4` or `LUKS2`; empty when nothing known is there.
    pub type_name: String,
    /// The label; empty when it has none or it is encrypted.
    pub label: String,
    /// The UUID or serial number, as the system's own tools write it; empty when it has none.
    pub uuid: String,
    /// What a user should know, a sentence each: damage, how to go on with what cannot be read here.
    pub notes: Vec<String>,
}

impl Content {
    pub(super) fn named(type_name: &str) -> Self {
        Self { type_name: type_name.to_owned(), ..Self::default() }
    }

    /// Whether nothing known is there.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.type_name.is_empty()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unknown() { "nothing known" } else { &self.type_name })?;
        if !self.label.is_empty() {
            write!(f, " {:?}", self.label)?;
        }
        if !self.uuid.is_empty() {
            write!(f, " {}", self.uuid)?;
        }
        Ok(())
    }
}

/// What a volume holds, as far as its marks tell.
///
/// # Errors
/// When the volume cannot be read.
pub fn detect(volume: &dyn Disk) -> Result<Content> {
    let part = |from: u64, len: u64| -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(volume.size().saturating_sub(from).min(len)).unwrap_or(0)];
        if !bytes.is_empty() {
            volume.read_at(from, &mut bytes)?;
        }
        Ok(bytes)
    };
    if let Some(content) = marks::of_head(&part(0, marks::HEAD)?) {
        return Ok(content);
    }
    let [member, file_system] = marks::FAR.map(|from| part(from, marks::FAR_LEN));
    if let Some(content) = marks::of_far([&member?, &file_system?]) {
        return Ok(content);
    }
    let [new, old] = marks::raid_ends(volume.size()).map(|end| end.map_or(Ok(Vec::new()), |end| part(end, 256)));
    Ok(marks::of_ends([&new?, &old?]).unwrap_or_default())
}

/// What a volume holds, as its reader says where there is one, else as its marks tell. What is wrong with it, and how
/// to go on with what cannot be read here, is in the notes.
#[must_use]
pub fn identify(volume: &Arc<dyn Disk>) -> Content {
    let mut notes = Vec::new();
    match open(volume.clone()) {
        Ok(Some(fs)) => return of_reader(&*fs),
        Ok(None) => {}
        Err(e) => notes.push(message(&e)),
    }
    let mut content = detect(&**volume).unwrap_or_else(|e| {
        notes.push(message(&e));
        Content::default()
    });
    // What could not be opened is named and said why; the others are only named.
    if notes.is_empty() {
        notes.extend(way_on(&content.type_name).map(str::to_owned));
    }
    content.notes = notes;
    content
}

/// What the reader of a file system says of it.
#[must_use]
pub fn of_reader(fs: &dyn GuestFs) -> Content {
    let facts = fs.facts();
    Content {
        type_name: facts.type_name.to_owned(),
        label: facts.label.clone(),
        uuid: facts.uuid.clone(),
        notes: facts.notes.clone(),
    }
}

/// How to go on with a content that hides another one.
fn way_on(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        "LUKS1" | "LUKS2" => {
            "It is encrypted (LUKS): mount the disk and open its volume with cryptsetup open --readonly"
        }
        "BitLocker" => {
            "It is encrypted (BitLocker): mount the disk and open its volume with cryptsetup open --type bitlk --readonly"
        }
        "LVM member" => {
            "It is a part of a volume group (LVM): mount the disk, attach its volume with losetup -r, then vgchange -ay"
        }
        "Linux RAID member" => {
            "It is a part of a RAID: mount the disks, attach their volumes with losetup -r, then mdadm --assemble --readonly"
        }
        "ZFS" => "It is a part of a pool (ZFS): mount the disk and use zpool import -d FOLDER -o readonly=on",
        _ => return None,
    })
}

/// Opens the file system of a volume; `None` when there is none that can be read here.
///
/// # Errors
/// Damage, unknown features, and when the volume cannot be read.
pub fn open(volume: Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    let mut head = vec![0; usize::try_from(volume.size()).unwrap_or(usize::MAX).min(marks::CONTAINER_HEAD)];
    volume.read_at(0, &mut head)?;
    if marks::contained(&head).is_some() {
        // A file system that seems to be there was so before.
        return Ok(None);
    }
    if ntfs::probe(&head) {
        return Ok(Some(Box::new(Ntfs::open(volume)?)));
    }
    if exfat::probe(&head) {
        return Ok(Some(Box::new(Exfat::open(volume)?)));
    }
    if xfs::probe(&head) {
        return Ok(Some(Box::new(Xfs::open(volume)?)));
    }
    if btrfs::probe(&*volume)? {
        return Ok(Some(Box::new(Btrfs::open(volume)?)));
    }
    if apfs::probe(&head) {
        return Ok(Some(Box::new(Apfs::open(volume)?)));
    }
    if squashfs::probe(&head) {
        return Ok(Some(Box::new(Squashfs::open(volume)?)));
    }
    // Before optical disks, whose marks a quick format of FAT may leave.
    if fat::probe(&head) {
        return Ok(Some(Box::new(Fat::open(volume)?)));
    }
    // Before HFS+, which hybrid disks have too.
    if let Some(optical) = open_optical(&volume)? {
        return Ok(Some(optical));
    }
    if hfsplus::probe(&head) {
        return Ok(Some(Box::new(HfsPlus::open(volume)?)));
    }
    // Last, as its mark is of two bytes only, which others may have there by chance.
    if ext::probe(&head) {
        return Ok(Some(Box::new(Ext::open(volume)?)));
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
