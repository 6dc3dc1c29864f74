//! Blocks of fields, each a line with a label and a value.

use super::style::{Style, Tone};
use super::text::{printable, wrap};
use std::io::{self, Write};

/// The fewest columns for a value after its label. With fewer, values are not wrapped but left to the terminal.
const NARROWEST: usize = 10;

/// Writes fields, all values at the same column.
pub(super) struct Block<'a> {
    out: &'a mut dyn Write,
    style: Style,
    /// Blanks before a label.
    indent: usize,
    /// Columns of a label with the blanks after it.
    label: usize,
}

impl<'a> Block<'a> {
    /// A block whose labels take `label` columns after `indent` blanks.
    pub(super) fn new(out: &'a mut dyn Write, style: Style, indent: usize, label: usize) -> Self {
        Self { out, style, indent, label }
    }

    /// A field for reading: wrapped on a narrow terminal. Its lines stay lines.
    pub(super) fn text(&mut self, label: &str, value: &str, tone: Tone) -> io::Result<()> {
        let start = self.indent + self.label;
        let columns = self.style.width.map(|width| width.saturating_sub(start)).filter(|columns| *columns >= NARROWEST);
        let mut label = label;
        for line in value.lines() {
            let line = printable(line);
            let lines = columns.map_or_else(|| vec![line.to_string()], |columns| wrap(&line, columns));
            for line in lines {
                self.line(label, &line, tone)?;
                label = "";
            }
        }
        Ok(())
    }

    /// A field for copying, such as a UUID or a path: never broken. When it does not fit after the label it goes to
    /// the next line.
    pub(super) fn solid(&mut self, label: &str, value: &str, tone: Tone) -> io::Result<()> {
        let value = printable(value);
        let len = super::text::width(&value);
        match self.style.width {
            Some(width) if self.indent + self.label + len > width && len <= width => {
                self.line(label, "", tone)?;
                let line = format!("{:1$}{value}", "", self.indent.min(width - len));
                writeln!(self.out, "{}", self.style.paint(tone, &line))
            }
            _ => self.line(label, &value, tone),
        }
    }

    /// An empty line.
    pub(super) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    fn line(&mut self, label: &str, value: &str, tone: Tone) -> io::Result<()> {
        let (indent, columns) = (self.indent, self.label);
        let line = format!("{:indent$}{label:<columns$}{value}", "");
        writeln!(self.out, "{}", self.style.paint(tone, line.trim_end()))
    }
}
