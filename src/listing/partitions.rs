//! The partitions of a disk.

use super::Result;
use super::block::Block;
use super::grid::{Cells, Columns, GAP};
use super::style::{Style, Tone};
use super::text::{fit, printable, scaled, width};
use crate::registry::Chain;
use crate::volume::{Table, Volume};
use serde::Serialize;
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
pub struct DiskReport {
    /// The base image.
    pub base: String,
    /// The image that was asked for, when it is not the base.
    pub diff: Option<String>,
    /// The UUID of the image that was asked for.
    pub uuid: Option<Uuid>,
    /// The size of the disk.
    pub size: u64,
    /// The kind of the partition table: `none`, `MBR`, `GPT`, `BSD disk label`.
    pub scheme: &'static str,
    /// Bytes of the sectors that the table counts in.
    pub sector_size: u32,
    /// The partitions.
    pub partitions: Vec<PartitionReport>,
    /// What was wrong with the table, a sentence each.
    pub notes: Vec<String>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct PartitionReport {
    /// The number of its `vol<N>`.
    pub index: usize,
    /// The number that Linux gives it; 0 for none.
    pub linux_number: u32,
    /// Whether it is marked as bootable.
    pub boot: bool,
    /// The first sector.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
    /// Bytes.
    pub size: u64,
    /// The first byte on the disk.
    pub offset: u64,
    /// What the table says it is, in upstream's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The label that the table gives it; empty for none.
    pub name: String,
}

impl DiskReport {
    /// The report on the disk of a chain that has `size` bytes.
    #[must_use]
    pub fn new(chain: &Chain, size: u64, table: &Table) -> Self {
        let paths: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
        Self::of_images(&paths, chain.uuid, size, table)
    }

    /// The report on the disk of images, leaf first.
    pub(super) fn of_images(images: &[&Path], uuid: Option<Uuid>, size: u64, table: &Table) -> Self {
        let name = |path: &&Path| path.to_string_lossy().into_owned();
        let sector_size = u64::from(table.sector_size);
        let partition = |volume: &Volume| PartitionReport {
            index: volume.index,
            linux_number: volume.linux_number,
            boot: volume.bootable,
            start: volume.offset / sector_size,
            sectors: volume.size / sector_size,
            size: volume.size,
            offset: volume.offset,
            kind: volume.type_name,
            name: volume.name.clone(),
        };
        Self {
            base: images.last().map(name).unwrap_or_default(),
            diff: images.first().filter(|_| images.len() > 1).map(name),
            uuid,
            size,
            scheme: table.scheme.name(),
            sector_size: table.sector_size,
            partitions: table.volumes.iter().map(partition).collect(),
            notes: table.notes.clone(),
        }
    }
}

/// Writes the partitions of a disk as a table.
///
/// # Errors
/// [`Error::Write`](super::Error::Write).
pub fn write_partitions(out: &mut dyn Write, disk: &DiskReport, style: Style) -> Result<()> {
    writeln!(out, "\n{}\n", style.paint(Tone::Heading, "Virtual disk image:"))?;
    let mut block = Block::new(out, style, 3, 6);
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

    let rows = rows(disk, style);
    let columns = columns(&rows);
    let mut lines = columns.lines(rows).into_iter();
    if let Some(heading) = lines.next() {
        writeln!(out, "{}", style.paint(Tone::Heading, &heading))?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    if disk.partitions.is_empty() {
        writeln!(out, "No partitions")?;
    }
    writeln!(out)?;
    let mut block = Block::new(out, style, 0, 6);
    for note in &disk.notes {
        block.text("Note:", note, Tone::Caution)?;
    }
    Ok(())
}

fn columns(rows: &[Cells]) -> Columns {
    let mut columns = Columns::new(RIGHT);
    rows.iter().for_each(|row| columns.fit(row));
    columns
}

fn rows(disk: &DiskReport, style: Style) -> Vec<Cells> {
    let mut headings = vec!["Partition", "Boot", "Start", "Sectors", "Size", "Offset", "Type"];
    let named = disk.partitions.iter().any(|p| !p.name.is_empty());
    if named {
        headings.push("Name");
    }
    let base = Path::new(&disk.base).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let row = |partition: &PartitionReport| {
        let mut cells = vec![
            format!("({})", partition.index),
            if partition.boot { "*".to_owned() } else { String::new() },
            partition.start.to_string(),
            partition.sectors.to_string(),
            scaled(partition.size),
            partition.offset.to_string(),
            partition.kind.to_owned(),
        ];
        if named {
            cells.push(printable(&partition.name).into_owned());
        }
        cells
    };
    let mut rows: Vec<Cells> = vec![headings.into_iter().map(str::to_owned).collect()];
    rows.extend(disk.partitions.iter().map(row));

    let others: usize = columns(&rows).widths()[1..].iter().map(|width| GAP + width).sum();
    let room = style.width.map_or(usize::MAX, |columns| columns.saturating_sub(others));
    for row in rows.iter_mut().skip(1) {
        let name = printable(&base);
        row[0] = format!("{}{}", fit(&name, room.saturating_sub(width(&row[0])).max(LEAST_NAME)), row[0]);
    }
    rows
}
