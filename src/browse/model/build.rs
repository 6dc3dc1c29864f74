//! The nodes of a registry and of open disks.

use super::message::{OpenVolume, Opened};
use super::tree::{Disk, Item, NodeId, Tree};
use crate::browse::content::shown;
use crate::listing::{printable, scaled};
use crate::open::Which;
use crate::registry::{Attachment, Machine, MediumId, Registry};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The word for a machine's state that is no snapshot.
pub(crate) const CURRENT: &str = "Current state";

/// Adds the groups and machines of a registry, the media of no machine, and its problems.
pub(crate) fn registry(tree: &mut Tree, registry: &Registry) {
    for (at, entry) in registry.machines.iter().enumerate() {
        let none = [String::new()];
        let groups = entry.machine.as_ref().map_or(&none[..], |machine| &machine.groups);
        let groups = if groups.is_empty() { &none[..] } else { groups };
        for group in groups {
            let parent = group.split('/').filter(|name| !name.is_empty()).fold(Tree::ROOT, |parent, name| {
                let key = format!("group {name}");
                tree.child(parent, &key).unwrap_or_else(|| {
                    let id = tree.add(parent, Item::Group, format!("/{}", printable(name)), key);
                    tree.node_mut(id).is_open = true;
                    id
                })
            });
            let name = entry.name();
            let label = if name.is_empty() { "(no name)".to_owned() } else { printable(&name).into_owned() };
            tree.add(parent, Item::Machine(at), label, format!("machine {}", entry.path.display()));
        }
    }
    let unattached = unattached(registry);
    if !unattached.is_empty() {
        let parent = tree.add(Tree::ROOT, Item::Unattached, "Unattached media".to_owned(), "unattached".to_owned());
        for id in unattached {
            let medium = registry.media.get(id);
            let which = Which { image: Some(medium.location.clone().into_os_string()), ..Which::default() };
            let disk = Disk { which, medium: Some(id), slot: None, nothing: None, opened: None, failure: None };
            let label = printable(&medium.file_name()).into_owned();
            tree.add(parent, Item::Disk(disk), label, format!("medium {} {}", medium.uuid, id.0));
        }
    }
    let problems = registry.problems.len();
    if problems > 0 {
        let label = format!("Problems ({problems})");
        tree.add(Tree::ROOT, Item::Problems, label, "problems".to_owned());
    }
}

/// The media of the trees of which no machine uses anything.
fn unattached(registry: &Registry) -> Vec<MediumId> {
    let used = registry.media.iter().filter(|(id, _)| !registry.uses_of(*id).is_empty());
    let used: HashSet<MediumId> = used.map(|(id, _)| registry.media.base(id)).collect();
    let media = registry.media.iter().map(|(id, _)| id);
    media.filter(|id| !used.contains(&registry.media.base(*id))).collect()
}

/// Adds a disk that the user named without a machine.
pub(crate) fn named(tree: &mut Tree, which: Which) -> NodeId {
    let label = which.image.as_ref().map_or_else(String::new, |image| shown(image.as_bytes()));
    let disk = Disk { which, medium: None, slot: None, nothing: None, opened: None, failure: None };
    tree.add(Tree::ROOT, Item::Disk(disk), label, "named".to_owned())
}

/// Adds the states of a machine, each with its disks.
pub(crate) fn machine(tree: &mut Tree, id: NodeId, registry: &Registry, at: usize) {
    tree.node_mut(id).is_loaded = true;
    let entry = &registry.machines[at];
    let Ok(machine) = &entry.machine else { return };
    let mut states: Vec<NodeId> = Vec::with_capacity(machine.snapshots.len());
    for (index, snapshot) in machine.snapshots.iter().enumerate() {
        let parent = snapshot.parent.and_then(|parent| states.get(parent).copied()).unwrap_or(id);
        let name = if snapshot.name.is_empty() { "(no name)".into() } else { printable(&snapshot.name) };
        let key = format!("snapshot {} {index}", snapshot.uuid);
        let state = tree.add(parent, Item::State(at, Some(index)), name.into_owned(), key);
        disks(tree, state, registry, at, Some(index));
        states.push(state);
    }
    let parent = machine.current_snapshot.and_then(|current| states.get(current).copied()).unwrap_or(id);
    let changed = if machine.current_snapshot.is_some() && machine.current_state_modified { " (changed)" } else { "" };
    let state = tree.add(parent, Item::State(at, None), format!("{CURRENT}{changed}"), "current".to_owned());
    disks(tree, state, registry, at, None);
    if machine.snapshots.is_empty() {
        tree.node_mut(state).is_open = true;
    }
}

