//! Lays out the rows of the wide form in the width of the terminal.

use super::grid::{Cells, Columns, GAP};
use super::style::Style;
use super::text::{fit, width};

/// The columns of a UUID.
const UUID_WIDTH: usize = 36;
/// The least width to cut names to before the UUIDs move to lines of their own.
const LEAST_NAME: usize = 30;
/// The greatest width of a name on any terminal: a hostile one would widen every row.
const LONGEST_NAME: usize = 255;
/// Size and capacity: their digits are aligned.
const RIGHT: &[usize] = &[1, 2];

/// A row before its width is known.
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
    pub(super) uuid: String,
}

/// Shows all rows to what it is given, as often as it is asked.
pub(super) type EachRow<'a> = dyn Fn(&mut dyn FnMut(&Row)) + 'a;

/// How rows are laid out.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// In one line, with names cut to so many columns.
    OneLine(usize),
    /// With the UUID in a second line, and names cut to so many columns.
    TwoLines(usize),
    /// With the details in a second and the UUID in a third line, all of so many columns.
    ThreeLines(usize),
}

/// A layout for a number of rows. UUIDs are never cut.
pub(super) struct Layout {
    form: Form,
    columns: Columns,
}

impl Layout {
    /// The layout that shows the most of all rows within the width of the terminal.
    pub(super) fn choose(each: &EachRow<'_>, style: Style) -> Self {
        let natural = Self::new(Form::OneLine(LONGEST_NAME), each);
        let Some(available) = style.width else { return natural };
        let widths = natural.columns.widths();
        let details: usize = widths[1..5].iter().map(|width| width + GAP).sum();
        let name = available.saturating_sub(details + GAP + UUID_WIDTH);
        if widths[0] <= name {
            return natural;
        }
        let mut stem = 0;
        each(&mut |row| stem = stem.max(width(&row.stem)));
        let form = if name >= LEAST_NAME {
            Form::OneLine(name)
        } else if available.saturating_sub(details) >= stem + UUID_WIDTH {
            Form::TwoLines(available - details)
        } else {
            Form::ThreeLines(available)
        };
        Self::new(form, each)
    }

    fn new(form: Form, each: &EachRow<'_>) -> Self {
        let mut columns = Columns::new(RIGHT);
        if let Some(heading) = form.heading() {
            columns.fit(&heading);
        }
        each(&mut |row| columns.fit(&form.cells(row)));
        Self { form, columns }
    }

    /// The heading and the rule below it; nothing when columns do not fit.
    pub(super) fn heading(&self) -> Vec<String> {
        self.form.heading().map_or_else(Vec::new, |heading| self.columns.lines(vec![heading, self.columns.rule()]))
    }

    /// The lines of each of some rows.
    pub(super) fn lines(&self, rows: &[&Row]) -> Vec<Vec<String>> {
        let cells: Vec<Cells> = rows.iter().map(|row| self.form.cells(row)).collect();
        // Only the first cell of a row has more than one line.
        let heights: Vec<usize> = cells.iter().map(|row| row[0].split('\n').count()).collect();
        let mut lines = self.columns.lines(cells).into_iter();
        heights.into_iter().map(|height| lines.by_ref().take(height).collect()).collect()
    }
}

impl Form {
    fn heading(self) -> Option<Cells> {
        let words: &[&str] = match self {
            Self::OneLine(_) => &["VM  Image  Snapshot", "Size", "Capacity", "Type", "State", "UUID"],
            Self::TwoLines(_) => &["VM  Image  Snapshot  UUID", "Size", "Capacity", "Type", "State"],
            Self::ThreeLines(_) => return None,
        };
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn cells(self, row: &Row) -> Cells {
        let Row { branch, stem, name, details, uuid } = row;
        let name = |available: usize| {
            let available = available.min(LONGEST_NAME).saturating_sub(width(branch)).max(1);
            format!("{branch}{}", fit(name, available))
        };
        match self {
            Self::OneLine(available) => {
                let mut cells = vec![name(available)];
                cells.extend(details.iter().cloned());
                cells.push(uuid.clone());
                cells
            }
            Self::TwoLines(available) => {
                let mut cells = vec![format!("{}\n{stem}{uuid}", name(available))];
                cells.extend(details.iter().cloned());
                cells
            }
            Self::ThreeLines(available) => {
                let details = details.iter().map(|d| d.trim()).filter(|d| !d.is_empty()).collect::<Vec<_>>().join(" ");
                let details = if details.is_empty() { details } else { format!("{stem}{details}\n") };
                // The UUID is not cut, so the tree before it is.
                let stem = &stem[..stem.len().min(available.saturating_sub(UUID_WIDTH))];
                vec![format!("{}\n{details}{stem}{uuid}", name(available))]
            }
        }
    }
}
