//! GUID partition tables.
//!
//! The layout is that of the UEFI Specification 2.10, chapter 5.3 "GUID Partition Table (GPT) Disk Layout".
//!
//! Crate `gpt` parses entries of the usual size, once all fields of the header are checked: it allocates what the
//! header states, and panics on entries of another size. This module handles those, other sector sizes, and the choice
//! of the valid one of two tables.

pub(super) mod copies;

use super::list::{Partition, VolumeList};
use super::mbr::Entry;
use super::{Result, Scheme, Table, gpt_types};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use gpt::disk::LogicalBlockSize;
use std::io::Cursor;
use uuid::Uuid;

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
    /// One that is corrupt, and why.
    Corrupt(String),
    /// One, from the primary or the backup.
    Table(Table),
}

/// Reads the GPT of a disk. `protective` is the entry of the boot record that announces it.
pub(super) fn read(disk: &dyn Disk, protective: Option<Entry>) -> Result<Found> {
    let own = disk.sector_size();
    let mut sizes = vec![own];
    sizes.extend([512, 4096].into_iter().filter(|size| *size != own));
    let mut primary_faults = Vec::new();
    let mut backups = Vec::new();
    for sector_size in sizes {
        let primary = HeaderLocation { sector_size, lba: PRIMARY };
        match primary.read(disk)? {
            Read::Valid(array) => return Ok(Found::Table(array.table(disk, None))),
            Read::Corrupt { cause, alternate } => {
                primary_faults.push(cause);
                backups.push(HeaderLocation { sector_size, lba: alternate });
            }
            Read::Absent => {}
        }
        let end_of_protected = protective.map(|e| u64::from(e.first_lba) + u64::from(e.sectors));
        let ends = [Some(disk.size() / u64::from(sector_size)), end_of_protected];
        let lasts = ends.into_iter().flatten().filter_map(|end| end.checked_sub(1));
        backups.extend(lasts.map(|lba| HeaderLocation { sector_size, lba }));
    }
    if primary_faults.is_empty() && protective.is_none() {
        return Ok(Found::Absent);
    }
    let why = primary_faults.first().map_or_else(|| "there is none at sector 1".to_owned(), ParseError::to_string);
    for backup in backups {
        if let Read::Valid(array) = backup.read(disk)? {
            let note = format!(
                "The primary GPT is corrupt ({why}); its backup at sector {} was used. Repair it in the guest",
                backup.lba
            );
            return Ok(Found::Table(array.table(disk, Some(note))));
        }
    }
    Ok(Found::Corrupt(format!(
        "The GPT is corrupt and has no valid backup ({why}); use the whole disk, or repair a copy of it with gdisk"
    )))
}

/// A possible location of a header.
#[derive(Debug, Clone, Copy)]
struct HeaderLocation {
    sector_size: u32,
    lba: u64,
}

/// What is at a [`HeaderLocation`].
enum Read {
    Absent,
    Corrupt { cause: ParseError, alternate: u64 },
    Valid(EntryArray),
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

/// The entries of a header whose checksums are all valid.
struct EntryArray {
    sector_size: u32,
    entry_size: usize,
    /// The sector of the header.
    header: Vec<u8>,
    entries: Vec<u8>,
    /// Their offset on the disk, in bytes.
    offset: u64,
}

impl HeaderLocation {
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
            Err(cause) => return Ok(Read::Corrupt { cause, alternate: fields.u64_le(32).unwrap_or(0) }),
        };
        Ok(match header.read_entries(disk, &fields, self.sector_size)? {
            Ok(array) => Read::Valid(array),
            Err(cause) => Read::Corrupt { cause, alternate: header.alternate_lba },
        })
    }
}

