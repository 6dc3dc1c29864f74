//! The tree.

use super::{Look, heading};
use crate::browse::layout::{Areas, lines};
use crate::browse::model::tree::{Item, Node, NodeId};
use crate::browse::model::{App, Focus, Purpose};
use crate::listing::report::MediumState;
use crate::listing::{fit, width};
use crate::registry::{MediumId, Registry};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Columns of a level.
const INDENT: usize = 2;

/// Draws the rows that are to be seen.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, areas: &Areas, look: Look) {
    let is_focused = app.focus == Focus::Tree;
    let machines = app.registry.as_ref().map_or_else(String::new, |registry| registry.machines.len().to_string());
    heading(frame, areas.tree_title, "Machines", &machines, is_focused, look);
    let area = areas.tree;
    let cursor = app.tree.cursor;
    // Deep trees are moved to the left, so that what is selected can be read.
    let depth = app.tree.rows.get(cursor.at).map_or(0, |row| row.depth);
    let shift = (depth * INDENT).saturating_sub(usize::from(area.width) / 3) / INDENT;
    let rows = app.tree.rows.iter().enumerate().skip(cursor.top).take(lines(area));
    for ((at, row), y) in rows.zip(area.y..) {
        let line = Rect { y, height: 1, ..area };
        let node = app.tree.node(row.node);
        let indent = row.depth.saturating_sub(shift) * INDENT;
        let (text, style) = text(app, row.node, node, look);
        let columns = usize::from(area.width);
        let mark = if at == cursor.at { look.selected(is_focused) } else { Style::new() };
        let room = columns.saturating_sub(indent + 2);
        let text = if is_wrong(app, &node.item) {
            format!("{} !", fit(&text, room.saturating_sub(2)))
        } else {
            fit(&text, room).into_owned()
        };
        let style = if is_wrong(app, &node.item) { look.problem() } else { style };
        let arrow = match (app.tree.can_open(row.node), node.is_open) {
            (false, _) => ' ',
            (true, false) => '▸',
            (true, true) => '▾',
        };
        let drawn = format!("{:indent$}{arrow} {text}", "");
        frame.buffer_mut().set_stringn(line.x, y, &drawn, columns, style);
        if at == cursor.at {
            let used = u16::try_from(width(&drawn)).unwrap_or(line.width);
            let marked = if is_focused { line.width } else { used.min(line.width) };
            frame.buffer_mut().set_style(Rect { width: marked, ..line }, mark);
        }
    }
}

fn text(app: &App, id: NodeId, node: &Node, look: Look) -> (String, Style) {
    let label = &node.label;
    match &node.item {
        Item::Group => (label.clone(), look.title()),
        Item::State(_, None) => (format!("● {label}"), look.current()),
        Item::State(_, Some(_)) => (format!("○ {label}"), look.plain()),
        Item::Disk(disk) if app.mounts.iter().any(|mount| mount.which == disk.which) => {
            (format!("{label} (mounted)"), look.caution())
        }
        Item::Disk(_) if app.jobs.iter().any(|job| job.purpose == Purpose::Open(id)) => {
            (format!("{label} ..."), look.caution())
        }
        Item::Machine(at) => {
            let entry = app.registry.as_ref().and_then(|registry| registry.machines.get(*at));
            match entry.and_then(|entry| entry.key_id()) {
                Some(_) => (format!("{label} (encrypted)"), look.caution()),
                None => (label.clone(), look.plain()),
            }
        }
        Item::Directory { .. } => (label.clone(), look.directory()),
        _ => (label.clone(), look.plain()),
    }
}

/// Whether something is wrong with what a node stands for.
fn is_wrong(app: &App, item: &Item) -> bool {
    let Some(registry) = app.registry.as_deref() else {
        return matches!(item, Item::Disk(disk) if disk.failure.is_some());
    };
    match item {
        Item::Problems => true,
        Item::Machine(at) => {
            let entry = &registry.machines[*at];
            match &entry.machine {
                Err(_) => entry.key_id().is_none(),
                Ok(machine) => machine.attachments.iter().filter_map(|slot| slot.medium).any(|uuid| {
                    registry.media.find_near(uuid, &entry.path).is_none_or(|id| is_lost(app, registry, id))
                }),
            }
        }
        Item::Disk(disk) => {
            disk.failure.is_some()
                || match disk.medium {
                    Some(id) => is_lost(app, registry, id),
                    None => disk.nothing.is_none() && disk.which.machine.is_some(),
                }
        }
        _ => false,
    }
}

/// Whether an image of a chain cannot be used, as far as that is known.
fn is_lost(app: &App, registry: &Registry, id: MediumId) -> bool {
    let mut chain = std::iter::successors(Some(id), |id| registry.media.get(*id).parent);
    chain.any(|id| app.media.get(&id).is_some_and(|report| report.state == MediumState::NoAccess))
}
