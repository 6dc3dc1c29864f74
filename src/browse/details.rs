//! What is said of what is selected, as lines that are wrapped when they are drawn.

use super::content::shown_path;
use super::model::App;
use super::model::tree::{Disk, Item, NodeId};
use crate::error_kind::message;
use crate::listing::report::MediumReport;
use crate::listing::{printable, scaled};
use crate::registry::{Machine, MachineEntry, MachineState, MediumId, Registry, Snapshot};

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// A name and its value.
    Field(&'static str, String),
    /// A heading, with an empty line before it.
    Heading(String),
    /// Text.
    Plain(String),
    /// Something that is wrong.
    Problem(String),
}

use Text::{Field, Heading, Plain, Problem};

/// What is said of a node.
pub(super) fn of(app: &App, id: NodeId) -> Vec<Text> {
    let node = app.tree.node(id);
    let registry = app.registry.as_deref();
    match (&node.item, registry) {
        (Item::Group, _) => group(app, id),
        (Item::Machine(at), Some(registry)) => machine(app, registry, &registry.machines[*at]),
        (Item::State(at, snapshot), Some(registry)) => state(app, registry, *at, *snapshot),
        (Item::Disk(disk), _) => of_disk(app, disk),
        (Item::Volume(at), _) => volume(app, id, *at),
        (Item::Problems, _) => problems(app),
        (Item::Unattached, _) => {
            vec![Plain("Images that settings files register and no machine has attached.".to_owned())]
        }
        _ => Vec::new(),
    }
}

/// What is said where there is no node.
pub(super) fn of_nothing(app: &App) -> Vec<Text> {
    match (&app.failure, &app.registry) {
        (Some(failure), _) => vec![
            Problem(failure.clone()),
            Plain(String::new()),
            Plain("Give other settings with --settings, or a disk with --image; r reads them again.".to_owned()),
        ],
        (None, Some(registry)) if registry.machines.is_empty() => {
            vec![Plain(format!("The settings in {} have no machines.", shown_path(&registry.directory)))]
        }
        _ => Vec::new(),
    }
}

fn group(app: &App, id: NodeId) -> Vec<Text> {
    let (mut machines, mut groups) = (0, 0);
    let mut next = app.tree.node(id).children.clone();
    while let Some(id) = next.pop() {
        match app.tree.node(id).item {
            Item::Machine(_) => machines += 1,
            Item::Group => {
                groups += 1;
                next.extend(&app.tree.node(id).children);
            }
            _ => {}
        }
    }
    vec![Field("Machines", machines.to_string()), Field("Groups", groups.to_string())]
}

fn machine(app: &App, registry: &Registry, entry: &MachineEntry) -> Vec<Text> {
    let mut lines = vec![Field("Settings", shown_path(&entry.path))];
    if !entry.uuid.is_nil() {
        lines.push(Field("UUID", entry.uuid.to_string()));
    }
    match &entry.machine {
        Err(e) => {
            if let Some(key_id) = entry.key_id() {
                lines.push(Field("State", "encrypted".to_owned()));
                lines.push(Field("Key", printable(key_id).into_owned()));
                lines.push(Plain("Enter asks for its password.".to_owned()));
            } else {
                lines.push(Field("State", "inaccessible".to_owned()));
            }
            lines.push(Problem(message(e)));
        }
        Ok(machine) => {
            lines.push(Field("System", printable(&machine.os_type).into_owned()));
            lines.push(Field("State", state_of(machine).to_owned()));
            lines.push(Field("Since", printable(&machine.last_state_change).into_owned()));
            if let Some(file) = &machine.state_file {
                lines.push(Field("Saved in", shown_path(file)));
            }
            if !machine.groups.iter().all(|group| group == "/") {
                lines.push(Field("Groups", printable(&machine.groups.join(", ")).into_owned()));
            }
            lines.push(Field("Snapshots", machine.snapshots.len().to_string()));
            description(&mut lines, &machine.description);
            let wrong = media_problems(app, registry, entry, machine);
            if !wrong.is_empty() {
                lines.push(Heading("Problems of its disks".to_owned()));
                lines.extend(wrong.into_iter().map(Problem));
            }
        }
    }
    let about = about(app, &[&entry.path.to_string_lossy(), &format!("{:?}", entry.name())]);
    if !about.is_empty() {
        lines.push(Heading("Problems of the settings".to_owned()));
        lines.extend(about.into_iter().map(Problem));
    }
    lines
}

fn state_of(machine: &Machine) -> &'static str {
    match machine.state {
        MachineState::PoweredOff => "powered off, or running",
        MachineState::Saved => "saved",
        MachineState::Aborted => "aborted",
    }
}

fn description(lines: &mut Vec<Text>, text: &str) {
    if !text.is_empty() {
        lines.push(Heading("Description".to_owned()));
        lines.extend(text.lines().map(|line| Plain(printable(line).into_owned())));
    }
}

