//! Apple partition maps, of Macs before Intel, install media and older disk images.
//!
//! The structures are `Block0` and `Partition` of "Inside Macintosh: Devices", chapter 3 "SCSI Manager". Numbers are
//! big-endian. The numbering is that of Linux' `block/partitions/mac.c`.

use super::list::{Partition, VolumeList};
use super::{Result, Scheme, Table};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `sbSig` of the driver descriptor in block 0.
const DRIVER_DESCRIPTOR: &[u8; 2] = b"ER";
/// `pmSig` of an entry of the map.
const ENTRY: &[u8; 2] = b"PM";
/// Bytes of an entry that have a meaning; it has a block of its own.
const ENTRY_LEN: usize = 512;
/// The most entries that are read, as Linux has it.
const MAX_ENTRIES: u32 = 256;
/// The type of the entry of the map itself, which is mostly the first.
const MAP: &str = "Apple_partition_map";
/// The types of what is no partition: the map, and unused space.
const NO_PARTITIONS: [&str; 3] = [MAP, "Apple_Free", "Apple_Void"];

/// The partition map of a disk.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Table>> {
    let Some((block_size, first)) = find(disk)? else { return Ok(None) };
    let mut list = VolumeList::new(disk, block_size);
    let stated = first.map_blocks;
    if stated > MAX_ENTRIES {
        list.note(format!(
            "The Apple partition map has {stated} entries according to its first one; {MAX_ENTRIES} are read"
        ));
    }
    for number in 1..=stated.min(MAX_ENTRIES) {
        let Some(entry) = read_entry(disk, block_size, number)? else {
            list.note(format!(
                "The Apple partition map breaks off: entry {number} of {stated} has no signature \"PM\""
            ));
            break;
        };
        if !NO_PARTITIONS.contains(&entry.kind.as_str()) {
            list.push(Partition {
                linux_number: number,
                first: entry.first.into(),
                count: entry.count.into(),
                type_name: entry.kind.into(),
                name: entry.name,
                bootable: false,
            });
        }
    }
    Ok(Some(list.into_table(Scheme::Apm)))
}

/// The size of the blocks that the map counts in, and its first entry.
///
/// The descriptor states the size. Optical disks may have two maps, one in blocks of 2048 and one in blocks of 512
/// bytes, and old ones state 2048 but have only the latter; then entry 4 of it is where the first of the other would
/// be. Its type distinguishes the two. Without a descriptor, the map must begin with its own entry.
fn find(disk: &dyn Disk) -> Result<Option<(u32, Entry)>> {
    let mut descriptor = [0; 4];
    if disk.size() < 2 * ENTRY_LEN as u64 {
        return Ok(None);
    }
    disk.read_at(0, &mut descriptor)?;
    let described = descriptor.starts_with(DRIVER_DESCRIPTOR);
    let stated = u32::from(u16::from_be_bytes([descriptor[2], descriptor[3]])); // sbBlkSize
    let stated = Some(stated).filter(|size| described && *size >= 512 && size.is_power_of_two());
    let mut found = None;
    for block_size in stated.into_iter().chain([512, 2048]) {
        match read_entry(disk, block_size, 1)? {
            Some(entry) if entry.kind == MAP => return Ok(Some((block_size, entry))),
            Some(entry) if described => found = found.or(Some((block_size, entry))),
            _ => {}
        }
    }
    Ok(found)
}

/// The fields of an entry that are needed.
struct Entry {
    /// `pmMapBlkCnt`: how many entries the map has.
    map_blocks: u32,
    /// `pmPyPartStart`
    first: u32,
    /// `pmPartBlkCnt`
    count: u32,
    /// `pmPartName`
    name: String,
    /// `pmParType`
    kind: String,
}

/// The entry in a block; none without its signature.
fn read_entry(disk: &dyn Disk, block_size: u32, number: u32) -> Result<Option<Entry>> {
    let offset = u64::from(block_size) * u64::from(number);
    if offset + ENTRY_LEN as u64 > disk.size() {
        return Ok(None);
    }
    let mut raw = [0; ENTRY_LEN];
    disk.read_at(offset, &mut raw)?;
    let fields = Fields::new("Apple partition map entry", &raw, offset);
    Ok(raw.starts_with(ENTRY).then(|| Entry::parse(&fields).ok()).flatten())
}

impl Entry {
    fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            map_blocks: fields.u32_be(4)?,
            first: fields.u32_be(8)?,
            count: fields.u32_be(12)?,
            name: fields.text(16, 32)?,
            kind: fields.text(48, 32)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::volume::test_disk::TestDisk;
    use crate::volume::{Scheme, Table, read_table};

    const SIZE: u64 = 1 << 20;

    /// Puts a map's entries, each a type, the first block and the number of blocks.
    fn put_map(disk: &mut TestDisk, block_size: u64, count: u32, entries: &[(&str, u32, u32)]) {
        for ((kind, first, blocks), number) in entries.iter().zip(1..) {
            let mut raw = b"PM\0\0".to_vec();
            for value in [count, *first, *blocks] {
                raw.extend(value.to_be_bytes());
            }
            raw.resize(48, 0);
            raw[16..20].copy_from_slice(b"name");
            raw.extend(kind.as_bytes());
            disk.put(number * block_size, &raw);
        }
    }

