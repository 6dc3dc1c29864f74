//! `map`: which image of the chain supplies which bytes of the disk or of a file on it, and where in the image they are.

use super::{Error, Links, Report, Result, locate};
use crate::disk::{self, ChainDisk, Disk};
use crate::error_kind::message;
use crate::image::Extent;
use crate::listing::{printable, write_json_line};
use crate::view::{self, Kind, Location, View};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// How far is gone on after a part of a map that cannot be read, in bytes.
const STEP: u64 = 64 << 10;

/// Which bytes of a disk or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// The first byte after it; up to the end without.
    pub end: Option<u64>,
}

/// A range and what supplies it. The first fields are those of `qemu-img map --output=json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Mapping {
    /// The first byte of the file.
    start: u64,
    length: u64,
    /// The image of the chain, 0 for the leaf; of bytes that none has, the last that was asked.
    depth: usize,
    /// Whether that image decides.
    present: bool,
    /// Whether the bytes are known to be zeros.
    zero: bool,
    /// Whether they are stored.
    data: bool,
    compressed: bool,
    /// Where in `filename`; none for what is stored nowhere as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// Where on the disk; none for what a file system makes without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_offset: Option<u64>,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Mapping {
    /// Neither stored nor zeros.
    const NONE: Self = Self {
        start: 0,
        length: 0,
        depth: 0,
        present: false,
        zero: false,
        data: false,
        compressed: false,
        offset: None,
        filename: None,
        disk_offset: None,
        error: None,
    };

    /// Adds a range that goes on where this one ends; false when it is another one.
    fn join(&mut self, next: &Self) -> bool {
        let after = |at: Option<u64>| at.map(|at| at.saturating_add(self.length));
        let Self { depth, present, zero, data, compressed, .. } = *self;
        let follows = self.start + self.length == next.start
            && (depth, present, zero, data, compressed)
                == (next.depth, next.present, next.zero, next.data, next.compressed)
            && after(self.offset) == next.offset
            && after(self.disk_offset) == next.disk_offset
            && self.filename == next.filename
            && self.error == next.error;
        if follows {
            self.length += next.length;
        }
        follows
    }

    /// What it is, in a word for people.
    fn word(&self) -> &'static str {
        match self {
            Self { error: Some(_), .. } => "error",
            Self { compressed: true, .. } => "compressed",
            Self { data: true, disk_offset: None, .. } => "decoded",
            Self { data: true, .. } => "data",
            Self { disk_offset: None, .. } => "hole",
            Self { present: true, .. } => "zeros",
            Self { .. } => "unused",
        }
    }
}

