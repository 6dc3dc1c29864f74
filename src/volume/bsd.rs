//! BSD disk labels on a whole disk (FreeBSD calls such a disk "dangerously dedicated").
//!
//! The structure is `struct disklabel` of FreeBSD's `sys/disklabel.h`. As upstream, labels within a DOS partition are
//! not looked for, and every type is called `Unknown`.

use super::list::{Partition, VolumeList};
use super::{Result, Scheme, Table, type_names};
use crate::disk::Disk;
use crate::image::Fault;
use crate::image::fields::Fields;

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
        Err(fault) => {
            log::debug!("No BSD disk label: {fault}");
            Ok(None)
        }
    }
}

fn parse(label: &Fields<'_>, disk: &dyn Disk) -> Result<Option<Table>, Fault> {
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
        return Err(Fault::corrupt(label.offset(136), "d_checksum", 0, checksum));
    }
    if !(512..=65536).contains(&sector_size) || !sector_size.is_power_of_two() {
        return Err(Fault::corrupt(label.offset(40), "d_secsize", "a power of two from 512 to 65536", sector_size));
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
