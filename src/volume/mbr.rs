//! DOS partition tables: the master boot record and the chains of extended boot records.
//!
//! The layout is that of every PC since DOS 3.3; <https://wiki.osdev.org/MBR_(x86)> and
//! <https://en.wikipedia.org/wiki/Extended_boot_record> describe it.

use super::list::{Partition, VolumeList};
use super::slice::{self, Slice};
use super::{BOOT_RECORD, Result, type_names};
use crate::disk::Disk;

/// The offset of the first of the four entries in a record.
const ENTRIES: usize = 0x1BE;
/// The offset of the signature, and what it is.
const SIGNATURE: (usize, [u8; 2]) = (0x1FE, [0x55, 0xAA]);
/// The type of the entry that keeps other programs off a GPT.
const PROTECTIVE: u8 = 0xEE;
/// How many extended boot records are followed in all. Linux stops at 256 partitions.
const MAX_RECORDS: usize = 256;
/// The number that Linux gives the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// Bytes of the sectors that a disk's table counts in. An optical disk has a table only in order to boot as a hard disk
/// too, whose sectors have 512.
pub(super) fn sector_size(disk: &dyn Disk) -> u32 {
    match disk.sector_size() {
        2048 => 512,
        size => size,
    }
}

/// One of the four 16-byte entries of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Offset 0: 0x80 for bootable, else 0.
    status: u8,
    /// Offset 4: the type; 0 for an entry that is not in use.
    kind: u8,
    /// Offset 8: the first sector. Relative to what, depends on where the entry is.
    pub(super) first_lba: u32,
    /// Offset 12: how many sectors.
    pub(super) sectors: u32,
}

impl Entry {
    fn parse(raw: &[u8; 16]) -> Self {
        Self {
            status: raw[0],
            kind: raw[4],
            first_lba: u32::from_le_bytes([raw[8], raw[9], raw[10], raw[11]]),
            sectors: u32::from_le_bytes([raw[12], raw[13], raw[14], raw[15]]),
        }
    }

    fn is_used(&self) -> bool {
        self.kind != 0
    }

    /// Whether it holds logical partitions: DOS, Windows (LBA) and Linux have a type for that each.
    fn is_container(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    /// The slice that a primary entry is.
    fn slice(&self, sector_size: u32) -> Slice {
        let bytes = |sectors: u32| u64::from(sectors) * u64::from(sector_size);
        Slice { kind: self.kind, offset: bytes(self.first_lba), size: bytes(self.sectors) }
    }

    fn partition(&self, first: u64, linux_number: u32) -> Partition {
        Partition {
            linux_number,
            first,
            count: u64::from(self.sectors),
            type_name: type_names::mbr(self.kind).into(),
            name: String::new(),
            bootable: self.status == 0x80,
        }
    }
}

/// A boot record, master or extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record([Entry; 4]);

impl Record {
    /// The entries of a sector that has the signature.
    pub(super) fn parse(sector: &[u8; BOOT_RECORD]) -> Option<Self> {
        if !sector[SIGNATURE.0..].starts_with(&SIGNATURE.1) {
            return None;
        }
        let (entries, _) = sector[ENTRIES..SIGNATURE.0].as_chunks::<16>();
        let mut record = [Entry { status: 0, kind: 0, first_lba: 0, sectors: 0 }; 4];
        for (entry, raw) in record.iter_mut().zip(entries) {
            *entry = Entry::parse(raw);
        }
        Some(Self(record))
    }

    /// The entry that announces a GPT.
    pub(super) fn protective(&self) -> Option<Entry> {
        self.0.into_iter().find(|e| e.kind == PROTECTIVE)
    }

    /// Whether entries besides the protective one are in use, as in a hybrid of MBR and GPT.
    pub(super) fn has_other_than_protective(&self) -> bool {
        self.0.iter().any(|e| e.is_used() && e.kind != PROTECTIVE)
    }

    /// Whether the first byte of each entry has a value that a partition table may have.
    pub(super) fn has_valid_flags(&self) -> bool {
        self.0.iter().all(|e| matches!(e.status, 0 | 0x80))
    }