/// Writes the map of a file of the view, of the whole disk for `vhdd`. `disks` are those of the view, in its order. A
/// part of a map that cannot be read is reported, and the rest is gone on with.
///
/// # Errors
/// What is wrong with the path or the range; [`Error::Write`].
pub(crate) fn map(
    view: &View,
    disks: &[Arc<ChainDisk>],
    path: &Path,
    span: ByteRange,
    json: bool,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<()> {
    let wrong = Error::at(path);
    let found = locate(view, path, Links::Follow)?;
    match found.attributes.kind {
        Kind::File => {}
        Kind::Directory => return Err(wrong(view::Error::IsDirectory)),
        _ => return Err(wrong(view::Error::NotFile)),
    }
    let size = found.attributes.size;
    let (start, end) = (span.offset, span.end.unwrap_or(size));
    if start > end || end > size {
        let error = disk::Error::PastEnd { offset: start, end: end.into(), size };
        return Err(wrong(view::Error::Disk(Box::new(error))));
    }
    let mut rows = Rows { out, json, open: None, is_first: true };
    rows.begin()?;
    let mut failed = None;
    let mut at = start;
    while at < end {
        let run = view.location(found.attributes.inode, at, end - at).map_err(&wrong)?;
        match run.location {
            Location::Disk { disk, offset } => {
                let disk = disks.get(disk).ok_or_else(|| wrong(view::Error::NotFound))?;
                let mut done = 0;
                while done < run.len {
                    let row = of_disk(disk, offset + done, run.len - done);
                    let row = row.unwrap_or_else(|error| {
                        let text = message(&error);
                        let length = (STEP - (offset + done) % STEP).min(run.len - done);
                        if failed.as_ref() != Some(&text) {
                            report(wrong(view::Error::Disk(Box::new(error))));
                            failed = Some(text.clone());
                        }
                        Mapping { length, error: Some(text), disk_offset: Some(offset + done), ..Mapping::NONE }
                    });
                    let length = row.length;
                    rows.add(Mapping { start: at + done, ..row })?;
                    done += length;
                }
            }
            Location::Hole => rows.add(Mapping { start: at, length: run.len, zero: true, ..Mapping::NONE })?,
            Location::Decoded => {
                rows.add(Mapping { start: at, length: run.len, present: true, data: true, ..Mapping::NONE })?;
            }
        }
        at += run.len;
    }
    rows.end()
}

/// What supplies the bytes of a disk from `offset` on.
fn of_disk(disk: &ChainDisk, offset: u64, len: u64) -> disk::Result<Mapping> {
    // A volume that lies past the end of the disk was cut there already.
    let supply = disk.supply(offset, len.min(disk.size().saturating_sub(offset)))?;
    let row = Mapping { length: supply.len, disk_offset: Some(offset), ..Mapping::NONE };
    let Some(link) = supply.link else {
        // One that ends before the offset is not asked, and neither are its parents.
        let asked = disk.links().iter().take_while(|link| link.info().size > offset).count();
        return Ok(Mapping { depth: asked.saturating_sub(1), zero: true, ..row });
    };
    let row = Mapping { depth: link, present: true, ..row };
    Ok(match supply.extent {
        Extent::Stored { file, offset } => {
            let name = disk.links()[link].files()[file].path().to_string_lossy();
            Mapping { data: true, offset: Some(offset), filename: Some(name.into_owned()), ..row }
        }
        Extent::Encoded { .. } => {
            let name = disk.links()[link].info().path.to_string_lossy();
            Mapping { data: true, compressed: true, filename: Some(name.into_owned()), ..row }
        }
        Extent::Zero | Extent::Absent => Mapping { zero: true, ..row },
    })
}

/// The rows that are written, joined as long as they go on.
struct Rows<'a> {
    out: &'a mut dyn Write,
    json: bool,
    open: Option<Mapping>,
    is_first: bool,
}

impl Rows<'_> {
    fn begin(&mut self) -> Result<()> {
        if self.json {
            return Ok(write!(self.out, "[")?);
        }
        Ok(writeln!(
            self.out,
            "{:>14} {:>14}  {:<10} {:>14}  {:>14} File",
            "Start", "Length", "Holds", "Disk", "Offset"
        )?)
    }

    fn add(&mut self, row: Mapping) -> Result<()> {
        if self.open.as_mut().is_some_and(|open| open.join(&row)) {
            return Ok(());
        }
        match self.open.replace(row) {
            Some(done) => self.write(&done),
            None => Ok(()),
        }
    }

    fn end(mut self) -> Result<()> {
        if let Some(row) = self.open.take() {
            self.write(&row)?;
        }
        if self.json {
            writeln!(self.out, "]")?;
        }
        Ok(self.out.flush()?)
    }

    fn write(&mut self, row: &Mapping) -> Result<()> {
        if self.json {
            write!(self.out, "{}", if self.is_first { "" } else { ",\n" })?;
            self.is_first = false;
            return Ok(write_json_line(self.out, row)?);
        }
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let name = row.error.as_deref().or(row.filename.as_deref()).unwrap_or_default();
        let (disk, offset) = (number(row.disk_offset), number(row.offset));
        let line = format!("{:>14} {:>14}  {:<10} {disk:>14}  {offset:>14} ", row.start, row.length, row.word());
        Ok(writeln!(self.out, "{}", format!("{line}{}", printable(name)).trim_end())?)
    }
}
