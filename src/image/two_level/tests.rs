//! Corruption and crashes of QCOW version 1 and QED, on images built byte by byte.

use crate::disk::ChainDisk;
use crate::disk::testing::{Lab, all, crash, steps};
use crate::image::open::open_file;
use crate::image::{Error, Format, Image, OpenOptions};
use crate::storage::testing::{MemFile, after_power_loss};
use proptest::prelude::*;
use std::process::Command;
use std::sync::Arc;

const BASE: u8 = 99;
/// Bytes of a QED cluster.
const CLUSTER: usize = 4096;

/// A QED with tables of two clusters (QEMU does not open one with tables of one): header, level 1 table, level 2 table,
/// data.
pub(crate) fn qed(backing: bool) -> Vec<u8> {
    let mut bytes = vec![0; 5 * CLUSTER];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    put(0, b"QED\0");
    put(4, &4096_u32.to_le_bytes());
    put(8, &2_u32.to_le_bytes());
    put(12, &1_u32.to_le_bytes());
    put(40, &4096_u64.to_le_bytes());
    put(48, &(5 * 4096 + 1024_u64).to_le_bytes());
    if backing {
        put(16, &5_u64.to_le_bytes());
        put(56, &64_u32.to_le_bytes());
        put(60, &8_u32.to_le_bytes());
        put(64, b"base.raw");
    }
    put(4096, &(3 * 4096_u64).to_le_bytes());
    for (index, entry) in [5 * 4096_u64, 0, 1, 6 * 4096].iter().enumerate() {
        put(3 * CLUSTER + 8 * index, &entry.to_le_bytes());
    }
    bytes.extend([7; CLUSTER]);
    bytes.extend([8; CLUSTER]);
    bytes
}

/// Version 1 of QCOW with clusters of 512 bytes: header and level 1 table, level 2 table of 64 entries, data.
pub(crate) fn qcow(backing: bool) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    put(0, b"QFI\xfb\0\0\0\x01");
    put(24, &(10 * 512_u64).to_be_bytes());
    put(32, &[9, 6]);
    put(40, &64_u64.to_be_bytes());
    if backing {
        put(8, &48_u64.to_be_bytes());
        put(16, &8_u32.to_be_bytes());
        put(48, b"base.raw");
    }
    put(64, &512_u64.to_be_bytes());
    let encoded = deflate(&[55; 512]);
    let compressed = 1 << 63 | (encoded.len() as u64) << 54 | 2048;
    for (index, entry) in [1024, 0, compressed, 0, 1536].iter().enumerate() {
        put(512 + 8 * index, &entry.to_be_bytes());
    }
    bytes.extend([7; 512]);
    bytes.extend([8; 512]);
    bytes.extend(encoded);
    bytes
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(leaf: Arc<MemFile>, writable: bool) -> Result<Box<dyn Image>, Error> {
    open_file(leaf, OpenOptions { writable, ..OpenOptions::default() })
}

fn chain(leaf: Arc<MemFile>, writable: bool) -> ChainDisk {
    let mut links = vec![open(leaf, writable).unwrap()];
    if links[0].info().parent.is_some() {
        links.push(open(MemFile::new("/t/base.raw", vec![BASE; 4 * CLUSTER]), false).unwrap());
    }
    ChainDisk::new(links, Vec::new())
}

/// What is wrong with an image, in its header or anywhere in its map.
fn message(bytes: Vec<u8>, format: Format, writable: bool) -> String {
    let options = OpenOptions { writable, format: Some(format), ..OpenOptions::default() };
    let image = match open_file(MemFile::new("/t/a", bytes), options) {
        Ok(image) => image,
        Err(error) => return crate::error_kind::message(&error),
    };
    let mut at = 0;
    loop {
        assert!(at < image.info().size, "a corrupt image was opened and mapped");
        match image.extent(at, image.info().size - at) {
            Ok(run) => at += run.len,
            Err(error) => return crate::error_kind::message(&error),
        }
    }
}

