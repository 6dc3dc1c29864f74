//! Archives and compressed files, by content. Where the signature is short, what follows it is checked too.

use super::Kind;
use crate::image::Sample;
use crate::storage::archive::is_tar;
use std::io::Read;

const EXTRACT: &str = "extract it and give the disk image in it";
/// A box of Vagrant is a tar archive too, compressed or not.
const DECOMPRESS: &str = "decompress it, extract it if that gives a tar archive, and give the disk image";

type Check = fn(&[u8]) -> bool;

/// What the content must be, the name, and what to do.
const ARCHIVES: [(Check, &str, &str); 16] = [
    (is_tar, "a tar archive, such as an appliance (.ova) or a box of Vagrant", EXTRACT),
    (is_gzip, "a file compressed by gzip", DECOMPRESS),
    (is_bzip2, "a file compressed by bzip2", DECOMPRESS),
    (is_xz, "a file compressed by xz", DECOMPRESS),
    (is_zstd, "a file compressed by zstd", DECOMPRESS),
    (is_lz4, "a file compressed by lz4", DECOMPRESS),
    (|head| head.starts_with(b"LZIP\x01"), "a file compressed by lzip", DECOMPRESS),
    (|head| head.starts_with(b"\x89LZO\0\r\n\x1A\n"), "a file compressed by lzop", DECOMPRESS),
    (is_zip, "a zip archive", EXTRACT),
    (is_7z, "a 7-Zip archive", EXTRACT),
    (|head| head.starts_with(b"Rar!\x1A\x07\0") || head.starts_with(b"Rar!\x1A\x07\x01\0"), "a RAR archive", EXTRACT),
    (is_cabinet, "a cabinet archive of Windows", EXTRACT),
    (is_cpio, "a cpio archive", EXTRACT),
    (|head| head.starts_with(b"!<arch>\n"), "an ar archive, such as a package of Debian", EXTRACT),
    (
        |head| head.starts_with(b"\xED\xAB\xEE\xDB\x03") || head.starts_with(b"\xED\xAB\xEE\xDB\x04"),
        "an RPM package",
        EXTRACT,
    ),
    (|head| head.starts_with(b"xar!\0\x1C\0\x01"), "a xar archive, such as a package of macOS", EXTRACT),
];

/// Signatures of which only the name of the file makes sure: its extension, the bytes, and what they begin.
const NAMED: [(&str, &[u8], &str); 8] = [
    ("gz", b"\x1F\x8B\x08", "a file compressed by gzip"),
    ("tgz", b"\x1F\x8B\x08", "a file compressed by gzip"),
    ("bz2", b"BZh", "a file compressed by bzip2"),
    ("xz", b"\xFD7zXZ\0", "a file compressed by xz"),
    ("zst", b"\x28\xB5\x2F\xFD", "a file compressed by zstd"),
    ("zip", b"PK\x03\x04", "a zip archive"),
    ("z", b"\x1F\x9D", "a file compressed by compress"),
    ("lzma", b"\x5D\0\0", "a file compressed by lzma"),
];

pub(super) fn identify(sample: &Sample) -> Option<Kind> {
    let extension = sample.path.extension().unwrap_or_default();
    let by_content = ARCHIVES.iter().find(|(is, ..)| is(&sample.head));
    let by_name =
        || NAMED.iter().find(|(end, magic, _)| extension.eq_ignore_ascii_case(end) && sample.starts_with(0, magic));
    by_content
        .map(|(_, what, advice)| compressed_tar(sample).unwrap_or_else(|| Kind::new(*what, *advice)))
        .or_else(|| by_name().map(|(.., what)| Kind::new(*what, DECOMPRESS)))
}

/// A tar archive that gzip compressed, as most boxes of Vagrant are. To read in it would take a copy of all of it.
fn compressed_tar(sample: &Sample) -> Option<Kind> {
    let mut header = [0; 512];
    flate2::bufread::GzDecoder::new(&*sample.head).read_exact(&mut header).ok()?;
    is_tar(&header).then(|| {
        let path = sample.path.display();
        Kind::new(
            "a tar archive compressed by gzip, such as a box of Vagrant",
            format!("extract it with tar -xzf '{path}' -C DIR, and give the OVF description in it with -i DIR/box.ovf, or the disk image"),
        )
    })
}

