//! Text about what is selected, and lines that are typed.

use super::Look;
use crate::browse::details::Text;
use crate::browse::model::line;
use crate::listing::{width, wrap};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Columns of the names of fields.
const NAMES: usize = 10;

/// Draws text from a line on.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, lines: &[Text], from: usize, look: Look) {
    if area.is_empty() {
        return;
    }
    let wrapped = lines_of(lines, usize::from(area.width).saturating_sub(2), look);
    let from = from.min(wrapped.len().saturating_sub(usize::from(area.height)));
    let seen: Vec<Line<'_>> = wrapped.into_iter().skip(from).take(usize::from(area.height)).collect();
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(seen), inner);
}

fn lines_of(lines: &[Text], columns: usize, look: Look) -> Vec<Line<'static>> {
    let mut wrapped = Vec::new();
    for line in lines {
        match line {
            Text::Field(name, value) => {
                for (at, part) in wrap(value, columns.saturating_sub(NAMES)).into_iter().enumerate() {
                    let name = if at == 0 { *name } else { "" };
                    wrapped
                        .push(Line::from(vec![Span::styled(format!("{name:<NAMES$}"), look.name()), Span::raw(part)]));
                }
            }
            Text::Heading(text) => {
                wrapped.push(Line::default());
                wrapped.push(Line::styled(text.clone(), look.title()));
            }
            Text::Plain(text) => wrapped.extend(wrap(text, columns).into_iter().map(Line::raw)),
            Text::Problem(text) => {
                let text = crate::listing::printable(text);
                for (at, part) in wrap(&text, columns.saturating_sub(2)).into_iter().enumerate() {
                    let mark = if at == 0 { "! " } else { "  " };
                    wrapped.push(Line::styled(format!("{mark}{part}"), look.problem()));
                }
            }
        }
    }
    wrapped
}

/// How many lines a text has in an area.
pub(super) fn height(lines: &[Text], area: Rect) -> usize {
    lines_of(lines, usize::from(area.width).saturating_sub(2), Look { color: false }).len()
}

/// A line that is typed, with the cursor in it. Of a long one the end is seen.
pub(super) fn typed(frame: &mut Frame<'_>, area: Rect, before: &str, typed: &line::Line, look: Look) {
    let room = usize::from(area.width).saturating_sub(width(before) + 1);
    let mut from = 0;
    while width(&typed.text[from..typed.at]) > room {
        from += typed.text[from..].chars().next().map_or(1, char::len_utf8);
    }
    let shown = &typed.text[from..];
    let line = Line::from(vec![Span::styled(before.to_owned(), look.title()), Span::raw(shown.to_owned())]);
    frame.render_widget(Paragraph::new(line), area);
    let column = width(before) + width(&typed.text[from..typed.at]);
    let x = area.x.saturating_add(u16::try_from(column).unwrap_or(0)).min(area.right().saturating_sub(1));
    frame.set_cursor_position(Position { x, y: area.y });
}
