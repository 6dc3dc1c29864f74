//! The boot sector with its BIOS parameter block. Field names and offsets are from Microsoft's specification
//! (<https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>, chapter 3); all numbers are
//! little-endian. Flags that it calls reserved are from the Linux kernel (`include/uapi/linux/msdos_fs.h`).

use super::code_page;
use crate::guestfs::dos::{FIRST_CLUSTER, Width};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::volume::boot_sector;

/// Bytes in the smallest sector, which holds all fields.
pub(super) const SIZE: usize = 512;
/// Fewer clusters mean 12-bit entries.
const FAT16_FROM: u64 = 4085;
/// Fewer clusters mean 16-bit entries.
const FAT32_FROM: u64 = 65525;
/// The most clusters that 28-bit entries can address.
const MAX_CLUSTERS: u64 = 0x0FFF_FFF5;
/// `BPB_ExtFlags`: only one table is up to date, the one whose index is in the lower bits.
const NOT_MIRRORED: u16 = 0x80;
const ACTIVE: u16 = 0x0F;
/// The label that stands for none.
pub(super) const NO_NAME: &str = "NO NAME";
/// `BS_BootSig`: a serial number follows, and in the newer form a label.
const HAS_SERIAL: u8 = 0x28;
const HAS_LABEL: u8 = 0x29;
/// `BS_Reserved1`: the volume is in use.
const DIRTY: u8 = 1;
/// `BPB_FSInfo`: there is none.
const NO_INFO: [u16; 2] = [0, 0xFFFF];

/// The location of the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// After the tables: `len` bytes at byte `at` of the volume.
    Fixed { at: u64, len: u64 },
    /// In the chain that begins with this cluster.
    Chain(u32),
}

/// A validated boot sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) width: Width,
    /// Bytes in a sector: 512, 1024, 2048 or 4096.
    pub(super) sector: u64,
    /// Bytes in a cluster: a power of two from 512 to 512 KiB.
    pub(super) cluster: u64,
    /// Offset and length in bytes of the table that is up to date.
    pub(super) table: (u64, u64),
    /// Offset of the first cluster in bytes.
    pub(super) data: u64,
    /// Number of clusters that have an entry in the table.
    pub(super) clusters: u32,
    pub(super) root: Root,
    /// `BS_VolID`, where there is one.
    pub(super) serial: Option<u32>,
    /// `BS_VolLab`; empty where there is none.
    pub(super) label: String,
    /// Offset of the FSInfo sector in bytes.
    pub(super) info: Option<u64>,
    /// Whether the volume was in use when it was last written.
    pub(super) dirty: bool,
}

/// Whether a volume starts with the boot sector of a FAT file system. It has no magic number, so its values must be
/// consistent. `head` is the volume's first 4 KiB, or all of it.
pub(super) fn is_plausible(head: &[u8]) -> bool {
    let f = Fields::new("boot sector", head, 0);
    let check = || -> Result<bool, ParseError> {
        let name = f.bytes(3, 8)?;
        let of_other = boot_sector::OEM_NAMES.iter().any(|other| name == *other);
        let sector = f.u16_le(11)?;
        let sane = matches!(sector, 512 | 1024 | 2048 | 4096)
            && f.u8(13)?.is_power_of_two()
            && f.u16_le(14)? > 0
            && f.u8(16)? > 0
            && (f.u16_le(22)? > 0 || f.u32_le(36)? > 0)
            && matches!(f.u8(21)?, 0xF0 | 0xF8..=0xFF);
        // OS/2's HPFS has the same block.
        if !sane || of_other || f.bytes(54, 4)? == b"HPFS" {
            return Ok(false);
        }
        // Old floppy disks lack the signature, but their table begins with the media descriptor byte.
        let table = usize::from(sector).saturating_mul(f.u16_le(14)?.into());
        let begins = || head.get(table..).is_some_and(|rest| rest.starts_with(&[head[21], 0xFF, 0xFF]));
        Ok(f.bytes(510, 2)? == [0x55, 0xAA] || begins())
    };
    check().unwrap_or(false)
}

