//! The long form: everything that is known, in blocks as in the short form.

use super::Result;
use super::block::Block;
use super::label;
use super::report::{AttachmentReport, MachineReport, MachineState, MediumReport, MediumState, Report};
use super::short;
use super::style::{Style, Tone};
use super::text::scaled;
use super::tree::{Node, Tree};
use crate::registry::DeviceKind;
use std::collections::HashMap;
use std::io::Write;
use uuid::Uuid;

/// Columns of a machine's labels.
const MACHINE_LABEL: usize = 11;

/// Writes the long form.
pub(super) fn write(out: &mut dyn Write, report: &Report, style: Style) -> Result<()> {
    for machine in &report.machines {
        short::write_rule(out, style)?;
        write_machine(out, machine, style)?;
        let is_disk = |tree: &Tree| report.media[tree.rows[0].medium].device == DeviceKind::HardDisk;
        let (disks, others): (Vec<&Tree>, Vec<&Tree>) = machine.trees.iter().partition(|tree| is_disk(tree));
        write_trees(out, &disks, Some(machine), report, style)?;
        let others: Vec<&Node> = others.into_iter().flat_map(|tree| &tree.rows).collect();
        write_drives(out, machine, &others, report, style)?;
        write_drives_of_snapshots(out, machine, &others, report, style)?;
    }
    if !report.unattached.is_empty() {
        short::write_rule(out, style)?;
        short::write_unattached_heading(out, style)?;
        write_trees(out, &report.unattached.iter().collect::<Vec<_>>(), None, report, style)?;
    }
    Ok(())
}

fn write_machine(out: &mut dyn Write, machine: &MachineReport, style: Style) -> Result<()> {
    let mut block = Block::new(out, style, 0, MACHINE_LABEL);
    block.text("VM Name:", &format!("\"{}\"", machine.name), Tone::Heading)?;
    block.solid("UUID:", &label::uuid(machine), Tone::Plain)?;
    block.text("Desc:", &machine.description, Tone::Plain)?;
    block.solid("Path:", &machine.path, Tone::Plain)?;
    let (state, tone) = match machine.state {
        MachineState::OffOrRunning => ("off or running", Tone::Plain),
        MachineState::Saved => ("saved", Tone::Plain),
        MachineState::Aborted => ("aborted", Tone::Plain),
        MachineState::Encrypted => ("encrypted", Tone::Problem),
        MachineState::Inaccessible => ("no access", Tone::Problem),
    };
    let why = match &machine.error {
        Some(error) => format!(": {error}"),
        None if machine.last_state_change.is_empty() => String::new(),
        None => format!(", since {}", machine.last_state_change),
    };
    block.text("State:", &format!("{state}{why}"), tone)?;
    if let Some(file) = &machine.state_file {
        block.solid("", file, Tone::Plain)?;
    }
    short::write_groups(&mut block, machine)?;
    block.text("Guest:", &machine.os_type, Tone::Plain)?;
    if let Some(snapshot) = machine.snapshots.iter().find(|s| Some(s.uuid) == machine.current_snapshot) {
        let changed = if machine.current_state_modified { ", changed since" } else { "" };
        block.text("Based on:", &format!("snapshot \"{}\"{changed}", snapshot.name), Tone::Plain)?;
    }
    block.blank()?;
    Ok(())
}

fn write_trees(
    out: &mut dyn Write,
    trees: &[&Tree],
    machine: Option<&MachineReport>,
    report: &Report,
    style: Style,
) -> Result<()> {
    let attachments = machine.map(|machine| machine.attachments.as_slice()).unwrap_or_default();
    let mut slots: HashMap<Uuid, Vec<&AttachmentReport>> = HashMap::new();
    for attachment in attachments {
        if let Some(medium) = attachment.medium {
            slots.entry(medium).or_default().push(attachment);
        }
    }
    for tree in trees {
        for node in &tree.rows {
            let medium = &report.media[node.medium];
            let mut block = short::begin_medium(out, node, machine, medium, style)?;
            if let Some(machine) = machine {
                write_snapshots(&mut block, node, machine)?;
            }
            write_medium(&mut block, medium)?;
            for slot in slots.get(&medium.uuid).into_iter().flatten() {
                block.text("Slot:", &slot_name(slot), Tone::Plain)?;
            }
            block.blank()?;
        }
        short::write_hidden(out, tree)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The snapshots that have a medium: when they were taken, their UUIDs and descriptions.
fn write_snapshots(block: &mut Block<'_>, node: &Node, machine: &MachineReport) -> Result<()> {
    for at in &node.uses.snapshots {
        let snapshot = &machine.snapshots[*at];
        let online = if snapshot.online { ", with a saved state" } else { "" };
        block.text("Taken:", &format!("{}{online}", snapshot.time_stamp), Tone::Plain)?;
        block.text("", &snapshot.description, Tone::Plain)?;
        block.solid("Snap ID:", &snapshot.uuid.to_string(), Tone::Plain)?;
    }
    Ok(())
}

fn write_medium(block: &mut Block<'_>, medium: &MediumReport) -> Result<()> {
    block.text("Desc:", &medium.description, Tone::Plain)?;
    if !medium.path.is_empty() {
        block.solid("Path:", &medium.path, Tone::Plain)?;
    }
    block.text("Format:", &medium.format, Tone::Plain)?;
    block.text("Size:", &exact_size(medium.size_on_disk), Tone::Plain)?;
    block.text("Capacity:", &exact_size(medium.capacity), Tone::Plain)?;
    short::write_state(block, medium)?;
    if let Some(problem) = medium.problem.as_ref().filter(|_| medium.state != MediumState::NoAccess) {
        block.text("Note:", problem, Tone::Plain)?;
    }
    let reset = if medium.auto_reset { ", emptied when the VM starts" } else { "" };
    block.text("Type:", &format!("{}{reset}", medium.kind), Tone::Plain)?;
    short::write_encryption(block, medium)?;
    Ok(())
}

/// A size in a unit and in bytes.
fn exact_size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} ({bytes} bytes)", scaled(bytes).trim_end()))
}