fn assert_faults(good: &[u8], format: Format, writable: bool, cases: &[(usize, &[u8], &str)]) {
    for (at, new, cause) in cases {
        let mut bytes = good.to_vec();
        bytes[*at..at + new.len()].copy_from_slice(new);
        let text = message(bytes, format, writable);
        assert!(text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
}

/// One field of a good image broken at a time: where, the bytes put there, and the cause that must follow.
#[test]
fn each_broken_field_of_a_qed_has_its_own_message() {
    assert_faults(
        &qed(true),
        Format::Qed,
        false,
        &[
            (4, &[1], "QED cluster_size at offset 4 (0x4): expected a power of two from 4096 to 67108864, found 4097"),
            (
                4,
                &[0, 8],
                "QED cluster_size at offset 4 (0x4): expected a power of two from 4096 to 67108864, found 2048",
            ),
            (8, &[3], "QED table_size at offset 8 (0x8): expected 1, 2, 4, 8 or 16, found 3"),
            (8, &[32], "QED table_size at offset 8 (0x8): expected 1, 2, 4, 8 or 16, found 32"),
            (12, &[0], "QED header_size at offset 12 (0xc): expected at least 1, found 0"),
            (16, &[0x18], "QED features at offset 16 (0x10): expected none but 0x7, found 0x18"),
            (
                40,
                &[1],
                "QED l1_table_offset at offset 40 (0x28): expected a multiple of 4096 from 4096 to 2^63, found 4097",
            ),
            (
                48,
                &[0; 8],
                "QED image_size at offset 48 (0x30): expected a multiple of 512 from 512 to 4294967296, found 0",
            ),
            (
                48,
                &[1],
                "QED image_size at offset 48 (0x30): expected a multiple of 512 from 512 to 4294967296, found 21505",
            ),
            (
                55,
                &[1],
                "QED image_size at offset 48 (0x30): expected a multiple of 512 from 512 to 4294967296, found 72057594037949440",
            ),
            (
                56,
                &[0xFF, 0xF],
                "QED backing_filename_offset at offset 56 (0x38): expected a name between 64 and 4096, in the header, found 4095",
            ),
            (60, &[0], "QED backing_filename_size at offset 60 (0x3c): expected 1 to 1023, found 0"),
            (
                43,
                &[1],
                "QED level 1 table at offset 16781312 (0x1001000): expected 1024 entries up to offset 16789504, found the end of the file at 28672",
            ),
            (4096, &[1], "QED map entry at offset 4096 (0x1000): expected the offset of a level 2 table, found 0x3001"),
            (12288, &[2], "QED map entry at offset 12288 (0x3000): expected the offset of a cluster, found 0x5002"),
            (
                12290,
                &[1],
                "QED map entry at offset 12288 (0x3000): expected data that ends before the file does, at 28672, found 0x16000",
            ),
        ],
    );
    assert_faults(
        &qed(true),
        Format::Qed,
        true,
        &[
            (
                12289,
                &[0x60],
                "QED map entry at offset 12312 (0x3018): expected an offset of its own, not one that something else uses too, found 0x6000",
            ),
            (
                12289,
                &[0x10],
                "QED map entry at offset 12288 (0x3000): expected an offset of its own, not one that something else uses too, found 0x1000",
            ),
            (
                12290,
                &[1],
                "QED map entry at offset 12288 (0x3000): expected an offset before the end of the file at 28672, found 0x15000",
            ),
        ],
    );
}

#[test]
fn each_broken_field_of_a_qcow_has_its_own_message() {
    assert_faults(
        &qcow(true),
        Format::Qcow,
        false,
        &[
            (24, &[0; 8], "QCOW disk size at offset 24 (0x18): expected 512 to 2^63 bytes, found 0"),
            (
                24,
                &[0xFF; 8],
                "QCOW disk size at offset 24 (0x18): expected 512 to 2^63 bytes, found 18446744073709551104",
            ),
            (32, &[17], "QCOW cluster_bits at offset 32 (0x20): expected 9 to 16, found 17"),
            (33, &[14], "QCOW l2_bits at offset 33 (0x21): expected 6 to 13, found 14"),
            (39, &[1], "QCOW crypt_method at offset 36 (0x24): expected an image without encryption, found AES"),
            (39, &[2], "QCOW crypt_method at offset 36 (0x24): expected 0 or 1, found 2"),
            (40, &[0; 8], "QCOW l1_table_offset at offset 40 (0x28): expected 48 to 2^63, found 0"),
            (19, &[0], "QCOW backing_file_size at offset 16 (0x10): expected 1 to 1023, found 0"),
            (
                24,
                &[0x7F],
                "QCOW level 1 table at offset 64 (0x40): expected 279275953455105 entries up to offset 2234207627640904, found the end of the file at 2057",
            ),
            (
                70,
                &[0x20],
                "level 2 entry at offset 8192 (0x2000): expected 80 bytes, found the end of the file at 2057",
            ),
            (
                512 + 5,
                &[1],
                "QCOW map entry at offset 512 (0x200): expected data that ends before the file does, at 2057, found 0x10600",
            ),
            (519, &[1], "QCOW map entry at offset 512 (0x200): expected the offset of a cluster, found 0x401"),
            (71, &[8], "QCOW map entry at offset 64 (0x40): expected the offset of a level 2 table, found 0x208"),
        ],
    );
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    // Within the compressed cluster at the end of the QCOW, only decoding finds the cut.
    for (bytes, end, format) in [(qed(true), 7 * CLUSTER, Format::Qed), (qcow(true), 2048, Format::Qcow)] {
        for len in 0..end {
            message(bytes[..len].to_vec(), format, false);
        }
    }
}

#[test]
fn a_compressed_cluster_that_is_cut_or_too_large_is_an_error() {
    let good = qcow(false);
    let read = |bytes: Vec<u8>| {
        let image = open(MemFile::new("/t/a.qcow", bytes), false).unwrap();
        let crate::image::Extent::Encoded { cluster, size, .. } = image.extent(1024, 512).unwrap().extent else {
            panic!()
        };
        let mut out = vec![0; usize::try_from(size).unwrap()];
        image.decode(cluster, &mut out).map(|()| out).map_err(|error| crate::error_kind::message(&error))
    };
    assert_eq!(read(good.clone()).unwrap(), [55; 512]);
    let cut = read(good[..good.len() - 1].to_vec()).unwrap_err();
    assert!(cut.contains("compressed QCOW cluster at offset 2048 (0x800): expected"), "{cut}");
    let bomb = deflate(&[0; 100_000]);
    let mut bytes = good[..2048].to_vec();
    bytes.extend(&bomb);
    let entry = 1 << 63 | (bomb.len() as u64) << 54 | 2048;
    bytes[512 + 16..512 + 24].copy_from_slice(&entry.to_be_bytes());
    let text = read(bytes).unwrap_err();
    assert!(text.contains("expected zlib data of 512 bytes, found more"), "{text}");
}

#[test]
fn features_that_a_writer_of_qed_must_clear_are_cleared() {
    let mut bytes = qed(false);
    bytes[32] = 0xFF;
    let file = MemFile::new("/t/a.qed", bytes);
    open(file.clone(), false).unwrap();
    assert_eq!(file.bytes()[32], 0xFF);
    chain(file.clone(), true);
    assert_eq!(file.bytes()[32], 0);
}

/// QEMU says 0 for a clean image and 3 for one with leaks only.
fn qemu_check(bytes: &[u8]) -> i32 {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base.raw"), vec![BASE; 4 * CLUSTER]).unwrap();
    let path = directory.path().join("a.qed");
    std::fs::write(&path, bytes).unwrap();
    let out = Command::new("qemu-img").args(["check", "-f", "qed"]).arg(&path).output();
    let out = out.unwrap_or_else(|e| panic!("qemu-img is needed for this test (Debian: qemu-utils): {e}"));
    let code = out.status.code().unwrap();
    assert!(matches!(code, 0 | 3), "{}", String::from_utf8_lossy(&[out.stdout, out.stderr].concat()));
    code
}

/// Every moment of one history: QEMU finds no error but space that nothing points to, which the next session gives
/// back.
#[test]
fn qemu_finds_no_error_in_a_qed_after_a_crash_at_any_moment() {
    use crate::disk::Disk;
    for backing in [false, true] {
        let start = qed(backing);
        assert_eq!(qemu_check(&start), 0);
        let file = MemFile::new("/t/a.qed", start.clone());
        let disk = chain(file.clone(), true);
        disk.write_at(100, &[1; 9000]).unwrap();
        disk.flush().unwrap();
        disk.discard(0, 3 * CLUSTER as u64).unwrap();
        disk.write_at(4 * CLUSTER as u64, &[2; CLUSTER]).unwrap();
        disk.close().unwrap();
        assert_eq!(qemu_check(&file.bytes()), 0);
        let ops = file.ops();
        for cut in 0..=ops.len() {
            let bytes = after_power_loss(&start, &ops[..cut], |i| i % 2 == cut % 2);
            assert_eq!(bytes[16] & 2, 0, "VirtualBox opens no image that needs a check");
            qemu_check(&bytes);
            let file = MemFile::new("/t/a.qed", bytes);
            chain(file.clone(), true).close().unwrap();
            assert_eq!(qemu_check(&file.bytes()), 0, "a crash at operation {cut} is not mended");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_qed_is_an_array_also_after_a_crash(backing: bool, steps in steps(5 * CLUSTER + 1024, 2 * CLUSTER), crash in crash()) {
        let leaf = qed(backing);
        let model = all(&chain(MemFile::new("/t/a.qed", leaf.clone()), false));
        Lab { path: "/t/a.qed", leaf: &leaf, model, open: &chain, after_crash: &|_| Ok(()) }.play(&steps, &crash)?;
    }

    #[test]
    fn a_qcow_is_an_array_also_after_a_crash(backing: bool, steps in steps(10 * 512, 4 * 512), crash in crash()) {
        let leaf = qcow(backing);
        let model = all(&chain(MemFile::new("/t/a.qcow", leaf.clone()), false));
        Lab { path: "/t/a.qcow", leaf: &leaf, model, open: &chain, after_crash: &|_| Ok(()) }.play(&steps, &crash)?;
    }
}
