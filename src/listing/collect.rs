//! Gathers a report from a registry.

use super::Result;
use super::examine::{self, Examine};
use super::media_list::MediaList;
use super::report::{AttachmentReport, MachineReport, MachineState, MediumReport, Report, SnapshotReport};
use super::tree::{Forest, Tree, Uses};
use crate::error_kind;
use crate::lock::Prober;
use crate::registry::{self, Attachment, DeviceKind, Machine, MachineEntry, MediumId, Registry};
use crate::storage::Allowed;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;
use uuid::Uuid;

/// Gathers the listing of a registry: all machines and media, or the machine that `wanted` names as
/// [`Registry::find_machine`] understands it. `prober` reports who holds the images; `allowed` are the
/// files that images may name although they lie elsewhere. Every image file that is shown is opened once, to read its
/// header.
///
/// # Errors
/// [`Error::Registry`](super::Error::Registry) when `wanted` does not name one machine.
pub(crate) fn collect(registry: &Registry, wanted: Option<&str>, prober: &Prober, allowed: &Allowed) -> Result<Report> {
    collect_with(registry, wanted, &|media| examine::all(media, prober, allowed))
}

/// What is known of some media, in their order. Their image files are opened as for [`collect`].
#[must_use]
pub(crate) fn collect_media(
    registry: &Registry,
    ids: &[MediumId],
    prober: &Prober,
    allowed: &Allowed,
) -> Vec<MediumReport> {
    let mut media = MediaList::new(registry);
    for id in ids {
        media.add(*id);
    }
    media.finish(&Forest::new(registry), &|media| examine::all(media, prober, allowed))
}

/// As [`collect`], with the facts about media from `examine`.
pub(super) fn collect_with(registry: &Registry, wanted: Option<&str>, examine: &Examine<'_>) -> Result<Report> {
    let chosen = match wanted {
        Some(wanted) => {
            let at = registry.find_machine(wanted)?;
            &registry.machines[at..=at]
        }
        None => &registry.machines,
    };
    let forest = Forest::new(registry);
    let mut media = MediaList::new(registry);
    let mut machines: Vec<MachineReport> =
        chosen.iter().map(|entry| report_on(entry, registry, &forest, &mut media)).collect();
    let unattached = if wanted.is_none() { unattached(registry, &forest, &mut media) } else { Vec::new() };
    let problems = registry.problems.iter().map(|e| error_kind::message(e)).collect();
    let mut media = media.finish(&forest, examine);
    let (uuids, names) = (repeated(machines.iter().filter_map(|m| m.uuid)), repeated(machines.iter().map(|m| &m.name)));
    let is_copy: Vec<bool> = machines
        .iter()
        .map(|machine| machine.uuid.is_some_and(|uuid| uuids.contains(&uuid)) || names.contains(&machine.name))
        .collect();
    machines.iter_mut().zip(is_copy).for_each(|(machine, is_copy)| machine.is_copy = is_copy);
    let uuids = repeated(media.iter().map(|medium| medium.uuid));
    media.iter_mut().for_each(|medium| medium.is_copy = uuids.contains(&medium.uuid));
    Ok(Report { machines, media, problems, unattached })
}

/// The values that occur more than once.
fn repeated<T: Copy + Eq + Hash>(values: impl Iterator<Item = T>) -> HashSet<T> {
    let mut seen = HashSet::new();
    values.filter(|value| !seen.insert(*value)).collect()
}

fn report_on(
    entry: &MachineEntry,
    registry: &Registry,
    forest: &Forest<'_>,
    media: &mut MediaList<'_>,
) -> MachineReport {
    let unreadable = MachineReport {
        uuid: Some(entry.uuid).filter(|uuid| !uuid.is_nil()),
        name: entry.name().into_owned(),
        path: entry.path.to_string_lossy().into_owned(),
        state: if entry.key_id().is_some() { MachineState::Encrypted } else { MachineState::Inaccessible },
        encryption_key: entry.key_id().map(str::to_owned),
        error: entry.machine.as_ref().err().map(|e| error_kind::message(e)),
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
        is_copy: false,
    };
    let Ok(machine) = &entry.machine else { return unreadable };
    let trees = trees(machine, &entry.path, registry, forest, media);
    let mut indexes = |attachments: &[Attachment]| -> Vec<Option<usize>> {
        let index = |a: &Attachment| a.medium.map(|uuid| media.add_attached(uuid, a.kind, &entry.path));
        attachments.iter().map(index).collect()
    };
    MachineReport {
        state: match machine.state {
            registry::MachineState::PoweredOff => MachineState::OffOrRunning,
            registry::MachineState::Saved => MachineState::Saved,
            registry::MachineState::Aborted => MachineState::Aborted,
        },
        os_type: machine.os_type.clone(),
        description: machine.description.clone(),
        groups: machine.groups.clone(),
        state_file: machine.state_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
        last_state_change: machine.last_state_change.clone(),
        current_snapshot: machine.current_snapshot.map(|at| machine.snapshots[at].uuid),
        current_state_modified: machine.current_state_modified,
        snapshots: snapshots(machine, &mut indexes),
        attachments: attachments(&machine.attachments),
        attached: indexes(&machine.attachments),
        trees,
        ..unreadable
    }
}

