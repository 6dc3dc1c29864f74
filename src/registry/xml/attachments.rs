//! The attachments of a machine or a snapshot.
//!
//! Since version 1.9 all is under `StorageControllers`; before, DVD and floppy drives were elements of `Hardware`, and
//! before 1.7 hard disks were in `HardDiskAttachments`.

use super::reader::Element;
use super::{Result, Version};
use crate::registry::{Attachment, DeviceKind};

/// The slots of one machine or snapshot, while its elements are read.
#[derive(Debug, Default)]
pub(super) struct Storage {
    attachments: Vec<Attachment>,
    /// The name of the controller whose devices are being read.
    controller: String,
    /// The name of the first IDE controller, which the old `DVDDrive` belongs to.
    ide: Option<String>,
    /// Drives of the old `DVDDrive` and `FloppyDrive`.
    drives: Vec<Attachment>,
    /// Whether the file is older than version 1.9, which changed the names of controllers.
    old_names: bool,
}

/// What an element of a storage section means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StorageRole {
    /// `StorageControllers`.
    Controllers,
    /// `StorageController`.
    Controller,
    /// `AttachedDevice`: the last of the attachments.
    Device,
    /// `HardDiskAttachments`.
    OldDisks,
    /// `DVDDrive` or `FloppyDrive`: the last of the drives.
    OldDrive,
    /// An element without children of interest.
    Leaf,
}

impl Storage {
    pub(super) fn new(version: Version) -> Self {
        Self { old_names: version < Version::ONE_STORAGE_SECTION, ..Self::default() }
    }

    /// An element inside of a storage section.
    pub(super) fn start(&mut self, parent: StorageRole, element: &Element) -> Result<Option<StorageRole>> {
        match (parent, element.name()) {
            (StorageRole::Controllers, "StorageController") => self.add_controller(element).map(Some),
            (StorageRole::Controller, "AttachedDevice") => self.add_device(element),
            (StorageRole::Device, name) => fill(self.attachments.last_mut(), name, element),
            (StorageRole::OldDrive, name) => fill(self.drives.last_mut(), name, element),
            (StorageRole::OldDisks, "HardDiskAttachment") => {
                self.attachments.push(old_disk(element)?);
                Ok(Some(StorageRole::Leaf))
            }
            _ => Ok(None),
        }
    }

    /// An element of `Hardware`.
    pub(super) fn start_in_hardware(&mut self, element: &Element) -> Result<Option<StorageRole>> {
        let (controller, port, kind) = match element.name() {
            "StorageControllers" => return Ok(Some(StorageRole::Controllers)),
            // The controller's name is not known before all are read.
            "DVDDrive" => (String::new(), 1, DeviceKind::Dvd),
            "FloppyDrive" if element.flag("enabled")? == Some(true) => {
                ("Floppy Controller".to_owned(), 0, DeviceKind::Floppy)
            }
            _ => return Ok(None),
        };
        self.drives.push(Attachment { controller, port, device: 0, kind, medium: None, host_drive: None });
        Ok(Some(StorageRole::OldDrive))
    }

    fn add_controller(&mut self, element: &Element) -> Result<StorageRole> {
        self.controller = element.required("name")?.into_owned();
        if self.old_names && matches!(&*self.controller, "IDE" | "SATA" | "SCSI") {
            self.controller.push_str(" Controller");
        }
        let is_ide = matches!(&*element.required("type")?, "PIIX3" | "PIIX4" | "ICH6");
        if is_ide && self.ide.is_none() {
            self.ide = Some(self.controller.clone());
        }
        Ok(StorageRole::Controller)
    }

    fn add_device(&mut self, element: &Element) -> Result<Option<StorageRole>> {
        let kind = match element.attribute("type")?.as_deref() {
            Some("HardDisk") => DeviceKind::HardDisk,
            Some("DVD") => DeviceKind::Dvd,
            Some("Floppy") => DeviceKind::Floppy,
            _ => return Ok(None),
        };
        self.attachments.push(Attachment {
            controller: self.controller.clone(),
            port: element.number("port")?,
            device: element.number("device")?,
            kind,
            medium: None,
            host_drive: None,
        });
        Ok(Some(StorageRole::Device))
    }

    /// All slots, in the order of the file, the old drives last.
    pub(super) fn finish(self) -> Vec<Attachment> {
        let ide = self.ide.unwrap_or_else(|| "IDE Controller".to_owned());
        let mut attachments = self.attachments;
        attachments.extend(self.drives.into_iter().map(|mut drive| {
            if drive.controller.is_empty() {
                drive.controller.clone_from(&ide);
            }
            drive
        }));
        attachments.shrink_to_fit();
        attachments
    }
}

/// Reads what is in a slot: `Image` or `HostDrive`.
fn fill(slot: Option<&mut Attachment>, name: &str, element: &Element) -> Result<Option<StorageRole>> {
    let Some(slot) = slot else { return Ok(None) };
    match name {
        "Image" => slot.medium = Some(element.uuid("uuid")?),
        "HostDrive" => slot.host_drive = Some(element.required("src")?.into_owned()),
        _ => return Ok(None),
    }
    Ok(Some(StorageRole::Leaf))
}

/// `HardDiskAttachment`: version 1.2 has `bus="ide0" device="master"`, 1.3 to 1.6 `bus="IDE" channel="0" device="0"`.
fn old_disk(element: &Element) -> Result<Attachment> {
    let bus = element.required("bus")?;
    let (controller, port, device) = match &*bus {
        "ide0" | "ide1" => {
            let device = match &*element.required("device")? {
                "master" => 0,
                "slave" => 1,
                other => return Err(element.wrong("device", "master or slave", other)),
            };
            ("IDE Controller", u32::from(&*bus == "ide1"), device)
        }
        name => {
            let controller = match name {
                "IDE" => "IDE Controller",
                "SATA" => "SATA Controller",
                "SCSI" => "SCSI Controller",
                _ => return Err(element.wrong("bus", "IDE, SATA or SCSI", name)),
            };
            (controller, element.number("channel")?, element.number("device")?)
        }
    };
    Ok(Attachment {
        controller: controller.to_owned(),
        port,
        device,
        kind: DeviceKind::HardDisk,
        medium: Some(element.uuid("hardDisk")?),
        host_drive: None,
    })
}
