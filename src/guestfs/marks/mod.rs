//! The marks that file systems, encryption and volume managers leave on a volume. Places and names are those of
//! `blkid`, which is the system's own tool for that (<https://github.com/util-linux/util-linux>, `libblkid`).

mod table;
mod zfs;

use super::detect::Content;
use super::dos::serial;
use super::{ext, fat};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use table::{Label, MARKS, Mark, Uuid};

/// Bytes from the start of the volume that nearly all marks are in: up to the end of the first label of ZFS and of the
/// last superblock of UFS.
pub(super) const HEAD: u64 = 272 << 10;
/// Bytes from the start that [`contained`] looks at.
pub(super) const CONTAINER_HEAD: usize = 4100;
/// Where VMFS has its two marks, behind [`HEAD`], with how many bytes of each are looked at.
pub(super) const FAR: [u64; 2] = [1 << 20, 2 << 20];
pub(super) const FAR_LEN: u64 = 256;

/// The first mark of a volume's first bytes that fits. What contains another volume comes first: what lies under it is
/// its own, and may be left over from before.
pub(super) fn of_head(head: &[u8]) -> Option<Content> {
    let f = Fields::new("start of the volume", head, 0);
    // A mark that the volume is too small for is not there.
    contained(head)
        // Before the mark of ext, which is of two bytes only and lies in the tables of a small FAT.
        .or_else(|| fat::content(head))
        .or_else(|| ext_family(&f, head).ok().flatten())
        .or_else(|| MARKS.iter().find_map(|mark| content(mark, &f, head)))
        .or_else(|| zfs::find(&f, head))
        .or_else(|| minix(&f).ok().flatten())
}

/// Where Linux RAID has its metadata when it is at the end: versions 1.0 and 0.90, on a volume of so many bytes.
pub(super) fn raid_ends(size: u64) -> [Option<u64>; 2] {
    let old = (size & !0xFFFF).checked_sub(64 << 10);
    [(size / 512).checked_sub(16).map(|sector| (sector & !7) * 512), old]
}

/// A member of a Linux RAID by what is at [`raid_ends`].
pub(super) fn of_ends(parts: [&[u8]; 2]) -> Option<Content> {
    let [new, old] = parts.map(|bytes| Fields::new("end of the volume", bytes, 0));
    raid(&new, parts[0], 0).or_else(|| {
        parts[1].starts_with(&RAID.to_le_bytes()).then_some(())?;
        // The UUID is in four words, the first of them apart from the others (`mdp_superblock_s`).
        let words = [old.bytes(20, 4).ok()?, old.bytes(52, 12).ok()?].concat();
        Some(Content {
            uuid: table::uuid(&Fields::new("UUID", &words, 0), 0).ok()?,
            ..Content::named("Linux RAID member")
        })
    })
}

/// The marks of VMFS, in the bytes from [`FAR`] on.
pub(super) fn of_far(parts: [&[u8]; 2]) -> Option<Content> {
    let [member, file_system] = parts;
    if file_system.starts_with(&0x2FAB_F15E_u32.to_le_bytes()) {
        let f = Fields::new("VMFS", file_system, FAR[1]);
        return Some(Content { label: f.text(0x1D, 128).unwrap_or_default(), ..Content::named("VMFS") });
    }
    member.starts_with(&0xC001_D00D_u32.to_le_bytes()).then(|| Content::named("VMFS volume member"))
}

/// What encrypts, joins or splits volumes, by the volume's first bytes.
pub(super) fn contained(head: &[u8]) -> Option<Content> {
    let f = Fields::new("start of the volume", head, 0);
    luks(&f, head).or_else(|| lvm(&f, head)).or_else(|| raid(&f, head, 0)).or_else(|| raid(&f, head, 4096)).or_else(
        || {
            let at = |place: usize, mark: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(mark));
            // The second form is of removable media: a FAT to Windows versions that do not know it.
            let to_go = at(3, b"MSWIN4.1") && at(424, &BITLOCKER_TO_GO);
            (at(3, b"-FVE-FS-") || to_go).then(|| Content::named("BitLocker"))
        },
    )
}

/// The GUID 4967D63B-2E29-4AD8-8399-F6A339E3D001 as it is stored.
const BITLOCKER_TO_GO: [u8; 16] =
    [0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01];

