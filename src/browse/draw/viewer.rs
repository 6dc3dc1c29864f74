//! A file that is viewed whole.

use super::{Look, heading, look, put, text};
use crate::browse::content::{hex_columns, hex_line};
use crate::browse::model::App;
use crate::browse::model::viewer::Viewer;
use crate::listing::{scaled, wrap};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use unicode_segmentation::UnicodeSegmentation;

/// Draws the file.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, viewer: &Viewer, look: Look) {
    let screen = frame.area();
    let row = |y: u16| Rect { y, height: 1, ..screen };
    let body = Rect { y: 1, height: screen.height - 2, ..screen };
    let (rows, columns) = (usize::from(body.height), usize::from(body.width));
    let right = match (&viewer.text, viewer.is_hex) {
        (Some((encoding, lines, is_all)), false) => {
            let more = if *is_all { "" } else { " (the beginning)" };
            format!("{encoding} {}/{}{more}", (viewer.top + 1).min(lines.len()), lines.len())
        }
        (_, true) => format!("{:#x} of {}", viewer.offset, scaled(viewer.size).trim()),
        (None, false) => "...".to_owned(),
    };
    heading(frame, row(0), &viewer.path, &right, true, look);
    let shown: Vec<Line<'_>> = if let Some(failure) = &viewer.failure {
        wrap(failure, columns).into_iter().map(|line| Line::styled(line, look.problem())).collect()
    } else if viewer.is_hex {
        let per_line = hex_columns(columns);
        let bytes = viewer.bytes(viewer.offset, rows * per_line);
        let lines = bytes.chunks(per_line).zip((viewer.offset..).step_by(per_line));
        lines.map(|(bytes, offset)| hex(viewer, offset, bytes, per_line, look)).collect()
    } else {
        let lines = viewer.text.iter().flat_map(|(_, lines, _)| lines).enumerate().skip(viewer.top).take(rows);
        lines
            .map(|(at, line)| {
                let is_found = viewer.found == Some(at as u64);
                let style = if is_found { look.found() } else { look.plain() };
                Line::styled(without_left(line, viewer.left).to_owned(), style)
            })
            .collect()
    };
    frame.render_widget(Paragraph::new(shown), body);
    let last = row(screen.height - 1);
    if let Some(line) = &viewer.typing {
        text::typed(frame, last, "Search: ", line, look);
    } else if let Some(notice) = &app.notice {
        put(frame, last, Line::raw(notice.text.clone()));
    } else if let Some(job) = app.jobs.last() {
        put(frame, last, Line::styled(format!("{} ... (Esc stops)", job.what), look.caution()));
    } else {
        let keys = "q back|/ search|n next|N previous|Tab text or hex|? help";
        put(frame, last, look::keys(keys, columns, look));
    }
}

fn hex(viewer: &Viewer, offset: u64, bytes: &[u8], per_line: usize, look: Look) -> Line<'static> {
    let line = hex_line(offset, bytes, per_line);
    let is_found = viewer.found.is_some_and(|found| (offset..offset + per_line as u64).contains(&found));
    if is_found { Line::styled(line, look.found()) } else { Line::raw(line) }
}

/// A line without so many columns at its left.
fn without_left(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let kept = line.grapheme_indices(true).find(|(_, grapheme)| {
        let is_kept = used >= columns;
        used += crate::listing::width(grapheme);
        is_kept
    });
    if columns == 0 { line } else { kept.map_or("", |(at, _)| &line[at..]) }
}