/// What is wrong with images of a machine, each said once.
fn media_problems(app: &App, registry: &Registry, entry: &MachineEntry, machine: &Machine) -> Vec<String> {
    let frozen = machine.snapshots.iter().flat_map(|snapshot| &snapshot.attachments);
    let mut problems: Vec<String> = Vec::new();
    for uuid in machine.attachments.iter().chain(frozen).filter_map(|slot| slot.medium) {
        let Some(id) = registry.media.find_near(uuid, &entry.path) else { continue };
        let chain = std::iter::successors(Some(id), |id| registry.media.get(*id).parent);
        for report in chain.filter_map(|id| app.media.get(&id)) {
            let text = report.problem.as_ref().map(|problem| format!("{}: {problem}", report.name));
            problems.extend(text.filter(|text| !problems.contains(text)));
        }
    }
    problems
}

/// The problems of the registry that name one of these.
fn about(app: &App, names: &[&str]) -> Vec<String> {
    let is_about = |text: &&String| names.iter().any(|name| text.contains(name));
    app.problems.iter().filter(is_about).cloned().collect()
}

fn problems(app: &App) -> Vec<Text> {
    app.problems.iter().flat_map(|problem| [Problem(problem.clone()), Plain(String::new())]).collect()
}

fn state(app: &App, registry: &Registry, at: usize, snapshot: Option<usize>) -> Vec<Text> {
    let entry = &registry.machines[at];
    let Ok(machine) = &entry.machine else { return Vec::new() };
    let mut lines = vec![Field("Machine", printable(&machine.name).into_owned())];
    let name = |at: usize| {
        machine.snapshots.get(at).map_or_else(String::new, |snapshot: &Snapshot| printable(&snapshot.name).into_owned())
    };
    match snapshot.and_then(|at| machine.snapshots.get(at)) {
        Some(snapshot) => {
            lines.push(Field("Snapshot", printable(&snapshot.name).into_owned()));
            lines.push(Field("Taken", printable(&snapshot.time_stamp).into_owned()));
            lines.push(Field("UUID", snapshot.uuid.to_string()));
            if let Some(parent) = snapshot.parent {
                lines.push(Field("Based on", name(parent)));
            }
            if snapshot.online {
                lines.push(Field("Taken of", "the running machine".to_owned()));
            }
            description(&mut lines, &snapshot.description);
        }
        None => {
            lines.push(Field("State", state_of(machine).to_owned()));
            if let Some(current) = machine.current_snapshot {
                lines.push(Field("Based on", name(current)));
                let changed = if machine.current_state_modified { "yes" } else { "no" };
                lines.push(Field("Changed", changed.to_owned()));
            }
        }
    }
    lines.push(Heading("Disks".to_owned()));
    for slot in machine.attachments_of(snapshot) {
        let id = slot.medium.and_then(|uuid| registry.media.find_near(uuid, &entry.path));
        let file = match (id, slot.medium, &slot.host_drive) {
            (Some(id), ..) => printable(&registry.media.get(id).file_name()).into_owned(),
            (None, Some(uuid), _) => format!("{uuid}, which no settings file registers"),
            (None, None, Some(drive)) => format!("the drive {} of the host", printable(drive)),
            (None, None, None) => "empty".to_owned(),
        };
        lines.push(Plain(format!("{} {file}", printable(&slot.slot()))));
        lines.extend(id.and_then(|id| app.media.get(&id)).and_then(|report| report.problem.clone()).map(Problem));
    }
    lines
}

fn of_disk(app: &App, disk: &Disk) -> Vec<Text> {
    let mut lines = Vec::new();
    lines.extend(disk.slot.as_ref().map(|slot| Field("Slot", printable(slot).into_owned())));
    lines.extend(disk.nothing.clone().map(Plain));
    lines.extend(disk.failure.clone().map(Problem));
    if let Some(opened) = &disk.opened {
        lines.push(Field("Size", scaled(opened.size).trim().to_owned()));
        lines.push(Field("Table", opened.table.clone()));
        lines.extend(opened.warnings.iter().cloned().map(Problem));
    }
    match (disk.medium, app.registry.as_deref(), &disk.opened) {
        (Some(id), Some(registry), _) => chain(app, registry, id, &mut lines),
        (_, _, Some(opened)) => {
            lines.push(Heading("Images, the leaf first".to_owned()));
            for (path, about) in &opened.links {
                lines.push(Plain(shown_path(path)));
                lines.push(Plain(about.clone()));
            }
        }
        (None, Some(_), None) if disk.nothing.is_none() && disk.which.machine.is_some() => {
            lines.push(Problem(
                "It is attached, but no settings file registers it; look for its image and give the path with --image"
                    .to_owned(),
            ));
        }
        _ => {}
    }
    for mount in app.mounts.iter().filter(|mount| mount.which == disk.which) {
        lines.push(Field("Mounted", shown_path(&mount.point)));
    }
    lines
}

