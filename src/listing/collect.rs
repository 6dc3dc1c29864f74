//! Gathering a report from a registry.

use super::examine::{self, Examine};
use super::media_list::{AllUses, MediaList};
use super::report::{AttachmentReport, MachineReport, MachineState, Report, SnapshotReport};
use super::tree::{Forest, Tree, Uses};
use super::{Error, Result};
use crate::error;
use crate::registry::{self, Attachment, DeviceKind, Machine, MachineEntry, MediumId, Registry};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Gathers what a listing says of a registry: all machines and media, or only the machines that `wanted` names by
/// UUID (in braces or not, in any case) or by name. Every image file that is shown is opened once, to read its header.
///
/// # Errors
/// [`Error::NoSuchMachine`].
pub fn collect(registry: &Registry, wanted: Option<&str>) -> Result<Report> {
    collect_with(registry, wanted, &examine::all)
}

/// As [`collect`], with the facts about media from `examine`.
pub(super) fn collect_with(registry: &Registry, wanted: Option<&str>, examine: &Examine<'_>) -> Result<Report> {
    let chosen: Vec<&MachineEntry> = match wanted {
        Some(wanted) => choose(registry, wanted)?,
        None => registry.machines.iter().collect(),
    };
    let uses = AllUses::of(registry);
    let forest = Forest::new(registry);
    let mut media = MediaList::new(registry);
    let machines = chosen.into_iter().map(|entry| machine(entry, registry, &forest, &mut media)).collect();
    let unattached = match wanted {
        Some(_) => Vec::new(),
        None => unattached(registry, &forest, &uses, &mut media),
    };
    let problems = registry.problems.iter().map(|e| error::message(e)).collect();
    Ok(Report { machines, media: media.finish(&forest, &uses, examine), problems, unattached })
}

/// The machines with a UUID; if there is none, those with a name.
fn choose<'a>(registry: &'a Registry, wanted: &str) -> Result<Vec<&'a MachineEntry>> {
    let uuid = Uuid::try_parse(wanted).ok();
    let by_uuid = |entry: &&MachineEntry| {
        uuid.is_some_and(|uuid| entry.uuid == uuid || entry.machine.as_ref().is_ok_and(|m| m.uuid == uuid))
    };
    let mut chosen: Vec<_> = registry.machines.iter().filter(by_uuid).collect();
    if chosen.is_empty() {
        chosen = registry.machines.iter().filter(|entry| name(entry) == wanted).collect();
    }
    if chosen.is_empty() {
        return Err(Error::NoSuchMachine { wanted: wanted.to_owned() });
    }
    Ok(chosen)
}

/// The name of a machine, which is that of its settings file when that cannot be read.
fn name(entry: &MachineEntry) -> String {
    match &entry.machine {
        Ok(machine) => machine.name.clone(),
        Err(_) => entry.path.file_stem().unwrap_or(entry.path.as_os_str()).to_string_lossy().into_owned(),
    }
}

fn machine(entry: &MachineEntry, registry: &Registry, forest: &Forest<'_>, media: &mut MediaList<'_>) -> MachineReport {
    let mut report = MachineReport {
        uuid: entry.uuid,
        name: name(entry),
        path: entry.path.to_string_lossy().into_owned(),
        state: MachineState::Inaccessible,
        error: None,
        os_type: String::new(),
        description: String::new(),
        groups: Vec::new(),
        state_file: None,
        last_state_change: String::new(),
        current_snapshot: None,
        current_state_modified: false,
        snapshots: Vec::new(),
        attachments: Vec::new(),
        trees: Vec::new(),
        attached: Vec::new(),
    };
    match &entry.machine {
        Err(e) => report.error = Some(error::message(e)),
        Ok(machine) => {
            report.state = match machine.state {
                registry::MachineState::PoweredOff => MachineState::OffOrRunning,
                registry::MachineState::Saved => MachineState::Saved,
                registry::MachineState::Aborted => MachineState::Aborted,
            };
            report.os_type.clone_from(&machine.os_type);
            report.description.clone_from(&machine.description);
            report.groups.clone_from(&machine.groups);
            report.state_file = machine.state_file.as_ref().map(|path| path.to_string_lossy().into_owned());
            report.last_state_change.clone_from(&machine.last_state_change);
            report.current_snapshot = machine.current_snapshot.map(|at| machine.snapshots[at].uuid);
            report.current_state_modified = machine.current_state_modified;
            report.snapshots = snapshots(machine);
            report.attachments = attachments(&machine.attachments);
            let place =
                |a: &Attachment, media: &mut MediaList<'_>| a.medium.map(|uuid| media.add_attached(uuid, a.kind));
            report.trees = trees(machine, registry, forest, media);
            report.attached = machine.attachments.iter().map(|a| place(a, media)).collect();
        }
    }
    report
}

