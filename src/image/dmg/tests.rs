//! UDIF images built byte by byte: all kinds of chunks, and corruption.

use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::Extent;
use crate::storage::testing::MemFile;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;

const ZLIB: u32 = 0x8000_0005;
const BZIP2: u32 = 0x8000_0006;
const LZFSE: u32 = 0x8000_0007;
const LZMA: u32 = 0x8000_0008;
const ADC: u32 = 0x8000_0004;

/// A chunk to be put into an image: type, first sector, sectors, stored bytes.
struct Entry(u32, u64, u64, Vec<u8>);

/// What `sectors` sectors of the test disk from `first` on hold.
fn content(first: u64, sectors: u64) -> Vec<u8> {
    let (from, len) = (usize::try_from(first * 512).unwrap(), usize::try_from(sectors * 512).unwrap());
    (from..from + len).map(|i| u8::try_from(i % 512 * 7 % 251).unwrap()).collect()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzfse(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    lzfse_rust::encode_bytes(bytes, &mut out).unwrap();
    out
}

/// Literals for the first 512 bytes, then copies of what was 512 bytes before, in both kinds of codes.
fn adc(bytes: &[u8]) -> Vec<u8> {
    let (first, rest) = bytes.split_at(512);
    let mut out: Vec<u8> =
        first.chunks(128).flat_map(|part| [&[0x7F + u8::try_from(part.len()).unwrap()], part].concat()).collect();
    let mut left = rest.len();
    while left > 0 {
        let long = left.min(67);
        out.extend(match long {
            0..4 => vec![0x80 - 1 + u8::try_from(long).unwrap()],
            _ => vec![0x40 + u8::try_from(long - 4).unwrap(), 1, 255],
        });
        if long < 4 {
            out.extend(&rest[rest.len() - left..][..long]);
        }
        left -= long;
        if left >= 18 {
            out.extend([(18 - 3) << 2 | 1, 255]);
            left -= 18;
        }
    }
    out
}

/// One sector of [`content`] as `xz --check=crc32` packs it.
fn xz() -> Vec<u8> {
    include_bytes!("testdata/sector.xz").to_vec()
}

fn entries() -> Vec<Entry> {
    vec![
        Entry(1, 0, 2, content(0, 2)),
        Entry(0, 2, 1, Vec::new()),
        Entry(ZLIB, 3, 4, zlib(&content(3, 4))),
        Entry(BZIP2, 7, 3, bzip2(&content(7, 3))),
        Entry(LZFSE, 10, 8, lzfse(&content(10, 8))),
        Entry(LZMA, 18, 1, xz()),
        Entry(ADC, 19, 2, adc(&content(19, 2))),
        Entry(2, 21, 3, Vec::new()),
        Entry(0xFFFF_FFFF, 24, 0, Vec::new()),
    ]
}

fn flat() -> Vec<u8> {
    let mut bytes = content(0, 24);
    bytes[1024..1536].fill(0);
    bytes[21 * 512..].fill(0);
    bytes
}

/// The parts of an image; tests break one before they put them together.
struct Parts {
    data: Vec<u8>,
    mish: Vec<u8>,
    sectors: u64,
    head: String,
    tail: String,
}

impl Parts {
    fn new(entries: &[Entry], sectors: u64) -> Self {
        let mut data = b"not at the very start".to_vec();
        let data_offset = data.len() as u64;
        let mut mish = vec![0; 204];
        mish[..8].copy_from_slice(b"mish\0\0\0\x01");
        mish[16..24].copy_from_slice(&sectors.to_be_bytes());
        mish[24..32].copy_from_slice(&data_offset.to_be_bytes());
        mish[64..76].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0, 32, 1, 2, 3, 4]);
        mish[200..204].copy_from_slice(&u32::try_from(entries.len()).unwrap().to_be_bytes());
        for Entry(kind, first, count, stored) in entries {
            mish.extend(kind.to_be_bytes());
            mish.extend([0; 4]);
            let offset = data.len() as u64 - data_offset;
            for number in [*first, *count, offset, stored.len() as u64] {
                mish.extend(number.to_be_bytes());
            }
            data.extend(stored);
        }
        let head = "<?xml version=\"1.0\"?><!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"\"><plist><dict>\
                    <key>resource-fork</key><dict><key>blkx</key><array><dict><key>Name</key><string>a &amp; b</string>\
                    <key>Data</key><data>\n\t";
        let tail = "\n</data></dict></array><key>plst</key><array><dict><key>Data</key><data>AAAA</data></dict></array>\
                    </dict></dict></plist>";
        Self { data, mish, sectors, head: head.to_owned(), tail: tail.to_owned() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.data.clone();
        let text = STANDARD.encode(&self.mish);
        let lines = text.as_bytes().chunks(60).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
        let xml = format!("{}{}{}", self.head, lines.join("\n\t"), self.tail);
        let at = out.len() as u64;
        out.extend(xml.as_bytes());
        let mut trailer = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| trailer[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"koly\0\0\0\x04\0\0\x02\0");
        put(60, &[0, 0, 0, 1]);
        put(216, &at.to_be_bytes());
        put(224, &(xml.len() as u64).to_be_bytes());
        put(352, &[0, 0, 0, 2, 0, 0, 0, 32]);
        put(360, &crc32fast::hash(&self.mish[72..76]).to_be_bytes());
        put(492, &self.sectors.to_be_bytes());
        out.extend(trailer);
        out
    }
}

