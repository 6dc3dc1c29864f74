//! The table of known contents of a volume. Opening and naming walk it in the same order. Most contents have a magic
//! number at a fixed offset, and their label and UUID at others.

use super::{Scan, bcache, ext_family, hpfs, minix, optical, volumes, zfs};
use crate::disk::Disk;
use crate::guestfs::apfs::Apfs;
use crate::guestfs::btrfs::Btrfs;
use crate::guestfs::content::Content;
use crate::guestfs::exfat::Exfat;
use crate::guestfs::ext::Ext;
use crate::guestfs::fat::{self, Fat};
use crate::guestfs::hfsplus::{self, HfsPlus};
use crate::guestfs::ntfs::Ntfs;
use crate::guestfs::squashfs::Squashfs;
use crate::guestfs::xfs::Xfs;
use crate::guestfs::{GuestFs, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::volume::boot_sector;
use std::sync::Arc;

/// Offset and form of a UUID.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uuid {
    None,
    /// 16 bytes in the order of its text.
    Raw(usize),
    /// A 32-bit serial number, little-endian, written as DOS does.
    Serial32(usize),
    /// A 64-bit serial number, little-endian.
    Serial64(usize),
    /// Two 32-bit words, little-endian.
    Words(usize),
}

/// Offset, maximum length in bytes, and encoding of a label.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    None,
    Bytes(usize, usize),
    /// Little-endian UTF-16.
    Utf16(usize, usize),
}

