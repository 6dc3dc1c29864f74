//! BSD disk labels: on a whole disk (FreeBSD calls such a disk "dangerously dedicated") or in a slice of a boot record.
//!
//! The structures are `struct disklabel` of FreeBSD's `sys/disklabel.h` and of OpenBSD's `sys/disklabel.h`, and
//! `struct disklabel64` of DragonFly's `sys/disklabel64.h`.

use super::list::{Partition, VolumeList};
use super::slice::{Inner, Slice};
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
/// The index of partition `c`, which covers the slice (on OpenBSD the disk).
const RAW_PART: usize = 2;
/// `FS_UNUSED`
const UNUSED: u8 = 0;

/// Which BSD's label it is: they differ in what offsets are relative to, and in the types of file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    Free,
    Net,
    Open,
}

/// A partition of a label.
struct LabelEntry {
    /// `p_offset` in sectors.
    offset: u64,
    /// `p_size` in sectors.
    size: u64,
    /// `p_fstype`
    kind: u8,
    /// Its letter.
    name: String,
}

/// A label.
struct Label {
    /// `d_secsize` in bytes.
    sector_size: u32,
    /// In the order of the label, with those that are not in use.
    entries: Vec<LabelEntry>,
}

/// The table of a disk with a label in its second sector, or with one of DragonFly at its start.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Table>> {
    if let Some(label) = read_label(disk, u64::from(disk.sector_size()))? {
        let mut list = VolumeList::new(disk, label.sector_size);
        for (entry, number) in label.entries.into_iter().zip(1..).filter(|(entry, _)| entry.size > 0) {
            list.push(Partition {
                linux_number: number,
                first: entry.offset,
                count: entry.size,
                type_name: type_names::bsd(entry.kind, Flavour::Free).into(),
                name: entry.name,
                bootable: false,
            });
        }
        return Ok(Some(list.into_table(Scheme::Bsd)));
    }
    let all = Slice { kind: 0, offset: 0, size: disk.size() };
    Ok(dragonfly(disk, &all)?.map(|partitions| {
        let mut list = VolumeList::new(disk, disk.sector_size());
        partitions.into_iter().zip(1..).for_each(|(inner, number)| list.push_inner(inner, number));
        list.into_table(Scheme::Bsd)
    }))
}

/// The partitions of the label in a slice, but for the one that is the slice itself. Those that leave the slice are of
/// other slices, which the label may list too, and are left out as Linux does.
pub(super) fn of_slice(
    disk: &dyn Disk,
    slice: &Slice,
    sector_size: u32,
    flavour: Flavour,
) -> Result<Option<Vec<Inner>>> {
    let Some(label) = read_label(disk, slice.offset.saturating_add(sector_size.into()))? else { return Ok(None) };
    let bytes = |sectors: u64| sectors.saturating_mul(label.sector_size.into());
    // FreeBSD's are relative to 'c', which covers the slice; the others' are offsets on the disk.
    let raw_part = label.entries.get(RAW_PART).map_or(0, |entry| entry.offset);
    let base = if flavour == Flavour::Free { slice.offset } else { 0 };
    let less = if flavour == Flavour::Free { raw_part } else { 0 };
    let mut inner = Vec::new();
    for (entry, index) in label.entries.into_iter().zip(0..) {
        let Some(offset) = entry.offset.checked_sub(less).map(|offset| base.saturating_add(bytes(offset))) else {
            continue;
        };
        let size = bytes(entry.size);
        let is_slice = (offset, size) == (slice.offset, slice.size);
        if entry.size == 0 || is_slice || entry.kind == UNUSED && index == RAW_PART {
            continue;
        }
        if offset < slice.offset || offset.saturating_add(size) > slice.offset.saturating_add(slice.size) {
            log::debug!("BSD partition {} leaves its slice and is left out", entry.name);
            continue;
        }
        let type_name = type_names::bsd(entry.kind, flavour);
        inner.push(Inner { offset, size, type_name, name: entry.name, of_linux: entry.kind != UNUSED });
    }
    Ok(Some(inner))
}

/// The label at an offset of the disk.
fn read_label(disk: &dyn Disk, offset: u64) -> Result<Option<Label>> {
    if offset.checked_add(LABEL as u64).is_none_or(|end| end > disk.size()) {
        return Ok(None);
    }
    let mut sector = [0; LABEL];
    disk.read_at(offset, &mut sector)?;
    Ok(known(Label::parse(&Fields::new("BSD disk label", &sector, offset))))
}

/// The parsed label; `None` for one that is malformed.
fn known<T>(parsed: Result<Option<T>, ParseError>) -> Option<T> {
    parsed.unwrap_or_else(|cause| {
        log::debug!("No BSD disk label: {cause}");
        None
    })
}