fn good() -> Parts {
    Parts::new(&entries(), 24)
}

fn open_bytes(bytes: Vec<u8>, force: bool) -> Result<Box<dyn Image>> {
    crate::image::open::open_file(MemFile::new("/t/a.dmg", bytes), OpenOptions { force, ..OpenOptions::default() })
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, false) {
        Ok(_) => panic!("a corrupt image was opened"),
        Err(error) => crate::error_kind::message(&error),
    }
}

fn read(image: Box<dyn Image>) -> crate::disk::Result<Vec<u8>> {
    let disk = ChainDisk::new(vec![image], Vec::new());
    let mut bytes = vec![0xAA; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn every_kind_of_chunk_is_read() {
    let image = open_bytes(good().bytes(), false).unwrap();
    let info = image.info();
    assert_eq!((info.format, info.size, info.sector_size), (Format::Dmg, 24 * 512, 512));
    assert_eq!(info.details, "UDIF version 4, chunks: 2 zero, 1 raw, 1 ADC, 1 zlib, 1 bzip2, 1 LZFSE, 1 LZMA");
    assert_eq!(read(image).unwrap(), flat());
}

#[test]
fn runs_end_where_their_chunks_do() {
    let image = open_bytes(good().bytes(), false).unwrap();
    let run = |offset, len| image.extent(offset, len).unwrap();
    assert_eq!(run(100, 9999), Run { extent: Extent::Stored { file: 0, offset: 121 }, len: 924 });
    assert_eq!(run(1024, 9999), Run { extent: Extent::Zero, len: 512 });
    assert_eq!(run(2000, 9999), Run { extent: Extent::Encoded { cluster: 2, skip: 464, size: 2048 }, len: 1584 });
    assert!(image.writer().is_none());
}

#[test]
fn the_trailer_may_be_at_the_start() {
    let bytes = good().bytes();
    let (rest, trailer) = bytes.split_at(bytes.len() - 512);
    let mut trailer = trailer.to_vec();
    for (at, by) in [(24, 512), (216, 512)] {
        let number = u64::from_be_bytes(trailer[at..at + 8].try_into().unwrap()) + by;
        trailer[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }
    assert_eq!(read(open_bytes([&trailer[..], rest].concat(), false).unwrap()).unwrap(), flat());
}

/// 7-Zip has decoders of its own for all kinds of chunks.
#[test]
fn another_program_reads_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.dmg");
    std::fs::write(&path, good().bytes()).unwrap();
    let output = std::process::Command::new("7zz").args(["e", "-tdmg", "-so"]).arg(&path).output();
    let output = output.expect("7zz is needed for this test (Debian: 7zip)");
    assert!(output.stdout == flat(), "7zz differs: {}", String::from_utf8_lossy(&output.stderr));
}

/// One field of the trailer broken at a time.
#[test]
fn each_broken_field_of_the_trailer_has_its_own_message() {
    let good = good().bytes();
    let at = good.len() - 512;
    let end = good.len();
    let cases: Vec<(usize, Vec<u8>, String)> = vec![
        (7, vec![3], "UDIF version at offset OFFSET: expected 4, found 3".into()),
        (10, vec![4], "UDIF trailer size at offset OFFSET: expected 512, found 1024".into()),
        (63, vec![2], "UDIF segments at offset OFFSET: expected an image in one file, found segment 0 of 2".into()),
        (216, vec![255], format!("UDIF property list at offset OFFSET: expected a range within the {end} bytes of the file, found")),
        (224, vec![0; 8], "length of the UDIF property list at offset OFFSET: expected a property list with the block tables, found none".into()),
        (492, vec![255; 8], "UDIF sector count at offset OFFSET: expected at most 2^54 - 1 sectors, found 18446744073709551615".into()),
        (360, vec![9, 9, 9, 9], "CRC-32 of the checksums of the UDIF block tables at offset OFFSET: expected 09090909, found b63cfbcd".into()),
    ];
    for (field, new, cause) in cases {
        let mut bytes = good.clone();
        bytes[at + field..at + field + new.len()].copy_from_slice(&new);
        let field = at
            + if field == 7 {
                4
            } else if field == 10 {
                8
            } else if field == 63 {
                60
            } else {
                field
            };
        let cause = cause.replace("OFFSET", &format!("{field} ({field:#x})"));
        let text = message(bytes);
        assert!(text.starts_with("/t/a.dmg ") && text.contains(&format!(": {cause}")), "{text}\nis not\n{cause}");
    }
}

#[test]
fn each_broken_field_of_a_block_table_has_its_own_message() {
    let chunk = |number: usize, field: usize| 204 + 40 * number + field;
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (0, b"mash".to_vec(), "signature of a UDIF block table"),
        (7, vec![2], "version of a UDIF block table"),
        (203, vec![10], "expected at least 604 bytes, found 564 bytes"),
        (200, vec![255; 4], "expected at least 604 bytes, found 564 bytes"),
        (8, vec![255; 8], "expected numbers below 2^64 bytes, found 2 sectors"),
        (24, vec![255; 8], "expected numbers below 2^64 bytes, found"),
        (chunk(0, 0), vec![0x80, 0, 0, 9], "type of a UDIF chunk"),
        (chunk(0, 39), vec![1], "UDIF chunk of sector 0 after 0"),
        (chunk(2, 16), vec![0, 0, 0, 0, 0, 2, 0, 1], "expected at most 67108864 bytes of the disk, found 67109376"),
        (chunk(2, 32), vec![0, 0, 0, 0, 1], "expected about 2048 stored bytes, found"),
        (chunk(2, 23), vec![3], "expected a chunk that begins at byte 3072 of the disk, found one from 3584 to 5120"),
        (chunk(2, 23), vec![5], "UDIF chunk at offset"),
        (
            chunk(2, 15),
            vec![4],
            "expected one after byte 4096 of the disk, the end of another, found one from 3584 to 5120",
        ),
        (chunk(7, 23), vec![2], "expected chunks up to byte 12288, the disk's size, found chunks up to 11776"),
        (chunk(2, 24), vec![0, 0, 1], "expected a range within the"),
    ];
    for (at, new, cause) in cases {
        let mut parts = good();
        parts.mish[at..at + new.len()].copy_from_slice(&new);
        // The cut table must not be taken for corruption of the checksums.
        let text = message(parts.bytes());
        assert!(text.contains(cause) && text.starts_with("/t/a.dmg "), "{text}\nis not\n{cause}");
    }
}

#[test]
fn a_property_list_without_tables_is_corrupt() {
    for (head, cause) in [
        ("<plist><dict><key>Data</key><data>", "expected block tables (resource-fork, blkx), found none"),
        ("<plist><dict>", "XML at offset"),
        (
            "<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>*",
            "expected base64",
        ),
    ] {
        let mut parts = good();
        parts.head = head.to_owned();
        if head.ends_with("<key>Data</key><data>") && !head.contains("blkx") {
            parts.tail = "</data></dict></plist>".to_owned();
        }
        let text = message(parts.bytes());
        assert!(text.contains(cause), "{text}\nis not\n{cause}");
    }
}

#[test]
fn a_corrupt_chunk_is_an_error_and_the_rest_is_read() {
    for number in 2..=6 {
        let mut entries = entries();
        let stored = &mut entries[number].3;
        let middle = stored.len() / 2;
        stored.truncate(middle);
        let Entry(_, first, count, _) = entries[number];
        let image = open_bytes(Parts::new(&entries, 24).bytes(), false).unwrap();
        let disk = ChainDisk::new(vec![image], Vec::new());
        let text = crate::error_kind::message(&disk.read_at(first * 512, &mut [0; 1]).unwrap_err());
        assert!(
            text.contains(&format!("UDIF chunk {number} at offset"))
                && text.contains(&format!("expected {} bytes", count * 512)),
            "{text}"
        );
        disk.read_at(0, &mut [0; 1536]).unwrap();
    }
}

/// A chunk that decodes to more or less than its sectors.
#[test]
fn a_chunk_of_another_length_than_its_sectors_is_an_error() {
    type Compress = fn(&[u8]) -> Vec<u8>;
    let packs: [(u32, Compress); 4] = [(ZLIB, zlib), (BZIP2, bzip2), (LZFSE, lzfse), (ADC, adc)];
    for (kind, compress) in packs {
        for sectors in [3, 5] {
            let image =
                open_bytes(Parts::new(&[Entry(kind, 0, 4, compress(&content(0, sectors)))], 4).bytes(), false).unwrap();
            let text = crate::error_kind::message(&read(image).unwrap_err());
            assert!(text.contains("UDIF chunk 0 at offset 21 (0x15): expected 2048 bytes, found"), "{kind:#x}: {text}");
        }
    }
    // A bomb: 4 MiB of zeros in some kilobytes, for a chunk that says 4 sectors.
    let image = open_bytes(Parts::new(&[Entry(ZLIB, 0, 4, zlib(&vec![0; 4 << 20]))], 4).bytes(), false).unwrap();
    assert!(crate::error_kind::message(&read(image).unwrap_err()).contains("zlib data with: more bytes"));
}

/// No byte of any compressed chunk, whatever its value, makes a decoder panic or hang.
#[test]
fn corrupt_bytes_are_errors_or_data_but_never_a_panic() {
    for (number, entry) in entries().iter().enumerate().filter(|(_, entry)| entry.0 & 0x8000_0000 != 0 && entry.2 > 0) {
        for at in 0..entry.3.len() {
            for flip in [1, 0x10, 0x80, 0xFF] {
                let mut stored = entry.3.clone();
                stored[at] ^= flip;
                let parts = Parts::new(&[Entry(entry.0, 0, entry.2, stored)], entry.2);
                let result = read(open_bytes(parts.bytes(), false).unwrap());
                // These have checksums; the other two can only detect what is impossible.
                if [ZLIB, BZIP2].contains(&entry.0) && at > 1 {
                    assert!(
                        result.is_err() || result.unwrap() == content(entry.1, entry.2),
                        "chunk {number}, byte {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn force_reads_what_is_left() {
    let mut parts = good();
    parts.mish[204 + 40 * 2 + 23] = 3;
    let image = open_bytes(parts.bytes(), true).unwrap();
    assert!(image.info().notes[0].contains("sectors without a UDIF chunk"), "{:?}", image.info().notes);
    image.extent(0, 512).unwrap();
    let text = image.extent(3072, 512).unwrap_err().to_string();
    assert!(text.contains("sectors without a UDIF chunk") && text.contains("none for byte 3072 of the disk"), "{text}");
    image.extent(3584, 512).unwrap();
    let mut far = good();
    far.mish[204 + 40 * 2 + 24] = 1;
    let image = open_bytes(far.bytes(), true).unwrap();
    assert!(image.decode(2, &mut [0; 2048]).unwrap_err().to_string().contains("expected a range within the"));
}

#[test]
fn other_images_of_apple_are_refused_by_name() {
    let mut copy = vec![0; 84 + 1024];
    copy[0] = 4;
    copy[64..68].copy_from_slice(&1024_u32.to_be_bytes());
    copy[82] = 1;
    let mut old = vec![0; 1024];
    old[1016..].copy_from_slice(b"cdsaencr");
    let cases: [(Vec<u8>, &str); 4] = [
        ([b"encrcdsa".to_vec(), vec![0; 1016]].concat(), "an encrypted image (encrcdsa)"),
        (old, "an encrypted image (encrcdsa)"),
        ([b"sprs".to_vec(), vec![0; 1020]].concat(), "a sparse image (sprs)"),
        (copy, "a DiskCopy 4.2 image"),
    ];
    for (bytes, name) in cases {
        let text = message(bytes);
        assert!(text.contains("cannot be used: Apple disk image") && text.contains(name), "{text}");
    }
}

#[test]
fn a_cut_image_is_not_taken_for_a_raw_disk() {
    let good = good().bytes();
    for len in (1..good.len()).filter(|len| len % 512 != 0) {
        assert!(open_bytes(good[..len].to_vec(), false).is_err(), "cut to {len} bytes");
    }
    assert!(message(good[..1000].to_vec()).contains("UDIF signature in the last 512 bytes"));
    assert_eq!(open_bytes(vec![7; 1024], false).unwrap().info().format, Format::Raw);
}

#[test]
fn without_a_sector_count_the_tables_state_the_size() {
    let bytes = Parts { sectors: 0, ..good() }.bytes();
    let image = open_bytes(bytes.clone(), false).unwrap();
    assert_eq!(image.info().size, 24 * 512);
    assert!(image.info().notes[0].contains("does not state the disk's size"), "{:?}", image.info().notes);
    assert_eq!(crate::disk::testing::all(&ChainDisk::new(vec![image], Vec::new())), flat());
    let file: File = MemFile::new("/t/a.dmg", bytes);
    assert_eq!(identify(&file, &Sample::read(&*file).unwrap(), &Allowed::NONE).unwrap().size, 24 * 512);
    assert!(message(Parts { sectors: 0, ..Parts::new(&[], 0) }.bytes()).contains("the trailer states none"));
}
