//! The wide form: one table, with a row for each machine and each medium, where the media form trees.

use super::Result;
use super::label;
use super::layout::{Layout, Row};
use super::report::{MachineReport, MachineState, MediumReport, MediumState, Report};
use super::style::{Style, Tone};
use super::text::{fit, printable, scaled_or_none, width, wrap};
use super::tree::{Node, Tree};
use std::io::Write;
use std::iter;

/// The greatest width of a format's name.
const LONGEST_FORMAT: usize = 12;

/// A part of the listing.
enum Item {
    /// A machine or a medium.
    Row(Row, Tone),
    /// Free text, after a part of the tree.
    Remark { stem: String, text: String, tone: Tone },
    /// An empty line.
    Blank,
}

/// Items that are laid out at a time: a registry may have tens of thousands.
const AT_A_TIME: usize = 256;

/// Writes the wide form.
pub(super) fn write(out: &mut dyn Write, report: &Report, style: Style) -> Result<()> {
    // Made twice rather than stored: tens of thousands take more memory than the report.
    let layout = Layout::choose(&|look| parts(report).for_each(|items| rows(&items).for_each(&mut *look)), style);
    for (line, tone) in layout.heading().iter().zip([Tone::Heading, Tone::Plain]) {
        writeln!(out, "{}", style.paint(tone, line))?;
    }
    let mut waiting = Vec::new();
    for items in parts(report) {
        waiting.extend(items);
        if waiting.len() >= AT_A_TIME {
            write_items(out, &waiting, &layout, style)?;
            waiting.clear();
        }
    }
    write_items(out, &waiting, &layout, style)
}

fn write_items(out: &mut dyn Write, items: &[Item], layout: &Layout, style: Style) -> Result<()> {
    for items in items.chunks(AT_A_TIME) {
        let mut rows = layout.lines(&rows(items).collect::<Vec<_>>()).into_iter();
        for item in items {
            let (lines, tone) = match item {
                Item::Row(_, tone) => (rows.next().unwrap_or_default(), *tone),
                Item::Remark { stem, text, tone } => (remark(stem, text, style), *tone),
                Item::Blank => (vec![String::new()], Tone::Plain),
            };
            for line in lines {
                writeln!(out, "{}", style.paint(tone, &line))?;
            }
        }
    }
    Ok(())
}

fn rows(items: &[Item]) -> impl Iterator<Item = &Row> {
    items.iter().filter_map(|item| if let Item::Row(row, _) = item { Some(row) } else { None })
}

fn remark(stem: &str, text: &str, style: Style) -> Vec<String> {
    let lines = match style.width {
        Some(columns) => wrap(text, columns.saturating_sub(width(stem))),
        None => vec![text.to_owned()],
    };
    lines.into_iter().map(|line| format!("{stem}{line}")).collect()
}

/// The listing: a part for each machine, and one for the media that none has.
fn parts(report: &Report) -> impl Iterator<Item = Vec<Item>> {
    let machines = report.machines.iter().enumerate().map(|(i, machine)| {
        let mut items = Vec::new();
        if i > 0 {
            items.push(Item::Blank);
        }
        push_machine(&mut items, machine);
        push_trees(&mut items, &machine.trees, Some(machine), report);
        items
    });
    machines.chain(iter::once_with(|| unattached(report)))
}

fn unattached(report: &Report) -> Vec<Item> {
    if report.unattached.is_empty() {
        return Vec::new();
    }
    let text = "(not attached to any VM)".to_owned();
    let mut items = vec![Item::Blank, Item::Remark { stem: String::new(), text, tone: Tone::Heading }];
    push_trees(&mut items, &report.unattached, None, report);
    items
}

fn push_machine(items: &mut Vec<Item>, machine: &MachineReport) {
    let groups: Vec<_> = machine.groups.iter().filter(|group| *group != "/").map(|group| printable(group)).collect();
    let mut name = label::machine(machine);
    if !groups.is_empty() {
        name = format!("{name} ({})", groups.join(", "));
    }
    let (state, tone) = match machine.state {
        MachineState::OffOrRunning => ("", Tone::Heading),
        MachineState::Saved => ("saved", Tone::Heading),
        MachineState::Aborted => ("aborted", Tone::Heading),
        MachineState::Encrypted => ("encrypted", Tone::Problem),
        MachineState::Inaccessible => ("no access", Tone::Problem),
    };
    let details = [String::new(), String::new(), String::new(), state.to_owned()];
    let uuid = label::uuid(machine);
    items.push(Item::Row(Row { branch: String::new(), stem: String::new(), name, details, uuid }, tone));
    if machine.is_copy {
        items.push(path_of_copy("    ".to_owned(), &machine.path));
    }
    if let Some(error) = &machine.error {
        let text = printable(error).into_owned();
        items.push(Item::Remark { stem: "    ".to_owned(), text, tone: Tone::Problem });
    }
}

/// The path of a machine or medium that has copies.
fn path_of_copy(stem: String, path: &str) -> Item {
    Item::Remark { stem, text: printable(path).into_owned(), tone: Tone::Plain }
}

fn push_trees(items: &mut Vec<Item>, trees: &[Tree], machine: Option<&MachineReport>, report: &Report) {
    for (i, tree) in trees.iter().enumerate() {
        let trunk = if i + 1 < trees.len() { " |  " } else { "    " };
        items.push(Item::Remark { stem: " |".to_owned(), text: String::new(), tone: Tone::Plain });
        for node in &tree.rows {
            push_medium(items, node, trunk, machine, &report.media[node.medium]);
        }
        if tree.hidden > 0 {
            items.push(Item::Remark { stem: trunk.to_owned(), text: label::hidden(tree), tone: Tone::Plain });
        }
    }
}

fn push_medium(
    items: &mut Vec<Item>,
    node: &Node,
    trunk: &str,
    machine: Option<&MachineReport>,
    medium: &MediumReport,
) {
    let branch = if node.level == 0 { " +- ".to_owned() } else { format!("{trunk}{}", node.branch) };
    let stem = format!("{trunk}{}", node.stem);
    let encrypted = if medium.encryption_key.is_some() { " encrypted" } else { "" };
    let details = [
        scaled_or_none(medium.size_on_disk),
        scaled_or_none(medium.capacity),
        format!("{}{encrypted}", fit(&printable(&medium.format), LONGEST_FORMAT)),
        medium.state.name().to_owned(),
    ];
    let problem = medium.problem.as_ref().filter(|_| medium.state == MediumState::NoAccess);
    let below = format!("{stem}   ");
    let remark = problem.map(|problem| Item::Remark {
        stem: below.clone(),
        text: printable(problem).into_owned(),
        tone: Tone::Problem,
    });
    let row = Row { branch, stem, name: label::row(node, machine, medium), details, uuid: medium.uuid.to_string() };
    items.push(Item::Row(row, label::tone(medium, node.uses.current)));
    if medium.is_copy && !medium.path.is_empty() {
        items.push(path_of_copy(below, &medium.path));
    }
    items.extend(remark);
}