impl Boot {
    /// Parses the boot sector of a volume that [`is_plausible`] accepted.
    pub(super) fn parse(bytes: &[u8], volume_size: u64) -> Result<Self, ParseError> {
        let f = Fields::new("boot sector", bytes, 0);
        let sector = u64::from(f.u16_le(11)?); // BPB_BytsPerSec
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(ParseError::corrupt(11, "bytes per sector", "512, 1024, 2048 or 4096", sector));
        }
        let per_cluster = f.u8(13)?; // BPB_SecPerClus
        if !per_cluster.is_power_of_two() {
            return Err(ParseError::corrupt(13, "sectors per cluster", "a power of two", per_cluster));
        }
        let reserved = u64::from(f.u16_le(14)?); // BPB_RsvdSecCnt
        let tables = u64::from(f.u8(16)?); // BPB_NumFATs
        if reserved == 0 || tables == 0 {
            let found = format!("{reserved} and {tables}");
            return Err(ParseError::corrupt(14, "reserved sectors and tables", "at least 1", found));
        }
        let short = u64::from(f.u16_le(22)?); // BPB_FATSz16
        let wide = short == 0;
        let table_sectors = if wide { f.u32_le(36)?.into() } else { short }; // BPB_FATSz32
        let all = match f.u16_le(19)? {
            0 => u64::from(f.u32_le(32)?), // BPB_TotSec32
            few => u64::from(few),         // BPB_TotSec16
        };
        // BPB_RootEntCnt
        let root_sectors = if wide { 0 } else { (u64::from(f.u16_le(17)?) * 32).div_ceil(sector) };
        let root_at = reserved + tables * table_sectors;
        let data = root_at + root_sectors;
        let clusters = all.saturating_sub(data) / u64::from(per_cluster);
        if clusters == 0 {
            let expected = format!("more than the {data} that come before the first cluster");
            return Err(ParseError::corrupt(32, "sectors of the volume", expected, all));
        }
        let width = match clusters {
            _ if wide => Width::Fat32,
            0..FAT16_FROM => Width::Fat12,
            FAT16_FROM..FAT32_FROM => Width::Fat16,
            _ => return Err(ParseError::corrupt(22, "sectors of a table of 16 bits", "0 for so many clusters", short)),
        };
        let table_len = table_sectors * sector;
        let linked = width.entries(table_len).saturating_sub(u64::from(FIRST_CLUSTER));
        let clusters = clusters.min(linked).min(MAX_CLUSTERS);
        if clusters == 0 {
            return Err(ParseError::corrupt(22, "sectors of a table", "1 at least", table_sectors));
        }
        if data * sector > volume_size {
            let expected = format!("at least the {} before the first cluster", data * sector);
            return Err(ParseError::corrupt(0, "bytes of the volume", expected, volume_size));
        }
        let flags = if wide { f.u16_le(40)? } else { 0 }; // BPB_ExtFlags
        let active = if flags & NOT_MIRRORED == 0 { 0 } else { u64::from(flags & ACTIVE) };
        if active >= tables {
            return Err(ParseError::corrupt(40, "index of the active table", format_args!("below {tables}"), active));
        }
        let mut boot = Self {
            width,
            sector,
            cluster: u64::from(per_cluster) * sector,
            table: ((reserved + active * table_sectors) * sector, table_len),
            data: data * sector,
            clusters: u32::try_from(clusters).unwrap_or(0),
            root: Root::Fixed { at: root_at * sector, len: root_sectors * sector },
            serial: None,
            label: String::new(),
            info: None,
            dirty: false,
        };
        if wide {
            boot.parse_wide(&f)?;
        }
        boot.parse_names(&f, if wide { 64 } else { 36 })?;
        Ok(boot)
    }

    /// Parses the fields that only FAT32 has.
    fn parse_wide(&mut self, f: &Fields<'_>) -> Result<(), ParseError> {
        let version = f.u16_le(42)?; // BPB_FSVer
        if version != 0 {
            return Err(ParseError::unsupported(42, "version of FAT32", "0", format_args!("{version:#x}")));
        }
        let first = f.u32_le(44)?; // BPB_RootClus
        if first < FIRST_CLUSTER || first - FIRST_CLUSTER >= self.clusters {
            let expected = format!("from {FIRST_CLUSTER} to {}", u64::from(self.clusters) + 1);
            return Err(ParseError::corrupt(44, "first cluster of the root directory", expected, first));
        }
        self.root = Root::Chain(first);
        let info = f.u16_le(48)?; // BPB_FSInfo
        self.info = (!NO_INFO.contains(&info)).then_some(u64::from(info) * self.sector);
        Ok(())
    }

    /// Parses serial number and label; `BS_DrvNum` is at `at`. Before DOS 4 the boot program is there instead.
    fn parse_names(&mut self, f: &Fields<'_>, at: usize) -> Result<(), ParseError> {
        let signature = f.u8(at + 2)?; // BS_BootSig
        if matches!(signature, HAS_SERIAL | HAS_LABEL) {
            self.dirty = f.u8(at + 1)? & DIRTY != 0; // BS_Reserved1
            self.serial = Some(f.u32_le(at + 3)?); // BS_VolID
        }
        if signature == HAS_LABEL {
            let label = code_page::decode(f.bytes(at + 7, 11)?); // BS_VolLab
            self.label = label.trim_end_matches([' ', '\0']).to_owned();
            if self.label == NO_NAME {
                self.label.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 1.44 MB floppy disk as formatted by DOS 3: no signature and no serial number.
    fn floppy() -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[..3].copy_from_slice(&[0xEB, 0x34, 0x90]);
        head[3..11].copy_from_slice(b"IBM  3.3");
        head[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0B, 0xF0, 9, 0]);
        head[512..515].copy_from_slice(&[0xF0, 0xFF, 0xFF]);
        head
    }

    #[test]
    fn accepts_floppy_disk_without_signature() {
        let mut head = floppy();
        assert!(is_plausible(&head));
        let boot = Boot::parse(&head, 1_474_560).unwrap();
        assert_eq!((boot.width, boot.clusters, boot.cluster), (Width::Fat12, 2847, 512));
        assert_eq!((boot.table, boot.data, boot.serial), ((512, 4608), 33 * 512, None));
        assert_eq!(boot.root, Root::Fixed { at: 19 * 512, len: 7168 });
        head[512] = 0xF8;
        assert!(!is_plausible(&head));
        head[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert!(is_plausible(&head) && !is_plausible(&head[..511]));
    }

    #[test]
    fn refuses_boot_sectors_of_other_file_systems() {
        for name in boot_sector::OEM_NAMES {
            let mut head = floppy();
            head[3..11].copy_from_slice(name);
            assert!(!is_plausible(&head), "{}", String::from_utf8_lossy(name));
        }
        let mut head = floppy();
        head[54..62].copy_from_slice(b"HPFS    ");
        assert!(!is_plausible(&head));
        assert!(!is_plausible(&[0; 4096]) && !is_plausible(&[0xFF; 4096]) && !is_plausible(&[]));
    }

    /// FAT32 with 600,000 clusters of 4 KiB and two tables, the second of which is active.
    fn wide() -> Vec<u8> {
        let mut head = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(11, &[0, 2, 8, 32, 0, 2]);
        put(21, &[0xF8]);
        put(32, &(32 + 2 * 4688 + 600_000 * 8_u32).to_le_bytes());
        put(36, &4688_u32.to_le_bytes());
        put(40, &0x81_u16.to_le_bytes());
        put(44, &5_u32.to_le_bytes());
        put(48, &1_u16.to_le_bytes());
        put(65, &[1, 0x29, 0x78, 0x56, 0x34, 0x12]);
        put(71, b"LAB\x9a       ");
        put(510, &[0x55, 0xAA]);
        head
    }

    #[test]
    fn uses_second_table_of_fat32() {
        let head = wide();
        assert!(is_plausible(&head));
        let boot = Boot::parse(&head, 1 << 40).unwrap();
        assert_eq!((boot.width, boot.clusters, boot.cluster), (Width::Fat32, 600_000, 4096));
        assert_eq!((boot.table, boot.root), (((32 + 4688) * 512, 4688 * 512), Root::Chain(5)));
        assert_eq!((boot.serial, boot.label.as_str(), boot.info), (Some(0x1234_5678), "LABÜ", Some(512)));
        assert!(boot.dirty);
    }

    #[test]
    fn refuses_invalid_values() {
        let cases: [(usize, &[u8]); 10] = [
            (11, &[1, 2]),
            (13, &[3]),
            (14, &[0, 0]),
            (16, &[0]),
            (32, &[1, 0, 0, 0]),
            (36, &[0, 0, 0, 0]),
            (40, &[0x82]),
            (42, &[1]),
            (44, &[1, 0, 0, 0]),
            (44, &[0xFF, 0xFF, 0xFF, 0x0F]),
        ];
        for (at, bytes) in cases {
            let mut head = wide();
            head[at..at + bytes.len()].copy_from_slice(bytes);
            assert!(Boot::parse(&head, 1 << 40).is_err(), "{at} {bytes:?}");
        }
        let error = Boot::parse(&wide(), 1 << 20).unwrap_err().to_string();
        assert!(error.contains("found 1048576"), "{error}");
    }
}
