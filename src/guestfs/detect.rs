//! What a volume holds, by its content: file systems that can be read here, and others by name.

use super::iso::{self, Iso};
use super::udf::{self, Udf};
use super::{Error, GuestFs, Result, signatures};
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
    /// What a user should know, a sentence each: corruption, how to go on with what cannot be read here.
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

/// Identifies what a volume holds by its signatures alone.
///
/// # Errors
/// When the volume cannot be read.
pub fn detect(volume: &dyn Disk) -> Result<Content> {
    Ok(signatures::find(volume)?.map(|(_, content)| content).unwrap_or_default())
}

/// Identifies what a volume holds: by its reader where there is one, else by its signatures. The notes report what is
/// wrong, and how to continue with contents that cannot be read here.
#[must_use]
pub fn identify(volume: &Arc<dyn Disk>) -> Content {
    let mut notes = Vec::new();
    match open(volume.clone()) {
        Ok(Some(fs)) => return of_reader(&*fs),
        Ok(None) => {}
        Err(e) => notes.push(e),
    }
    let mut content = detect(&**volume).unwrap_or_else(|e| {
        notes.push(e);
        Content::default()
    });
    content.notes = match content.is_unknown() {
        true => notes.iter().map(|e| message(e)).collect(),
        false => notes.iter().map(|e| format!("{}: {}", content.type_name, message(e))).collect(),
    };
    // What could not be opened is named with the reason; the others are only named.
    if content.notes.is_empty() {
        content.notes.extend(way_on(&content.type_name).map(str::to_owned));
    }
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
/// Corruption, unknown features, and when the volume cannot be read.
pub fn open(volume: Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    match signatures::find(&*volume)?.and_then(|(signature, _)| signature.open) {
        Some(open) => open(volume),
        None => Ok(None),
    }
}

/// Opens the file system of an optical disk; `None` when a volume is none. Of one that has both, UDF is taken, as
/// Windows and Linux do, and ISO 9660 where that is corrupt.
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
