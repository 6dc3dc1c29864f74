//! The partitions of a disk.

use super::Result;
use super::block::Block;
use super::grid::{Cells, Columns, GAP};
use super::style::{Style, Tone};
use super::text::{fit, printable, scaled, width};
use crate::guestfs::Content;
use crate::registry::Chain;
use crate::volume::{Table, Volume};
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use uuid::Uuid;

/// The least width to cut the disk's name to.
const LEAST_NAME: usize = 8;
/// Start, Sectors, Size and Offset: their digits are aligned.
const RIGHT: &[usize] = &[2, 3, 4, 5];

/// A disk and its partitions. Serialized, this is the object of the JSON output: the names of its fields stay as they
/// are. Sizes are bytes, paths are absolute.
#[derive(Debug, Serialize)]
pub(crate) struct DiskReport {
    /// The slot of the machine that the disk is in, where those of a machine are listed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The base image.
    pub base: String,
    /// The image that was asked for, when it is not the base.
    pub diff: Option<String>,
    /// The UUID of the image that was asked for.
    pub uuid: Option<Uuid>,
    /// The size of the disk.
    pub size: u64,
    /// The kind of the partition table: `none`, `MBR`, `GPT`, `BSD disk label`, `APM`.
    pub scheme: &'static str,
    /// Bytes of the sectors that the table counts in.
    pub sector_size: u32,
    /// The content of the whole disk, also next to its partitions; `null` for nothing known.
    pub filesystem: Option<ContentReport>,
    /// The partitions.
    pub partitions: Vec<PartitionReport>,
    /// What was wrong with the table or a file system, and how to go on where one is hidden, a sentence each.
    pub notes: Vec<String>,
}

/// What a partition holds, by its content.
#[derive(Debug, Serialize)]
pub(crate) struct ContentReport {
    /// The type, such as `ext4` or `LUKS2`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The label; empty for none.
    pub label: String,
    /// The UUID or serial number as the system's own tools write it; empty for none.
    pub uuid: String,
}

impl ContentReport {
    fn new(content: &Content) -> Option<Self> {
        let Content { type_name, label, uuid, .. } = content.clone();
        (!content.is_unknown()).then_some(Self { kind: type_name, label, uuid })
    }
}

/// A partition.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionReport {
    /// The number of its `vol<N>`.
    pub index: usize,
    /// The number that Linux gives it; 0 for none.
    pub linux_number: u32,
    /// Whether it has the bootable flag.
    pub boot: bool,
    /// The first sector.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
    /// Bytes.
    pub size: u64,
    /// The first byte on the disk.
    pub offset: u64,
    /// The type in the table, by upstream's name where it has one.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The label that the table gives it; empty for none.
    pub name: String,
    /// What it holds; `null` for nothing known.
    pub filesystem: Option<ContentReport>,
}

impl DiskReport {
    /// The report on the disk of a chain that has `size` bytes. `contents` are those of the table's volumes, and
    /// after them that of the whole disk.
    #[must_use]
    pub(crate) fn new(chain: &Chain, size: u64, table: &Table, contents: &[Content]) -> Self {
        let paths: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
        Self::of_images(&paths, chain.uuid, size, table, contents)
    }

    /// The report on the disk of images, leaf first.
    pub(super) fn of_images(
        images: &[&Path],
        uuid: Option<Uuid>,
        size: u64,
        table: &Table,
        contents: &[Content],
    ) -> Self {
        let name = |path: &&Path| path.to_string_lossy().into_owned();
        let sector_size = u64::from(table.sector_size);
        let volumes = table.volumes.len();
        let partition = |volume: &Volume| PartitionReport {
            index: volume.index,
            linux_number: volume.linux_number,
            boot: volume.bootable,
            start: volume.offset / sector_size,
            sectors: volume.size / sector_size,
            size: volume.size,
            offset: volume.offset,
            kind: volume.type_name.clone(),
            name: volume.name.clone(),
            filesystem: contents.get(volume.index).and_then(ContentReport::new),
        };
        let reported = contents.iter().enumerate().flat_map(|(index, content)| {
            let subject = if index == volumes { "The disk".to_owned() } else { format!("Volume {index}") };
            content.notes.iter().map(move |note| format!("{subject}: {note}"))
        });
        let disk = contents.get(volumes);
        let next_to = disk.filter(|content| volumes > 0 && !content.is_unknown()).map(|content| {
            format!(
                "The disk as a whole holds {content}, besides its partitions; mount the disk and open vhdd for that"
            )
        });
        Self {
            slot: None,
            base: images.last().map(name).unwrap_or_default(),
            diff: images.first().filter(|_| images.len() > 1).map(name),
            uuid,
            size,
            scheme: table.scheme.name(),
            sector_size: table.sector_size,
            filesystem: disk.and_then(ContentReport::new),
            partitions: table.volumes.iter().map(partition).collect(),
            notes: table.notes.iter().cloned().chain(next_to).chain(reported).collect(),
        }
    }
}