impl Header {
    /// Parses the header that was read from the sector `lba`, and checks all that can be checked without its entries.
    fn parse(fields: &Fields<'_>, lba: u64) -> Result<Self, ParseError> {
        let size = fields.u32_le(12)?; // HeaderSize
        let sector_size = u32::try_from(fields.len()).unwrap_or(u32::MAX);
        if !(MIN_HEADER..=sector_size).contains(&size) {
            let expected = format_args!("{MIN_HEADER} to {sector_size}");
            return Err(ParseError::corrupt(fields.offset(12), "GPT HeaderSize", expected, size));
        }
        let stated = fields.u32_le(16)?; // HeaderCRC32, which counts as zero in its own calculation
        let mut checked = fields.bytes(0, size as usize)?.to_vec();
        checked[16..20].fill(0);
        let found = crc32fast::hash(&checked);
        if found != stated {
            let (expected, found) = (format_args!("{stated:08x}"), format_args!("{found:08x}"));
            return Err(ParseError::corrupt(fields.offset(16), "GPT HeaderCRC32", expected, found));
        }
        let my_lba = fields.u64_le(24)?; // MyLBA
        if my_lba != lba {
            return Err(ParseError::corrupt(fields.offset(24), "GPT MyLBA", lba, my_lba));
        }
        let size_of_partition_entry = fields.u32_le(84)?; // SizeOfPartitionEntry
        if size_of_partition_entry < MIN_ENTRY || !size_of_partition_entry.is_power_of_two() {
            let expected = "128 times a power of two";
            let what = "GPT SizeOfPartitionEntry";
            return Err(ParseError::corrupt(fields.offset(84), what, expected, size_of_partition_entry));
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
    ) -> Result<Result<EntryArray, ParseError>> {
        let count = self.number_of_partition_entries;
        let len = u64::from(count) * u64::from(self.size_of_partition_entry);
        if len > MAX_ENTRIES {
            let expected = format_args!("entries of {MAX_ENTRIES} bytes in all");
            let found = format_args!("{count} of {} bytes each", self.size_of_partition_entry);
            return Ok(Err(ParseError::unsupported(
                fields.offset(80),
                "GPT NumberOfPartitionEntries",
                expected,
                found,
            )));
        }
        let lba = self.partition_entry_lba;
        let offset = lba.checked_mul(u64::from(sector_size));
        let Some(offset) = offset.filter(|at| at.checked_add(len).is_some_and(|end| end <= disk.size())) else {
            let expected = format_args!("{len} bytes within the disk of {} bytes", disk.size());
            return Ok(Err(ParseError::corrupt(fields.offset(72), "GPT PartitionEntryLBA", expected, lba)));
        };
        let mut entries = vec![0; usize::try_from(len).unwrap_or(0)];
        disk.read_at(offset, &mut entries)?;
        let (stated, found) = (self.partition_entry_array_crc32, crc32fast::hash(&entries));
        if found != stated {
            let (expected, found) = (format_args!("{stated:08x}"), format_args!("{found:08x}"));
            return Ok(Err(ParseError::corrupt(fields.offset(88), "GPT PartitionEntryArrayCRC32", expected, found)));
        }
        let entry_size = self.size_of_partition_entry as usize;
        let header = fields.bytes(0, fields.len()).unwrap_or_default().to_vec();
        Ok(Ok(EntryArray { sector_size, entry_size, header, entries, offset }))
    }
}

impl EntryArray {
    fn table(&self, disk: &dyn Disk, note: Option<String>) -> Table {
        let mut list = VolumeList::new(disk, self.sector_size);
        if let Some(note) = note {
            list.note(note);
        }
        if let Some(partitions) = self.parsed_by_crate() {
            partitions.into_iter().for_each(|partition| list.push(partition));
            return list.into_table(Scheme::Gpt);
        }
        let offsets = (self.offset..).step_by(self.entry_size);
        for ((raw, offset), number) in self.entries.chunks_exact(self.entry_size).zip(offsets).zip(1..) {
            match parse_entry(&Fields::new("GPT partition entry", raw, offset), number) {
                Ok(Some(partition)) => list.push(partition),
                Ok(None) => {}
                Err(cause) => list.note(cause.to_string()),
            }
        }
        list.into_table(Scheme::Gpt)
    }

