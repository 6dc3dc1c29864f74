//! Where an appliance's disks are attached, as VirtualBox attaches them at import where the descriptor has no settings
//! of its own: controllers are named after their buses.

use crate::registry::xml::OvfItem;
use crate::registry::{Attachment, DeviceKind};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// `ResourceType` of controllers and devices (CIM_ResourceAllocationSettingData).
const IDE: &str = "5";
const SCSI: &str = "6";
const FLOPPY: &str = "14";
const CD: &str = "15";
const DVD: &str = "16";
const DISK: &str = "17";
const OTHER_STORAGE: &str = "20";

/// The most slots of a machine that are read.
const MAX_SLOTS: usize = 256;

/// A controller of the machine.
struct Controller {
    name: String,
    /// For IDE, which has its two channels as two controllers: the channel.
    channel: Option<u32>,
}

/// The slots of a virtual system. `medium` finds what a `HostResource` names.
pub(super) fn attachments(items: &[OvfItem], medium: impl Fn(&str) -> Option<Uuid>) -> Vec<Attachment> {
    let controllers = controllers(items);
    let (mut slots, mut taken) = (Vec::new(), HashSet::new());
    for item in items {
        if slots.len() == MAX_SLOTS {
            break;
        }
        let kind = match item.kind.trim() {
            DISK => DeviceKind::HardDisk,
            CD | DVD => DeviceKind::Dvd,
            FLOPPY => DeviceKind::Floppy,
            _ => continue,
        };
        let controller = controllers.get(item.parent.trim());
        let address: u32 = item.address_on_parent.trim().parse().unwrap_or(0);
        let (port, device) = match controller.and_then(|controller| controller.channel) {
            // Old exports of VirtualBox count the disks of both channels on the first.
            Some(0) if address == 2 || address == 3 => (1, address - 2),
            Some(channel) => (channel, address),
            None => (address, 0),
        };
        let name = match (controller, kind) {
            (_, DeviceKind::Floppy) => "Floppy",
            (Some(controller), _) => &controller.name,
            (None, _) => "Unknown",
        };
        let mut slot = Attachment {
            controller: name.to_owned(),
            port,
            device,
            kind,
            medium: medium(item.host_resource.trim()),
            host_drive: None,
        };
        // Without addresses all would be in one.
        while !taken.insert((slot.controller.clone(), slot.port, slot.device)) {
            slot.port = slot.port.wrapping_add(1);
        }
        slots.push(slot);
    }
    slots
}

/// The controllers by their `InstanceID`.
fn controllers(items: &[OvfItem]) -> HashMap<&str, Controller> {
    let mut controllers = HashMap::new();
    let mut count: HashMap<&str, u32> = HashMap::new();
    for item in items {
        let subtype = item.subtype.to_ascii_lowercase();
        let name = match item.kind.trim() {
            IDE => "IDE",
            SCSI | OTHER_STORAGE if subtype.contains("sas") => "SAS",
            SCSI | OTHER_STORAGE if subtype.contains("virtio") => "VirtioSCSI",
            OTHER_STORAGE if subtype.contains("nvme") => "NVMe",
            OTHER_STORAGE => "SATA",
            SCSI => "SCSI",
            _ => continue,
        };
        let before = count.entry(name).or_default();
        let controller = if name == "IDE" {
            let channel = item.address.trim().parse().unwrap_or(*before);
            Controller { name: name.to_owned(), channel: Some(channel) }
        } else {
            let name = if *before == 0 { name.to_owned() } else { format!("{name} {}", *before + 1) };
            Controller { name, channel: None }
        };
        *before += 1;
        controllers.insert(item.instance.trim(), controller);
    }
    controllers
}
