//! Columns of text.

use super::text::width;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Row, Table, Width, presets};

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

/// A row. A cell may have several lines.
pub(crate) type Cells = Vec<String>;

/// Columns that are wide enough for all rows that they are to have.
#[derive(Debug)]
pub(crate) struct Columns {
    widths: Vec<usize>,
    /// The columns that are aligned right; the others are aligned left.
    right: &'static [usize],
}

impl Columns {
    /// Columns without any width yet.
    pub(crate) fn new(right: &'static [usize]) -> Self {
        Self { widths: Vec::new(), right }
    }

    /// Widens the columns to fit a row.
    pub(crate) fn fit(&mut self, row: &[String]) {
        self.widths.resize(self.widths.len().max(row.len()), 1);
        for (widest, cell) in self.widths.iter_mut().zip(row) {
            *widest = cell.split('\n').map(width).fold(*widest, usize::max);
        }
    }

    /// The widths.
    pub(super) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// A row of rules.
    pub(super) fn rule(&self) -> Cells {
        self.widths.iter().map(|width| "-".repeat(*width)).collect()
    }

    /// The lines of rows that the columns fit, without trailing blanks.
    pub(crate) fn lines(&self, rows: Vec<Cells>) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.add_rows(rows.into_iter().map(|row| Row::from(row.into_iter().map(Cell::new_owned).collect::<Vec<_>>())));
        for (i, column) in table.column_iter_mut().enumerate() {
            let gap = if i + 1 < self.widths.len() { GAP } else { 0 };
            let [gap, width] = [gap, self.widths[i] + gap].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
            column.set_padding((0, gap));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
            if self.right.contains(&i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}
