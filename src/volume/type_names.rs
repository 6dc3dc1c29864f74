//! What upstream calls the types of partitions (its `RTDvmVolumeTypeGetDescr`).

use super::bsd::Flavour;
use uuid::{Uuid, uuid};

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
        (14, Flavour::FreeBsd) => "vinum",
        (15, Flavour::FreeBsd) | (19, Flavour::OpenBsd | Flavour::NetBsd) => "RAID",
        (27, Flavour::FreeBsd) => "ZFS",
        _ => UNKNOWN,
    }
}

/// The name of a GPT partition type.
pub(super) fn gpt(kind: Uuid) -> &'static str {
    GPT.iter().find(|(uuid, _)| *uuid == kind).map_or(UNKNOWN, |(_, name)| name)
}

const GPT: [(Uuid, &str); 39] = [
    (uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), EFI_SYSTEM),
    (uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), "Basic data partition"),
    (uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"), "Microsoft reserved partition"),
    (uuid!("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"), "Windows LDM metadata"),
    (uuid!("af9b60a0-1431-4f62-bc68-3311714a69ad"), "Windows LDM data"),
    (uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac"), "Windows recovery partition"),
    (uuid!("e75caf8f-f680-4cee-afa3-b001e56efc2d"), "Windows storage spaces"),
    (uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), LINUX_SWAP),
    (uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"), LINUX_NATIVE),
    (uuid!("44479540-f297-41b2-9af7-d131d5f0458a"), LINUX_NATIVE), // root, x86
    (uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), LINUX_NATIVE), // root, x86-64
    (uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3"), LINUX_NATIVE), // root, 32-bit ARM
    (uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"), LINUX_NATIVE), // root, 64-bit ARM
    (uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), LINUX_LVM),
    (uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), LINUX_RAID),
    (uuid!("83bd6b9d-7f41-11dc-be0b-001560b84f0f"), FREEBSD), // boot
    (uuid!("516e7cb4-6ecf-11d6-8ff8-00022d09712b"), FREEBSD), // disk label
    (uuid!("516e7cb5-6ecf-11d6-8ff8-00022d09712b"), FREEBSD), // swap
    (uuid!("516e7cb6-6ecf-11d6-8ff8-00022d09712b"), FREEBSD), // UFS
    (uuid!("516e7cb8-6ecf-11d6-8ff8-00022d09712b"), FREEBSD), // Vinum
    (uuid!("516e7cba-6ecf-11d6-8ff8-00022d09712b"), FREEBSD), // ZFS
    (uuid!("49f48d32-b10e-11dc-b99b-0019d1879648"), NETBSD),  // swap
    (uuid!("49f48d5a-b10e-11dc-b99b-0019d1879648"), NETBSD),  // FFS
    (uuid!("49f48d82-b10e-11dc-b99b-0019d1879648"), NETBSD),  // LFS
    (uuid!("49f48daa-b10e-11dc-b99b-0019d1879648"), NETBSD),  // RAID
    (uuid!("2db519c4-b10f-11dc-b99b-0019d1879648"), NETBSD),  // concatenated
    (uuid!("2db519ec-b10f-11dc-b99b-0019d1879648"), NETBSD),  // encrypted
    (uuid!("48465300-0000-11aa-aa11-00306543ecac"), MAC_HFS),
    (uuid!("7c3457ef-0000-11aa-aa11-00306543ecac"), "Mac OS X APFS"),
    (uuid!("6a82cb45-1dd2-11b2-99a6-080020736631"), SOLARIS), // boot
    (uuid!("6a85cf4d-1dd2-11b2-99a6-080020736631"), SOLARIS), // root
    (uuid!("6a87c46f-1dd2-11b2-99a6-080020736631"), SOLARIS), // swap
    (uuid!("6a8b642b-1dd2-11b2-99a6-080020736631"), SOLARIS), // backup
    (uuid!("6a898cc3-1dd2-11b2-99a6-080020736631"), SOLARIS), // /usr
    (uuid!("6a8ef2e9-1dd2-11b2-99a6-080020736631"), SOLARIS), // /var
    (uuid!("6a90ba39-1dd2-11b2-99a6-080020736631"), SOLARIS), // /home
    (uuid!("6a9283a5-1dd2-11b2-99a6-080020736631"), SOLARIS), // alternate sectors
    (uuid!("37affc90-ef7d-4e96-91c3-2d7ae055b174"), "IBM GPFS"),
    (uuid!("90b6ff38-b98f-4358-a21f-48f35b4a8ad3"), "OS/2"), // ArcaOS
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_name() {
        for (i, (uuid, _)) in GPT.iter().enumerate() {
            assert!(GPT[i + 1..].iter().all(|(other, _)| other != uuid), "{uuid} is there twice");
        }
        let home = uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915");
        assert_eq!((gpt(home), mbr(0x39)), (UNKNOWN, UNKNOWN));
    }
}
