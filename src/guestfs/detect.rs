//! What a volume holds, by its content: file systems that can be read here, and others by name.

use super::{Content, GuestFs, Result, signatures};
use crate::disk::Disk;
use crate::error_kind::message;
use std::sync::Arc;

/// Identifies what a volume holds by its signatures alone.
///
/// # Errors
/// When the volume cannot be read.
pub(crate) fn detect(volume: &dyn Disk) -> Result<Content> {
    Ok(signatures::find(volume)?.map(|(_, content)| content).unwrap_or_default())
}

/// Identifies what a volume holds: by its reader where there is one, else by its signatures. The notes report what is
/// wrong, and how to continue with contents that cannot be read here.
#[must_use]
pub(crate) fn identify(volume: &Arc<dyn Disk>) -> Content {
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
    // A failure to open says more than general advice.
    if content.notes.is_empty() {
        content.notes.extend(way_on(&content.type_name).map(str::to_owned));
    }
    content
}

/// What the reader of a file system reports of it.
#[must_use]
pub(crate) fn of_reader(fs: &dyn GuestFs) -> Content {
    let facts = fs.facts();
    Content {
        type_name: facts.type_name.to_owned(),
        label: facts.label.clone(),
        uuid: facts.uuid.clone(),
        notes: facts.notes.clone(),
    }
}

/// How to read a content that wraps another one.
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
        "ZFS" => "It is a part of a pool (ZFS): mount the disk and use zpool import -d DIRECTORY -o readonly=on",
        _ => return None,
    })
}

/// Opens the file system of a volume; `None` when there is none that can be read here.
///
/// # Errors
/// Corruption, unknown features, and when the volume cannot be read.
pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    match signatures::find(&*volume)?.and_then(|(signature, _)| signature.open) {
        Some(open) => open(volume),
        None => Ok(None),
    }
}
