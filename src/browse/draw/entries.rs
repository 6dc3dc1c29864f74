//! The entries of a directory, and the beginning of the selected one.

use super::{Look, put};
use crate::browse::content::{Content, hex_columns, hex_line};
use crate::browse::layout::{Areas, lines};
use crate::browse::model::entries::{Entry, Sort};
use crate::browse::model::{App, Focus};
use crate::listing::{fit, scaled, width};
use crate::verbs;
use crate::view::Kind;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Columns of the size, of the time, and of the mode.
const SIZE: usize = 8;
const TIME: usize = 17;
const MODE: usize = 11;
/// Columns that names have at least before a column is left out.
const NAME: usize = 20;

/// How many entries there are.
pub(super) fn count(app: &App) -> String {
    let Some(listing) = &app.listing else { return String::new() };
    let (shown, all) = (listing.order.len(), listing.entries.len());
    let more = if listing.complete.is_none() { "+" } else { "" };
    if shown == all { format!("{all}{more}") } else { format!("{shown} of {all}{more}") }
}

/// Which columns fit: time, mode.
fn columns(room: usize) -> (bool, bool) {
    let with_time = room >= NAME + SIZE + TIME;
    (with_time, with_time && room >= NAME + SIZE + TIME + MODE)
}

/// Draws the entries that are to be seen.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, areas: &Areas, look: Look) {
    let Some(listing) = &app.listing else { return };
    let room = usize::from(areas.entries.width).saturating_sub(2);
    let mark = |sort: Sort, name: &str| if app.sort == sort { format!("{name}*") } else { name.to_owned() };
    let (name, size, time) = (mark(Sort::Name, "Name"), mark(Sort::Size, "Size"), mark(Sort::Time, "Modified"));
    let head = row(room, &name, &size, &time, "Mode");
    let inner = |area: Rect| Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area };
    put(frame, inner(areas.heading), Line::styled(head, look.name()));
    let is_focused = app.focus == Focus::Right;
    let shown = listing.order.iter().enumerate().skip(listing.cursor.top).take(lines(areas.entries));
    for ((at, entry), y) in shown.zip(areas.entries.y..) {
        let (text, style) = line(&listing.entries[*entry], room, look);
        let area = inner(Rect { y, height: 1, ..areas.entries });
        frame.buffer_mut().set_stringn(area.x, y, &text, usize::from(area.width), style);
        if at == listing.cursor.at {
            frame.buffer_mut().set_style(area, look.selected(is_focused));
        }
    }
    if listing.order.is_empty() {
        let text = match &listing.complete {
            None => "...".to_owned(),
            Some(Err(e)) => e.clone(),
            Some(Ok(())) if listing.entries.is_empty() => "(empty)".to_owned(),
            Some(Ok(())) => "(nothing is shown; . shows hidden files, Esc all)".to_owned(),
        };
        let style = if matches!(listing.complete, Some(Err(_))) { look.problem() } else { look.plain() };
        frame.render_widget(
            Paragraph::new(text).style(style).wrap(ratatui::widgets::Wrap { trim: false }),
            inner(areas.entries),
        );
    }
    preview(frame, app, areas.preview, look);
}

fn row(room: usize, name: &str, size: &str, time: &str, mode: &str) -> String {
    let (with_time, with_mode) = columns(room);
    let fixed = SIZE + if with_time { TIME } else { 0 } + if with_mode { MODE } else { 0 };
    let names = room.saturating_sub(fixed);
    let name = fit(name, names);
    let mut row = format!("{name}{:pad$}{size:>SIZE$}", "", pad = names.saturating_sub(width(&name)));
    if with_time {
        row.push_str(&format!(" {time:<pad$}", pad = TIME - 1));
    }
    if with_mode {
        row.push_str(&format!(" {mode}"));
    }
    row
}

fn line(entry: &Entry, room: usize, look: Look) -> (String, Style) {
    let (end, style) = match entry.kind {
        Kind::Directory => ("/", look.directory()),
        Kind::Symlink => ("@", look.link()),
        Kind::Fifo => ("|", look.caution()),
        Kind::Socket => ("=", look.caution()),
        Kind::CharDevice | Kind::BlockDevice => ("", look.caution()),
        Kind::File => ("", look.plain()),
    };
    let name = entry.label() + end;
    match &entry.seen {
        Some(Ok(seen)) => {
            let size = match entry.kind {
                Kind::File => scaled(seen.size).trim().to_owned(),
                Kind::CharDevice | Kind::BlockDevice => format!("{},{}", seen.device.0, seen.device.1),
                _ => "-".to_owned(),
            };
            (row(room, &name, &size, &verbs::minute(seen.times.modified), &verbs::mode(seen)), style)
        }
        Some(Err(_)) => (row(room, &name, "!", "cannot be read", ""), look.problem()),
        None => (row(room, &name, "", "", ""), style),
    }
}

/// The attributes of the selected entry in a line, and its beginning below.
fn preview(frame: &mut Frame<'_>, app: &App, area: Rect, look: Look) {
    let Some(entry) = app.listing.as_ref().and_then(|listing| listing.selected()).filter(|_| !area.is_empty()) else {
        return;
    };
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area };
    let columns = usize::from(inner.width);
    let content = app.preview.as_ref().filter(|preview| preview.inode == entry.inode).map(|preview| &preview.content);
    let what = match content {
        Some(Some(Ok(Content::Text(encoding, _)))) => format!(" {encoding}"),
        Some(Some(Ok(Content::Binary(_)))) => " binary".to_owned(),
        _ => String::new(),
    };
    let about = match &entry.seen {
        Some(Ok(seen)) => {
            let owner = format!("{}:{}", seen.uid, seen.gid);
            let links = if seen.links == 1 { String::new() } else { format!(" {} links", seen.links) };
            format!("{} {owner} {} bytes{links}{what}", verbs::mode(seen), seen.size)
        }
        Some(Err(e)) => e.clone(),
        None => what,
    };
    let top = Rect { height: 1, ..inner };
    put(frame, top, Line::styled(format!("{:-<columns$}", format!("-- {} ", fit(&about, columns - 6))), look.name()));
    let rest = Rect { y: inner.y + 1, height: inner.height - 1, ..inner };
    let rows = usize::from(rest.height);
    let shown: Vec<Line<'_>> = match content {
        Some(Some(Ok(Content::Text(_, lines)))) => {
            lines.iter().take(rows).map(|line| Line::raw(fit(line, columns).into_owned())).collect()
        }
        Some(Some(Ok(Content::Binary(bytes)))) => {
            let per_line = hex_columns(columns);
            let lines = bytes.chunks(per_line).take(rows).zip((0..).step_by(per_line));
            lines.map(|(bytes, offset)| Line::raw(hex_line(offset, bytes, per_line))).collect()
        }
        Some(Some(Err(e))) => {
            let text = crate::listing::wrap(e, columns);
            text.into_iter().map(|line| Line::styled(line, look.problem())).collect()
        }
        Some(None) => vec![Line::styled("...", look.caution())],
        None => Vec::new(),
    };
    frame.render_widget(Paragraph::new(shown), rest);
}
