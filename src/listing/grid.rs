//! Columns of text.

use super::text::width;
use comfy_table::{Cell, CellAlignment, Row, Table, presets};

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

/// A row; the first one is the heading. A cell may have several lines.
pub(super) type Cells = Vec<String>;

/// How many columns of the terminal each cell of a row needs at most.
pub(super) fn widths(rows: &[Cells]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.flat_map(|cell| cell.split('\n')).map(width).max().unwrap_or(0)
    };
    (0..columns).map(widest).collect()
}

/// The lines of the rows with their columns aligned, without blanks at their ends. Columns in `right` end at the same
/// place, the others begin there.
pub(super) fn lines(rows: Vec<Cells>, right: &[usize]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.into_iter().map(|cells| Row::from(cells.into_iter().map(Cell::new_owned).collect::<Vec<_>>())));
    let last = table.column_count().saturating_sub(1);
    for (i, column) in table.column_iter_mut().enumerate() {
        let gap = if i == last { 0 } else { 2 };
        column.set_padding((0, gap));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}
