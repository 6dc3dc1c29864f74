//! The boot region: sector 0 with the layout, and sector 11 with a checksum over all sectors before it. A backup of the
//! region follows. Field names and offsets are from Microsoft's specification
//! (<https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification>, section 3); all numbers are
//! little-endian.
use crate::disk::Disk;
use crate::guestfs::dos::FIRST_CLUSTER;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `FileSystemName`
const NAME: &[u8] = crate::volume::boot_sector::EXFAT;
/// Sectors before the one with the checksum, and in the whole region.
const SUMMED: usize = 11;
const REGION: usize = 12;
/// The smallest and largest `BytesPerSectorShift`.
const SECTOR_SHIFTS: std::ops::RangeInclusive<u32> = 9..=12;
/// `BytesPerSectorShift` and `SectorsPerClusterShift` together: clusters of 32 MiB.
const MAX_CLUSTER_SHIFT: u32 = 25;
/// The most clusters that can be addressed.
const MAX_CLUSTERS: u32 = u32::MAX - 10;
/// Bytes of sector 0 that the checksum leaves out: `VolumeFlags` and `PercentInUse`.
const VOLATILE: [usize; 3] = [106, 107, 112];

/// `VolumeFlags`: the second table and bitmap are active; not cleanly unmounted; the medium had errors.
const ACTIVE_FAT: u16 = 1;
const DIRTY: u16 = 2;
const MEDIA_FAILURE: u16 = 4;

/// A validated boot region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    /// Bytes in a cluster: a power of two from 512 to 32 MiB.
    pub(super) cluster: u64,
    /// Offset and length of the active table in bytes.
    pub(super) table: (u64, u64),
    /// Offset of the first cluster in bytes.
    pub(super) heap: u64,
    /// `ClusterCount`
    pub(super) clusters: u32,
    /// `FirstClusterOfRootDirectory`
    pub(super) root: u32,
    /// `VolumeSerialNumber`
    pub(super) serial: u32,
    /// Whether the second table and bitmap are active.
    pub(super) second: bool,
    pub(super) dirty: bool,
    pub(super) media_failure: bool,
    /// `PercentInUse`, if known.
    pub(super) percent_in_use: Option<u8>,
    /// Whether this is the backup, used because the main region is corrupt.
    pub(super) backup: bool,
}

/// Reads the boot region, or its backup when the main region is corrupt.
pub(super) fn read(volume: &dyn Disk) -> Result<Boot> {
    let main = region(volume, 0, None);
    let Err(Error::Corrupt(_)) = main else { return main };
    for shift in SECTOR_SHIFTS {
        let sector = 1_u64 << shift;
        if let Ok(boot) = region(volume, sector * REGION as u64, Some(sector)) {
            return Ok(Boot { backup: true, ..boot });
        }
    }
    main
}

/// Reads the region at byte `at`; `sector` is the expected sector size in bytes, if known.
fn region(volume: &dyn Disk, at: u64, sector: Option<u64>) -> Result<Boot> {
    let mut first = [0; 512];
    volume.read_at(at, &mut first)?;
    let f = Fields::new("boot sector", &first, at);
    let name = f.bytes(3, 8)?;
    if name != NAME {
        return Err(
            ParseError::corrupt(at + 3, "name in the boot sector", "EXFAT", String::from_utf8_lossy(name)).into()
        );
    }
    let shift = u32::from(f.u8(108)?); // BytesPerSectorShift
    let size = 1_u64.checked_shl(shift).unwrap_or(0);
    if !SECTOR_SHIFTS.contains(&shift) || sector.is_some_and(|sector| sector != size) {
        return Err(ParseError::corrupt(at + 108, "power of two of a sector", "from 9 to 12", shift).into());
    }
    let len = usize::try_from(size).unwrap_or(0);
    let mut bytes = vec![0; REGION * len];
    volume.read_at(at, &mut bytes)?;
    check(&bytes, len, at)?;
    parse(&Fields::new("boot sector", &bytes[..512], at), volume.size()).map_err(Error::from)
}