/// How a content is recognized, and where its label and UUID are.
pub(super) enum Find {
    /// A magic number at a fixed offset.
    Magic { name: &'static str, at: usize, magic: &'static [u8], uuid: Uuid, label: Label },
    /// Anything else.
    With(fn(&Scan<'_>) -> Result<Option<Content>>),
}

/// Opens a file system; `None` when the content only looked like one.
pub(crate) type Open = fn(Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>>;

/// A known content.
pub(crate) struct Signature {
    pub(super) find: Find,
    /// The reader of the file system; `None` for contents that are only named.
    pub(crate) open: Option<Open>,
}

impl Signature {
    const fn read_by(self, open: Open) -> Self {
        Self { open: Some(open), ..self }
    }
}

const fn known(name: &'static str, at: usize, magic: &'static [u8], uuid: Uuid, label: Label) -> Signature {
    Signature { find: Find::Magic { name, at, magic, uuid, label }, open: None }
}

const fn with(find: fn(&Scan<'_>) -> Result<Option<Content>>) -> Signature {
    Signature { find: Find::With(find), open: None }
}

fn reader<F: GuestFs + 'static>(opened: Result<F>) -> Result<Option<Box<dyn GuestFs>>> {
    Ok(Some(Box::new(opened?)))
}

const K: usize = 1024;

/// All known contents, in the order in which they are tried.
pub(crate) const SIGNATURES: &[Signature] = &[
    // Whatever encrypts, joins or splits volumes comes first: a file system found below it is a leftover.
    with(volumes::luks),
    with(volumes::lvm),
    with(volumes::raid_at_start),
    with(volumes::bitlocker),
    known("NTFS", 3, boot_sector::NTFS, Uuid::Serial64(72), Label::None).read_by(|v| reader(Ntfs::open(v))),
    known("exFAT", 3, boot_sector::EXFAT, Uuid::Serial32(100), Label::None).read_by(|v| reader(Exfat::open(v))),
    known("XFS", 0, b"XFSB", Uuid::Raw(32), Label::Bytes(108, 12)).read_by(|v| reader(Xfs::open(v))),
    known("btrfs", 64 * K + 64, b"_BHRfS_M", Uuid::Raw(64 * K + 32), Label::Bytes(64 * K + 299, 256))
        .read_by(|v| reader(Btrfs::open(v))),
    known("APFS", 32, b"NXSB", Uuid::Raw(72), Label::None).read_by(|v| reader(Apfs::open(v))),
    known("squashfs", 0, b"hsqs", Uuid::None, Label::None).read_by(|v| reader(Squashfs::open(v))),
    // Big-endian, which the reader refuses with a clear error.
    known("squashfs", 0, b"sqsh", Uuid::None, Label::None).read_by(|v| reader(Squashfs::open(v))),
    // Before optical disks, whose signatures survive a quick format as FAT, and before ext, whose two-byte magic number
    // lies within the tables of a small FAT.
    with(|scan| Ok(fat::content(scan.near()))).read_by(|v| reader(Fat::open(v))),
    // Before HFS+, which hybrid disks have as well.
    with(optical).read_by(|v| crate::guestfs::optical::open(&v)),
    with(|scan| Ok(hfsplus::content(scan.near()))).read_by(|v| reader(HfsPlus::open(v))),
    with(ext_family).read_by(|v| reader(Ext::open(v))),
    // From here on, contents that are only named.
    with(|scan| Ok(hfsplus::classic(scan.near()))),
    known("ReFS", 3, b"ReFS\0", Uuid::None, Label::None),
    swap(4 * K, b"SWAPSPACE2"),
    swap(8 * K, b"SWAPSPACE2"),
    swap(16 * K, b"SWAPSPACE2"),
    swap(32 * K, b"SWAPSPACE2"),
    swap(64 * K, b"SWAPSPACE2"),
    // The first version has neither label nor UUID.
    known("swap", 4 * K - 10, b"SWAP-SPACE", Uuid::None, Label::None),
    suspended(4 * K, b"S1SUSPEND"),
    suspended(4 * K, b"S2SUSPEND"),
    suspended(4 * K, b"ULSUSPEND"),
    suspended(4 * K, b"LINHIB0001"),
    suspended(64 * K, b"S1SUSPEND"),
    suspended(64 * K, b"S2SUSPEND"),
    known("F2FS", K, &0xF2F5_2010_u32.to_le_bytes(), Uuid::Raw(K + 108), Label::Utf16(K + 124, 1024)),
    known("erofs", K, &0xE0F5_E1E2_u32.to_le_bytes(), Uuid::Raw(K + 48), Label::Bytes(K + 64, 16)),
    // Includes the version before the magic number, which is short.
    known("NILFS2", K, &[2, 0, 0, 0, 0, 0, 0x34, 0x34], Uuid::Raw(K + 152), Label::Bytes(K + 168, 80)),
    known("JFS", 32 * K, b"JFS1", Uuid::Raw(32 * K + 136), Label::Bytes(32 * K + 152, 16)),
    known("ReiserFS", 64 * K + 52, b"ReIsErFs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    known("ReiserFS", 64 * K + 52, b"ReIsEr2Fs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    known("ReiserFS", 64 * K + 52, b"ReIsEr3Fs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    known("ReiserFS", 8 * K + 52, b"ReIsErFs", Uuid::None, Label::None),
    known("Reiser4", 64 * K, b"ReIsEr4", Uuid::Raw(64 * K + 20), Label::Bytes(64 * K + 36, 16)),
    known("bcachefs", 4 * K + 24, &BCACHEFS, Uuid::Raw(4 * K + 56), Label::Bytes(4 * K + 72, 32)),
    with(bcache),
    known(
        "UFS",
        64 * K + 1372,
        &0x1954_0119_u32.to_le_bytes(),
        Uuid::Words(64 * K + 144),
        Label::Bytes(64 * K + 680, 32),
    ),
    known(
        "UFS",
        256 * K + 1372,
        &0x1954_0119_u32.to_le_bytes(),
        Uuid::Words(256 * K + 144),
        Label::Bytes(256 * K + 680, 32),
    ),
    known("UFS", 8 * K + 1372, &0x1954_0119_u32.to_le_bytes(), Uuid::Words(8 * K + 144), Label::Bytes(8 * K + 680, 32)),
    known("UFS", 8 * K + 1372, &0x0001_1954_u32.to_le_bytes(), Uuid::Words(8 * K + 144), Label::None),
    known("UFS", 8 * K + 1372, &0x0001_1954_u32.to_be_bytes(), Uuid::None, Label::None),
    known("UFS", 64 * K + 1372, &0x0001_1954_u32.to_le_bytes(), Uuid::Words(64 * K + 144), Label::None),
    // The magic number and the kind of block, a superblock.
    known("GFS2", 64 * K, &[1, 0x16, 0x19, 0x70, 0, 0, 0, 1], Uuid::Raw(64 * K + 256), Label::Bytes(64 * K + 160, 64)),
    ocfs2(K),
    ocfs2(2 * K),
    ocfs2(4 * K),
    ocfs2(8 * K),
    known("cramfs", 0, &0x28CD_3D45_u32.to_le_bytes(), Uuid::None, Label::Bytes(48, 16)),
    known("cramfs", 0, &0x28CD_3D45_u32.to_be_bytes(), Uuid::None, Label::Bytes(48, 16)),
    known("romfs", 0, b"-rom1fs-", Uuid::None, Label::Bytes(16, 16)),
    known("dm-verity hashes", 0, b"verity\0\0", Uuid::Raw(16), Label::None),
    known("dm-integrity", 0, b"integrt\0", Uuid::None, Label::None),
    known("Stratis member", 512 + 4, b"!Stra0tis\x86\xff\x02^\x41rh", Uuid::None, Label::None),
    known("VDO", 0, b"dmvdo001", Uuid::Raw(40), Label::None),
    with(hpfs),
    with(zfs::find),
    with(minix),
    // Contents whose signature is far from the start.
    with(volumes::vmfs),
    with(volumes::raid_at_end),
];

const BCACHEFS: [u8; 16] =
    [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF];
pub(super) const BCACHE: [u8; 16] =
    [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81];

/// The magic number is at the end of the first page, whose size depends on the machine.
const fn swap(page: usize, magic: &'static [u8]) -> Signature {
    known("swap", page - 10, magic, Uuid::Raw(1036), Label::Bytes(1052, 16))
}

/// Swap space that holds a suspended system.
const fn suspended(page: usize, magic: &'static [u8]) -> Signature {
    known("suspended swap", page - 10, magic, Uuid::Raw(1036), Label::Bytes(1052, 16))
}

/// The superblock is the third block, of 512 to 4096 bytes.
const fn ocfs2(at: usize) -> Signature {
    known("OCFS2", at, b"OCFSV2", Uuid::Raw(at + 0x150), Label::Bytes(at + 0x110, 64))
}

/// A UUID stored in the order of its text; empty when it is all zeros.
pub(super) fn uuid(f: &Fields<'_>, at: usize) -> std::result::Result<String, ParseError> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(at, 16)?);
    Ok(if raw == [0; 16] { String::new() } else { uuid::Uuid::from_bytes(raw).to_string() })
}

/// Decodes little-endian UTF-16 up to the first zero.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|raw| u16::from_le_bytes(*raw));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