impl Label {
    fn parse(label: &Fields<'_>) -> Result<Option<Self>, ParseError> {
        let magic = label.u32_le(0)?; // d_magic
        let sector_size = label.u32_le(40)?; // d_secsize
        let version = label.u16_le(114)?; // d_version of OpenBSD
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
        let mut entries = Vec::with_capacity(count);
        for (raw, letter) in partitions.chunks_exact(PARTITION).zip('a'..) {
            let entry = Fields::new("BSD partition", raw, label.offset(PARTITIONS));
            // p_offseth and p_sizeh of OpenBSD; p_fsize elsewhere
            let high = |at| if version == 1 { entry.u16_le(at).map(|high| u64::from(high) << 32) } else { Ok(0) };
            entries.push(LabelEntry {
                size: u64::from(entry.u32_le(0)?) | high(10)?,
                offset: u64::from(entry.u32_le(4)?) | high(8)?,
                kind: entry.u8(12)?,
                name: letter.to_string(),
            });
        }
        Ok(Some(Self { sector_size, entries }))
    }
}

/// `DISKMAGIC64`, and where it is in the label.
const MAGIC_64: u32 = 0xC446_4C59;
const MAGIC_64_AT: usize = 512;
/// The offset of `d_partitions`, and bytes of one of them.
const PARTITIONS_64: usize = 712;
const PARTITION_64: usize = 64;
/// The most partitions that a label of DragonFly has space for (`RESPARTITIONS64`).
const MAX_64: u32 = 32;
const LABEL_64: usize = PARTITIONS_64 + MAX_64 as usize * PARTITION_64;

/// The partitions of a DragonFly label at the start of a slice.
pub(super) fn dragonfly(disk: &dyn Disk, slice: &Slice) -> Result<Option<Vec<Inner>>> {
    if slice.offset.checked_add(LABEL_64 as u64).is_none_or(|end| end > disk.size()) {
        return Ok(None);
    }
    let mut bytes = [0; LABEL_64];
    disk.read_at(slice.offset, &mut bytes)?;
    Ok(known(parse_64(&Fields::new("DragonFly disk label", &bytes, slice.offset), slice)))
}

fn parse_64(label: &Fields<'_>, slice: &Slice) -> Result<Option<Vec<Inner>>, ParseError> {
    if label.u32_le(MAGIC_64_AT)? != MAGIC_64 {
        return Ok(None);
    }
    let count = label.u32_le(524)?; // d_npartitions
    if count > MAX_64 {
        return Err(ParseError::corrupt(label.offset(524), "d_npartitions", format_args!("at most {MAX_64}"), count));
    }
    let partitions = label.bytes(PARTITIONS_64, count as usize * PARTITION_64)?;
    // d_crc covers all from d_magic on, and counts as zero in its own calculation.
    let stated = label.u32_le(516)?;
    let mut checked = label.bytes(MAGIC_64_AT, PARTITIONS_64 - MAGIC_64_AT + partitions.len())?.to_vec();
    checked[4..8].fill(0);
    let found = crc32fast::hash(&checked);
    if found != stated {
        return Err(ParseError::corrupt(label.offset(516), "d_crc", stated, found));
    }
    let mut inner = Vec::new();
    for (raw, letter) in partitions.chunks_exact(PARTITION_64).zip('a'..) {
        let entry = Fields::new("DragonFly partition", raw, label.offset(PARTITIONS_64));
        let (offset, size) = (entry.u64_le(0)?, entry.u64_le(8)?); // p_boffset, p_bsize
        let inside = offset.checked_add(size).is_some_and(|end| end <= slice.size);
        if size > 0 && inside {
            let type_name = type_names::bsd(entry.u8(16)?, Flavour::Free); // p_fstype
            let offset = slice.offset.saturating_add(offset);
            inner.push(Inner { offset, size, type_name, name: letter.to_string(), of_linux: false });
        }
    }
    Ok(Some(inner))
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
    fn reads_labels_of_other_sizes() {
        let table = read_table(&disk_of(&[(2, 8); 22], 4096)).unwrap();
        assert_eq!((table.sector_size, table.volumes.len(), table.volumes[0].offset), (4096, 22, 8192));
    }

    #[test]
    fn ignores_malformed_labels() {
        for at in [0, 132, 137, 148] {
            let mut disk = disk_of(&[(16, 100); 8], 512);
            disk.corrupt(512 + at);
            assert_eq!(read_table(&disk).unwrap().scheme, Scheme::Mbr, "corruption at {at}");
        }
        for sector_size in [0, 256, 513, u32::MAX] {
            assert_eq!(read_table(&disk_of(&[(16, 100); 8], sector_size)).unwrap().scheme, Scheme::Mbr);
        }
        assert_eq!(read_table(&disk_of(&[(16, 100); 23], 512)).unwrap().scheme, Scheme::Mbr);
    }
}
