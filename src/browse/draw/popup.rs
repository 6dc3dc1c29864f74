//! The boxes over the screen.

use super::{Look, text};
use crate::browse::content::shown_path;
use crate::browse::model::popup::{Asking, AtPath, Popup};
use crate::listing::{fit, printable, wrap};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

/// Columns of a box at most.
const WIDTH: u16 = 100;
/// What a line of a text begins with that goes on with the line before.
const CONTINUED: &str = "    ";

/// An empty box in the middle, for so many lines; returns its inside.
fn frame_box(frame: &mut Frame<'_>, title: &str, lines: usize, look: Look) -> Rect {
    let screen = frame.area();
    let width = screen.width.saturating_sub(4).min(WIDTH);
    let height = u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2).min(screen.height.saturating_sub(2));
    let area = Rect { x: (screen.width - width) / 2, y: (screen.height - height) / 2, width, height };
    let title = fit(&printable(title), usize::from(width).saturating_sub(6)).into_owned();
    let block = Block::bordered().title(format!(" {title} ")).title_style(look.title()).border_style(look.border());
    frame.render_widget(Clear, area);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

fn columns(width: u16) -> usize {
    usize::from(width.saturating_sub(4).min(WIDTH)).saturating_sub(4)
}

/// The last line that a text in a box can begin with, so that no more is scrolled than there is.
pub(crate) fn last_top(lines: &[String], (width, height): (u16, u16)) -> usize {
    let rows: usize = lines.iter().map(|line| wrapped(line, columns(width)).len()).sum();
    rows.saturating_sub(usize::from(height.saturating_sub(4)))
}

/// Draws a box.
pub(super) fn draw(frame: &mut Frame<'_>, popup: &Popup, look: Look) {
    let columns = columns(frame.area().width);
    match popup {
        Popup::Text { title, lines, top } => {
            let wrapped: Vec<String> = lines.iter().flat_map(|line| wrapped(line, columns)).collect();
            let area = frame_box(frame, title, wrapped.len(), look);
            let top = (*top).min(wrapped.len().saturating_sub(usize::from(area.height)));
            let seen = wrapped.into_iter().skip(top).take(usize::from(area.height)).map(Line::raw);
            frame.render_widget(Paragraph::new(seen.collect::<Vec<_>>()), area);
        }
        Popup::Confirm { text, .. } => {
            let wrapped = wrapped(text, columns);
            let area = frame_box(frame, "Sure?", wrapped.len() + 2, look);
            let mut lines: Vec<Line<'_>> = wrapped.into_iter().map(Line::raw).collect();
            lines.extend([Line::default(), Line::styled("Enter yes   Esc no", look.name())]);
            frame.render_widget(Paragraph::new(lines), area);
        }
        Popup::Path(question) => {
            let (title, about) = match &question.then {
                AtPath::Copy(copying) => ("Copy out", format!("Copy {}", shown_path(&copying.from))),
                AtPath::Mount(_) => ("Mount", "Mount the disk, for reading, at an empty directory".to_owned()),
            };
            let area = frame_box(frame, title, 6, look);
            let row = |at: u16| Rect { y: area.y + at, height: 1, ..area };
            let line = |frame: &mut Frame<'_>, at, text: String, style| {
                frame.render_widget(Paragraph::new(Line::styled(text, style)), row(at));
            };
            line(frame, 0, fit(&about, columns).into_owned(), look.plain());
            if let Some(guests) = question.guests() {
                let on = if guests { 'x' } else { ' ' };
                let style = if question.is_on_switch { look.selected(true) } else { look.plain() };
                line(frame, 3, format!("[{on}] with its file systems (Tab, then g; or Ctrl-G)"), style);
            } else {
                line(frame, 3, "A directory, or for one file a new name".to_owned(), look.plain());
            }
            line(frame, 5, "Enter goes on   Esc gives up".to_owned(), look.name());
            text::typed(frame, row(1), "To: ", &question.line, look);
        }
    }
}

/// A line in several, where it is too long; the further ones are indented.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let line = printable(line);
    let parts = wrap(&line, columns.saturating_sub(CONTINUED.len()));
    let indented = parts.into_iter().enumerate();
    indented.map(|(at, part)| if at == 0 { part } else { format!("{CONTINUED}{part}") }).collect()
}

/// Draws the question for a password, of which only the length is shown.
pub(super) fn password(frame: &mut Frame<'_>, asking: &Asking, look: Look) {
    let columns = columns(frame.area().width);
    let what = format!("{} is encrypted with the key {:?}", printable(&asking.what), asking.key_id);
    let mut lines: Vec<Line<'_>> = wrapped(&what, columns).into_iter().map(Line::raw).collect();
    if asking.is_again {
        lines.push(Line::styled("That password was wrong", look.problem()));
    }
    let stars = "*".repeat(asking.len().min(columns.saturating_sub(12)));
    lines.extend([Line::raw(format!("Password: {stars}")), Line::default()]);
    lines.push(Line::styled("Enter opens it   Esc gives up", look.name()));
    let area = frame_box(frame, "Password", lines.len(), look);
    frame.render_widget(Paragraph::new(lines), area);
}