    /// The partitions as crate `gpt` reads them; `None` for what it does not read.
    fn parsed_by_crate(&self) -> Option<Vec<Partition>> {
        let sector_size = match self.sector_size {
            512 => LogicalBlockSize::Lb512,
            4096 => LogicalBlockSize::Lb4096,
            _ => return None,
        };
        if self.entry_size != MIN_ENTRY as usize {
            return None;
        }
        // A disk of two sectors, with the header where the primary one is.
        let disk = [vec![0; self.header.len()], self.header.clone()].concat();
        let mut header = gpt::header::read_header_from_arbitrary_device(&mut Cursor::new(disk), sector_size).ok()?;
        header.part_start = 0;
        let entries =
            gpt::partition::file_read_partitions(&mut Cursor::new(&self.entries), &header, sector_size).ok()?;
        let used = entries.into_iter().filter(|(_, entry)| !entry.part_type_guid.guid.is_nil());
        let partition = |(number, entry): (u32, gpt::partition::Partition)| {
            partition(number, entry.part_type_guid.guid, entry.first_lba, entry.last_lba, entry.name)
        };
        Some(used.map(partition).collect())
    }
}

/// One entry; none for one that is not in use.
fn parse_entry(fields: &Fields<'_>, number: u32) -> Result<Option<Partition>, ParseError> {
    let kind = fields.uuid_le(0)?; // PartitionTypeGUID
    if kind.is_nil() {
        return Ok(None);
    }
    let first = fields.u64_le(32)?; // StartingLBA
    let last = fields.u64_le(40)?; // EndingLBA, which is part of the partition
    let (units, _) = fields.bytes(56, 72)?.as_chunks::<2>(); // PartitionName
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0).collect();
    let name = String::from_utf16_lossy(&units);
    Ok(Some(partition(number, kind, first, last, name)))
}

fn partition(linux_number: u32, kind: Uuid, first: u64, last: u64, name: String) -> Partition {
    let count = last.checked_sub(first).map_or(0, |n| n.saturating_add(1));
    Partition { linux_number, first, count, type_name: gpt_types::name(kind).into(), name, bootable: false }
}

#[cfg(test)]
mod tests {
    use crate::disk::Disk;
    use crate::volume::test_disk::TestDisk;
    use crate::volume::{Scheme, Table, read_table};
    use uuid::uuid;

    const SIZE: u64 = 1 << 20;
    /// The boot record's protective entry for the whole of the disk.
    const PROTECTIVE: [u8; 16] = [0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0xFF, 0x07, 0, 0];

    /// A GPT to be written to a disk.
    struct Writer {
        sector_size: u64,
        header_size: u32,
        entry_size: u32,
        entry_count: u32,
        /// First and last sector.
        partitions: Vec<(u64, u64)>,
    }

    impl Default for Writer {
        fn default() -> Self {
            let partitions = vec![(40, 49), (50, 99)];
            Self { sector_size: 512, header_size: 92, entry_size: 128, entry_count: 128, partitions }
        }
    }

    impl Writer {
        /// A disk with the protective entry, a primary, and a backup in the last sector.
        fn disk(&self) -> TestDisk {
            let mut disk = TestDisk::new(SIZE, 512);
            disk.put(446, &PROTECTIVE);
            disk.put(510, &[0x55, 0xAA]);
            let last = SIZE / self.sector_size - 1;
            let entry_sectors = u64::from(self.entry_count * self.entry_size).div_ceil(self.sector_size);
            self.put_copy(&mut disk, 1, last, 2);
            self.put_copy(&mut disk, last, 1, last - entry_sectors);
            disk
        }

        fn put_copy(&self, disk: &mut TestDisk, lba: u64, alternate: u64, entries_lba: u64) {
            let entries = self.entries();
            let mut header = vec![0; self.header_size as usize];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&[0, 0, 1, 0]);
            header[12..16].copy_from_slice(&self.header_size.to_le_bytes());
            header[24..32].copy_from_slice(&lba.to_le_bytes());
            header[32..40].copy_from_slice(&alternate.to_le_bytes());
            header[72..80].copy_from_slice(&entries_lba.to_le_bytes());
            header[80..84].copy_from_slice(&self.entry_count.to_le_bytes());
            header[84..88].copy_from_slice(&self.entry_size.to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
            put_header(disk, lba * self.sector_size, &mut header);
            disk.put(entries_lba * self.sector_size, &entries);
        }

