//! Collects the volumes of a table.

use super::slice::Inner;
use super::{Scheme, Table, Volume};
use crate::disk::Disk;
use std::borrow::Cow;

/// A partition as a table states it, in sectors.
pub(super) struct Partition {
    /// The number that Linux gives it; 0 for none.
    pub(super) linux_number: u32,
    /// The first sector on the disk.
    pub(super) first: u64,
    /// How many sectors.
    pub(super) count: u64,
    /// The name of its type.
    pub(super) type_name: Cow<'static, str>,
    /// Its label.
    pub(super) name: String,
    /// Whether it has the bootable flag.
    pub(super) bootable: bool,
}

/// Turns partitions into volumes: numbers them, and keeps them within the disk.
pub(super) struct VolumeList {
    disk_size: u64,
    sector_size: u32,
    volumes: Vec<Volume>,
    notes: Vec<String>,
}

impl VolumeList {
    /// An empty list for a table that counts in sectors of `sector_size` bytes.
    pub(super) fn new(disk: &dyn Disk, sector_size: u32) -> Self {
        Self { disk_size: disk.size(), sector_size, volumes: Vec::new(), notes: Vec::new() }
    }

    /// Adds a partition. One that leaves the disk is cut, one outside of it stays with size 0, so that the numbers of
    /// the others are what the guest has.
    pub(super) fn push(&mut self, partition: Partition) {
        let bytes = |sectors: u64| u128::from(sectors) * u128::from(self.sector_size);
        let (start, size) = (bytes(partition.first), bytes(partition.count));
        self.push_bytes(start, size, partition);
    }

    /// Adds a partition of a table inside of another partition.
    pub(super) fn push_inner(&mut self, inner: Inner, linux_number: u32) {
        let Inner { offset, size, type_name, name, .. } = inner;
        let type_name = type_name.into();
        let partition = Partition { linux_number, first: 0, count: 0, type_name, name, bootable: false };
        self.push_bytes(offset.into(), size.into(), partition);
    }

    fn push_bytes(&mut self, start: u128, size: u128, partition: Partition) {
        let Partition { linux_number, type_name, name, bootable, .. } = partition;
        let index = self.volumes.len();
        let end = start + size;
        let disk_end = u128::from(self.disk_size);
        if size == 0 {
            self.notes.push(format!("Volume {index} has no sectors according to the table; it is shown as empty"));
        } else if start >= disk_end {
            self.notes.push(format!(
                "Volume {index} begins at byte {start}, past the end of the disk at {disk_end}; it is shown as empty"
            ));
        } else if end > disk_end {
            self.notes
                .push(format!("Volume {index} ends at byte {end}, past the end of the disk at {disk_end}; it is cut"));
        }
        let size = u64::try_from(end.min(disk_end).saturating_sub(start)).unwrap_or(0);
        let offset = u64::try_from(start).unwrap_or(u64::MAX);
        self.volumes.push(Volume { index, linux_number, offset, size, type_name, name, bootable });
    }

    /// Adds a note.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The finished table.
    pub(super) fn into_table(self, scheme: Scheme) -> Table {
        Table { scheme, sector_size: self.sector_size, volumes: self.volumes, notes: self.notes }
    }
}