fn snapshots(machine: &Machine, indexes: &mut dyn FnMut(&[Attachment]) -> Vec<Option<usize>>) -> Vec<SnapshotReport> {
    let mut report = |snapshot: &registry::Snapshot| SnapshotReport {
        uuid: snapshot.uuid,
        name: snapshot.name.clone(),
        description: snapshot.description.clone(),
        time_stamp: snapshot.time_stamp.clone(),
        online: snapshot.online,
        parent: snapshot.parent.map(|at| machine.snapshots[at].uuid),
        attachments: attachments(&snapshot.attachments),
        attached: indexes(&snapshot.attachments),
    };
    machine.snapshots.iter().map(&mut report).collect()
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

/// The base of a tree, or the UUID of a medium that is not registered.
type Base = std::result::Result<MediumId, Uuid>;

/// The trees of a machine's hard disks, then its DVDs and floppies: each time those attached now in the order of their
/// attachments, then those that only snapshots have. A tree that several attachments share is there once.
fn trees(
    machine: &Machine,
    settings: &Path,
    registry: &Registry,
    forest: &Forest<'_>,
    media: &mut MediaList<'_>,
) -> Vec<Tree> {
    let frozen = machine.snapshots.iter().enumerate();
    let frozen = frozen.flat_map(|(i, snapshot)| snapshot.attachments.iter().map(move |a| (a, Some(i))));
    let current = machine.attachments.iter().map(|a| (a, None));
    let mut uses: HashMap<MediumId, Uses> = HashMap::new();
    let mut unregistered: HashMap<Uuid, Uses> = HashMap::new();
    let mut bases: Vec<(Base, DeviceKind)> = Vec::new();
    let mut seen = HashSet::new();
    for (attachment, snapshot) in current.chain(frozen) {
        let Some(uuid) = attachment.medium else { continue };
        let id = registry.media.find_near(uuid, settings);
        let uses = match id {
            Some(id) => uses.entry(id).or_default(),
            None => unregistered.entry(uuid).or_default(),
        };
        match snapshot {
            Some(at) if uses.snapshots.last() == Some(&at) => {}
            Some(at) => uses.snapshots.push(at),
            None => uses.current = true,
        }
        let base = id.map(|id| forest.base(id)).ok_or(uuid);
        if seen.insert(base) {
            bases.push((base, attachment.kind));
        }
    }
    bases.sort_by_key(|(_, kind)| *kind != DeviceKind::HardDisk);
    let tree = |(base, kind): &(Base, DeviceKind)| match base {
        Ok(base) => forest.tree(*base, &uses, media),
        Err(uuid) => {
            let uses = unregistered.get(uuid).cloned().unwrap_or_default();
            Tree::of_unknown(media.add_attached(*uuid, *kind, settings), uses)
        }
    };
    bases.iter().map(tree).collect()
}

/// The trees that no machine uses anything of. The media of a machine that is lost can be found by them.
fn unattached(registry: &Registry, forest: &Forest<'_>, media: &mut MediaList<'_>) -> Vec<Tree> {
    let used = registry.media.iter().filter(|(id, _)| !registry.uses_of(*id).is_empty());
    let used: HashSet<MediumId> = used.map(|(id, _)| forest.base(id)).collect();
    let bases = registry.media.iter().filter(|(id, medium)| medium.parent.is_none() && !used.contains(id));
    bases.map(|(id, _)| forest.tree(id, &HashMap::new(), media)).collect()
}