        fn entries(&self) -> Vec<u8> {
            let mut entries = vec![0; (self.entry_count * self.entry_size) as usize];
            for (entry, (first, last)) in entries.chunks_mut(self.entry_size as usize).zip(&self.partitions) {
                let kind = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
                entry[..16].copy_from_slice(&kind.to_bytes_le());
                entry[32..40].copy_from_slice(&first.to_le_bytes());
                entry[40..48].copy_from_slice(&last.to_le_bytes());
                // "hé" and half a surrogate pair.
                entry[56..62].copy_from_slice(&[b'h', 0, 0xE9, 0, 0x00, 0xD8]);
            }
            entries
        }
    }

    fn put_header(disk: &mut TestDisk, offset: u64, header: &mut [u8]) {
        header[16..20].fill(0);
        let checksum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        disk.put(offset, header);
    }

    /// Sets a field of the primary header and makes its checksum right again.
    fn set_field(disk: &mut TestDisk, at: usize, value: &[u8]) {
        let mut header = vec![0; 92];
        disk.read_at(512, &mut header).unwrap();
        header[at..at + value.len()].copy_from_slice(value);
        put_header(disk, 512, &mut header);
    }

    /// Damages the first byte of the disk's GUID in the primary and the backup header.
    fn corrupt_both(disk: &mut TestDisk) {
        disk.corrupt(512 + 56);
        disk.corrupt(SIZE - 512 + 56);
    }

    fn ranges(table: &Table) -> Vec<(u64, u64)> {
        assert_eq!(table.scheme, Scheme::Gpt);
        table.volumes.iter().map(|v| (v.offset, v.size)).collect()
    }

    const USUAL: [(u64, u64); 2] = [(40 * 512, 10 * 512), (50 * 512, 50 * 512)];

    #[test]
    fn reads_every_entry_and_header_size_of_the_specification() {
        for entry_size in [128, 256, 512, 1024, 4096] {
            for header_size in [92, 96, 512] {
                let writer = Writer { entry_size, header_size, entry_count: 4, ..Writer::default() };
                let table = read_table(&writer.disk()).unwrap();
                assert_eq!(ranges(&table), USUAL, "entries of {entry_size}, header of {header_size}");
                assert_eq!(table.notes, Vec::<String>::new());
                assert_eq!(table.volumes[0].name, "hé\u{fffd}");
            }
        }
    }

    #[test]
    fn sectors_of_4096_bytes_are_found_on_a_disk_of_512() {
        let table = read_table(&Writer { sector_size: 4096, ..Writer::default() }.disk()).unwrap();
        assert_eq!(table.sector_size, 4096);
        assert_eq!(ranges(&table), [(40 * 4096, 10 * 4096), (50 * 4096, 50 * 4096)]);
    }

    #[test]
    fn names_the_corrupt_field_of_the_primary_and_uses_the_backup() {
        let cases: [(&str, usize, &[u8], &str); 7] = [
            ("HeaderSize", 12, &91_u32.to_le_bytes(), "expected 92 to 512, found 91"),
            ("HeaderSize", 12, &u32::MAX.to_le_bytes(), "expected 92 to 512, found 4294967295"),
            ("MyLBA", 24, &7_u64.to_le_bytes(), "expected 1, found 7"),
            ("PartitionEntryLBA", 72, &u64::MAX.to_le_bytes(), "found 18446744073709551615"),
            ("PartitionEntryLBA", 72, &2047_u64.to_le_bytes(), "expected 16384 bytes within the disk of 1048576 bytes"),
            ("NumberOfPartitionEntries", 80, &u32::MAX.to_le_bytes(), "found 4294967295 of 128 bytes each"),
            ("SizeOfPartitionEntry", 84, &192_u32.to_le_bytes(), "expected 128 times a power of two, found 192"),
        ];
        for (field, at, value, message) in cases {
            let mut disk = Writer::default().disk();
            set_field(&mut disk, at, value);
            let table = read_table(&disk).unwrap();
            assert_eq!(ranges(&table), USUAL, "{field}");
            let [note] = &table.notes[..] else { panic!("{field}: {:?}", table.notes) };
            assert!(note.contains(&format!("GPT {field} at offset {}", 512 + at)), "{note}");
            assert!(note.contains(message) && note.contains("backup at sector 2047 was used"), "{note}");
        }
    }

