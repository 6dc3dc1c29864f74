//! The boot sector. Field names and offsets are from the Linux kernel (`fs/ntfs3/ntfs.h`, `struct NTFS_BOOT`); all
//! numbers are little-endian.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::volume::boot_sector;

/// Bytes in the boot sector.
pub(super) const SIZE: usize = 512;

/// A validated boot sector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boot {
    /// Bytes in a cluster: a power of two from 512 to 2 MiB.
    pub(super) cluster: u64,
    /// Number of clusters of the volume.
    pub(super) clusters: u64,
    /// `mft_clst`: the first cluster of the master file table.
    pub(super) mft: u64,
    /// Bytes in a file record: a power of two from 512 to 64 KiB.
    pub(super) record: usize,
    /// `serial_num`.
    pub(super) serial: u64,
}

impl Boot {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("boot sector", bytes, 0);
        let signature = f.bytes(3, 8)?;
        if signature != boot_sector::NTFS {
            return Err(ParseError::corrupt(
                3,
                "signature of the boot sector",
                "NTFS",
                String::from_utf8_lossy(signature),
            ));
        }
        let sector = u64::from(f.u16_le(0x0B)?);
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(ParseError::corrupt(0x0B, "bytes per sector", "512 to 4096", sector));
        }
        // Above 0x80 it is a negated power of two, for clusters over 64 KiB.
        let raw = f.u8(0x0D)?;
        let sectors = if raw > 0x80 { 1_u64.checked_shl(256 - u32::from(raw)).unwrap_or(0) } else { u64::from(raw) };
        let cluster = sectors.saturating_mul(sector);
        if !cluster.is_power_of_two() || cluster > 2 << 20 {
            return Err(ParseError::corrupt(0x0D, "sectors per cluster", "a power of two, 2 MiB at most", raw));
        }
        let clusters = f.u64_le(0x28)? / sectors;
        if clusters.checked_mul(cluster).is_none() {
            let found = format!("{clusters} clusters of {cluster} bytes");
            return Err(ParseError::corrupt(0x28, "size of the file system", "less than 2^64 bytes", found));
        }
        let mft = f.u64_le(0x30)?;
        if mft >= clusters {
            return Err(ParseError::corrupt(0x30, "cluster of the file table", format_args!("below {clusters}"), mft));
        }
        // Positive: clusters; negative: a negated power of two in bytes.
        let raw = f.u8(0x40)?;
        let record = match raw {
            0..=0x7F => u64::from(raw) * cluster,
            _ => 1_u64.checked_shl(256 - u32::from(raw)).unwrap_or(0),
        };
        if !record.is_power_of_two() || !(512..=65536).contains(&record) {
            return Err(ParseError::corrupt(0x40, "size of a file record", "512 to 65536 bytes", record));
        }
        Ok(Self { cluster, clusters, mft, record: usize::try_from(record).unwrap_or(1024), serial: f.u64_le(0x48)? })
    }
}
