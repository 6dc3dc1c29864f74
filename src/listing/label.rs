//! What the media in a machine's trees are called: by the snapshots that have them.

use super::report::{MachineReport, MediumReport, MediumState, UseReport};
use super::style::Tone;
use super::text::printable;
use super::tree::{Node, Tree};

/// How many snapshots are named before the rest is only counted.
const NAMED: usize = 3;
/// Marks what the machine's current state has attached.
const CURRENT: &str = "(current state)";

/// How the machine uses a medium: the names of its snapshots, and whether its current state does. None if not at all.
pub(super) fn own_uses(node: &Node, machine: &MachineReport) -> Option<String> {
    let snapshots = &node.uses.snapshots;
    let mut names: Vec<_> = snapshots.iter().take(NAMED).map(|at| printable(&machine.snapshots[*at].name)).collect();
    let more = snapshots.len().saturating_sub(NAMED);
    if more > 0 {
        names.push(format!("and {more} more").into());
    }
    let names = names.join(", ");
    match (names.is_empty(), node.uses.current) {
        (true, true) => Some(CURRENT.to_owned()),
        (false, true) => Some(format!("{names} {CURRENT}")),
        (false, false) => Some(names),
        (true, false) => None,
    }
}

/// The name of a medium's row under a machine, or under none.
pub(super) fn row(node: &Node, machine: Option<&MachineReport>, medium: &MediumReport) -> String {
    let own = machine.and_then(|machine| own_uses(node, machine));
    match (node.level, own) {
        (0, None) => image(medium),
        (0, Some(own)) if node.uses.snapshots.is_empty() => format!("{} {own}", image(medium)),
        (0, Some(own)) => format!("{} [{}]", image(medium), own.replace(&format!(" {CURRENT}"), "; current state")),
        (_, Some(own)) => own,
        (_, None) => other_uses(medium),
    }
}

/// The name of a machine.
pub(super) fn machine(machine: &MachineReport) -> String {
    if machine.name.is_empty() { "(no name)".to_owned() } else { printable(&machine.name).into_owned() }
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
        MediumState::ReadLocked | MediumState::WriteLocked => Tone::Busy,
        MediumState::Created if current => Tone::Current,
        MediumState::Created => Tone::Plain,
    }
}
