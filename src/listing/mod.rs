//! Listings of machines, media and partitions.
//!
//! [`collect()`] gathers a [`Report`] from a registry, which [`write_machines`] writes as text in
//! three forms. [`DiskReport`] and [`write_partitions`] do the same for the partitions of a disk. [`write_json`] writes
//! either as JSON.

mod block;
mod collect;
pub(crate) mod error;
mod examine;
mod grid;
mod json;
mod label;
mod layout;
mod long;
mod media_list;
mod partitions;
pub(crate) mod report;
mod short;
mod snapshots;
mod style;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod wide;

pub(crate) use collect::{collect, collect_media};
pub(crate) use error::{Error, Result};
pub(crate) use grid::Columns;
pub(crate) use json::write_json_line;
pub(crate) use json::{write_json, write_json_array};
pub(crate) use partitions::{DiskReport, write_partitions};
pub(crate) use report::Report;
pub(crate) use style::Style;
pub(crate) use text::{fit, printable, scaled, shown, width, wrap};

use std::io::Write;

/// The form of a listing of machines: short when it is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// One table with a row for each medium (`-w`).
    pub wide: bool,
    /// All that is known (`-v`). Together with `wide` the table comes first.
    pub long: bool,
    /// The snapshots of each machine as a tree (`--tree`), instead of the others.
    pub tree: bool,
}

/// Writes the machines and their media as text.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn write_machines(out: &mut dyn Write, report: &Report, form: Form, style: Style) -> Result<()> {
    if form.tree {
        return snapshots::write(out, report, style);
    }
    if form.wide {
        wide::write(out, report, style)?;
    }
    if form.wide && form.long {
        writeln!(out)?;
    }
    match form {
        Form { long: true, .. } => long::write(out, report, style),
        Form { wide: true, .. } => Ok(()),
        Form { .. } => short::write(out, report, style),
    }
}