    /// Whether it has partitions that can only be meant as such: none is empty, begins at the table itself or outside
    /// of the disk, or overlaps another. In boot code or a BIOS parameter block that does not happen by chance.
    pub(super) fn has_partitions(&self, disk: &dyn Disk) -> bool {
        let sectors_of_disk = disk.size() / u64::from(sector_size(disk));
        let mut ranges: Vec<(u64, u64)> = self
            .0
            .iter()
            .filter(|e| e.is_used())
            .map(|e| (u64::from(e.first_lba), u64::from(e.first_lba) + u64::from(e.sectors)))
            .collect();
        ranges.sort_unstable();
        !ranges.is_empty()
            && ranges.iter().all(|&(first, end)| first > 0 && first < end && first < sectors_of_disk)
            && ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
    }

    /// The first sector and the number of sectors of each entry of a type.
    pub(super) fn ranges_of(&self, kind: u8) -> impl Iterator<Item = (u64, u64)> {
        self.0.into_iter().filter(move |e| e.kind == kind).map(|e| (e.first_lba.into(), e.sectors.into()))
    }

    /// Adds the volumes of this master boot record: the primary partitions in the order of the table, then the logical
    /// ones of each container, then those of tables inside of the primary ones.
    pub(super) fn read_volumes(&self, disk: &dyn Disk, list: &mut VolumeList) -> Result<()> {
        let sector_size = sector_size(disk);
        let mut all_inner = Vec::new();
        for (entry, number) in self.0.iter().zip(1..) {
            if entry.is_used() && !entry.is_container() && entry.kind != PROTECTIVE {
                let mut partition = entry.partition(u64::from(entry.first_lba), number);
                if let Some(inner) = slice::read(disk, &entry.slice(sector_size), sector_size)? {
                    if entry.kind == slice::SOLARIS_X86 {
                        partition.type_name = type_names::mbr(slice::NEW_SOLARIS).into();
                    }
                    all_inner.extend(inner);
                }
                list.push(partition);
            }
        }
        let mut chain = Chain { disk, visited: Vec::new(), next_number: FIRST_LOGICAL };
        for container in self.0.iter().filter(|e| e.is_container()) {
            chain.follow(container, list)?;
        }
        for inner in all_inner {
            let number = if inner.of_linux { chain.take_number() } else { 0 };
            list.push_inner(inner, number);
        }
        Ok(())
    }
}

/// Walks the extended boot records of all containers of a disk.
struct Chain<'a> {
    disk: &'a dyn Disk,
    /// The sectors of all records read so far.
    visited: Vec<u64>,
    /// What Linux calls the next logical partition.
    next_number: u32,
}