    fn disk_of(block_size: u16, entries: &[(&str, u32, u32)]) -> TestDisk {
        let mut disk = TestDisk::new(SIZE, 512);
        disk.put(0, &[&b"ER"[..], &block_size.to_be_bytes()].concat());
        put_map(&mut disk, block_size.into(), u32::try_from(entries.len()).unwrap(), entries);
        disk
    }

    /// Linux's number, the first byte, the size and the type of each volume.
    fn volumes(table: &Table) -> Vec<(u32, u64, u64, &str)> {
        table.volumes.iter().map(|v| (v.linux_number, v.offset, v.size, &*v.type_name)).collect()
    }

    const USUAL: [(&str, u32, u32); 4] =
        [("Apple_partition_map", 1, 63), ("Apple_Free", 64, 8), ("Apple_HFS", 72, 100), ("Apple_UFS", 200, 40)];

    #[test]
    fn partitions_are_volumes_and_unused_space_is_not() {
        let table = read_table(&disk_of(512, &USUAL)).unwrap();
        assert_eq!((table.scheme, table.sector_size, table.notes.len()), (Scheme::Apm, 512, 0));
        assert_eq!(volumes(&table), [(3, 72 * 512, 51200, "Apple_HFS"), (4, 200 * 512, 20480, "Apple_UFS")]);
        assert_eq!(table.volumes[0].name, "name");
    }

    #[test]
    fn the_driver_descriptor_states_the_block_size() {
        for block_size in [1024, 2048, 4096] {
            let table = read_table(&disk_of(block_size, &USUAL)).unwrap();
            let size = u64::from(block_size);
            assert_eq!((volumes(&table)[0].1, volumes(&table)[0].2), (72 * size, 100 * size), "{block_size}");
        }
        // Boot blocks that state nonsense, or no size.
        for stated in [0, 1, 256, 513] {
            let mut disk = disk_of(512, &USUAL);
            disk.put(2, &u16::to_be_bytes(stated));
            assert_eq!(volumes(&read_table(&disk).unwrap()).len(), 2, "{stated}");
        }
    }

    #[test]
    fn prefers_the_map_of_the_stated_block_size() {
        for (stated, offset) in [(512_u16, 72 * 512), (2048, 100 * 2048)] {
            let mut disk = disk_of(stated, &[]);
            put_map(&mut disk, 512, 3, &USUAL[..3]);
            put_map(&mut disk, 2048, 2, &[USUAL[0], ("Apple_HFS", 100, 10)]);
            let table = read_table(&disk).unwrap();
            assert_eq!(volumes(&table)[0].1, offset, "{stated}");
        }
    }

    #[test]
    fn reads_a_map_in_smaller_blocks_than_stated() {
        let mut disk = disk_of(2048, &[]);
        put_map(&mut disk, 512, 4, &USUAL);
        assert_eq!(volumes(&read_table(&disk).unwrap())[1], (4, 200 * 512, 20480, "Apple_UFS"));
    }

    #[test]
    fn a_map_without_driver_descriptor_must_name_itself() {
        let mut disk = disk_of(512, &USUAL);
        disk.put(0, &[0; 4]);
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Apm);
        disk.put(512 + 48, b"Other");
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::None);
    }

    #[test]
    fn notes_wrong_counts() {
        let mut disk = disk_of(512, &USUAL);
        disk.put(512 + 4, &9_u32.to_be_bytes());
        let table = read_table(&disk).unwrap();
        assert_eq!((table.volumes.len(), table.notes.len()), (2, 1));
        assert!(table.notes[0].contains("entry 5 of 9 has no signature"), "{:?}", table.notes);

        let many = vec![("Apple_HFS", 1, 1); 300];
        let mut disk = disk_of(512, &many);
        disk.put(512 + 4, &u32::MAX.to_be_bytes());
        let table = read_table(&disk).unwrap();
        assert_eq!((table.volumes.len(), table.notes.len()), (256, 1));
        assert!(table.notes[0].contains("has 4294967295 entries"), "{:?}", table.notes);
    }

    #[test]
    fn partitions_stay_in_the_disk() {
        let table = read_table(&disk_of(512, &[USUAL[0], ("a", 2000, 100), ("b", u32::MAX, u32::MAX)])).unwrap();
        assert_eq!(volumes(&table), [(2, 2000 * 512, 48 * 512, "a"), (3, u64::from(u32::MAX) * 512, 0, "b")]);
        assert_eq!(table.notes.len(), 2, "{:?}", table.notes);
        for size in [512, 1024, 1025, 1536] {
            read_table(&disk_of(512, &USUAL).resized(size)).unwrap();
        }
    }

    #[test]
    fn the_tables_of_pcs_on_the_same_disk_come_first() {
        let mut disk = disk_of(2048, &USUAL);
        disk.put(510, &[0x55, 0xAA]);
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Apm);
        // As a hybrid optical disk has it: all of the disk, from its first sector on.
        disk.put(446, &[0x80, 0, 0, 0, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
        assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Mbr);
    }
}
