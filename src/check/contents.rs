//! The disk that the images make up: its partition table and file systems.

use super::{Finding, Findings, Part, PartKind, Reading};
use crate::disk::{Disk, Slice};
use crate::error_kind::{ErrorKind, message};
use crate::guestfs::{Error, copies, detect};
use crate::open::{self, OpenDisk, VolumeContent};
use crate::volume::{self, Volume};
use std::sync::Arc;

/// Words of the sentences that tables and file systems report, when something is wrong and not only unusual.
const OF_CORRUPTION: [&str; 11] = [
    "corrupt",
    "past the end",
    "shorter than",
    "found errors",
    "met errors",
    "need of a repair",
    "inconsistent",
    "cannot be read",
    "cannot be replayed",
    "is not shown",
    "has no signature",
];

/// Checks what is on a disk. Answers whether to go on.
pub(super) fn check(opened: open::Result<OpenDisk>, each: &mut dyn FnMut(Part) -> bool) -> bool {
    let mut findings = Findings::default();
    let part = |kind, name: &str, details, size, findings| Part {
        slot: None,
        kind,
        name: name.to_owned(),
        details,
        size,
        findings,
    };
    let disk = match opened {
        Ok(disk) => disk,
        Err(error) => {
            let found = match error.kind() {
                ErrorKind::Password => Finding::note(format!("Its content is not checked: {}", message(&error))),
                _ => Finding::new(message(&error), Reading::Refused),
            };
            findings.add(Finding { reading: Reading::Refused, ..found });
            return each(part(PartKind::Disk, "vhdd", String::new(), None, findings));
        }
    };
    for text in &disk.table.notes {
        let is_cut = text.contains("past the end");
        findings.add(of_text(text, if is_cut { Reading::Error } else { Reading::Fine }));
    }
    match volume::check_copy(&*disk.disk, &disk.table) {
        Ok(None) => {}
        Ok(Some(text)) => {
            findings.add(Finding::new(text, Reading::Fine).advise("repair it in the guest, with gdisk for one"));
        }
        Err(error) => findings.add(Finding::new(message(&error), Reading::Error)),
    }
    let table = &disk.table;
    let details = match table.volumes.len() {
        0 => "no partition table".to_owned(),
        1 => format!("{}, 1 volume", table.scheme.name()),
        count => format!("{}, {count} volumes", table.scheme.name()),
    };
    if !each(part(PartKind::Disk, "vhdd", details, Some(disk.disk.size()), findings)) {
        return false;
    }
    let whole = Volume::whole(&*disk.disk);
    let volumes = if table.volumes.is_empty() { std::slice::from_ref(&whole) } else { &table.volumes };
    for content in disk.contents() {
        let Some(volume) = volumes.iter().find(|volume| volume.index == content.index) else { continue };
        let slice: Arc<dyn Disk> = Arc::new(Slice::new(disk.disk.clone(), volume.offset, volume.size));
        let name = if table.volumes.is_empty() { "vhdd".to_owned() } else { format!("vol{}", volume.index) };
        let findings = of_volume(&content, slice);
        if table.volumes.is_empty() && content.content.is_unknown() && findings.list.is_empty() {
            continue;
        }
        if !each(part(PartKind::Volume, &name, content.content.to_string(), Some(volume.size), findings)) {
            return false;
        }
    }
    true
}

/// What is wrong with the file system of a volume.
fn of_volume(content: &VolumeContent, volume: Arc<dyn Disk>) -> Findings {
    let mut findings = Findings::default();
    let notes = &content.content.notes;
    if content.guest.is_some() {
        notes.iter().for_each(|text| findings.add(of_text(text, Reading::Fine)));
        match copies::check(&content.content.type_name, &*volume) {
            Ok(None) => {}
            Ok(Some(cause)) => {
                let found = Finding::new(cause.to_string(), Reading::Fine);
                findings.add(found.advise("the first one is right and is used; repair the copy from within the guest"));
            }
            Err(error) => findings.add(Finding::new(message(&error), Reading::Error)),
        }
        return findings;
    }
    match detect::open(volume) {
        Err(Error::Unsupported(text)) => findings.add(Finding::note(text)),
        Err(error) => {
            let reading = if matches!(error, Error::Disk(_)) { Reading::Error } else { Reading::Refused };
            findings.add(Finding::new(message(&error), reading));
        }
        Ok(_) => notes.iter().for_each(|text| findings.add(Finding::note(text))),
    }
    findings
}

fn of_text(text: &str, reading: Reading) -> Finding {
    let is_corruption = OF_CORRUPTION.iter().any(|word| text.contains(word));
    if is_corruption { Finding::new(text, reading) } else { Finding::note(text) }
}
