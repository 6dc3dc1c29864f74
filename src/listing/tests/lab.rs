//! Registries made by hand, and facts about files that are not there.

use crate::error_kind::IoError;
use crate::listing::examine::{Facts, unregistered};
use crate::listing::report::MediumState;
use crate::listing::{Report, collect};
use crate::registry::{
    Attachment, DeviceKind, Machine, MachineEntry, MachineState, Medium, MediumId, MediumKind, Registry, Snapshot,
};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A UUID that looks like one.
pub(super) fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x5bd1_e995_77a6_4c08_9f3e_0000_0000_0000 | number)
}

/// Builds a registry.
#[derive(Default)]
pub(super) struct Lab {
    media: Vec<Medium>,
    machines: Vec<MachineEntry>,
    facts: HashMap<Uuid, Facts>,
}

impl Lab {
    /// Adds a base that is there, with its bytes on disk and of the disk.
    pub(super) fn base(&mut self, number: u128, path: &str, kind: MediumKind, size: u64, capacity: u64) -> MediumId {
        let format = path.rsplit('.').next().unwrap().to_uppercase();
        self.add(number, path, &format, kind, None, size, capacity)
    }

    /// Adds a differencing image.
    pub(super) fn child(&mut self, number: u128, parent: MediumId, size: u64) -> MediumId {
        let base = self.media[parent.0].clone();
        let capacity = self.facts[&base.uuid].capacity.unwrap_or(0);
        let path = format!("/vms/Snapshots/{{{}}}.vdi", uuid(number));
        let id = self.add(number, &path, &base.format, MediumKind::Normal, Some(parent), size, capacity);
        self.media[parent.0].children.push(id);
        id
    }

    #[expect(clippy::too_many_arguments, reason = "a test's shorthand")]
    fn add(
        &mut self,
        number: u128,
        path: &str,
        format: &str,
        kind: MediumKind,
        parent: Option<MediumId>,
        size: u64,
        capacity: u64,
    ) -> MediumId {
        let device = if format == "ISO" { DeviceKind::Dvd } else { DeviceKind::HardDisk };
        self.media.push(Medium {
            uuid: uuid(number),
            location: PathBuf::from(path),
            format: format.to_owned(),
            device,
            kind,
            auto_reset: false,
            description: String::new(),
            properties: BTreeMap::new(),
            parent,
            children: Vec::new(),
            registered_in: Path::new("/vms/VirtualBox.xml").into(),
            named_in: None,
            problem: None,
        });
        let facts =
            Facts { size_on_disk: Some(size), capacity: Some(capacity), state: MediumState::Created, problem: None };
        self.facts.insert(uuid(number), facts);
        MediumId(self.media.len() - 1)
    }

    /// The medium, to change it.
    pub(super) fn medium(&mut self, id: MediumId) -> &mut Medium {
        &mut self.media[id.0]
    }

    /// Sets the state of a medium's file.
    pub(super) fn set_state(&mut self, id: MediumId, state: MediumState, problem: Option<&str>) {
        let facts = self.facts.get_mut(&self.media[id.0].uuid).unwrap();
        facts.state = state;
        facts.problem = problem.map(str::to_owned);
        if state == MediumState::NoAccess {
            (facts.size_on_disk, facts.capacity) = (Some(0), None);
        }
    }

    /// Adds a machine with hard disks in its current state.
    pub(super) fn machine(&mut self, number: u128, name: &str, disks: &[MediumId]) -> &mut Machine {
        let attachments = (0..).zip(disks).map(|(port, id)| slot(port, Some(self.media[id.0].uuid))).collect();
        let machine = Machine {
            uuid: uuid(number),
            name: name.to_owned(),
            os_type: "Linux_64".to_owned(),
            description: String::new(),
            groups: vec!["/".to_owned()],
            state: MachineState::PoweredOff,
            state_file: None,
            last_state_change: "2026-11-23T13:49:46Z".to_owned(),
            snapshot_directory: PathBuf::from("/vms/Snapshots"),
            snapshots: Vec::new(),
            current_snapshot: None,
            current_state_modified: false,
            attachments,
        };
        let path = PathBuf::from(format!("/vms/{name}/{name}.vbox"));
        self.machines.push(MachineEntry { uuid: uuid(number), path, machine: Ok(machine) });
        self.machines.last_mut().unwrap().machine.as_mut().unwrap()
    }

    /// Adds a machine whose settings are gone.
    pub(super) fn lost_machine(&mut self, number: u128, path: &str) {
        let path = PathBuf::from(path);
        let source = std::io::Error::from_raw_os_error(2);
        let error = IoError::new(&path, "read", source).into();
        self.machines.push(MachineEntry { uuid: uuid(number), path, machine: Err(error) });
    }

    /// The listing of everything.
    pub(super) fn report(self) -> Report {
        self.report_on(None).unwrap()
    }

    /// The listing of one machine.
    pub(super) fn report_on(self, wanted: Option<&str>) -> crate::listing::Result<Report> {
        let registry = Registry::of(self.machines, self.media);
        let facts = self.facts;
        let examine = |media: &[Option<&Medium>]| {
            media.iter().map(|m| m.map_or_else(unregistered, |m| facts[&m.uuid].clone())).collect()
        };
        collect::collect_with(&registry, wanted, &examine)
    }
}

/// A slot with a hard disk.
pub(super) fn slot(port: u32, medium: Option<Uuid>) -> Attachment {
    Attachment { controller: "SATA".to_owned(), port, device: 0, kind: DeviceKind::HardDisk, medium, host_drive: None }
}

/// A snapshot with one hard disk.
pub(super) fn snapshot(number: u128, name: &str, parent: Option<usize>, disk: u128) -> Snapshot {
    Snapshot {
        uuid: uuid(number),
        name: name.to_owned(),
        description: String::new(),
        time_stamp: "2026-11-23T13:49:19Z".to_owned(),
        online: false,
        parent,
        attachments: vec![slot(0, Some(uuid(disk)))],
    }
}