fn slot_name(slot: &AttachmentReport) -> String {
    format!("{}, port {}, device {}", slot.controller, slot.port, slot.device)
}

/// The DVD and floppy drives of the current state. `removable` are all their media, with their uses.
fn write_drives(
    out: &mut dyn Write,
    machine: &MachineReport,
    removable: &[&Node],
    report: &Report,
    style: Style,
) -> Result<()> {
    for (attachment, index) in machine.attachments.iter().zip(&machine.attached) {
        if attachment.kind == DeviceKind::HardDisk {
            continue;
        }
        let mut block = Block::new(out, style, 4, short::MEDIUM_LABEL);
        let node = removable.iter().find(|node| Some(node.medium) == *index);
        match (node, &attachment.host_drive) {
            (Some(node), _) => {
                // A use by nothing but the current state is already clear from the drive.
                let uses = label::own_uses(node, machine).filter(|_| !node.uses.snapshots.is_empty());
                write_removable(&mut block, attachment.kind, &report.media[node.medium], uses)?;
            }
            (None, Some(drive)) => write_host_drive(&mut block, attachment.kind, drive)?,
            (None, None) => block.text(drive_label(attachment.kind), "empty", Tone::Plain)?,
        }
        block.text("Slot:", &slot_name(attachment), Tone::Plain)?;
        block.blank()?;
    }
    Ok(())
}

/// The DVDs and floppies, and drives of the host, that snapshots have and the current state has not.
fn write_drives_of_snapshots(
    out: &mut dyn Write,
    machine: &MachineReport,
    removable: &[&Node],
    report: &Report,
    style: Style,
) -> Result<()> {
    for node in removable.iter().filter(|node| !machine.attached.contains(&Some(node.medium))) {
        let medium = &report.media[node.medium];
        let mut block = Block::new(out, style, 4, short::MEDIUM_LABEL);
        write_removable(&mut block, medium.device, medium, label::own_uses(node, machine))?;
        block.blank()?;
    }
    let mut drives: Vec<(DeviceKind, &str, Vec<usize>)> = Vec::new();
    for (at, snapshot) in machine.snapshots.iter().enumerate() {
        for (kind, drive) in snapshot.attachments.iter().filter_map(host_drive) {
            match drives.iter_mut().find(|(known_kind, known, _)| (*known_kind, *known) == (kind, drive)) {
                Some((_, _, uses)) => uses.push(at),
                None => drives.push((kind, drive, vec![at])),
            }
        }
    }
    drives.retain(|(kind, drive, _)| {
        !machine.attachments.iter().filter_map(host_drive).any(|now| now == (*kind, *drive))
    });
    for (kind, drive, uses) in drives {
        let mut block = Block::new(out, style, 4, short::MEDIUM_LABEL);
        write_host_drive(&mut block, kind, drive)?;
        block.text("Used by:", &label::snapshots(&uses, machine).unwrap_or_default(), Tone::Plain)?;
        block.blank()?;
    }
    Ok(())
}

/// The host's drive that an attachment passes through.
fn host_drive(attachment: &AttachmentReport) -> Option<(DeviceKind, &str)> {
    Some((attachment.kind, attachment.host_drive.as_deref()?))
}

fn write_removable(block: &mut Block<'_>, kind: DeviceKind, medium: &MediumReport, uses: Option<String>) -> Result<()> {
    block.text(drive_label(kind), &label::image(medium), label::tone(medium, false))?;
    block.solid("UUID:", &medium.uuid.to_string(), Tone::Plain)?;
    if let Some(uses) = uses {
        block.text("Used by:", &uses, Tone::Plain)?;
    }
    write_medium(block, medium)
}

fn write_host_drive(block: &mut Block<'_>, kind: DeviceKind, drive: &str) -> Result<()> {
    Ok(block.text(drive_label(kind), &format!("drive {drive} of the host"), Tone::Plain)?)
}

fn drive_label(kind: DeviceKind) -> &'static str {
    if kind == DeviceKind::Floppy { "Floppy:" } else { "DVD:" }
}
