//! Appliances: an OVF descriptor with its disks next to it, or both in a tar archive (`.ova`, and boxes of Vagrant).
//! They become a registry like any other, whose machines and media are never written to.

mod load;
mod manifest;
mod slots;
mod source;

pub(super) use load::load;
pub(crate) use manifest::{Manifest, ManifestEntry};
pub(super) use source::{Descriptor, descriptor_of, refuse_others};

use super::named::list;
use super::{DeviceKind, Error, Medium, MediumId, Registry, Result};
use std::path::Path;

impl Registry {
    /// The disk of the appliance at a path that this registry was loaded from: its only hard disk, or the only medium.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] with all disks; [`Error::NotFound`] for an appliance without any.
    pub(super) fn only_disk(&self, appliance: &Path) -> Result<MediumId> {
        let leaves = || self.media.iter().filter(|(_, medium)| medium.children.is_empty());
        let hard_disks: Vec<(MediumId, &Medium)> =
            leaves().filter(|(_, medium)| medium.device == DeviceKind::HardDisk).collect();
        let candidates = if hard_disks.is_empty() { leaves().collect() } else { hard_disks };
        let what = format!("The disk of the appliance {}", appliance.display());
        match *candidates {
            [(id, _)] => Ok(id),
            [] => Err(Error::NotFound { what, hint: "its description has no disks".to_owned() }),
            ref several => Err(Error::Ambiguous {
                what,
                candidates: list(several.iter().map(|(id, medium)| self.describe_in_appliance(*id, medium))),
                how: "the path of one, or the appliance with --settings and the disk with --vm and --disk",
            }),
        }
    }

    /// The path of a medium, with the machine and the slot that have it.
    fn describe_in_appliance(&self, id: MediumId, medium: &Medium) -> String {
        let path = medium.location.display();
        let slot = self.uses_of(id).iter().find_map(|one| {
            let machine = self.machines.get(one.machine)?.machine.as_ref().ok()?;
            let slot = machine.attachments.iter().find(|slot| slot.medium == Some(medium.uuid))?;
            Some(format!("{:?} {}", machine.name, slot.slot()))
        });
        slot.map_or_else(|| path.to_string(), |slot| format!("{path} ({slot})"))
    }
}

#[cfg(test)]
mod tests;