/// The images of a registered medium, leaf first.
fn chain(app: &App, registry: &Registry, leaf: MediumId, lines: &mut Vec<Text>) {
    let links = std::iter::successors(Some(leaf), |id| registry.media.get(*id).parent);
    for (at, id) in links.enumerate() {
        let medium = registry.media.get(id);
        match at {
            0 => lines.push(Heading("Image".to_owned())),
            1 => lines.push(Heading("Its parents, up to the base".to_owned())),
            _ => {}
        }
        lines.push(Plain(shown_path(&medium.location)));
        let kind = medium.kind.name();
        match app.media.get(&id) {
            Some(report) => about_image(report, kind, lines),
            None => lines.push(Plain(format!("{}, {kind}, ...", printable(&medium.format)))),
        }
        if at == 0 {
            lines.push(Field("UUID", medium.uuid.to_string()));
            if medium.auto_reset {
                lines.push(Problem("VirtualBox empties it whenever its machine starts".to_owned()));
            }
            description(lines, &medium.description);
        }
        let names = [medium.location.to_string_lossy(), medium.uuid.to_string().into()];
        lines.extend(about(app, &[&names[0], &names[1]]).into_iter().map(Problem));
    }
}

fn about_image(report: &MediumReport, kind: &str, lines: &mut Vec<Text>) {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |bytes| scaled(bytes).trim().to_owned());
    let state = match report.state.name() {
        "created" => "",
        "rlock" => ", locked for reading",
        "wlock" => ", locked for writing",
        _ => ", no access",
    };
    let (stored, whole) = (size(report.size_on_disk), size(report.capacity));
    lines.push(Plain(format!("{}, {kind}, {stored} on disk of {whole}{state}", printable(&report.format))));
    if let Some(key_id) = &report.encryption_key {
        lines.push(Plain(format!("encrypted with the key {}", printable(key_id))));
    }
    lines.extend(report.problem.clone().map(Problem));
}

fn volume(app: &App, id: NodeId, at: usize) -> Vec<Text> {
    let opened = app.tree.disk_of(id).and_then(|(_, disk)| disk.opened.as_ref());
    let Some(found) = opened.and_then(|opened| opened.volumes.get(at)) else { return Vec::new() };
    let (volume, content) = (&found.volume, &found.content);
    let name = if volume.name.is_empty() { String::new() } else { format!(", {}", printable(&volume.name)) };
    let boots = if volume.bootable { ", bootable" } else { "" };
    let mut lines = vec![Field("Type", format!("{}{name}{boots}", volume.type_name))];
    let size = |bytes: u64| scaled(bytes).trim().to_owned();
    lines.push(Field("Where", format!("{} from byte {} on", size(volume.size), volume.offset)));
    if !content.is_unknown() {
        let free = found.space.map(|(block, all, free)| {
            let bytes = |blocks: u64| size(blocks.saturating_mul(u64::from(block)));
            format!(", {} free of {}", bytes(free), bytes(all))
        });
        lines.push(Field("Holds", format!("{}{}", content.type_name, free.unwrap_or_default())));
    } else if found.root.is_none() {
        lines.push(Field("Holds", "nothing that is known here".to_owned()));
    }
    if !content.label.is_empty() || !content.uuid.is_empty() {
        let words = [printable(&content.label), printable(&content.uuid)];
        let words: Vec<&str> = words.iter().map(|word| &**word).filter(|word| !word.is_empty()).collect();
        lines.push(Field("Label", words.join(", ")));
    }
    lines.extend(content.notes.iter().map(|note| Problem(printable(note).into_owned())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_images_says_what_is_not_known() {
        let mut lines = Vec::new();
        let report = MediumReport {
            uuid: uuid::Uuid::nil(),
            name: "a.vdi".to_owned(),
            path: "/a.vdi".to_owned(),
            device: crate::registry::DeviceKind::HardDisk,
            format: "VDI".to_owned(),
            kind: "normal",
            auto_reset: false,
            description: String::new(),
            encryption_key: Some("key\x07".to_owned()),
            size_on_disk: Some(2560),
            capacity: None,
            state: crate::listing::report::MediumState::NoAccess,
            problem: Some("It is gone".to_owned()),
            parent: None,
            children: Vec::new(),
            used_by: Vec::new(),
            is_copy: false,
            is_found: false,
        };
        about_image(&report, "normal", &mut lines);
        let expected = [
            Plain("VDI, normal, 2.5K on disk of ?, no access".to_owned()),
            Plain(r"encrypted with the key key\u{7}".to_owned()),
            Problem("It is gone".to_owned()),
        ];
        assert_eq!(lines, expected);
    }
}
