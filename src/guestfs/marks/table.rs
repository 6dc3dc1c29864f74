//! Marks that are a magic number at one place, with label and UUID at others.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Where and how a UUID is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uuid {
    None,
    /// 16 bytes in the order of its text.
    Raw(usize),
    /// A serial number of 32 bits, little-endian, as DOS writes it.
    Serial32(usize),
    /// One of 64 bits.
    Serial64(usize),
    /// Two words of 32 bits, little-endian.
    Words(usize),
}

/// Where and how a label is stored: its first byte and how many bytes it may have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    None,
    Bytes(usize, usize),
    /// Little-endian.
    Utf16(usize, usize),
}

#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) at: usize,
    pub(super) magic: &'static [u8],
    pub(super) uuid: Uuid,
    pub(super) label: Label,
}

const fn mark(name: &'static str, at: usize, magic: &'static [u8], uuid: Uuid, label: Label) -> Mark {
    Mark { name, at, magic, uuid, label }
}

const K: usize = 1024;

/// The magic numbers, the surest first.
pub(super) const MARKS: [Mark; 52] = [
    mark("XFS", 0, b"XFSB", Uuid::Raw(32), Label::Bytes(108, 12)),
    mark("btrfs", 64 * K + 64, b"_BHRfS_M", Uuid::Raw(64 * K + 32), Label::Bytes(64 * K + 299, 256)),
    mark("NTFS", 3, b"NTFS    ", Uuid::Serial64(72), Label::None),
    mark("ReFS", 3, b"ReFS\0", Uuid::None, Label::None),
    mark("exFAT", 3, b"EXFAT   ", Uuid::Serial32(100), Label::None),
    swap(4 * K, b"SWAPSPACE2"),
    swap(8 * K, b"SWAPSPACE2"),
    swap(16 * K, b"SWAPSPACE2"),
    swap(32 * K, b"SWAPSPACE2"),
    swap(64 * K, b"SWAPSPACE2"),
    // The first version has neither label nor UUID.
    mark("swap", 4 * K - 10, b"SWAP-SPACE", Uuid::None, Label::None),
    suspended(4 * K, b"S1SUSPEND"),
    suspended(4 * K, b"S2SUSPEND"),
    suspended(4 * K, b"ULSUSPEND"),
    suspended(4 * K, b"LINHIB0001"),
    suspended(64 * K, b"S1SUSPEND"),
    suspended(64 * K, b"S2SUSPEND"),
    mark("HFS+", K, b"H+", Uuid::None, Label::None),
    mark("HFS+", K, b"HX", Uuid::None, Label::None),
    mark("APFS", 32, b"NXSB", Uuid::Raw(72), Label::None),
    mark("ISO 9660", 0x8001, b"CD001", Uuid::None, Label::Bytes(0x8028, 32)),
    mark("UDF", 0x8001, b"BEA01", Uuid::None, Label::None),
    mark("squashfs", 0, b"hsqs", Uuid::None, Label::None),
    mark("F2FS", K, &0xF2F5_2010_u32.to_le_bytes(), Uuid::Raw(K + 108), Label::Utf16(K + 124, 1024)),
    mark("erofs", K, &0xE0F5_E1E2_u32.to_le_bytes(), Uuid::Raw(K + 48), Label::Bytes(K + 64, 16)),
    // With the number of the version before the magic number, which is short.
    mark("NILFS2", K, &[2, 0, 0, 0, 0, 0, 0x34, 0x34], Uuid::Raw(K + 152), Label::Bytes(K + 168, 80)),
    mark("JFS", 32 * K, b"JFS1", Uuid::Raw(32 * K + 136), Label::Bytes(32 * K + 152, 16)),
    mark("ReiserFS", 64 * K + 52, b"ReIsErFs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    mark("ReiserFS", 64 * K + 52, b"ReIsEr2Fs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    mark("ReiserFS", 64 * K + 52, b"ReIsEr3Fs", Uuid::Raw(64 * K + 84), Label::Bytes(64 * K + 100, 16)),
    mark("ReiserFS", 8 * K + 52, b"ReIsErFs", Uuid::None, Label::None),
    mark("Reiser4", 64 * K, b"ReIsEr4", Uuid::Raw(64 * K + 20), Label::Bytes(64 * K + 36, 16)),
    mark("bcachefs", 4 * K + 24, &BCACHEFS, Uuid::Raw(4 * K + 56), Label::Bytes(4 * K + 72, 32)),
    mark("bcache", 4 * K + 24, &BCACHE, Uuid::Raw(4 * K + 40), Label::None),
    mark(
        "UFS",
        64 * K + 1372,
        &0x1954_0119_u32.to_le_bytes(),
        Uuid::Words(64 * K + 144),
        Label::Bytes(64 * K + 680, 32),
    ),
    mark(
        "UFS",
        256 * K + 1372,
        &0x1954_0119_u32.to_le_bytes(),
        Uuid::Words(256 * K + 144),
        Label::Bytes(256 * K + 680, 32),
    ),
    mark("UFS", 8 * K + 1372, &0x1954_0119_u32.to_le_bytes(), Uuid::Words(8 * K + 144), Label::Bytes(8 * K + 680, 32)),
    mark("UFS", 8 * K + 1372, &0x0001_1954_u32.to_le_bytes(), Uuid::Words(8 * K + 144), Label::None),
    mark("UFS", 8 * K + 1372, &0x0001_1954_u32.to_be_bytes(), Uuid::None, Label::None),
    mark("UFS", 64 * K + 1372, &0x0001_1954_u32.to_le_bytes(), Uuid::Words(64 * K + 144), Label::None),
    // The magic number and the kind of block, a superblock.
    mark("GFS2", 64 * K, &[1, 0x16, 0x19, 0x70, 0, 0, 0, 1], Uuid::Raw(64 * K + 256), Label::Bytes(64 * K + 160, 64)),
    ocfs2(K),
    ocfs2(2 * K),
    ocfs2(4 * K),
    ocfs2(8 * K),
    mark("HPFS", 8 * K, &0xF995_E849_u32.to_le_bytes(), Uuid::None, Label::None),
    mark("cramfs", 0, &0x28CD_3D45_u32.to_le_bytes(), Uuid::None, Label::None),
    mark("romfs", 0, b"-rom1fs-", Uuid::None, Label::Bytes(16, 16)),
    mark("dm-verity hashes", 0, b"verity\0\0", Uuid::Raw(16), Label::None),
    mark("dm-integrity", 0, b"integrt\0", Uuid::None, Label::None),
    mark("Stratis member", 512 + 4, b"!Stra0tis\x86\xff\x02^\x41rh", Uuid::None, Label::None),
    mark("VDO", 0, b"dmvdo001", Uuid::None, Label::None),
];

const BCACHEFS: [u8; 16] =
    [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF];
const BCACHE: [u8; 16] =
    [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81];

/// Swap space ends its first page, whose size is that of the machine, with its magic number.
const fn swap(page: usize, magic: &'static [u8]) -> Mark {
    mark("swap", page - 10, magic, Uuid::Raw(1036), Label::Bytes(1052, 16))
}

/// Swap space that a suspended system is in.
const fn suspended(page: usize, magic: &'static [u8]) -> Mark {
    mark("suspended swap", page - 10, magic, Uuid::Raw(1036), Label::Bytes(1052, 16))
}

/// Its superblock is the third block of 512 to 4096 bytes.
const fn ocfs2(at: usize) -> Mark {
    mark("OCFS2", at, b"OCFSV2", Uuid::Raw(at + 0x150), Label::Bytes(at + 0x110, 64))
}

/// A UUID in the order of its text; empty when all of it is zero.
pub(super) fn uuid(f: &Fields<'_>, at: usize) -> Result<String, ParseError> {
    let mut raw = [0; 16];
    raw.copy_from_slice(f.bytes(at, 16)?);
    Ok(if raw == [0; 16] { String::new() } else { uuid::Uuid::from_bytes(raw).to_string() })
}

/// Little-endian UTF-16 up to its first zero.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|raw| u16::from_le_bytes(*raw));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
