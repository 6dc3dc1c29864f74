//! The short form: a block for each machine, with one for each medium in it.

use super::Result;
use super::block::Block;
use super::label;
use super::report::{MachineReport, MachineState, MediumReport, MediumState, Report};
use super::style::{Style, Tone};
use super::text::scaled;
use super::tree::{Node, Tree};
use std::io::Write;

/// Columns of a machine's labels.
const MACHINE_LABEL: usize = 8;
/// Columns of a medium's labels.
pub(super) const MEDIUM_LABEL: usize = 10;
/// Columns of the line above a machine.
const RULE: usize = 65;

/// Writes the short form.
pub(super) fn write(out: &mut dyn Write, report: &Report, style: Style) -> Result<()> {
    for machine in &report.machines {
        write_rule(out, style)?;
        write_machine(out, machine, style)?;
        write_trees(out, &machine.trees, Some(machine), report, style)?;
    }
    if !report.unattached.is_empty() {
        write_rule(out, style)?;
        write_unattached_heading(out, style)?;
        write_trees(out, &report.unattached, None, report, style)?;
    }
    Ok(())
}

/// The line above a machine.
pub(super) fn write_rule(out: &mut dyn Write, style: Style) -> Result<()> {
    writeln!(out, "{}", "-".repeat(style.width.unwrap_or(RULE).min(RULE)))?;
    Ok(())
}

/// The heading of the media that no machine has.
pub(super) fn write_unattached_heading(out: &mut dyn Write, style: Style) -> Result<()> {
    writeln!(out, "{}\n", style.paint(Tone::Heading, "Not attached to any VM"))?;
    Ok(())
}

fn write_machine(out: &mut dyn Write, machine: &MachineReport, style: Style) -> Result<()> {
    let mut block = Block::new(out, style, 0, MACHINE_LABEL);
    block.text("VM:", &label::machine(machine), Tone::Heading)?;
    block.solid("UUID:", &label::uuid(machine), Tone::Plain)?;
    if machine.is_copy {
        block.solid("Path:", &machine.path, Tone::Plain)?;
    }
    match machine.state {
        MachineState::OffOrRunning => {}
        MachineState::Saved => block.text("State:", "saved", Tone::Plain)?,
        MachineState::Aborted => block.text("State:", "aborted", Tone::Plain)?,
        MachineState::Encrypted | MachineState::Inaccessible => {
            let state = if machine.state == MachineState::Encrypted { "encrypted" } else { "no access" };
            let error = machine.error.as_deref().unwrap_or_default();
            block.text("State:", &format!("{state}: {error}"), Tone::Problem)?;
        }
    }
    write_groups(&mut block, machine)?;
    block.blank()?;
    Ok(())
}

/// The groups of a machine that is in one.
pub(super) fn write_groups(block: &mut Block<'_>, machine: &MachineReport) -> Result<()> {
    if machine.groups.iter().any(|group| group != "/") {
        block.text("Groups:", &machine.groups.join(", "), Tone::Plain)?;
    }
    Ok(())
}

fn write_trees(
    out: &mut dyn Write,
    trees: &[Tree],
    machine: Option<&MachineReport>,
    report: &Report,
    style: Style,
) -> Result<()> {
    for tree in trees {
        for node in &tree.rows {
            write_medium(out, node, machine, &report.media[node.medium], style)?;
            writeln!(out)?;
        }
        write_hidden(out, tree)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_medium(
    out: &mut dyn Write,
    node: &Node,
    machine: Option<&MachineReport>,
    medium: &MediumReport,
    style: Style,
) -> Result<()> {
    let mut block = begin_medium(out, node, machine, medium, style)?;
    block.text("Desc:", &medium.description, Tone::Plain)?;
    if medium.is_copy && !medium.path.is_empty() {
        block.solid("Path:", &medium.path, Tone::Plain)?;
    }
    let size = medium.size_on_disk.map_or_else(|| "-".to_owned(), scaled);
    block.text("Size:", &size, Tone::Plain)?;
    let capacity = medium.capacity.map_or_else(|| "-".to_owned(), scaled);
    block.text("Capacity:", &capacity, Tone::Plain)?;
    if medium.state != MediumState::Created {
        write_state(&mut block, medium)?;
    }
    write_encryption(&mut block, medium)
}

/// Begins the block of a medium with its names, as the short and the long form have it.
pub(super) fn begin_medium<'a>(
    out: &'a mut dyn Write,
    node: &Node,
    machine: Option<&MachineReport>,
    medium: &MediumReport,
    style: Style,
) -> Result<Block<'a>> {
    let tone = label::tone(medium, node.uses.current);
    if node.level == 0 {
        let mut block = Block::new(out, style, 4, MEDIUM_LABEL);
        block.text("Image:", &label::image(medium), tone)?;
        block.solid("UUID:", &medium.uuid.to_string(), Tone::Plain)?;
        if let Some(uses) = machine.and_then(|machine| label::own_uses(node, machine)) {
            block.text("Used by:", &uses, Tone::Plain)?;
        }
        return Ok(block);
    }
    let mut block = Block::new(out, style, 9, MEDIUM_LABEL);
    block.solid("Snapshot:", &medium.uuid.to_string(), Tone::Plain)?;
    block.text("Name:", &label::row(node, machine, medium), tone)?;
    Ok(block)
}

/// The state of a medium, and why there is no access.
pub(super) fn write_state(block: &mut Block<'_>, medium: &MediumReport) -> Result<()> {
    let state = medium.state.name();
    let text = match &medium.problem {
        Some(problem) if medium.state == MediumState::NoAccess => format!("{state}: {problem}"),
        _ => state.to_owned(),
    };
    block.text("State:", &text, label::tone(medium, false))?;
    Ok(())
}

/// The key of an encrypted medium.
pub(super) fn write_encryption(block: &mut Block<'_>, medium: &MediumReport) -> Result<()> {
    if let Some(key) = &medium.encryption_key {
        block.text("Key id:", &format!("{key} (encrypted)"), Tone::Plain)?;
    }
    Ok(())
}

/// How many media of a tree are left out.
pub(super) fn write_hidden(out: &mut dyn Write, tree: &Tree) -> Result<()> {
    if tree.hidden > 0 {
        writeln!(out, "         {}\n", label::hidden(tree))?;
    }
    Ok(())
}