fn snapshots(machine: &Machine) -> Vec<SnapshotReport> {
    let report = |snapshot: &registry::Snapshot| SnapshotReport {
        uuid: snapshot.uuid,
        name: snapshot.name.clone(),
        description: snapshot.description.clone(),
        time_stamp: snapshot.time_stamp.clone(),
        online: snapshot.online,
        parent: snapshot.parent.map(|at| machine.snapshots[at].uuid),
        attachments: attachments(&snapshot.attachments),
    };
    machine.snapshots.iter().map(report).collect()
}

fn attachments(attachments: &[Attachment]) -> Vec<AttachmentReport> {
    let report = |attachment: &Attachment| AttachmentReport {
        controller: attachment.controller.clone(),
        port: attachment.port,
        device: attachment.device,
        kind: attachment.kind,
        medium: attachment.medium,
        host_drive: attachment.host_drive.clone(),
    };
    attachments.iter().map(report).collect()
}

/// The trees of a machine's hard disks: those attached now in the order of their attachments, then those that only
/// snapshots have. A tree that several attachments share is there once.
fn trees(machine: &Machine, registry: &Registry, forest: &Forest<'_>, media: &mut MediaList<'_>) -> Vec<Tree> {
    let frozen = machine.snapshots.iter().enumerate();
    let frozen = frozen.flat_map(|(i, snapshot)| snapshot.attachments.iter().map(move |a| (a, Some(i))));
    let current = machine.attachments.iter().map(|a| (a, None));
    let mut uses: HashMap<MediumId, Uses> = HashMap::new();
    let mut bases: Vec<Result<MediumId, Uuid>> = Vec::new();
    let mut seen = HashSet::new();
    for (attachment, snapshot) in current.chain(frozen).filter(|(a, _)| a.kind == DeviceKind::HardDisk) {
        let Some(uuid) = attachment.medium else { continue };
        let id = registry.media.find(uuid);
        if let Some(id) = id {
            let uses = uses.entry(id).or_default();
            match snapshot {
                Some(at) if uses.snapshots.last() == Some(&at) => {}
                Some(at) => uses.snapshots.push(at),
                None => uses.current = true,
            }
        }
        let base = id.map(|id| forest.base(id)).ok_or(uuid);
        if seen.insert(base) {
            bases.push(base);
        }
    }
    let tree = |base: &Result<MediumId, Uuid>| match base {
        Ok(base) => forest.tree(*base, &uses, media),
        Err(uuid) => Tree::of_unknown(media.add_attached(*uuid, DeviceKind::HardDisk)),
    };
    bases.iter().map(tree).collect()
}

/// The trees that no machine uses anything of. The media of a machine that is lost can be found by them.
fn unattached(registry: &Registry, forest: &Forest<'_>, uses: &AllUses, media: &mut MediaList<'_>) -> Vec<Tree> {
    let used: HashSet<MediumId> = registry
        .media
        .iter()
        .filter(|(id, _)| !uses.of_medium(*id).is_empty())
        .map(|(id, _)| forest.base(id))
        .collect();
    let bases = registry.media.iter().filter(|(id, medium)| medium.parent.is_none() && !used.contains(id));
    bases.map(|(id, _)| forest.tree(id, &HashMap::new(), media)).collect()
}
