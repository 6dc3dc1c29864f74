//! Partition tables: named ranges of a disk.
//!
//! Four schemes are known: DOS partition tables with extended partitions ([`mbr`]) and tables inside of their
//! partitions ([`mod@slice`]), GUID partition tables ([`gpt`]), BSD disk labels ([`bsd`]) and Apple partition maps
//! ([`apm`]). An error in a table never prevents the use of a disk: it becomes a note.

mod apm;
pub(crate) mod boot_sector;
mod bsd;
pub(crate) mod error;
mod gpt;
mod gpt_types;
mod list;
mod mbr;
mod slice;
#[cfg(test)]
mod test_disk;
#[cfg(test)]
mod tool_tests;
mod type_names;

pub(crate) use error::{Error, Result};

use crate::disk::Disk;
use list::VolumeList;
use std::borrow::Cow;

/// Bytes at the start of a disk that hold a DOS partition table, whatever the disk's sector size.
const BOOT_RECORD: usize = 512;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The number in `vol<N>` and in the listing: upstream's order (primaries in table order, then logicals).
    pub index: usize,
    /// The number that Linux gives it (`/dev/sda5`), from 1; 0 for one that Linux skips because it is empty.
    pub linux_number: u32,
    /// The first byte on the disk. Past the disk's end for a volume that lies outside of it, which has size 0.
    pub offset: u64,
    /// The size in bytes, cut at the disk's end.
    pub size: u64,
    /// The type in the table, by upstream's name where it has one, such as `Linux native`.
    pub type_name: Cow<'static, str>,
    /// The partition's label (GPT, APM), or its letter or number in a table inside of another partition.
    pub name: String,
    /// Whether it has the bootable flag (MBR).
    pub bootable: bool,
}

impl Volume {
    /// A whole disk as one volume, for a disk without a partition table.
    #[must_use]
    pub(crate) fn whole(disk: &dyn Disk) -> Self {
        let size = disk.size();
        let type_name = type_names::UNKNOWN.into();
        Self { index: 0, linux_number: 0, offset: 0, size, type_name, name: String::new(), bootable: false }
    }
}

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// No table: the disk is empty or one file system.
    None,
    /// A DOS partition table.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// A BSD disk label.
    Bsd,
    /// An Apple partition map.
    Apm,
}

impl Scheme {
    /// Its short name, as for a listing.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
            Self::Bsd => "BSD disk label",
            Self::Apm => "APM",
        }
    }
}

/// A disk's partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its kind.
    pub scheme: Scheme,
    /// Bytes of the sectors that the table counts in.
    pub sector_size: u32,
    /// The volumes in the order of their index.
    pub volumes: Vec<Volume>,
    /// What was wrong with the table but did not stop us, a sentence each.
    pub notes: Vec<String>,
}

/// What is wrong with the copy of a table, which reading the table does not show.
///
/// # Errors
/// Of the disk.
pub(crate) fn check_copy(disk: &dyn Disk, table: &Table) -> Result<Option<String>> {
    if table.scheme == Scheme::Gpt { gpt::copies::check(disk, table.sector_size) } else { Ok(None) }
}

/// Reads the partition table of a disk. A disk without one has an empty table; that is no error.
///
/// Where a disk has several tables, the one that its guest uses is read: a valid GPT, unless the boot record has
/// partitions of its own and none that protects the GPT (such a GPT is left over from an earlier use of the disk);
/// then a BSD disk label; then the boot record; then an Apple partition map, as on Linux.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn read_table(disk: &dyn Disk) -> Result<Table> {
    let mut list = VolumeList::new(disk, mbr::sector_size(disk));
    let mut sector = [0; BOOT_RECORD];
    let none = || VolumeList::new(disk, disk.sector_size()).into_table(Scheme::None);
    if disk.size() < BOOT_RECORD as u64 {
        return Ok(none());
    }
    disk.read_at(0, &mut sector)?;
    let record = mbr::Record::parse(&sector);
    let protective = record.and_then(|r| r.protective());

    let mut scheme = Scheme::None;
    match gpt::read(disk, protective)? {
        gpt::Found::Absent => {}
        gpt::Found::Corrupt(note) => {
            list.note(note);
            scheme = Scheme::Gpt;
        }
        gpt::Found::Table(table) => {
            if protective.is_some() || !record.is_some_and(|r| r.has_partitions(disk)) {
                return Ok(table);
            }
            list.note("There is also a GPT, but no protective MBR entry guards it: the MBR's partitions are shown");
        }
    }
    if let Some(table) = bsd::read(disk)? {
        return Ok(table);
    }
    // The table of an Apple partition map has no partitions of a boot record, though its boot block may end as one.
    if !record.is_some_and(|r| r.has_other_than_protective() && r.has_valid_flags())
        && let Some(mut table) = apm::read(disk)?
    {
        table.notes.splice(..0, list.into_table(scheme).notes);
        return Ok(table);
    }
    if let Some(record) = record {
        let is_table = if boot_sector::is_file_system(&sector) {
            record.has_partitions(disk)
        } else {
            record.has_valid_flags() || record.has_partitions(disk)
        };
        if is_table && (scheme == Scheme::None || record.has_other_than_protective()) {
            record.read_volumes(disk, &mut list)?;
            scheme = Scheme::Mbr;
        }
    }
    let table = list.into_table(scheme);
    // Without a table, nothing counts in other sectors than the disk's.
    Ok(if scheme == Scheme::None { Table { notes: table.notes, ..none() } } else { table })
}
