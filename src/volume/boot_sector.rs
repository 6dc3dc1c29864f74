//! Distinguishes the boot sector of a file system from a partition table: both end in 55 AA.

use super::BOOT_RECORD;

/// What boot sectors have at offset 3 (the OEM name) by which their file system is known.
pub(crate) const NTFS: &[u8; 8] = b"NTFS    ";
/// As [`NTFS`].
pub(crate) const EXFAT: &[u8; 8] = b"EXFAT   ";
/// As [`NTFS`].
pub(crate) const BITLOCKER: &[u8; 8] = b"-FVE-FS-";
/// All of them.
pub(crate) const OEM_NAMES: [&[u8; 8]; 3] = [NTFS, EXFAT, BITLOCKER];

/// Whether sector 0 of a disk is the boot sector of a file system that fills the whole disk.
///
/// A FAT is known by a BIOS parameter block in which every field is possible; Microsoft's "FAT: General Overview of
/// On-Disk Format", section "Boot Sector and BPB".
pub(super) fn is_file_system(sector: &[u8; BOOT_RECORD]) -> bool {
    let jumps = sector[0] == 0xE9 || (sector[0] == 0xEB && sector[2] == 0x90);
    if !jumps {
        return false;
    }
    if OEM_NAMES.iter().any(|name| sector[3..11] == name[..]) {
        return true;
    }
    let u16_at = |at: usize| u16::from_le_bytes([sector[at], sector[at + 1]]);
    let bytes_per_sector = u16_at(0x0B);
    let sectors_per_cluster = sector[0x0D];
    let reserved_sectors = u16_at(0x0E);
    let fats = sector[0x10];
    let media = sector[0x15];
    matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096)
        && sectors_per_cluster.is_power_of_two()
        && reserved_sectors > 0
        && matches!(fats, 1 | 2)
        && (media == 0xF0 || media >= 0xF8)
}
