//! Laying out the rows of the wide form in the room there is.

use super::grid::{self, Cells, GAP};
use super::style::Style;
use super::text::{fit, width};
use uuid::Uuid;

/// The columns of a UUID.
const UUID_WIDTH: usize = 36;
/// The least width to cut names to before the UUIDs move to lines of their own.
const LEAST_NAME: usize = 30;
/// The greatest width of a name when the output is no terminal: a hostile one would widen every row.
const LONGEST_NAME: usize = 255;
/// Size and capacity: their digits are aligned.
const RIGHT: [usize; 2] = [1, 2];

/// A row before it is known how much room it has.
pub(super) struct Row {
    /// The part of the tree before its first line.
    pub(super) branch: String,
    /// The part of the tree before its further lines.
    pub(super) stem: String,
    /// The name of the machine, image or snapshot.
    pub(super) name: String,
    /// Size, capacity, format, state.
    pub(super) details: [String; 4],
    /// The UUID of the machine or medium.
    pub(super) uuid: Uuid,
}

/// Rows as lines.
pub(super) struct Lines {
    /// The heading and the rule below it; none when there is no room for columns.
    pub(super) heading: Vec<String>,
    /// The lines of each row.
    pub(super) rows: Vec<Vec<String>>,
}

/// How rows are laid out.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// In one line, with names cut to so many columns.
    OneLine(usize),
    /// With the UUID in a second line, and names cut to so many columns.
    TwoLines(usize),
    /// With the details in a second and the UUID in a third line, all of so many columns.
    ThreeLines(usize),
}

/// Lays out rows so that they show as much as the width of the terminal allows. UUIDs are never cut.
pub(super) fn lay_out(rows: &[&Row], style: Style) -> Lines {
    let layout = Layout::choose(rows, style);
    let mut cells = layout.heading();
    let heading_height = 2 * cells.len();
    cells.extend(rows.iter().map(|row| layout.cells(row)));
    if heading_height > 0 {
        let rule = grid::widths(&cells).into_iter().map(|width| "-".repeat(width)).collect();
        cells.insert(1, rule);
    }
    // Only the first cell of a row has more than one line.
    let heights: Vec<usize> = cells.iter().skip(heading_height).map(|row| row[0].split('\n').count()).collect();
    let mut lines = grid::lines(cells, &RIGHT).into_iter();
    let heading = lines.by_ref().take(heading_height).collect();
    let rows = heights.into_iter().map(|height| lines.by_ref().take(height).collect()).collect();
    Lines { heading, rows }
}

impl Layout {
    fn choose(rows: &[&Row], style: Style) -> Self {
        let Some(columns) = style.width else { return Self::OneLine(LONGEST_NAME) };
        let one_line = Self::OneLine(usize::MAX);
        let mut cells = one_line.heading();
        cells.extend(rows.iter().map(|row| one_line.cells(row)));
        let widths = grid::widths(&cells);
        let details: usize = widths[1..5].iter().map(|width| width + GAP).sum();
        let room = columns.saturating_sub(details + GAP + UUID_WIDTH);
        if widths[0] <= room || room >= LEAST_NAME {
            return Self::OneLine(room);
        }
        let stem = rows.iter().map(|row| width(&row.stem)).max().unwrap_or(0);
        let room = columns.saturating_sub(details);
        if room >= stem + UUID_WIDTH { Self::TwoLines(room) } else { Self::ThreeLines(columns) }
    }

    /// The heading, if there is one.
    fn heading(self) -> Vec<Cells> {
        let words: &[&str] = match self {
            Self::OneLine(_) => &["VM  Image  Snapshot", "Size", "Capacity", "Type", "State", "UUID"],
            Self::TwoLines(_) => &["VM  Image  Snapshot  UUID", "Size", "Capacity", "Type", "State"],
            Self::ThreeLines(_) => return Vec::new(),
        };
        vec![words.iter().map(|word| (*word).to_owned()).collect()]
    }

    fn cells(self, row: &Row) -> Cells {
        let Row { branch, stem, name, details, uuid } = row;
        let name = |columns: usize| format!("{branch}{}", fit(name, columns.saturating_sub(width(branch)).max(1)));
        match self {
            Self::OneLine(columns) => {
                let mut cells = vec![name(columns)];
                cells.extend(details.iter().cloned());
                cells.push(uuid.to_string());
                cells
            }
            Self::TwoLines(columns) => {
                let mut cells = vec![format!("{}\n{stem}{uuid}", name(columns))];
                cells.extend(details.iter().cloned());
                cells
            }
            Self::ThreeLines(columns) => {
                let details = details.iter().map(|d| d.trim()).filter(|d| !d.is_empty()).collect::<Vec<_>>().join(" ");
                let details = if details.is_empty() { details } else { format!("{stem}{details}\n") };
                // The UUID is not cut, so the tree beside it is.
                let stem = &stem[..stem.len().min(columns.saturating_sub(UUID_WIDTH))];
                vec![format!("{}\n{details}{stem}{uuid}", name(columns))]
            }
        }
    }
}