/// Verifies the checksum of a region with sectors of `len` bytes.
fn check(bytes: &[u8], len: usize, at: u64) -> Result<(), ParseError> {
    let summed = bytes[..SUMMED * len].iter().enumerate().filter(|(i, _)| !VOLATILE.contains(i));
    let sum = summed.fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    let (stated, _) = bytes[SUMMED * len..].as_chunks::<4>();
    match stated.iter().zip(0_u64..).find(|(raw, _)| u32::from_le_bytes(**raw) != sum) {
        None => Ok(()),
        Some((raw, i)) => Err(ParseError::corrupt(
            at + (SUMMED * len) as u64 + i * 4,
            "checksum of the boot region",
            format_args!("{sum:#010x}"),
            format_args!("{:#010x}", u32::from_le_bytes(*raw)),
        )),
    }
}

fn parse(f: &Fields<'_>, volume_size: u64) -> Result<Boot, ParseError> {
    let revision = f.u16_le(104)?; // FileSystemRevision
    if revision >> 8 != 1 {
        let found = format!("{}.{:02}", revision >> 8, revision & 0xFF);
        return Err(ParseError::unsupported(f.offset(104), "revision of exFAT", "1", found));
    }
    let sector_shift = u32::from(f.u8(108)?); // BytesPerSectorShift
    let cluster_shift = sector_shift.saturating_add(f.u8(109)?.into()); // SectorsPerClusterShift
    if cluster_shift > MAX_CLUSTER_SHIFT {
        let what = "sum of the shifts of a sector and a cluster";
        return Err(ParseError::corrupt(
            f.offset(109),
            what,
            format_args!("at most {MAX_CLUSTER_SHIFT}"),
            cluster_shift,
        ));
    }
    let (sector, cluster) = (1_u64 << sector_shift, 1_u64 << cluster_shift);
    let flags = f.u16_le(106)?; // VolumeFlags
    let tables = f.u8(110)?; // NumberOfFats
    let second = flags & ACTIVE_FAT != 0;
    if !matches!(tables, 1 | 2) || second && tables == 1 {
        let expected = if second { "2, as the second is active" } else { "1 or 2" };
        return Err(ParseError::corrupt(f.offset(110), "number of tables", expected, tables));
    }
    let table_len = u64::from(f.u32_le(84)?) * sector; // FatLength
    let mut table = u64::from(f.u32_le(80)?) * sector; // FatOffset
    let clusters = f.u32_le(92)?; // ClusterCount
    if clusters == 0 || clusters > MAX_CLUSTERS {
        let expected = format!("from 1 to {MAX_CLUSTERS}");
        return Err(ParseError::corrupt(f.offset(92), "number of clusters", expected, clusters));
    }
    let least = (u64::from(clusters) + u64::from(FIRST_CLUSTER)) * 4;
    if table_len < least {
        let expected = format!("at least {least} for {clusters} clusters");
        return Err(ParseError::corrupt(f.offset(84), "bytes of a table", expected, table_len));
    }
    let heap = u64::from(f.u32_le(88)?) * sector; // ClusterHeapOffset
    let tables_end = table + table_len * u64::from(tables);
    if table < 2 * (REGION as u64) * sector || heap < tables_end {
        let expected = format!("after the boot regions and before the clusters at byte {heap}");
        let found = format!("bytes {table} to {tables_end}");
        return Err(ParseError::corrupt(f.offset(80), "offset of the tables", expected, found));
    }
    if heap > volume_size {
        let expected = format!("at least the {heap} before the first cluster");
        return Err(ParseError::corrupt(f.offset(88), "bytes of the volume", expected, volume_size));
    }
    if second {
        table += table_len;
    }
    let root = f.u32_le(96)?; // FirstClusterOfRootDirectory
    if root < FIRST_CLUSTER || root - FIRST_CLUSTER >= clusters {
        let expected = format!("from {FIRST_CLUSTER} to {:#x}", u64::from(clusters) + 1);
        return Err(ParseError::corrupt(
            f.offset(96),
            "first cluster of the root directory",
            expected,
            format!("{root:#x}"),
        ));
    }
    Ok(Boot {
        cluster,
        table: (table, table_len),
        heap,
        clusters,
        root,
        serial: f.u32_le(100)?, // VolumeSerialNumber
        second,
        dirty: flags & DIRTY != 0,
        media_failure: flags & MEDIA_FAILURE != 0,
        percent_in_use: Some(f.u8(112)?).filter(|percent| *percent <= 100), // PercentInUse
        backup: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    /// A volume of 1,000 clusters of 1 KiB in sectors of 512 bytes, with two tables.
    fn volume() -> Vec<u8> {
        let mut bytes = vec![0; 2 << 20];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(3, NAME);
        put(80, &24_u32.to_le_bytes());
        put(84, &8_u32.to_le_bytes());
        put(88, &40_u32.to_le_bytes());
        put(92, &1000_u32.to_le_bytes());
        put(96, &5_u32.to_le_bytes());
        put(100, &0x1234_5678_u32.to_le_bytes());
        put(104, &[0, 1, 3, 0, 9, 1, 2, 0x80, 40]);
        put(510, &[0x55, 0xAA]);
        bytes
    }

    /// Writes the checksum of the region at byte `at`.
    fn sum(bytes: &mut [u8], at: usize) {
        let summed = bytes[at..at + 5632].iter().enumerate().filter(|(i, _)| !VOLATILE.contains(i));
        let sum = summed.fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        for raw in bytes[at + 5632..at + 6144].chunks_mut(4) {
            raw.copy_from_slice(&sum.to_le_bytes());
        }
    }

    fn open(bytes: Vec<u8>) -> Result<Boot> {
        read(&MemoryDisk::new(bytes))
    }

    #[test]
    fn flags_select_the_active_table() {
        let mut bytes = volume();
        sum(&mut bytes, 0);
        let boot = open(bytes.clone()).unwrap();
        assert_eq!((boot.cluster, boot.clusters, boot.heap, boot.root), (1024, 1000, 40 * 512, 5));
        assert_eq!((boot.table, boot.second, boot.dirty), ((32 * 512, 8 * 512), true, true));
        assert_eq!((boot.percent_in_use, boot.serial, boot.backup), (Some(40), 0x1234_5678, false));
        // The checksum leaves these bytes out.
        bytes[106] = 4;
        bytes[112] = 0xFF;
        let boot = open(bytes).unwrap();
        assert_eq!((boot.table, boot.second, boot.dirty), ((24 * 512, 8 * 512), false, false));
        assert_eq!((boot.percent_in_use, boot.media_failure), (None, true));
    }

    #[test]
    fn reads_backup_when_main_region_is_corrupt() {
        let mut bytes = volume();
        sum(&mut bytes, 0);
        bytes.copy_within(0..6144, 6144);
        bytes[700] ^= 1;
        assert!(open(bytes.clone()).unwrap().backup);
        bytes[6144 + 700] ^= 1;
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains("checksum of the boot region at offset 5632"), "{error}");
    }

    #[test]
    fn refuses_invalid_values() {
        let cases: [(usize, &[u8]); 11] = [
            (80, &[23]),
            (84, &[7]),
            (88, &[39]),
            (88, &[0, 0, 0xFF]),
            (92, &[0, 0]),
            (92, &[0xFF, 0xFF, 0xFF, 0xFF]),
            (96, &[1]),
            (96, &[0xEA, 3]),
            (104, &[0, 2]),
            (109, &[17]),
            (110, &[1]),
        ];
        for (at, field) in cases {
            let mut bytes = volume();
            bytes[at..at + field.len()].copy_from_slice(field);
            sum(&mut bytes, 0);
            assert!(open(bytes).is_err(), "{at} {field:?}");
        }
        for shift in [0, 8, 13, 64, 255] {
            let mut bytes = volume();
            bytes[108] = shift;
            assert!(open(bytes).is_err(), "{shift}");
        }
        assert!(open(volume()[..600].to_vec()).is_err());
    }
}
