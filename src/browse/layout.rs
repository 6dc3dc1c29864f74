//! Where everything is on the screen.

use ratatui::layout::Rect;

/// The smallest screen that everything fits on.
pub(crate) const SMALLEST: (u16, u16) = (60, 12);
/// Columns of the tree.
const TREE: std::ops::RangeInclusive<u16> = 26..=62;
/// Rows of what is said of a volume above its entries.
const VOLUME: u16 = 6;

/// The parts of the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    /// The title of the tree.
    pub(crate) tree_title: Rect,
    /// The rows of the tree.
    pub(crate) tree: Rect,
    /// The line between both sides.
    pub(crate) border: Rect,
    /// The title of the right side.
    pub(crate) title: Rect,
    /// Text about what is selected.
    pub(crate) details: Rect,
    /// The heading of the entries.
    pub(crate) heading: Rect,
    /// The entries of a directory.
    pub(crate) entries: Rect,
    /// The selected entry: a line of attributes, and its beginning.
    pub(crate) preview: Rect,
    /// What is said and what is loading.
    pub(crate) status: Rect,
    /// The keys.
    pub(crate) footer: Rect,
}

/// The parts of a screen of so many columns and rows. A directory has entries on the right, with text above them for a
/// volume, and the beginning of the selected file below them.
pub(crate) fn areas(size: (u16, u16), has_entries: bool, is_volume: bool) -> Areas {
    let (columns, rows) = size;
    let body = rows.saturating_sub(3);
    let tree = (columns * 2 / 5).clamp(*TREE.start(), *TREE.end()).min(columns);
    let right = (tree + 1).min(columns);
    let width = columns - right;
    let at = |y: u16, height: u16| Rect { x: right, y, width, height };
    let mut areas = Areas {
        tree_title: Rect { x: 0, y: 0, width: tree, height: 1.min(rows) },
        tree: Rect { x: 0, y: 1, width: tree, height: body },
        border: Rect { x: tree, y: 0, width: right - tree, height: rows.saturating_sub(2) },
        title: at(0, 1.min(rows)),
        status: Rect { x: 0, y: rows.saturating_sub(2), width: columns, height: 1.min(rows) },
        footer: Rect { x: 0, y: rows.saturating_sub(1), width: columns, height: 1.min(rows) },
        ..Areas::default()
    };
    if !has_entries {
        areas.details = at(1, body);
        return areas;
    }
    let text = if is_volume { VOLUME.min(body / 3) } else { 0 };
    let preview = if body >= 12 { (body - text) * 2 / 5 } else { 0 };
    areas.details = at(1, text);
    areas.heading = at(1 + text, 1);
    areas.entries = at(2 + text, (body - text - preview).saturating_sub(1));
    areas.preview = at(1 + body - preview, preview);
    areas
}

/// How many lines fit.
pub(crate) fn lines(area: Rect) -> usize {
    usize::from(area.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_fit() {
        for size in [(0, 0), (1, 1), (10, 3), (60, 12), (80, 24), (160, 50), (500, 200)] {
            for (has_entries, is_volume) in [(false, false), (true, false), (true, true)] {
                let all = areas(size, has_entries, is_volume);
                let list = [
                    all.tree_title,
                    all.tree,
                    all.border,
                    all.title,
                    all.details,
                    all.heading,
                    all.entries,
                    all.preview,
                    all.status,
                    all.footer,
                ];
                let screen = Rect { x: 0, y: 0, width: size.0, height: size.1 };
                for (at, area) in list.iter().enumerate() {
                    assert_eq!(screen.intersection(*area).area(), area.area(), "{size:?} {area:?}");
                    if size >= SMALLEST {
                        let overlaps = list[at + 1..].iter().any(|other| area.intersects(*other) && !other.is_empty());
                        assert!(!overlaps || area.is_empty(), "{size:?} {area:?}");
                    }
                }
            }
        }
    }
}