    #[test]
    fn uses_the_backup_when_an_entry_of_the_primary_is_corrupt() {
        let mut disk = Writer::default().disk();
        disk.corrupt(1024 + 40);
        let table = read_table(&disk).unwrap();
        assert_eq!(ranges(&table), USUAL);
        assert!(table.notes[0].contains("GPT PartitionEntryArrayCRC32"), "{:?}", table.notes);
    }

    #[test]
    fn notes_two_corrupt_copies_and_lists_no_volumes() {
        let mut disk = Writer::default().disk();
        corrupt_both(&mut disk);
        let table = read_table(&disk).unwrap();
        assert_eq!(ranges(&table), []);
        assert!(table.notes[0].starts_with("The GPT is corrupt and has no valid backup (GPT HeaderCRC32"));
        assert_eq!(table.notes.len(), 1);
    }

    #[test]
    fn a_protective_entry_without_any_gpt_is_a_note() {
        let mut disk = TestDisk::new(SIZE, 512);
        disk.put(446, &PROTECTIVE);
        disk.put(510, &[0x55, 0xAA]);
        let table = read_table(&disk).unwrap();
        assert_eq!(ranges(&table), []);
        assert!(table.notes[0].contains("there is none at sector 1"), "{:?}", table.notes);
    }

    #[test]
    fn finds_the_backup_at_the_former_end_of_an_enlarged_disk() {
        let mut disk = Writer::default().disk().resized(4 * SIZE);
        disk.put(512, &[0; 512]);
        let table = read_table(&disk).unwrap();
        assert_eq!(ranges(&table), USUAL);
        assert!(table.notes[0].contains("its backup at sector 2047 was used"), "{:?}", table.notes);
    }

    #[test]
    fn volumes_stay_in_the_disk_and_keep_their_numbers() {
        let partitions = vec![(40, 99), (2000, 3000), (4000, 4001), (u64::MAX - 1, u64::MAX), (100, 50), (101, 101)];
        let table = read_table(&Writer { partitions, ..Writer::default() }.disk()).unwrap();
        let (outside, far_outside, inverted) = ((4000 * 512, 0), (u64::MAX, 0), (100 * 512, 0));
        let whole = [(40 * 512, 60 * 512), (2000 * 512, 48 * 512), outside, far_outside, inverted, (101 * 512, 512)];
        assert_eq!(ranges(&table), whole);
        assert_eq!(table.volumes.iter().map(|v| v.linux_number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(table.notes.len(), 4, "{:?}", table.notes);
        assert!(table.notes[0].contains("Volume 1 ends at byte 1536512, past the end of the disk at 1048576"));
        assert!(table.notes[3].contains("Volume 4 has no sectors"));
    }

    #[test]
    fn a_left_over_gpt_does_not_hide_the_partitions_of_the_boot_record() {
        let mut disk = Writer::default().disk();
        disk.put(446, &[0x80, 0, 0, 0, 0x07, 0, 0, 0, 64, 0, 0, 0, 128, 0, 0, 0]);
        let table = read_table(&disk).unwrap();
        assert_eq!((table.scheme, table.volumes.len()), (Scheme::Mbr, 1));
        assert!(table.notes[0].starts_with("There is also a GPT"), "{:?}", table.notes);
    }

    #[test]
    fn reads_a_gpt_whose_boot_record_was_wiped() {
        let mut disk = Writer::default().disk();
        disk.put(446, &[0; 66]);
        assert_eq!(ranges(&read_table(&disk).unwrap()), USUAL);
    }

    #[test]
    fn falls_back_to_the_boot_record_of_a_hybrid_with_a_corrupt_gpt() {
        let mut disk = Writer::default().disk();
        disk.put(462, &[0, 0, 0, 0, 0x83, 0, 0, 0, 40, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Gpt);
        corrupt_both(&mut disk);
        let table = read_table(&disk).unwrap();
        assert_eq!((table.scheme, table.volumes.len(), table.notes.len()), (Scheme::Mbr, 1, 1));
        assert_eq!((table.volumes[0].linux_number, &*table.volumes[0].type_name), (2, "Linux native"));
    }
}