impl Chain<'_> {
    /// Adds the logical partitions of one container. A chain that breaks off leaves a note.
    fn follow(&mut self, container: &Entry, list: &mut VolumeList) -> Result<()> {
        let start = u64::from(container.first_lba);
        let end = start + u64::from(container.sectors);
        let mut next = Some(start);
        while let Some(lba) = next {
            let record = match self.read(lba, start..end)? {
                Ok(record) => record,
                Err(why) => {
                    list.note(format!("The chain of logical partitions ends at sector {lba}: {why}"));
                    return Ok(());
                }
            };
            for (slot, entry) in record.0.iter().enumerate() {
                let first = lba + u64::from(entry.first_lba);
                // Only the first two entries are defined. Linux trusts the others only within the container.
                let trusted = slot < 2 || (first >= start && first + u64::from(entry.sectors) <= end);
                if entry.is_used() && !entry.is_container() && trusted {
                    self.push(entry, first, list);
                }
            }
            let link = record.0.iter().find(|e| e.is_container() && e.sectors > 0);
            next = link.map(|e| start + u64::from(e.first_lba));
        }
        Ok(())
    }

    fn take_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn push(&mut self, entry: &Entry, first: u64, list: &mut VolumeList) {
        let number = if entry.sectors == 0 { 0 } else { self.take_number() };
        list.push(entry.partition(first, number));
    }

    /// The record at a sector, or why there is none. The outer result is about the disk.
    fn read(&mut self, lba: u64, container: std::ops::Range<u64>) -> Result<Result<Record, String>> {
        if self.visited.contains(&lba) {
            return Ok(Err("it leads back to a sector that was already read".to_owned()));
        }
        if self.visited.len() == MAX_RECORDS {
            return Ok(Err(format!("there are more than {MAX_RECORDS} records")));
        }
        self.visited.push(lba);
        if !container.contains(&lba) {
            return Ok(Err(format!(
                "it is not within the extended partition, sectors {} to {}",
                container.start, container.end
            )));
        }
        let offset = lba * u64::from(sector_size(self.disk));
        if offset + BOOT_RECORD as u64 > self.disk.size() {
            return Ok(Err(format!("the disk ends before it, at byte {}", self.disk.size())));
        }
        let mut sector = [0; BOOT_RECORD];
        self.disk.read_at(offset, &mut sector)?;
        Ok(Record::parse(&sector).ok_or_else(|| "its signature 55 AA is missing".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::Disk;
    use crate::volume::test_disk::TestDisk;
    use crate::volume::{Scheme, Table, read_table};

    /// An entry: status, type, first sector, sectors.
    type Entry = (u8, u8, u32, u32);

    fn put_record(disk: &mut TestDisk, lba: u32, entries: &[Entry]) {
        let offset = u64::from(lba) * u64::from(disk.sector_size());
        for (slot, (status, kind, first, count)) in (0..).zip(entries) {
            let mut raw = [0; 16];
            raw[0] = *status;
            raw[4] = *kind;
            raw[8..12].copy_from_slice(&first.to_le_bytes());
            raw[12..16].copy_from_slice(&count.to_le_bytes());
            disk.put(offset + 0x1BE + slot * 16, &raw);
        }
        disk.put(offset + 0x1FE, &[0x55, 0xAA]);
    }

    /// A disk of 4096 sectors of 512 bytes with these records.
    fn disk_of(records: &[(u32, &[Entry])]) -> TestDisk {
        let mut disk = TestDisk::new(4096 * 512, 512);
        for (lba, entries) in records {
            put_record(&mut disk, *lba, entries);
        }
        disk
    }

    /// Linux's number, first sector and sectors of each volume.
    fn volumes(table: &Table) -> Vec<(u32, u64, u64)> {
        let size = u64::from(table.sector_size);
        table.volumes.iter().map(|v| (v.linux_number, v.offset / size, v.size / size)).collect()
    }

    #[test]
    fn primaries_come_first_then_the_logicals_of_each_container() {
        let disk = disk_of(&[
            (0, &[(0, 0x05, 100, 200), (0x80, 0x07, 10, 20), (0, 0x85, 1000, 500), (0, 0x83, 40, 8)]),
            (100, &[(0, 0x83, 1, 9), (0, 0x05, 50, 20)]),
            (150, &[(0, 0x82, 1, 19)]),
            (1000, &[(0, 0x8E, 2, 30), (0, 0x0F, 100, 50)]),
            (1100, &[(0, 0x0B, 1, 49)]),
        ]);
        let table = read_table(&disk).unwrap();
        let expected = [(2, 10, 20), (4, 40, 8), (5, 101, 9), (6, 151, 19), (7, 1002, 30), (8, 1101, 49)];
        assert_eq!(volumes(&table), expected);
        let names: Vec<_> = table.volumes.iter().map(|v| &*v.type_name).collect();
        assert_eq!(names, ["NTFS", "Linux native", "Linux native", "Linux swap", "Linux LVM", "FAT32"]);
        assert!(table.volumes[0].bootable && table.volumes[1..].iter().all(|v| !v.bootable));
        assert_eq!(table.volumes.iter().map(|v| v.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(table.notes, Vec::<String>::new());
    }

    #[test]
    fn a_disk_of_4096_byte_sectors_counts_in_them() {
        let mut disk = TestDisk::new(64 << 20, 4096);
        put_record(&mut disk, 0, &[(0, 0x0C, 256, 512), (0, 0x05, 1024, 2048)]);
        put_record(&mut disk, 1024, &[(0, 0x83, 8, 16)]);
        let table = read_table(&disk).unwrap();
        assert_eq!(table.volumes[0].offset, 1 << 20);
        assert_eq!(volumes(&table), [(1, 256, 512), (5, 1032, 16)]);
    }

    #[test]
    fn a_chain_that_breaks_off_keeps_what_was_read() {
        let cases: [(&[Entry], &str); 4] = [
            (&[(0, 0x83, 1, 9), (0, 0x05, 0, 20)], "sector 100: it leads back to a sector that was already read"),
            (&[(0, 0x83, 1, 9), (0, 0x05, 60, 20)], "sector 160: its signature 55 AA is missing"),
            (&[(0, 0x83, 1, 9), (0, 0x05, 200, 20)], "sector 300: it is not within the extended partition"),
            (&[(0, 0x83, 1, 9), (0, 0x05, u32::MAX, 20)], "sector 4294967395: it is not within"),
        ];
        for (entries, why) in cases {
            let table = read_table(&disk_of(&[(0, &[(0, 0x05, 100, 200)]), (100, entries)])).unwrap();
            assert_eq!(volumes(&table), [(5, 101, 9)], "{why}");
            assert!(table.notes[0].contains(why) && table.notes.len() == 1, "{:?}", table.notes);
        }
        let table = read_table(&disk_of(&[(0, &[(0, 0x0F, 5000, 200)])])).unwrap();
        assert!(table.notes[0].contains("the disk ends before it, at byte 2097152"), "{:?}", table.notes);
    }

    #[test]
    fn an_endless_chain_ends() {
        let mut disk = disk_of(&[(0, &[(0, 0x05, 100, 3000)])]);
        for lba in 100..3000 {
            put_record(&mut disk, lba, &[(0, 0x83, 1, 1), (0, 0x05, lba - 99, 1)]);
        }
        let table = read_table(&disk).unwrap();
        assert_eq!(table.volumes.len(), 256);
        assert!(table.notes[0].contains("there are more than 256 records"), "{:?}", table.notes);
    }

    #[test]
    fn only_what_linux_trusts_of_a_third_entry_is_a_partition() {
        let entries = [(0, 0x83, 1, 9), (0, 0, 0, 0), (0, 0x07, 20, 5), (0, 0x07, 500, 5)];
        let table = read_table(&disk_of(&[(0, &[(0, 0x05, 100, 200)]), (100, &entries)])).unwrap();
        assert_eq!(volumes(&table), [(5, 101, 9), (6, 120, 5)]);
    }

    #[test]
    fn empty_and_outside_partitions_are_listed_but_hold_nothing() {
        let disk = disk_of(&[
            (0, &[(0, 0x83, 10, 0), (0, 0x83, 4000, 200), (0, 0x83, u32::MAX, u32::MAX), (0, 0x05, 100, 200)]),
            (100, &[(0, 0x83, 1, 0), (0, 0x05, 50, 20)]),
            (150, &[(0, 0x83, 1, 9)]),
        ]);
        let table = read_table(&disk).unwrap();
        let outside = (3, u64::from(u32::MAX), 0);
        assert_eq!(volumes(&table), [(1, 10, 0), (2, 4000, 96), outside, (0, 101, 0), (5, 151, 9)]);
        assert_eq!(table.notes.len(), 4, "{:?}", table.notes);
    }

    #[test]
    fn does_not_take_boot_code_for_a_partition_table() {
        let mut disk = disk_of(&[]);
        disk.put(0x1BE, b"Invalid system disk. Replace the disk, and then press any key...");
        disk.put(0x1FE, &[0x55, 0xAA]);
        let table = read_table(&disk).unwrap();
        assert_eq!((table.scheme, table.volumes.len()), (Scheme::None, 0));
    }

    #[test]
    fn tolerates_malformed_flags_where_the_partitions_make_sense() {
        let table = read_table(&disk_of(&[(0, &[(0x01, 0x83, 10, 20), (0, 0x83, 30, 20)])])).unwrap();
        assert_eq!(volumes(&table), [(1, 10, 20), (2, 30, 20)]);
        let table = read_table(&disk_of(&[(0, &[(0x01, 0x83, 10, 21), (0, 0x83, 30, 20)])])).unwrap();
        assert_eq!((table.scheme, table.volumes.len()), (Scheme::None, 0));
    }

    #[test]
    fn a_partition_table_in_a_fat_boot_sector_counts_when_it_makes_sense() {
        let mut disk = disk_of(&[(0, &[(0x80, 0x0C, 64, 1000)])]);
        disk.put(0, &[0xEB, 0x3C, 0x90]);
        disk.put(0x0B, &[0, 2, 4, 1, 0, 2, 0, 2, 0, 16, 0xF8]);
        assert_eq!(volumes(&read_table(&disk).unwrap()), [(1, 64, 1000)]);
        put_record(&mut disk, 0, &[(0x80, 0x0C, 0, 4096)]);
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::None);
    }

    #[test]
    fn accepts_an_empty_table_and_no_table() {
        let table = read_table(&disk_of(&[(0, &[])])).unwrap();
        assert_eq!((table.scheme, table.volumes.len()), (Scheme::Mbr, 0));
        for size in [0, 1, 511, 512, 513, 1024, 1 << 30] {
            let table = read_table(&TestDisk::new(size, 512)).unwrap();
            assert_eq!((table.scheme, table.volumes.len(), table.notes.len()), (Scheme::None, 0, 0), "{size}");
        }
    }
}