fn disks(tree: &mut Tree, state: NodeId, registry: &Registry, at: usize, snapshot: Option<usize>) {
    let entry = &registry.machines[at];
    let Ok(machine) = &entry.machine else { return };
    for attachment in machine.attachments_of(snapshot) {
        let disk = disk(registry, at, machine, snapshot, attachment);
        let file = match (&disk.nothing, disk.medium) {
            (_, Some(medium)) => printable(&registry.media.get(medium).file_name()).into_owned(),
            (_, None) if attachment.medium.is_some() => "(not registered)".to_owned(),
            (_, None) if attachment.host_drive.is_some() => "(drive of the host)".to_owned(),
            (_, None) => "(empty)".to_owned(),
        };
        let slot = attachment.slot();
        let label = format!("{} {file}", printable(&slot));
        tree.add(state, Item::Disk(disk), label, format!("slot {slot}"));
    }
}

fn disk(registry: &Registry, at: usize, machine: &Machine, snapshot: Option<usize>, attachment: &Attachment) -> Disk {
    let entry = &registry.machines[at];
    let medium = attachment.medium.and_then(|uuid| registry.media.find_near(uuid, &entry.path));
    let nothing = match (attachment.medium, &attachment.host_drive) {
        (None, Some(drive)) => Some(format!("The drive {drive} of the host is passed through")),
        (None, None) => Some("The drive is empty".to_owned()),
        (Some(_), _) => None,
    };
    let which = Which {
        image: None,
        // Copies of a machine have the same name and UUID.
        machine: Some(entry.path.to_string_lossy().into_owned()),
        snapshot: snapshot.and_then(|at| machine.snapshots.get(at)).map(|snapshot| snapshot.uuid.to_string()),
        at: None,
        disk: Some(attachment.slot()),
    };
    Disk { which, medium, slot: Some(attachment.slot()), nothing, opened: None, failure: None }
}

/// Adds the volumes of a disk that was opened.
pub(crate) fn volumes(tree: &mut Tree, id: NodeId, opened: &Opened) {
    tree.clear(id);
    for (at, OpenVolume { volume, content, .. }) in opened.volumes.iter().enumerate() {
        let name = if opened.has_table { format!("vol{}", volume.index) } else { "whole disk".to_owned() };
        let holds = if content.is_unknown() { volume.type_name.to_string() } else { content.type_name.clone() };
        let words = [name, holds, content.label.clone(), scaled(volume.size).trim().to_owned()];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        let label = printable(&words.join(" ")).into_owned();
        tree.add(id, Item::Volume(at), label, format!("volume {at}"));
    }
    let node = tree.node_mut(id);
    node.is_loaded = true;
    node.is_open = true;
}

/// Adds the directories of a directory, sorted as they are given; those that are there stay.
pub(crate) fn directories(tree: &mut Tree, id: NodeId, path: &Path, names: &[(&OsString, u64)]) {
    let before = std::mem::take(&mut tree.node_mut(id).children);
    let before: HashMap<String, NodeId> = before.into_iter().map(|id| (tree.node(id).key.clone(), id)).collect();
    for (name, inode) in names {
        let key = directory_key(name, *inode);
        match before.get(&key) {
            Some(old) => tree.node_mut(id).children.push(*old),
            None => {
                add_directory(tree, id, path.join(name), name, *inode, key);
            }
        }
    }
    tree.node_mut(id).is_loaded = true;
}

/// Adds one directory, if it is not there.
pub(crate) fn directory(tree: &mut Tree, parent: NodeId, path: PathBuf, name: &OsStr, inode: u64) -> NodeId {
    let key = directory_key(name, inode);
    tree.child(parent, &key).unwrap_or_else(|| add_directory(tree, parent, path, name, inode, key))
}

fn add_directory(tree: &mut Tree, parent: NodeId, path: PathBuf, name: &OsStr, inode: u64, key: String) -> NodeId {
    tree.add(parent, Item::Directory { inode, path }, format!("{}/", shown(name.as_bytes())), key)
}

fn directory_key(name: &OsStr, inode: u64) -> String {
    format!("directory {inode} {}", name.to_string_lossy())
}
