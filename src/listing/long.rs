//! The long form: all that is known, in blocks as in the short form.

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
        write_trees(out, &machine.trees, Some(machine), report, style)?;
        write_drives(out, machine, report, style)?;
    }
    if !report.unattached.is_empty() {
        short::write_rule(out, style)?;
        short::write_unattached_heading(out, style)?;
        write_trees(out, &report.unattached, None, report, style)?;
    }
    Ok(())
}

fn write_machine(out: &mut dyn Write, machine: &MachineReport, style: Style) -> Result<()> {
    let mut block = Block::new(out, style, 0, MACHINE_LABEL);
    block.text("VM Name:", &format!("\"{}\"", machine.name), Tone::Heading)?;
    block.solid("UUID:", &machine.uuid.to_string(), Tone::Plain)?;
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
    trees: &[Tree],
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

/// The DVD and floppy drives.
fn write_drives(out: &mut dyn Write, machine: &MachineReport, report: &Report, style: Style) -> Result<()> {
    for (attachment, place) in machine.attachments.iter().zip(&machine.attached) {
        let label = match attachment.kind {
            DeviceKind::HardDisk => continue,
            DeviceKind::Dvd => "DVD:",
            DeviceKind::Floppy => "Floppy:",
        };
        let medium = place.map(|place| &report.media[place]);
        let mut block = Block::new(out, style, 4, short::MEDIUM_LABEL);
        match (medium, &attachment.host_drive) {
            (Some(medium), _) => {
                block.text(label, &label::image(medium), label::tone(medium, false))?;
                block.solid("UUID:", &medium.uuid.to_string(), Tone::Plain)?;
                write_medium(&mut block, medium)?;
            }
            (None, Some(drive)) => block.text(label, &format!("drive {drive} of the host"), Tone::Plain)?,
            (None, None) => block.text(label, "empty", Tone::Plain)?,
        }
        block.text("Slot:", &slot_name(attachment), Tone::Plain)?;
        block.blank()?;
    }
    Ok(())
}
