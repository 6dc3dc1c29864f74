//! `diff --ranges`: the bytes in which two states of a disk differ.

use super::diff::find_both;
use super::{DiffForm, Error, Report, Result};
use crate::diff::{self, Difference, RangeChange, State, Watch};
use crate::listing::write_json_array;
use crate::view::{self, Kind};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Writes the ranges in which the disks of two states differ, or a disk, volume or file. With `read`, what the states
/// do not share is read, and only what differs is written. Returns whether there was any.
///
/// # Errors
/// [`Error::Write`]; what is wrong with `path`.
pub(crate) fn diff_ranges(
    old: &State<'_>,
    new: &State<'_>,
    path: &Path,
    (form, read): (DiffForm, bool),
    watch: &Watch<'_>,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<bool> {
    let paths = paths(old, new, path);
    let (mut any, mut heading) = (false, None);
    if form.json {
        let done = write_json_array(out, |add| {
            each_range(old, new, &paths, read, watch, report, &mut |path, range| {
                any = true;
                let path = path.to_string_lossy().into_owned();
                let RangeChange { offset, len: length, difference } = range;
                Ok(add(&Item { path, offset, length, difference: name(difference) })?)
            })
        })?;
        done?;
    } else {
        each_range(old, new, &paths, read, watch, report, &mut |path, range| {
            any = true;
            if heading.as_deref() != Some(path) {
                let title = if paths.len() > 1 { format!("  in {}", super::shown(path)) } else { String::new() };
                writeln!(out, "{:>15} {:>15}  DIFFERENCE{title}", "OFFSET", "LENGTH")?;
                heading = Some(path.to_owned());
            }
            let RangeChange { offset, len, difference } = range;
            Ok(writeln!(out, "{offset:>15} {len:>15}  {}", name(difference))?)
        })?;
    }
    out.flush()?;
    Ok(any)
}

#[derive(Serialize)]
struct Item {
    path: String,
    /// Bytes.
    offset: u64,
    length: u64,
    difference: &'static str,
}

fn name(difference: Difference) -> &'static str {
    match difference {
        Difference::Differs => "differs",
        Difference::Unshared => "not read",
        Difference::OnlyOld => "removed",
        Difference::OnlyNew => "added",
    }
}

/// The disks of which there are ranges to compare: what `path` names, or all that both states have.
fn paths(old: &State<'_>, new: &State<'_>, path: &Path) -> Vec<PathBuf> {
    let has = |state: &State<'_>, directory: &Path| state.disks().any(|(other, _)| other == directory);
    let disks = || new.disks().map(|(directory, _)| directory.to_owned()).filter(|directory| has(old, directory));
    match () {
        () if path.as_os_str().is_empty() => disks().map(|directory| directory.join("vhdd")).collect(),
        () if disks().any(|directory| directory == path) => vec![path.join("vhdd")],
        () => vec![path.to_owned()],
    }
}

/// Passes all ranges on and reports what cannot be read, until writing fails.
fn each_range(
    old: &State<'_>,
    new: &State<'_>,
    paths: &[PathBuf],
    read: bool,
    watch: &Watch<'_>,
    report: Report<'_>,
    each: &mut dyn FnMut(&Path, RangeChange) -> Result<()>,
) -> Result<()> {
    for path in paths {
        let missing = || Error::at(path)(view::Error::NotFound);
        let (Some(a), Some(b)) = find_both(old, new, path)? else { return Err(missing()) };
        for (state, of) in [(old, a), (new, b)] {
            if of.kind == Kind::Directory {
                return Err(Error::at(path)(view::Error::IsDirectory));
            }
            // For what else has no bytes, such as a device.
            state.view.read(of.inode, 0, &mut []).map_err(Error::at(path))?;
        }
        let mut written = Ok(());
        diff::ranges((old, a), (new, b), path, read, watch, &mut |found| {
            match found {
                Ok(range) => written = each(path, range),
                Err(e) => report(e.into()),
            }
            if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        written?;
    }
    Ok(())
}
