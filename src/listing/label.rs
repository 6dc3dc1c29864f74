//! The labels of machines and media: media in a machine's trees are named after the snapshots that have them.

use super::report::{MachineReport, MediumReport, MediumState, UseReport};
use super::style::Tone;
use super::text::printable;
use super::tree::{Node, Tree};

/// How many snapshots are named before the rest is only counted.
const NAMED: usize = 3;
/// The label of what the machine's current state has attached.
const CURRENT: &str = "(current state)";
/// Stands for an empty name.
const NO_NAME: &str = "(no name)";

/// The UUID of a machine, or that it is not known.
pub(super) fn uuid(machine: &MachineReport) -> String {
    machine.uuid.map_or_else(|| "unknown".to_owned(), |uuid| uuid.to_string())
}

/// The names of some of the machine's snapshots, such as those that have a medium; none if there are none.
pub(super) fn snapshots(snapshots: &[usize], machine: &MachineReport) -> Option<String> {
    let name = |at: &usize| match machine.snapshots[*at].name.as_str() {
        "" => NO_NAME.into(),
        name => printable(name),
    };
    let mut names: Vec<_> = snapshots.iter().take(NAMED).map(name).collect();
    if snapshots.len() > NAMED {
        names.push(format!("and {} more", snapshots.len() - NAMED).into());
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// How the machine uses a medium: by the names of its snapshots, and whether its current state does. None if not at
/// all.
pub(super) fn own_uses(node: &Node, machine: &MachineReport) -> Option<String> {
    let current = node.uses.current.then(|| CURRENT.to_owned());
    let uses: Vec<String> = snapshots(&node.uses.snapshots, machine).into_iter().chain(current).collect();
    (!uses.is_empty()).then(|| uses.join(" "))
}

/// The name of a medium's row under a machine, or under none.
pub(super) fn row(node: &Node, machine: Option<&MachineReport>, medium: &MediumReport) -> String {
    if node.level > 0 && !medium.is_found {
        return machine.and_then(|machine| own_uses(node, machine)).unwrap_or_else(|| other_uses(medium));
    }
    let mut name = image(medium);
    if let Some(snapshots) = machine.and_then(|machine| snapshots(&node.uses.snapshots, machine)) {
        name.push_str(&format!(" [{snapshots}]"));
    }
    if node.uses.current {
        name.push_str(&format!(" {CURRENT}"));
    }
    name
}

/// The name of a machine.
pub(super) fn machine(machine: &MachineReport) -> String {
    if machine.name.is_empty() { NO_NAME.to_owned() } else { printable(&machine.name).into_owned() }
}

/// The name of an image file.
pub(super) fn image(medium: &MediumReport) -> String {
    if medium.name.is_empty() { "(not registered)".to_owned() } else { printable(&medium.name).into_owned() }
}

/// How other machines use a medium that this one does not.
pub(super) fn other_uses(medium: &MediumReport) -> String {
    let Some(UseReport { machine_name, snapshot_name, .. }) = medium.used_by.first() else {
        return "(not attached)".to_owned();
    };
    let what = snapshot_name.as_ref().map_or("current state".into(), |name| printable(name));
    let more = match medium.used_by.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("({}: {what}{more})", printable(machine_name))
}

/// What is left out of a tree.
pub(super) fn hidden(tree: &Tree) -> String {
    format!("({} more images of this tree belong to other VMs)", tree.hidden)
}

/// The colour of a medium's row.
pub(super) fn tone(medium: &MediumReport, current: bool) -> Tone {
    match medium.state {
        MediumState::NoAccess => Tone::Problem,
        MediumState::ReadLocked | MediumState::WriteLocked => Tone::Caution,
        MediumState::Created if current => Tone::Current,
        MediumState::Created => Tone::Plain,
    }
}