/// Writes the partitions of a disk as a table.
///
/// # Errors
/// [`Error::Write`](super::Error::Write).
pub(crate) fn write_partitions(out: &mut dyn Write, disk: &DiskReport, style: Style) -> Result<()> {
    writeln!(out, "\n{}\n", style.paint(Tone::Heading, "Virtual disk image:"))?;
    let mut block = Block::new(out, style, 3, 6);
    if let Some(slot) = &disk.slot {
        block.text("Slot:", slot, Tone::Plain)?;
    }
    block.solid("Base:", &disk.base, Tone::Plain)?;
    if let Some(diff) = &disk.diff {
        block.solid("Diff:", diff, Tone::Plain)?;
    }
    if let Some(uuid) = disk.uuid {
        block.solid("UUID:", &uuid.to_string(), Tone::Plain)?;
    }
    let size = scaled(disk.size);
    let table = format!("{}, partition table: {}, sectors of {} bytes", size.trim_end(), disk.scheme, disk.sector_size);
    block.text("Disk:", &table, Tone::Plain)?;
    block.blank()?;

    if disk.partitions.is_empty() {
        write_whole(out, disk)?;
    } else {
        let contents = contents(disk);
        let next_to = joined(rows(disk), &contents);
        // The name is cut before anything else, but stays distinguishable.
        let name = width(&base_name(disk)).min(LEAST_NAME);
        if style.width.is_none_or(|columns| total(&next_to) + name <= columns) {
            write_table(out, named(next_to, disk, style), RIGHT, style)?;
        } else {
            // Neither a UUID nor a number is ever cut.
            write_table(out, named(rows(disk), disk, style), RIGHT, style)?;
            writeln!(out)?;
            let numbers = disk.partitions.iter().map(|p| vec![format!("vol{}", p.index)]);
            let rows = std::iter::once(vec!["Volume".to_owned()]).chain(numbers).collect();
            write_table(out, joined(rows, &contents), &[], style)?;
        }
    }
    writeln!(out)?;
    let mut block = Block::new(out, style, 0, 6);
    for note in &disk.notes {
        block.text("Note:", note, Tone::Caution)?;
    }
    Ok(())
}

fn write_whole(out: &mut dyn Write, disk: &DiskReport) -> Result<()> {
    let Some(ContentReport { kind, label, uuid }) = &disk.filesystem else {
        return Ok(writeln!(out, "No partitions, and nothing known on the disk")?);
    };
    let mut line = format!("No partitions: the whole disk holds {kind}");
    if !label.is_empty() {
        line.push_str(&format!(", label {}", printable(label)));
    }
    if !uuid.is_empty() {
        line.push_str(&format!(", UUID {}", printable(uuid)));
    }
    Ok(writeln!(out, "{line}")?)
}

/// Writes rows, of which the first is the heading.
fn write_table(out: &mut dyn Write, rows: Vec<Cells>, right: &'static [usize], style: Style) -> Result<()> {
    let mut lines = columns(&rows, right).lines(rows).into_iter();
    if let Some(heading) = lines.next() {
        writeln!(out, "{}", style.paint(Tone::Heading, &heading))?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn columns(rows: &[Cells], right: &'static [usize]) -> Columns {
    let mut columns = Columns::new(right);
    rows.iter().for_each(|row| columns.fit(row));
    columns
}

/// The columns that rows take in all.
fn total(rows: &[Cells]) -> usize {
    columns(rows, RIGHT).widths().iter().map(|width| GAP + width).sum::<usize>().saturating_sub(GAP)
}

/// Rows with those of another table next to them.
fn joined(rows: Vec<Cells>, more: &[Cells]) -> Vec<Cells> {
    rows.into_iter().zip(more).map(|(row, more)| row.into_iter().chain(more.iter().cloned()).collect()).collect()
}

/// What the partitions hold, with a heading; columns in which there is nothing are left out.
fn contents(disk: &DiskReport) -> Vec<Cells> {
    let known = || disk.partitions.iter().filter_map(|p| p.filesystem.as_ref());
    let (labels, uuids) = (known().any(|c| !c.label.is_empty()), known().any(|c| !c.uuid.is_empty()));
    let cells = |kind: &str, label: &str, uuid: &str| {
        let mut cells = vec![kind.to_owned()];
        cells.extend(labels.then(|| printable(label).into_owned()));
        cells.extend(uuids.then(|| printable(uuid).into_owned()));
        cells
    };
    let rows = disk.partitions.iter().map(|partition| match &partition.filesystem {
        Some(content) => cells(&content.kind, &content.label, &content.uuid),
        None => cells("", "", ""),
    });
    std::iter::once(cells("Filesystem", "Label", "UUID")).chain(rows).collect()
}

/// Upstream's columns, and the names where the table gives any. The first column has only the numbers yet.
fn rows(disk: &DiskReport) -> Vec<Cells> {
    let mut headings = vec!["Partition", "Boot", "Start", "Sectors", "Size", "Offset", "Type"];
    let named = disk.partitions.iter().any(|p| !p.name.is_empty());
    if named {
        headings.push("Name");
    }
    let row = |partition: &PartitionReport| {
        let mut cells = vec![
            format!("({})", partition.index),
            if partition.boot { "*".to_owned() } else { String::new() },
            partition.start.to_string(),
            partition.sectors.to_string(),
            scaled(partition.size),
            partition.offset.to_string(),
            printable(&partition.kind).into_owned(),
        ];
        if named {
            cells.push(printable(&partition.name).into_owned());
        }
        cells
    };
    let heading = headings.into_iter().map(str::to_owned).collect();
    std::iter::once(heading).chain(disk.partitions.iter().map(row)).collect()
}

/// Puts the disk's name before the numbers in the first column, cut to the columns that the others leave.
fn named(mut rows: Vec<Cells>, disk: &DiskReport, style: Style) -> Vec<Cells> {
    let others: usize = columns(&rows, RIGHT).widths()[1..].iter().map(|width| GAP + width).sum();
    let free = style.width.map_or(usize::MAX, |columns| columns.saturating_sub(others));
    let name = base_name(disk);
    for row in rows.iter_mut().skip(1) {
        row[0] = format!("{}{}", fit(&name, free.saturating_sub(width(&row[0])).max(LEAST_NAME)), row[0]);
    }
    rows
}

/// The name of the base image's file, sanitized.
fn base_name(disk: &DiskReport) -> String {
    let name = Path::new(&disk.base).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    printable(&name).into_owned()
}
