//! GUID partition tables.
//!
//! The layout is that of the UEFI Specification 2.10, chapter 5.3 "GUID Partition Table (GPT) Disk Layout".

use super::list::{Partition, VolumeList};
use super::mbr::Entry;
use super::{Result, Scheme, Table, type_names};
use crate::disk::Disk;
use crate::image::Fault;
use crate::image::fields::Fields;

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Bytes of the fields that every header has.
const MIN_HEADER: u32 = 92;
/// Bytes of the smallest entry; all sizes are this times a power of two.
const MIN_ENTRY: u32 = 128;
/// The largest array of entries that is read, in bytes: 8192 of the smallest. The usual array has 128.
const MAX_ENTRIES: u64 = 1 << 20;
/// The sector of the primary header.
const PRIMARY: u64 = 1;

/// What a disk has of a GPT.
pub(super) enum Found {
    /// None.
    Absent,
    /// One that cannot be trusted; why.
    Damaged(String),
    /// One, from the primary or the backup.
    Table(Table),
}

/// Reads the GPT of a disk. `protective` is the entry of the boot record that says that there is one.
pub(super) fn read(disk: &dyn Disk, protective: Option<Entry>) -> Result<Found> {
    let own = disk.sector_size();
    let mut sizes = vec![own];
    sizes.extend([512, 4096].into_iter().filter(|size| *size != own));
    let mut primary_faults = Vec::new();
    let mut backup_places = Vec::new();
    for sector_size in sizes {
        let primary = Place { sector_size, lba: PRIMARY };
        match primary.read(disk)? {
            Read::Sound(array) => return Ok(Found::Table(array.table(disk, None))),
            Read::Damaged { fault, alternate } => {
                primary_faults.push(fault);
                backup_places.push(Place { sector_size, lba: alternate });
            }
            Read::Absent => {}
        }
        let end_of_protected = protective.map(|e| u64::from(e.first_lba) + u64::from(e.sectors));
        let ends = [Some(disk.size() / u64::from(sector_size)), end_of_protected];
        let lasts = ends.into_iter().flatten().filter_map(|end| end.checked_sub(1));
        backup_places.extend(lasts.map(|lba| Place { sector_size, lba }));
    }
    if primary_faults.is_empty() && protective.is_none() {
        return Ok(Found::Absent);
    }
    let why = primary_faults.first().map_or_else(|| "there is none at sector 1".to_owned(), Fault::to_string);
    for place in backup_places {
        if let Read::Sound(array) = place.read(disk)? {
            let note = format!(
                "The primary GPT is damaged ({why}); its backup at sector {} was used. Repair it in the guest",
                place.lba
            );
            return Ok(Found::Table(array.table(disk, Some(note))));
        }
    }
    Ok(Found::Damaged(format!(
        "The GPT is damaged and has no sound backup ({why}); use the whole disk, or repair a copy of it with gdisk"
    )))
}

/// Where a header may be.
#[derive(Debug, Clone, Copy)]
struct Place {
    sector_size: u32,
    lba: u64,
}

/// What is at a [`Place`].
enum Read {
    Absent,
    Damaged { fault: Fault, alternate: u64 },
    Sound(EntryArray),
}

/// The fields of a header that are needed.
#[derive(Debug)]
struct Header {
    alternate_lba: u64,
    partition_entry_lba: u64,
    number_of_partition_entries: u32,
    size_of_partition_entry: u32,
    partition_entry_array_crc32: u32,
}

/// The entries of a header, with all checksums right.
struct EntryArray {
    sector_size: u32,
    entry_size: usize,
    entries: Vec<u8>,
    /// Where they begin on the disk, in bytes.
    offset: u64,
}

impl Place {
    fn read(self, disk: &dyn Disk) -> Result<Read> {
        let size = u64::from(self.sector_size);
        let Some(offset) = self.lba.checked_mul(size) else { return Ok(Read::Absent) };
        if offset.checked_add(size).is_none_or(|end| end > disk.size()) {
            return Ok(Read::Absent);
        }
        let mut sector = vec![0; self.sector_size as usize];
        disk.read_at(offset, &mut sector)?;
        if !sector.starts_with(SIGNATURE) {
            return Ok(Read::Absent);
        }
        let fields = Fields::new("GPT header", &sector, offset);
        let header = match Header::parse(&fields, self.lba) {
            Ok(header) => header,
            Err(fault) => return Ok(Read::Damaged { fault, alternate: fields.u64_le(32).unwrap_or(0) }),
        };
        Ok(match header.read_entries(disk, &fields, self.sector_size)? {
            Ok(array) => Read::Sound(array),
            Err(fault) => Read::Damaged { fault, alternate: header.alternate_lba },
        })
    }
}