/// RFC 1952: method 8, no reserved flag, and data that decode.
fn is_gzip(head: &[u8]) -> bool {
    const RESERVED: u8 = 0xE0;
    head.starts_with(b"\x1F\x8B\x08") && head.get(3).is_some_and(|flags| flags & RESERVED == 0) && {
        let mut decoder = flate2::bufread::GzDecoder::new(head);
        let mut out = [0; 4096];
        let mut len = 0;
        loop {
            match decoder.read(&mut out[len..]) {
                // The end of the file, with its checksum, or as much as is examined.
                Ok(0) => return true,
                Ok(read) => len += read,
                // A name or data that are longer than the sample.
                Err(error) => {
                    return error.kind() == std::io::ErrorKind::UnexpectedEof && (len > 0 || head.len() > 512);
                }
            }
        }
    }
}

/// The level and the magic number of a block, or of the end of an empty file.
fn is_bzip2(head: &[u8]) -> bool {
    let block = head.get(4..10).unwrap_or_default();
    head.starts_with(b"BZh")
        && head.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
        && [b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"].iter().any(|magic| block == *magic)
}

/// The stream flags with their CRC-32 (section 2.1.1 of the format's description).
fn is_xz(head: &[u8]) -> bool {
    let crc = head.get(6..8).map(crc32fast::hash);
    head.starts_with(b"\xFD7zXZ\0") && crc.is_some_and(|crc| head[8..].starts_with(&crc.to_le_bytes()))
}

/// RFC 8878: no reserved bit in the frame header, and no block of the reserved type after it.
fn is_zstd(head: &[u8]) -> bool {
    let Some(descriptor) = head.get(4).filter(|descriptor| *descriptor & 8 == 0) else { return false };
    let single = descriptor >> 5 & 1;
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let block = 5 + usize::from(1 - single) + dictionary + size;
    let kind = head.get(block).map(|byte| byte >> 1 & 3);
    head.starts_with(b"\x28\xB5\x2F\xFD") && kind.is_some_and(|kind| kind != 3)
}

/// The frame descriptor has version 1 and no reserved bits.
fn is_lz4(head: &[u8]) -> bool {
    let flags = |at: usize, mask: u8| head.get(at).map(|byte| byte & mask);
    head.starts_with(b"\x04\x22\x4D\x18")
        && flags(4, 0xC2) == Some(0x40)
        && flags(5, 0x8F) == Some(0)
        && flags(5, 0x70) >= Some(0x40)
}

/// A local file header with a known method and a name; or the end of an archive without files, or one in parts.
fn is_zip(head: &[u8]) -> bool {
    let number = |at: usize| head.get(at..at + 2).map(|raw| u16::from_le_bytes([raw[0], raw[1]]));
    let is_file = number(4).is_some_and(|version| version & 0xFF <= 63)
        && number(8).is_some_and(|method| matches!(method, 0..=20 | 93..=99))
        && number(26).is_some_and(|len| (1..=4096).contains(&len));
    head.starts_with(b"PK\x03\x04") && is_file
        || head.starts_with(b"PK\x05\x06\0\0\0\0\0\0\0\0")
        || head.starts_with(b"PK\x07\x08PK\x03\x04")
}

/// The start header has the CRC-32 that is stored before it.
fn is_7z(head: &[u8]) -> bool {
    let crc = head.get(12..32).map(crc32fast::hash);
    head.starts_with(b"7z\xBC\xAF\x27\x1C") && crc.is_some_and(|crc| head[8..].starts_with(&crc.to_le_bytes()))
}

/// `CFHEADER` with its reserved fields, and version 1.3.
fn is_cabinet(head: &[u8]) -> bool {
    let zeros = |at: usize| head.get(at..at + 4) == Some(&[0; 4]);
    head.starts_with(b"MSCF") && zeros(4) && zeros(12) && zeros(20) && head.get(24..26) == Some(&[3, 1])
}

/// The formats with numbers in text, up to the end of their headers.
fn is_cpio(head: &[u8]) -> bool {
    let all =
        |range: std::ops::Range<usize>, is: fn(&u8) -> bool| head.get(range).is_some_and(|text| text.iter().all(is));
    (head.starts_with(b"070701") || head.starts_with(b"070702")) && all(6..110, u8::is_ascii_hexdigit)
        || head.starts_with(b"070707") && all(6..76, u8::is_ascii_digit)
}
