//! BSD disk labels on a whole disk (FreeBSD calls such a disk "dangerously dedicated").
//!
//! The structure is `struct disklabel` of FreeBSD's `sys/disklabel.h`. As upstream, labels within a DOS partition are
//! not looked for, and every type is called `Unknown`.

use super::list::{Partition, VolumeList};
use super::{Result, Scheme, Table, type_names};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `DISKMAGIC`, at offsets 0 and 132.
const MAGIC: u32 = 0x8256_4557;
/// The offset of `d_partitions`.
const PARTITIONS: usize = 148;
/// Bytes of one of them.
const PARTITION: usize = 16;
/// Bytes of the sector that the label is in, which bound the number of partitions to 22.
const LABEL: usize = 512;

/// The table of a disk with a label in its second sector.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Table>> {
    let offset = u64::from(disk.sector_size());
    if disk.size() < offset + LABEL as u64 {
        return Ok(None);
    }
    let mut sector = [0; LABEL];
    disk.read_at(offset, &mut sector)?;
    match parse(&Fields::new("BSD disk label", &sector, offset), disk) {
        Ok(table) => Ok(table),
        Err(cause) => {
            log::debug!("No BSD disk label: {cause}");
            Ok(None)
        }
    }
}

fn parse(label: &Fields<'_>, disk: &dyn Disk) -> Result<Option<Table>, ParseError> {
    let magic = label.u32_le(0)?; // d_magic
    let sector_size = label.u32_le(40)?; // d_secsize
    let second_magic = label.u32_le(132)?; // d_magic2
    let count = usize::from(label.u16_le(138)?); // d_npartitions
    if magic != MAGIC || second_magic != MAGIC {
        return Ok(None);
    }
    let partitions = label.bytes(PARTITIONS, count * PARTITION)?;
    // d_checksum makes the exclusive or of all 16-bit words zero.
    let (words, _) = label.bytes(0, PARTITIONS + partitions.len())?.as_chunks::<2>();
    let checksum = words.iter().fold(0, |sum, word| sum ^ u16::from_le_bytes(*word));
    if checksum != 0 {
        return Err(ParseError::corrupt(label.offset(136), "d_checksum", 0, checksum));
    }
    if !(512..=65536).contains(&sector_size) || !sector_size.is_power_of_two() {
        return Err(ParseError::corrupt(
            label.offset(40),
            "d_secsize",
            "a power of two from 512 to 65536",
            sector_size,
        ));
    }
    let mut list = VolumeList::new(disk, sector_size);
    for (raw, number) in partitions.chunks_exact(PARTITION).zip(1..) {
        let entry = Fields::new("BSD partition", raw, label.offset(PARTITIONS));
        let count = u64::from(entry.u32_le(0)?); // p_size
        let first = u64::from(entry.u32_le(4)?); // p_offset
        if count > 0 {
            let type_name = type_names::UNKNOWN;
            list.push(Partition {
                linux_number: number,
                first,
                count,
                type_name,
                name: String::new(),
                bootable: false,
            });
        }
    }
    Ok(Some(list.into_table(Scheme::Bsd)))
}

#[cfg(test)]
mod tests {
    use crate::volume::test_disk::TestDisk;
    use crate::volume::{Scheme, read_table};

    /// A disk with a label of partitions: first sector, sectors.
    fn disk_of(partitions: &[(u32, u32)], sector_size: u32) -> TestDisk {
        let mut label = vec![0; 148 + 16 * partitions.len()];
        label[..4].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        label[40..44].copy_from_slice(&sector_size.to_le_bytes());
        label[132..136].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        label[138..140].copy_from_slice(&u16::try_from(partitions.len()).unwrap().to_le_bytes());
        for ((first, count), raw) in partitions.iter().zip(label[148..].chunks_mut(16)) {
            raw[..4].copy_from_slice(&count.to_le_bytes());
            raw[4..8].copy_from_slice(&first.to_le_bytes());
        }
        let checksum = label.chunks(2).fold(0, |sum, word| sum ^ u16::from_le_bytes([word[0], word[1]]));
        label[136..138].copy_from_slice(&checksum.to_le_bytes());
        let mut disk = TestDisk::new(1 << 20, 512);
        disk.put(512, &label);
        // FreeBSD's boot record of such a disk has one entry that covers everything, the table included.
        disk.put(446 + 48, &[0x80, 0, 1, 0, 0xA5, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0x50, 0xC3, 0, 0]);
        disk.put(510, &[0x55, 0xAA]);
        disk
    }

    #[test]
    fn partitions_with_sectors_are_volumes() {
        let mut partitions = vec![(16, 100), (0, 0), (0, 2048), (200, 5000)];
        partitions.resize(8, (0, 0));
        let table = read_table(&disk_of(&partitions, 512)).unwrap();
        assert_eq!(table.scheme, Scheme::Bsd);
        let found: Vec<_> = table.volumes.iter().map(|v| (v.index, v.linux_number, v.offset, v.size)).collect();
        assert_eq!(found, [(0, 1, 8192, 51200), (1, 3, 0, 1 << 20), (2, 4, 102_400, 946_176)]);
        assert!(table.volumes.iter().all(|v| v.type_name == "Unknown"));
        assert_eq!(table.notes, ["Volume 2 ends at byte 2662400, past the end of the disk at 1048576; it is cut"]);
    }

    #[test]
    fn a_label_of_other_sizes_is_read() {
        let table = read_table(&disk_of(&[(2, 8); 22], 4096)).unwrap();
        assert_eq!((table.sector_size, table.volumes.len(), table.volumes[0].offset), (4096, 22, 8192));
    }

    #[test]
    fn what_breaks_the_rules_of_a_label_is_none() {
        for at in [0, 132, 137, 148] {
            let mut disk = disk_of(&[(16, 100); 8], 512);
            disk.damage(512 + at);
            assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Mbr, "damage at {at}");
        }
        for sector_size in [0, 256, 513, u32::MAX] {
            assert_eq!(read_table(&disk_of(&[(16, 100); 8], sector_size)).unwrap().scheme, Scheme::Mbr);
        }
        assert_eq!(read_table(&disk_of(&[(16, 100); 23], 512)).unwrap().scheme, Scheme::Mbr);
    }
}