impl Header {
    /// Parses the header that was read from the sector `lba`, and checks all that can be checked without its entries.
    fn parse(fields: &Fields<'_>, lba: u64) -> Result<Self, Fault> {
        let size = fields.u32_le(12)?; // HeaderSize
        let sector_size = u32::try_from(fields.len()).unwrap_or(u32::MAX);
        if !(MIN_HEADER..=sector_size).contains(&size) {
            let expected = format_args!("{MIN_HEADER} to {sector_size}");
            return Err(Fault::corrupt(fields.offset(12), "GPT HeaderSize", expected, size));
        }
        let stated = fields.u32_le(16)?; // HeaderCRC32, which counts as zero in its own calculation
        let mut checked = fields.bytes(0, size as usize)?.to_vec();
        checked[16..20].fill(0);
        let found = crc32fast::hash(&checked);
        if found != stated {
            let (expected, found) = (format_args!("{stated:08x}"), format_args!("{found:08x}"));
            return Err(Fault::corrupt(fields.offset(16), "GPT HeaderCRC32", expected, found));
        }
        let my_lba = fields.u64_le(24)?; // MyLBA
        if my_lba != lba {
            return Err(Fault::corrupt(fields.offset(24), "GPT MyLBA", lba, my_lba));
        }
        let size_of_partition_entry = fields.u32_le(84)?; // SizeOfPartitionEntry
        if size_of_partition_entry < MIN_ENTRY || !size_of_partition_entry.is_power_of_two() {
            let expected = "128 times a power of two";
            let what = "GPT SizeOfPartitionEntry";
            return Err(Fault::corrupt(fields.offset(84), what, expected, size_of_partition_entry));
        }
        Ok(Self {
            alternate_lba: fields.u64_le(32)?,               // AlternateLBA
            partition_entry_lba: fields.u64_le(72)?,         // PartitionEntryLBA
            number_of_partition_entries: fields.u32_le(80)?, // NumberOfPartitionEntries
            size_of_partition_entry,
            partition_entry_array_crc32: fields.u32_le(88)?, // PartitionEntryArrayCRC32
        })
    }

    /// Reads the array of entries and checks its checksum. The outer result is about the disk, the inner about the GPT.
    fn read_entries(
        &self,
        disk: &dyn Disk,
        fields: &Fields<'_>,
        sector_size: u32,
    ) -> Result<Result<EntryArray, Fault>> {
        let count = self.number_of_partition_entries;
        let len = u64::from(count) * u64::from(self.size_of_partition_entry);
        if len > MAX_ENTRIES {
            let expected = format_args!("entries of {MAX_ENTRIES} bytes in all");
            let found = format_args!("{count} of {} bytes each", self.size_of_partition_entry);
            return Ok(Err(Fault::unsupported(fields.offset(80), "GPT NumberOfPartitionEntries", expected, found)));
        }
        let lba = self.partition_entry_lba;
        let place = lba.checked_mul(u64::from(sector_size));
        let Some(offset) = place.filter(|at| at.checked_add(len).is_some_and(|end| end <= disk.size())) else {
            let expected = format_args!("{len} bytes within the disk of {} bytes", disk.size());
            return Ok(Err(Fault::corrupt(fields.offset(72), "GPT PartitionEntryLBA", expected, lba)));
        };
        let mut entries = vec![0; usize::try_from(len).unwrap_or(0)];
        disk.read_at(offset, &mut entries)?;
        let (stated, found) = (self.partition_entry_array_crc32, crc32fast::hash(&entries));
        if found != stated {
            let (expected, found) = (format_args!("{stated:08x}"), format_args!("{found:08x}"));
            return Ok(Err(Fault::corrupt(fields.offset(88), "GPT PartitionEntryArrayCRC32", expected, found)));
        }
        let entry_size = self.size_of_partition_entry as usize;
        Ok(Ok(EntryArray { sector_size, entry_size, entries, offset }))
    }
}

impl EntryArray {
    fn table(&self, disk: &dyn Disk, note: Option<String>) -> Table {
        let mut list = VolumeList::new(disk, self.sector_size);
        if let Some(note) = note {
            list.note(note);
        }
        let places = (self.offset..).step_by(self.entry_size);
        for ((raw, offset), number) in self.entries.chunks_exact(self.entry_size).zip(places).zip(1..) {
            match parse_entry(&Fields::new("GPT partition entry", raw, offset), number) {
                Ok(Some(partition)) => list.push(partition),
                Ok(None) => {}
                Err(fault) => list.note(fault.to_string()),
            }
        }
        list.into_table(Scheme::Gpt)
    }
}

/// One entry; none for one that is not in use.
fn parse_entry(fields: &Fields<'_>, number: u32) -> Result<Option<Partition>, Fault> {
    let kind = fields.uuid_le(0)?; // PartitionTypeGUID
    if kind.is_nil() {
        return Ok(None);
    }
    let first = fields.u64_le(32)?; // StartingLBA
    let last = fields.u64_le(40)?; // EndingLBA, which is part of the partition
    let count = last.checked_sub(first).map_or(0, |n| n.saturating_add(1));
    let (units, _) = fields.bytes(56, 72)?.as_chunks::<2>(); // PartitionName
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0).collect();
    let name = String::from_utf16_lossy(&units);
    Ok(Some(Partition { linux_number: number, first, count, type_name: type_names::gpt(kind), name, bootable: false }))
}
