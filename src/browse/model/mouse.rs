//! The mouse: a click selects, one on what is selected opens, the wheel scrolls what is below the pointer.

use super::{App, Focus};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

/// Lines of a turn of the wheel.
const WHEEL: isize = 3;

impl App {
    pub(super) fn mouse(&mut self, mouse: MouseEvent) {
        let at = Position { x: mouse.column, y: mouse.row };
        match mouse.kind {
            MouseEventKind::ScrollDown => self.wheel(at, WHEEL),
            MouseEventKind::ScrollUp => self.wheel(at, -WHEEL),
            MouseEventKind::Down(MouseButton::Left) if self.is_browsing() => self.click(at),
            _ => {}
        }
    }

    /// Whether keys and clicks go to the tree and what is right of it.
    fn is_browsing(&self) -> bool {
        self.asking.is_none() && self.popup.is_none() && self.viewer.is_none() && self.filter.is_none()
    }

    fn wheel(&mut self, at: Position, by: isize) {
        if self.popup.is_some() {
            return self.scroll_text(by);
        }
        if self.viewer.is_some() {
            self.scroll_view(by);
            return;
        }
        if !self.is_browsing() {
            return;
        }
        let areas = self.areas();
        if areas.tree.contains(at) {
            let rows = self.tree.rows.len();
            self.tree.cursor.step(by, rows);
        } else if let (true, Some(listing)) = (areas.entries.contains(at), &mut self.listing) {
            listing.cursor.step(by, listing.order.len());
        } else if areas.details.contains(at) {
            self.scroll = self.scroll.saturating_add_signed(by);
        }
    }

    fn click(&mut self, at: Position) {
        let areas = self.areas();
        let line = |area: Rect| usize::from(at.y.saturating_sub(area.y));
        if areas.tree.contains(at) {
            let row = self.tree.cursor.top + line(areas.tree);
            let was_there = self.focus == Focus::Tree && self.tree.cursor.at == row;
            self.focus = Focus::Tree;
            if row < self.tree.rows.len() {
                self.tree.cursor.at = row;
                if was_there {
                    self.enter();
                }
            }
        } else if areas.entries.contains(at) {
            let Some(listing) = &mut self.listing else { return };
            let row = listing.cursor.top + line(areas.entries);
            let was_there = self.focus == Focus::Right && listing.cursor.at == row;
            self.focus = Focus::Right;
            if row < listing.order.len() {
                listing.cursor.at = row;
                if was_there {
                    self.enter();
                }
            }
        } else if areas.details.contains(at) || areas.preview.contains(at) {
            self.focus = Focus::Right;
        }
    }
}
