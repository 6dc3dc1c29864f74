//! The names of partition types: upstream's (its `RTDvmVolumeTypeGetDescr`) where it has some.

use super::bsd::Flavour;

/// What upstream calls every type that it has no word for.
pub(super) const UNKNOWN: &str = "Unknown";

const EFI_SYSTEM: &str = "EFI system partition";
const FREEBSD: &str = "FreeBSD";
const LINUX_LVM: &str = "Linux LVM";
const LINUX_NATIVE: &str = "Linux native";
const LINUX_RAID: &str = "Linux SoftRaid";
const LINUX_SWAP: &str = "Linux swap";
const MAC_HFS: &str = "Mac OS X HFS or HFS+";
const NETBSD: &str = "NetBSD";
const SOLARIS: &str = "Solaris";
const WINDOWS_LDM: &str = "Windows LDM data";
const WINDOWS_RECOVERY: &str = "Windows recovery partition";

/// The name of a DOS partition type.
pub(super) fn mbr(kind: u8) -> &'static str {
    match kind {
        0x01 | 0x11 => "FAT12",
        0x04 | 0x06 | 0x0E | 0x14 | 0x16 | 0x1E => "FAT16",
        0x0B | 0x0C | 0x1B | 0x1C => "FAT32",
        0x07 | 0x17 => "NTFS",
        0x82 => LINUX_SWAP,
        0x83 => LINUX_NATIVE,
        0x8E => LINUX_LVM,
        0xA5 => FREEBSD,
        0xA6 => "OpenBSD",
        0xA9 => NETBSD,
        0xAF => MAC_HFS,
        0xBF => SOLARIS,
        0xFD => LINUX_RAID,
        0xEF => EFI_SYSTEM,
        0x27 => WINDOWS_RECOVERY,
        0x42 => WINDOWS_LDM,
        // What upstream has no word for, in those of util-linux (`sfdisk --list-types`).
        0x02 => "XENIX root",
        0x03 => "XENIX usr",
        0x05 | 0x0F => "Extended",
        0x08 => "AIX",
        0x09 => "AIX bootable",
        0x0A => "OS/2 Boot Manager",
        0x10 => "OPUS",
        0x12 => "Compaq diagnostics",
        0x18 => "AST SmartSleep",
        0x24 => "NEC DOS",
        0x39 => "Plan 9",
        0x3C => "PartitionMagic recovery",
        0x40 => "Venix 80286",
        0x41 => "PPC PReP Boot",
        0x4D => "QNX4.x",
        0x4E => "QNX4.x 2nd part",
        0x4F => "QNX4.x 3rd part",
        0x50 => "OnTrack DM",
        0x51 => "OnTrack DM6 Aux1",
        0x52 | 0xDB => "CP/M",
        0x53 => "OnTrack DM6 Aux3",
        0x54 => "OnTrackDM6",
        0x55 => "EZ-Drive",
        0x56 => "Golden Bow",
        0x5C => "Priam Edisk",
        0x61 | 0xE4 | 0xF1 | 0xF4 => "SpeedStor",
        0x63 => "UnixWare",
        0x64 => "Novell Netware 286",
        0x65 => "Novell Netware 386",
        0x70 => "DiskSecure Multi-Boot",
        0x75 => "PC/IX",
        0x80 | 0x81 => "Minix",
        0x84 => "OS/2 hidden or Intel hibernation",
        0x85 => "Linux extended",
        0x86 | 0x87 => "NTFS volume set",
        0x88 => "Linux plaintext",
        0x93 => "Amoeba",
        0x94 => "Amoeba BBT",
        0x9F => "BSD/OS",
        0xA0 => "IBM Thinkpad hibernation",
        0xA7 => "NeXTSTEP",
        0xA8 => "Darwin UFS",
        0xAB => "Darwin boot",
        0xB7 => "BSDI fs",
        0xB8 => "BSDI swap",
        0xBB => "Boot Wizard hidden",
        0xBC => "Acronis Secure Zone",
        0xBE => "Solaris boot",
        0xC1 => "DRDOS/sec (FAT-12)",
        0xC4 => "DRDOS/sec (FAT-16 < 32M)",
        0xC6 => "DRDOS/sec (FAT-16)",
        0xC7 => "Syrinx",
        0xDA => "Non-FS data",
        0xDE => "Dell Utility",
        0xDF => "BootIt",
        0xE1 => "DOS access",
        0xE3 => "DOS R/O",
        0xEA => "Linux extended boot",
        0xEB => "BeOS fs",
        0xEE => "GPT protective",
        0xF0 => "Linux/PA-RISC boot",
        0xF2 => "DOS secondary",
        0xF8 => "EBBR protective",
        0xFB => "VMware VMFS",
        0xFC => "VMware VMKCORE",
        0xFE => "LANstep",
        0xFF => "Xenix bad block table",
        0x6C => "DragonFly BSD",
        _ => UNKNOWN,
    }
}

/// The name of the type of a partition in a BSD disk label, as fdisk has it.
pub(super) fn bsd(kind: u8, flavour: Flavour) -> &'static str {
    match (kind, flavour) {
        (1, _) => "swap",
        (7, _) => "4.2BSD",
        (8, _) => "MS-DOS",
        (9, _) => "4.4LFS",
        (11, _) => "HPFS",
        (12, _) => "ISO-9660",
        (13, _) => "boot",
        (17, _) => "ext2fs",
        (14, Flavour::Free) => "vinum",
        (15, Flavour::Free) | (19, Flavour::Open | Flavour::Net) => "RAID",
        (27, Flavour::Free) => "ZFS",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_words_of_upstream_where_it_has_some() {
        let found = [0x83, 0x82, 0xEF, 0x27, 0x42, 0xEB, 0x02].map(mbr);
        let expected = [LINUX_NATIVE, LINUX_SWAP, EFI_SYSTEM, WINDOWS_RECOVERY, WINDOWS_LDM, "BeOS fs", "XENIX root"];
        assert_eq!(found, expected);
        assert_eq!((mbr(0x29), bsd(7, Flavour::Net), bsd(99, Flavour::Open)), (UNKNOWN, "4.2BSD", UNKNOWN));
    }
}