fn luks(f: &Fields<'_>, head: &[u8]) -> Option<Content> {
    if !head.starts_with(b"LUKS\xba\xbe") {
        return None;
    }
    // Version 2 has a label; in version 1 those bytes are the cipher's name.
    let (name, label) = match f.u16_be(6).ok()? {
        1 => ("LUKS1", String::new()),
        _ => ("LUKS2", f.text(24, 48).ok()?),
    };
    Some(Content { uuid: f.text(168, 40).ok()?, label, ..Content::named(name) })
}

/// A physical volume of LVM: its label is in one of the first four sectors.
fn lvm(f: &Fields<'_>, head: &[u8]) -> Option<Content> {
    let at = |place: usize, mark: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(mark));
    let label = (0..4).map(|sector| sector * 512).find(|at_| at(*at_, b"LABELONE") && at(at_ + 24, b"LVM2 001"))?;
    let header = f.u32_le(label + 20).ok().and_then(|offset| usize::try_from(offset).ok());
    let uuid = header.and_then(|offset| f.text(label.checked_add(offset)?, 32).ok()).unwrap_or_default();
    // Groups of 6, 4, 4, 4, 4, 4 and 6 characters.
    let parts = [(0, 6), (6, 10), (10, 14), (14, 18), (18, 22), (22, 26), (26, 32)];
    let parts: Option<Vec<&str>> = parts.iter().map(|(start, end)| uuid.get(*start..*end)).collect();
    Some(Content { uuid: parts.map_or_else(String::new, |parts| parts.join("-")), ..Content::named("LVM member") })
}

/// `md_magic`.
const RAID: u32 = 0xA92B_4EFC;

/// A member of a Linux RAID with metadata of version 1 at `at`: `mdp_superblock_1` of the kernel.
fn raid(f: &Fields<'_>, head: &[u8], at: usize) -> Option<Content> {
    head.get(at..).filter(|rest| rest.starts_with(&RAID.to_le_bytes()))?;
    Some(Content {
        uuid: table::uuid(f, at + 16).unwrap_or_default(),
        label: f.text(at + 32, 32).unwrap_or_default(),
        ..Content::named("Linux RAID member")
    })
}

fn ext_family(f: &Fields<'_>, head: &[u8]) -> Result<Option<Content>, ParseError> {
    if !ext::probe(head) {
        return Ok(None);
    }
    Ok(Some(Content {
        label: f.text(1024 + 0x78, 16)?,
        uuid: table::uuid(f, 1024 + 0x68)?,
        ..Content::named(ext::type_name(head))
    }))
}

fn content(mark: &Mark, f: &Fields<'_>, head: &[u8]) -> Option<Content> {
    head.get(mark.at..).filter(|rest| rest.starts_with(mark.magic))?;
    let uuid = match mark.uuid {
        Uuid::None => Ok(String::new()),
        Uuid::Raw(at) => table::uuid(f, at),
        Uuid::Serial32(at) => f.u32_le(at).map(serial),
        Uuid::Serial64(at) => f.u64_le(at).map(|number| format!("{number:016X}")),
        Uuid::Words(at) => f.u32_le(at).and_then(|first| Ok(format!("{first:08x}{:08x}", f.u32_le(at + 4)?))),
    };
    let label = match mark.label {
        Label::None => Ok(String::new()),
        Label::Bytes(at, len) => f.text(at, len),
        Label::Utf16(at, len) => f.bytes(at, len).map(table::utf16),
    };
    Some(Content {
        uuid: uuid.unwrap_or_default(),
        label: label.unwrap_or_default().trim_end().to_owned(),
        ..Content::named(mark.name)
    })
}

/// Minix has magic numbers of two bytes only, so its counts must make sense together (`struct minix_super_block`).
fn minix(f: &Fields<'_>) -> Result<Option<Content>, ParseError> {
    const AT: usize = 1024;
    let third = f.u16_le(AT + 24)? == 0x4D5A;
    if !third && !matches!(f.u16_le(AT + 16)?, 0x137F | 0x138F | 0x2468 | 0x2478) {
        return Ok(None);
    }
    let (inodes, maps) = if third { (f.u32_le(AT)?, AT + 6) } else { (u32::from(f.u16_le(AT)?), AT + 4) };
    let (inode_map, zone_map, first_zone) = (f.u16_le(maps)?, f.u16_le(maps + 2)?, f.u16_le(maps + 4)?);
    // Each block of the map of inodes has 8192 bits at least.
    let sane = inodes > 0 && u32::from(inode_map) >= inodes.div_ceil(8 * 4096) && zone_map > 0;
    Ok((sane && u32::from(first_zone) > u32::from(inode_map) + u32::from(zone_map)).then(|| Content::named("minix")))
}
