//! A selected line of a list, and the first one that is on the screen.

/// Where a list is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The selected line.
    pub(crate) at: usize,
    /// The first line on the screen.
    pub(crate) top: usize,
}

impl Cursor {
    /// Moves the selection by some lines within `len`.
    pub(crate) fn step(&mut self, by: isize, len: usize) {
        self.at = self.at.saturating_add_signed(by).min(len.saturating_sub(1));
    }

    /// Scrolls so that the selection is among the `height` lines on the screen, and no line is empty without need.
    pub(crate) fn show(&mut self, height: usize, len: usize) {
        self.at = self.at.min(len.saturating_sub(1));
        let height = height.max(1);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height));
        self.top = self.top.min(len.saturating_sub(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_stays_within_the_list_and_on_the_screen() {
        let mut cursor = Cursor::default();
        cursor.step(5, 3);
        assert_eq!(cursor.at, 2);
        cursor.step(-9, 3);
        assert_eq!(cursor.at, 0);
        cursor.step(7, 20);
        cursor.show(5, 20);
        assert_eq!(cursor, Cursor { at: 7, top: 3 });
        cursor.show(20, 20);
        assert_eq!(cursor.top, 0, "what fits is shown whole");
        cursor.step(1, 0);
        cursor.show(0, 0);
        assert_eq!(cursor, Cursor::default(), "an empty list has no line");
    }
}
