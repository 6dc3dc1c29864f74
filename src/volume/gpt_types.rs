//! The names of GPT partition types: the types that crate `gpt` knows, and others of the [Discoverable Partitions
//! Specification](https://uapi-group.org/specifications/specs/discoverable_partitions_specification/) and of util-linux
//! (`sfdisk --list-types`) that it lacks. Upstream's names where it has some, otherwise those of util-linux.

use super::type_names::UNKNOWN;
use gpt::partition_types as types;
use uuid::{Uuid, uuid};

/// The name of a GPT partition type.
pub(super) fn name(kind: Uuid) -> &'static str {
    match types::Type::from(kind) {
        types::MBR => "MBR partition scheme",
        types::EFI => "EFI system partition",
        types::BIOS => "BIOS boot",
        types::FLASH => "Intel Fast Flash",
        types::SONY_BOOT => "Sony boot",
        types::LENOVO_BOOT => "Lenovo boot",
        types::MICROSOFT_RESERVED => "Microsoft reserved partition",
        types::BASIC => "Basic data partition",
        types::WINDOWS_METADATA => "Windows LDM metadata",
        types::WINDOWS_DATA => "Windows LDM data",
        types::WINDOWS_RECOVERY => "Windows recovery partition",
        types::WINDOWS_PARALLEL => "IBM GPFS",
        types::WINDOWS_STORAGESPACES => "Windows storage spaces",
        types::HPUNIX_DATA => "HP-UX data",
        types::HPUNIX_SERVICE => "HP-UX service",
        types::LINUX_FS
        | types::LINUX_ROOT_X86
        | types::LINUX_ROOT_X64
        | types::LINUX_ROOT_ARM_32
        | types::LINUX_ROOT_ARM_64 => "Linux native",
        types::LINUX_RAID => "Linux SoftRaid",
        types::LINUX_SWAP => "Linux swap",
        types::LINUX_LVM => "Linux LVM",
        types::LINUX_HOME => "Linux home",
        types::LINUX_SRV => "Linux server data",
        types::LINUX_DMCRYPT => "Linux dm-crypt",
        types::LINUX_LUKS => "Linux LUKS",
        types::LINUX_RESERVED => "Linux reserved",
        types::FREEBSD_DATA
        | types::FREEBSD_BOOT
        | types::FREEBSD_SWAP
        | types::FREEBSD_UFS
        | types::FREEBSD_VINIUM
        | types::FREEBSD_ZFS => "FreeBSD",
        types::DRAGONFLY_DATA => "DragonFly BSD",
        types::MACOS_HFSPLUS => "Mac OS X HFS or HFS+",
        types::MACOS_UFS => "Apple UFS",
        types::MACOS_ZFS
        | types::SOLARIS_BOOT
        | types::SOLARIS_ROOT
        | types::SOLARIS_SWAP
        | types::SOLARIS_BACKUP
        | types::SOLARIS_VAR
        | types::SOLARIS_HOME
        | types::SOLARIS_ALT => "Solaris",
        types::MACOS_RAID => "Apple RAID",
        types::MACOS_RAID_OFFLINE => "Apple RAID offline",
        types::MACOS_RECOVERY => "Apple boot",
        types::MACOS_LABEL => "Apple label",
        types::MACOS_TV_RECOVERY => "Apple TV recovery",
        types::MACOS_CORE => "Apple Core Storage",
        types::MACOS_SOFTRAID_STATUS => "Apple SoftRAID status",
        types::MACOS_SOFTRAID_SCRATCH => "Apple SoftRAID scratch",
        types::MACOS_SOFTRAID_VOLUME => "Apple SoftRAID volume",
        types::MACOS_SOFTRAID_CACHE => "Apple SoftRAID cache",
        types::MACOS_APFS => "Mac OS X APFS",
        types::SOLARIS_RESERVED1 => "Solaris reserved 1",
        types::SOLARIS_RESERVED2 => "Solaris reserved 2",
        types::SOLARIS_RESERVED3 => "Solaris reserved 3",
        types::SOLARIS_RESERVED4 => "Solaris reserved 4",
        types::SOLARIS_RESERVED5 => "Solaris reserved 5",
        types::NETBSD_SWAP
        | types::NETBSD_FFS
        | types::NETBSD_LFS
        | types::NETBSD_RAID
        | types::NETBSD_CONCAT
        | types::NETBSD_ENCRYPTED => "NetBSD",
        types::CHROME_KERNEL => "ChromeOS kernel",
        types::CHROME_ROOTFS => "ChromeOS root fs",
        types::CHROME_FUTURE => "ChromeOS reserved",
        types::CHROME_RWFW => "ChromeOS firmware",
        types::COREOS_USR => "CoreOS /usr",
        types::COREOS_ROOTFS_RESIZE => "CoreOS root, resizable",
        types::COREOS_OEM => "CoreOS OEM",
        types::COREOS_ROOT_RAID => "CoreOS root on RAID",
        types::HAIKU_BFS => "Haiku BFS",
        types::MIDNIGHT_BOOT => "MidnightBSD boot",
        types::MIDNIGHT_DATA => "MidnightBSD data",
        types::MIDNIGHT_SWAP => "MidnightBSD swap",
        types::MIDNIGHT_UFS => "MidnightBSD UFS",
        types::MIDNIGHT_VINIUM => "MidnightBSD Vinum",
        types::MIDNIGHT_ZFS => "MidnightBSD ZFS",
        types::CEPH_JOURNAL => "Ceph Journal",
        types::CEPH_CRYPT_JOURNAL => "Ceph Encrypted Journal",
        types::CEPH_OSD => "Ceph OSD",
        types::CEPH_CRYPT => "Ceph crypt OSD",
        types::CEPH_DISK_CREATION => "Ceph disk in creation",
        types::CEPH_CRYPT_CREATION => "Ceph crypt disk in creation",
        types::OPENBSD_DATA => "OpenBSD",
        types::QNX_FS => "QNX6 file system",
        types::PLAN9_PART => "Plan 9",
        types::VMWARE_COREDUMP => "VMware Diagnostic",
        types::VMWARE_VMFS => "VMware VMFS",
        types::VMWARE_RESERVED => "VMware Reserved",
        types::ANDROID_BOOTLOADER | types::ANDROID_BOOTLOADER2 => "Android bootloader",
        types::ANDROID_BOOT => "Android boot",
        types::ANDROID_RECOVERY => "Android recovery",
        types::ANDROID_MISC => "Android misc",
        types::ANDROID_META => "Android meta",
        types::ANDROID_SYSTEM => "Android system",
        types::ANDROID_CACHE => "Android cache",
        types::ANDROID_DATA => "Android data",
        types::ANDROID_PERSISTENT => "Android persistent",
        types::ANDROID_FACTORY => "Android factory",
        types::ANDROID_FASTBOOT => "Android fastboot",
        types::ANDROID_OEM => "Android OEM",
        types::ONIE_BOOT => "ONIE boot",
        types::ONIE_CONFIG => "ONIE config",
        types::PPC_BOOT => "PowerPC PReP boot",
        types::FREEDESK_BOOT => "Linux extended boot",
        types::ATARI_DATA => "Atari data",
        _ => MORE.iter().find(|(uuid, _)| *uuid == kind).map_or(UNKNOWN, |(_, name)| name),
    }
}

