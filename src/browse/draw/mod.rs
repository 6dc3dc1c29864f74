//! The state of the browser on the screen. Of lists and texts only what is to be seen is made.

mod entries;
mod look;
mod popup;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod viewer;

pub(super) use look::Look;
pub(super) use popup::last_top;

use super::details;
use super::layout::SMALLEST;
use super::model::tree::Item;
use super::model::{App, Focus, Purpose};
use crate::listing::{fit, scaled};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, look: Look) {
    let screen = frame.area();
    if (screen.width, screen.height) < SMALLEST || screen.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        put(frame, screen, Line::raw(format!("Too small: {columns}x{rows} is needed (q quits)")));
        return;
    }
    match &app.viewer {
        Some(viewer) => viewer::draw(frame, app, viewer, look),
        None => browse(frame, app, look),
    }
    if let Some(popup) = &app.popup {
        popup::draw(frame, popup, look);
    }
    if let Some(asking) = &app.asking {
        popup::password(frame, asking, look);
    }
}

/// The last line that the text on the right can begin with.
pub(super) fn last_scroll(app: &App, area: Rect) -> usize {
    // Most of the time nothing is scrolled.
    if app.scroll == 0 { 0 } else { text::height(&lines(app), area).saturating_sub(usize::from(area.height)) }
}

fn lines(app: &App) -> Vec<details::Text> {
    app.tree.selected().map_or_else(|| details::of_nothing(app), |id| details::of(app, id))
}

fn browse(frame: &mut Frame<'_>, app: &App, look: Look) {
    let areas = app.areas();
    tree::draw(frame, app, &areas, look);
    for y in areas.border.y..areas.border.bottom() {
        frame.buffer_mut().set_string(areas.border.x, y, "│", look.border());
    }
    let selected = app.tree.selected();
    let title = match (&app.listing, selected) {
        (Some(listing), _) => super::content::shown_path(&listing.path),
        (None, Some(id)) => app.tree.node(id).label.clone(),
        (None, None) => String::new(),
    };
    let is_focused = app.focus == Focus::Right;
    heading(frame, areas.title, &title, &entries::count(app), is_focused, look);
    text::draw(frame, areas.details, &lines(app), app.scroll, look);
    if app.listing.is_some() {
        entries::draw(frame, app, &areas, look);
    }
    status(frame, app, areas.status, look);
    footer(frame, app, areas.footer, look);
}

/// A title with something at its right end.
fn heading(frame: &mut Frame<'_>, area: Rect, title: &str, right: &str, is_focused: bool, look: Look) {
    let width = usize::from(area.width);
    let used = crate::listing::width(right) + 2;
    let style = if is_focused { look.focused() } else { look.title() };
    frame.buffer_mut().set_style(area, style);
    let title = fit(title, width.saturating_sub(used + 1));
    frame.buffer_mut().set_stringn(area.x + 1, area.y, title, width.saturating_sub(1), style);
    let at = area.right().saturating_sub(u16::try_from(used).unwrap_or(area.width)).max(area.x);
    frame.buffer_mut().set_stringn(at + 1, area.y, right, width, style);
}

/// What is loading, or what was said last.
fn status(frame: &mut Frame<'_>, app: &App, area: Rect, look: Look) {
    if let Some(line) = &app.filter {
        text::typed(frame, area, "Show only: ", line, look);
        return;
    }
    let copying = app.jobs.iter().rfind(|job| job.purpose == Purpose::Copy);
    let running = copying.or(app.jobs.last()).map(|job| {
        let done = job.progress.map(|(done, all)| {
            let percent = if all == 0 { 100 } else { u128::from(done.min(all)) * 100 / u128::from(all) };
            format!(", {} of {} ({percent}%)", scaled(done).trim(), scaled(all).trim())
        });
        format!("{}{} ... (Esc stops)", job.what, done.unwrap_or_default())
    });
    let (text, style) = match (running, &app.notice) {
        (_, Some(notice)) if notice.is_problem => (notice.text.clone(), look.problem()),
        (Some(running), _) => (running, look.caution()),
        (None, Some(notice)) => (notice.text.clone(), look.plain()),
        (None, None) => (filters(app), look.caution()),
    };
    put(frame, area, Line::styled(fit(&crate::listing::printable(&text), usize::from(area.width)).into_owned(), style));
}

/// Which filters are in force.
fn filters(app: &App) -> String {
    let of_listing = app.listing.as_ref().map(|listing| listing.filter.as_str());
    let filters: Vec<String> = [("tree", Some(app.tree.filter.as_str())), ("files", of_listing)]
        .into_iter()
        .filter_map(|(what, text)| text.filter(|text| !text.is_empty()).map(|text| format!("{what} with {text:?}")))
        .collect();
    if filters.is_empty() { String::new() } else { format!("Only {} (Esc shows all)", filters.join(", ")) }
}

/// The keys that do something here.
fn footer(frame: &mut Frame<'_>, app: &App, area: Rect, look: Look) {
    let in_entries = app.focus == Focus::Right && app.listing.is_some();
    let item = app.tree.selected().map(|id| &app.tree.node(id).item);
    let here = match item {
        _ if app.filter.is_some() => "Enter keep|Esc all",
        _ if in_entries => "Enter open|v view|c copy out|s sort|. hidden|/ filter|Bksp up|Tab tree",
        Some(Item::Disk(_)) => "Enter open|i images|m mount|u unmount|c copy|y UUID|/ filter",
        Some(Item::Volume(_) | Item::Directory { .. }) => "Enter open|Tab files|c copy out|m mount|i images|/ filter",
        _ => "Enter open|Tab text|y UUID|/ filter|r reload",
    };
    let keys = ["? help|q quit|", here].concat();
    let keys = look::keys(&keys, usize::from(area.width), look);
    put(frame, area, keys);
}

/// Draws a line, without anything left of what was there.
fn put(frame: &mut Frame<'_>, area: Rect, line: Line<'_>) {
    frame.render_widget(Paragraph::new(line), area);
}