/// Types that the crate does not know.
const MORE: [(Uuid, &str); 115] = [
    (uuid!("90b6ff38-b98f-4358-a21f-48f35b4a8ad3"), "OS/2"), // ArcaOS
    (uuid!("6523f8ae-3eb1-4e2a-a05a-18b695ae656f"), "Linux root (Alpha)"),
    (uuid!("d27f46ed-2919-4cb8-bd25-9531f3c16534"), "Linux root (ARC)"),
    (uuid!("993d8d3d-f80e-4225-855a-9daf8ed7ea97"), "Linux root (IA-64)"),
    (uuid!("77055800-792c-4f94-b39a-98c91b762bb6"), "Linux root (LoongArch-64)"),
    (uuid!("37c58c8a-d913-4156-a25f-48b1b64e07f0"), "Linux root (MIPS-32 LE)"),
    (uuid!("700bda43-7a34-4507-b179-eeb93d7a7ca3"), "Linux root (MIPS-64 LE)"),
    (uuid!("1de3f1ef-fa98-47b5-8dcd-4a860a654d78"), "Linux root (PPC)"),
    (uuid!("912ade1d-a839-4913-8964-a10eee08fbd2"), "Linux root (PPC64)"),
    (uuid!("c31c45e6-3f39-412e-80fb-4809c4980599"), "Linux root (PPC64LE)"),
    (uuid!("60d5a7fe-8e7d-435c-b714-3dd8162144e1"), "Linux root (RISC-V-32)"),
    (uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"), "Linux root (RISC-V-64)"),
    (uuid!("08a7acea-624c-4a20-91e8-6e0fa67d23f9"), "Linux root (S390)"),
    (uuid!("5eead9a9-fe09-4a1e-a1d7-520d00531306"), "Linux root (S390X)"),
    (uuid!("c50cdd70-3862-4cc3-90e1-809a8c93ee2c"), "Linux root (TILE-Gx)"),
    (uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), "Linux /var"),
    (uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1"), "Linux /var/tmp"),
    (uuid!("75250d76-8cc6-458e-bd66-bd47cc81a812"), "Linux /usr (x86)"),
    (uuid!("8484680c-9521-48c6-9c11-b0720656f69e"), "Linux /usr (x86-64)"),
    (uuid!("e18cf08c-33ec-4c0d-8246-c6c6fb3da024"), "Linux /usr (Alpha)"),
    (uuid!("7978a683-6316-4922-bbee-38bff5a2fecc"), "Linux /usr (ARC)"),
    (uuid!("7d0359a3-02b3-4f0a-865c-654403e70625"), "Linux /usr (ARM)"),
    (uuid!("b0e01050-ee5f-4390-949a-9101b17104e9"), "Linux /usr (ARM-64)"),
    (uuid!("4301d2a6-4e3b-4b2a-bb94-9e0b2c4225ea"), "Linux /usr (IA-64)"),
    (uuid!("e611c702-575c-4cbe-9a46-434fa0bf7e3f"), "Linux /usr (LoongArch-64)"),
    (uuid!("0f4868e9-9952-4706-979f-3ed3a473e947"), "Linux /usr (MIPS-32 LE)"),
    (uuid!("c97c1f32-ba06-40b4-9f22-236061b08aa8"), "Linux /usr (MIPS-64 LE)"),
    (uuid!("7d14fec5-cc71-415d-9d6c-06bf0b3c3eaf"), "Linux /usr (PPC)"),
    (uuid!("2c9739e2-f068-46b3-9fd0-01c5a9afbcca"), "Linux /usr (PPC64)"),
    (uuid!("15bb03af-77e7-4d4a-b12b-c0d084f7491c"), "Linux /usr (PPC64LE)"),
    (uuid!("b933fb22-5c3f-4f91-af90-e2bb0fa50702"), "Linux /usr (RISC-V-32)"),
    (uuid!("beaec34b-8442-439b-a40b-984381ed097d"), "Linux /usr (RISC-V-64)"),
    (uuid!("cd0f869b-d0fb-4ca0-b141-9ea87cc78d66"), "Linux /usr (S390)"),
    (uuid!("8a4f5770-50aa-4ed3-874a-99b710db6fea"), "Linux /usr (S390X)"),
    (uuid!("55497029-c7c1-44cc-aa39-815ed1558630"), "Linux /usr (TILE-Gx)"),
    (uuid!("d13c5d3b-b5d1-422a-b29f-9454fdc89d76"), "Linux root verity (x86)"),
    (uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"), "Linux root verity (x86-64)"),
    (uuid!("fc56d9e9-e6e5-4c06-be32-e74407ce09a5"), "Linux root verity (Alpha)"),
    (uuid!("24b2d975-0f97-4521-afa1-cd531e421b8d"), "Linux root verity (ARC)"),
    (uuid!("7386cdf2-203c-47a9-a498-f2ecce45a2d6"), "Linux root verity (ARM)"),
    (uuid!("df3300ce-d69f-4c92-978c-9bfb0f38d820"), "Linux root verity (ARM-64)"),
    (uuid!("86ed10d5-b607-45bb-8957-d350f23d0571"), "Linux root verity (IA-64)"),
    (uuid!("f3393b22-e9af-4613-a948-9d3bfbd0c535"), "Linux root verity (LoongArch-64)"),
    (uuid!("d7d150d2-2a04-4a33-8f12-16651205ff7b"), "Linux root verity (MIPS-32 LE)"),
    (uuid!("16b417f8-3e06-4f57-8dd2-9b5232f41aa6"), "Linux root verity (MIPS-64 LE)"),
    (uuid!("98cfe649-1588-46dc-b2f0-add147424925"), "Linux root verity (PPC)"),
    (uuid!("9225a9a3-3c19-4d89-b4f6-eeff88f17631"), "Linux root verity (PPC64)"),
    (uuid!("906bd944-4589-4aae-a4e4-dd983917446a"), "Linux root verity (PPC64LE)"),
    (uuid!("ae0253be-1167-4007-ac68-43926c14c5de"), "Linux root verity (RISC-V-32)"),
    (uuid!("b6ed5582-440b-4209-b8da-5ff7c419ea3d"), "Linux root verity (RISC-V-64)"),
    (uuid!("7ac63b47-b25c-463b-8df8-b4a94e6c90e1"), "Linux root verity (S390)"),
    (uuid!("b325bfbe-c7be-4ab8-8357-139e652d2f6b"), "Linux root verity (S390X)"),
    (uuid!("966061ec-28e4-4b2e-b4a5-1f0a825a1d84"), "Linux root verity (TILE-Gx)"),
    (uuid!("8f461b0d-14ee-4e81-9aa9-049b6fb97abd"), "Linux /usr verity (x86)"),
    (uuid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6"), "Linux /usr verity (x86-64)"),
    (uuid!("8cce0d25-c0d0-4a44-bd87-46331bf1df67"), "Linux /usr verity (Alpha)"),
    (uuid!("fca0598c-d880-4591-8c16-4eda05c7347c"), "Linux /usr verity (ARC)"),
    (uuid!("c215d751-7bcd-4649-be90-6627490a4c05"), "Linux /usr verity (ARM)"),
    (uuid!("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"), "Linux /usr verity (ARM-64)"),
    (uuid!("6a491e03-3be7-4545-8e38-83320e0ea880"), "Linux /usr verity (IA-64)"),
    (uuid!("f46b2c26-59ae-48f0-9106-c50ed47f673d"), "Linux /usr verity (LoongArch-64)"),
    (uuid!("46b98d8d-b55c-4e8f-aab3-37fca7f80752"), "Linux /usr verity (MIPS-32 LE)"),
    (uuid!("3c3d61fe-b5f3-414d-bb71-8739a694a4ef"), "Linux /usr verity (MIPS-64 LE)"),
    (uuid!("df765d00-270e-49e5-bc75-f47bb2118b09"), "Linux /usr verity (PPC)"),
    (uuid!("bdb528a5-a259-475f-a87d-da53fa736a07"), "Linux /usr verity (PPC64)"),
    (uuid!("ee2b9983-21e8-4153-86d9-b6901a54d1ce"), "Linux /usr verity (PPC64LE)"),
    (uuid!("cb1ee4e3-8cd0-4136-a0a4-aa61a32e8730"), "Linux /usr verity (RISC-V-32)"),
    (uuid!("8f1056be-9b05-47c4-81d6-be53128e5b54"), "Linux /usr verity (RISC-V-64)"),
    (uuid!("b663c618-e7bc-4d6d-90aa-11b756bb1797"), "Linux /usr verity (S390)"),
    (uuid!("31741cc4-1a2a-4111-a581-e00b447d2d06"), "Linux /usr verity (S390X)"),
    (uuid!("2fb4bf56-07fa-42da-8132-6b139f2026ae"), "Linux /usr verity (TILE-Gx)"),
    (uuid!("5996fc05-109c-48de-808b-23fa0830b676"), "Linux root verity signature (x86)"),
    (uuid!("41092b05-9fc8-4523-994f-2def0408b176"), "Linux root verity signature (x86-64)"),
    (uuid!("d46495b7-a053-414f-80f7-700c99921ef8"), "Linux root verity signature (Alpha)"),
    (uuid!("143a70ba-cbd3-4f06-919f-6c05683a78bc"), "Linux root verity signature (ARC)"),
    (uuid!("42b0455f-eb11-491d-98d3-56145ba9d037"), "Linux root verity signature (ARM)"),
    (uuid!("6db69de6-29f4-4758-a7a5-962190f00ce3"), "Linux root verity signature (ARM-64)"),
    (uuid!("e98b36ee-32ba-4882-9b12-0ce14655f46a"), "Linux root verity signature (IA-64)"),
    (uuid!("5afb67eb-ecc8-4f85-ae8e-ac1e7c50e7d0"), "Linux root verity signature (LoongArch-64)"),
    (uuid!("c919cc1f-4456-4eff-918c-f75e94525ca5"), "Linux root verity signature (MIPS-32 LE)"),
    (uuid!("904e58ef-5c65-4a31-9c57-6af5fc7c5de7"), "Linux root verity signature (MIPS-64 LE)"),
    (uuid!("1b31b5aa-add9-463a-b2ed-bd467fc857e7"), "Linux root verity signature (PPC)"),
    (uuid!("f5e2c20c-45b2-4ffa-bce9-2a60737e1aaf"), "Linux root verity signature (PPC64)"),
    (uuid!("d4a236e7-e873-4c07-bf1d-bf6cf7f1c3c6"), "Linux root verity signature (PPC64LE)"),
    (uuid!("3a112a75-8729-4380-b4cf-764d79934448"), "Linux root verity signature (RISC-V-32)"),
    (uuid!("efe0f087-ea8d-4469-821a-4c2a96a8386a"), "Linux root verity signature (RISC-V-64)"),
    (uuid!("3482388e-4254-435a-a241-766a065f9960"), "Linux root verity signature (S390)"),
    (uuid!("c80187a5-73a3-491a-901a-017c3fa953e9"), "Linux root verity signature (S390X)"),
    (uuid!("b3671439-97b0-4a53-90f7-2d5a8f3ad47b"), "Linux root verity signature (TILE-Gx)"),
    (uuid!("974a71c0-de41-43c3-be5d-5c5ccd1ad2c0"), "Linux /usr verity signature (x86)"),
    (uuid!("e7bb33fb-06cf-4e81-8273-e543b413e2e2"), "Linux /usr verity signature (x86-64)"),
    (uuid!("5c6e1c76-076a-457a-a0fe-f3b4cd21ce6e"), "Linux /usr verity signature (Alpha)"),
    (uuid!("94f9a9a1-9971-427a-a400-50cb297f0f35"), "Linux /usr verity signature (ARC)"),
    (uuid!("d7ff812f-37d1-4902-a810-d76ba57b975a"), "Linux /usr verity signature (ARM)"),
    (uuid!("c23ce4ff-44bd-4b00-b2d4-b41b3419e02a"), "Linux /usr verity signature (ARM-64)"),
    (uuid!("8de58bc2-2a43-460d-b14e-a76e4a17b47f"), "Linux /usr verity signature (IA-64)"),
    (uuid!("b024f315-d330-444c-8461-44bbde524e99"), "Linux /usr verity signature (LoongArch-64)"),
    (uuid!("3e23ca0b-a4bc-4b4e-8087-5ab6a26aa8a9"), "Linux /usr verity signature (MIPS-32 LE)"),
    (uuid!("f2c2c7ee-adcc-4351-b5c6-ee9816b66e16"), "Linux /usr verity signature (MIPS-64 LE)"),
    (uuid!("7007891d-d371-4a80-86a4-5cb875b9302e"), "Linux /usr verity signature (PPC)"),
    (uuid!("0b888863-d7f8-4d9e-9766-239fce4d58af"), "Linux /usr verity signature (PPC64)"),
    (uuid!("c8bfbd1e-268e-4521-8bba-bf314c399557"), "Linux /usr verity signature (PPC64LE)"),
    (uuid!("c3836a13-3137-45ba-b583-b16c50fe5eb4"), "Linux /usr verity signature (RISC-V-32)"),
    (uuid!("d2f9000a-7a18-453f-b5cd-4d32f77a7b32"), "Linux /usr verity signature (RISC-V-64)"),
    (uuid!("17440e4f-a8d0-467f-a46e-3912ae6ef2c5"), "Linux /usr verity signature (S390)"),
    (uuid!("3f324816-667b-46ae-86ee-9b0c0c6c11b4"), "Linux /usr verity signature (S390X)"),
    (uuid!("4ede75e2-6ccc-4cc8-b9c7-70334b087510"), "Linux /usr verity signature (TILE-Gx)"),
    (uuid!("773f91ef-66d4-49b5-bd83-d683bf40ad16"), "Linux user's home"),
    (uuid!("69646961-6700-11aa-aa11-00306543ecac"), "Apple Silicon boot"),
    (uuid!("52637672-7900-11aa-aa11-00306543ecac"), "Apple Silicon recovery"),
    (uuid!("381cfccc-7288-11e0-92ee-000c2911d0b2"), "VMware Virtual SAN"),
    (uuid!("77719a0c-a4a0-11e3-a47e-000c29745a24"), "VMware Virsto"),
    (uuid!("5b193300-fc78-40cd-8002-e86c45580b47"), "HiFive FSBL"),
    (uuid!("2e54b353-1271-4842-806f-e436d6af6985"), "HiFive BBL"),
    (uuid!("6828311a-ba55-42a4-bcde-a89bb5edecae"), "Marvell Armada 3700 Boot"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_name() {
        for (i, (uuid, _)) in MORE.iter().enumerate() {
            assert!(MORE[i + 1..].iter().all(|(other, _)| other != uuid), "{uuid} is there twice");
            assert_eq!(types::Type::from(*uuid).os, types::OperatingSystem::None, "{uuid} is known to the crate");
        }
        assert_eq!(name(Uuid::from_u128(1)), UNKNOWN);
    }

    /// `sfdisk --list-types` of util-linux, in whatever version is there.
    #[test]
    fn types_that_sfdisk_knows_have_names() {
        let listed = |label: &str| {
            let output =
                std::process::Command::new("sfdisk").args(["--list-types", "--label", label]).output().unwrap();
            let lines: Vec<String> =
                String::from_utf8(output.stdout).unwrap().lines().skip(2).map(str::to_owned).collect();
            assert!(lines.len() > 50, "{label}: {lines:?}");
            lines.into_iter().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect::<Vec<_>>()
        };
        let nameless = listed("gpt").into_iter().filter(|id| name(id.parse().unwrap()) == UNKNOWN);
        assert_eq!(nameless.collect::<Vec<_>>(), [""; 0]);
        let mbr = |id: &String| super::super::type_names::mbr(u8::from_str_radix(id, 16).unwrap());
        let nameless = listed("dos").into_iter().filter(|id| mbr(id) == UNKNOWN);
        assert_eq!(nameless.collect::<Vec<_>>(), ["0"]);
    }
}
