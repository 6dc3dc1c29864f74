//! Headers, maps and corruption, on images built byte by byte.

mod compressed;
mod crash;

use super::testing::{Build, CLUSTER, COMPRESSED, COPIED, DATA, L1, L2, REFCOUNT_BLOCK, REFCOUNT_TABLE, stored};
use super::*;
use crate::image::Extent;
use crate::storage::testing::MemFile;

fn open(file: std::sync::Arc<MemFile>, options: OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(Format::Qcow, file, &options)
}

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.qcow2", bytes), options)
}

fn message(bytes: Vec<u8>, writable: bool) -> String {
    let options = OpenOptions { writable, ..OpenOptions::default() };
    match open_bytes(bytes, options) {
        Ok(image) => {
            let mut at = 0;
            loop {
                assert!(at < image.info().size, "a corrupt image was opened and mapped");
                match image.extent(at, image.info().size - at) {
                    Ok(run) => at += run.len,
                    Err(error) => return crate::error_kind::message(&error),
                }
            }
        }
        Err(error) => crate::error_kind::message(&error),
    }
}

fn good() -> Build {
    Build {
        entries: vec![stored(0), stored(1), 0, 1],
        data: vec![vec![7; CLUSTER], vec![8; CLUSTER]],
        ..Build::default()
    }
}

#[test]
fn runs_join_clusters_that_follow_each_other() {
    let image = open_bytes(good().bytes(), OpenOptions::default()).unwrap();
    let run = |offset| image.extent(offset, image.info().size - offset).unwrap();
    let data = DATA as u64;
    assert_eq!(run(0), Run { extent: Extent::Stored { file: 0, offset: data }, len: 1024 });
    assert_eq!(run(100), Run { extent: Extent::Stored { file: 0, offset: data + 100 }, len: 924 });
    assert_eq!(run(1024), Run { extent: Extent::Absent, len: 512 });
    assert_eq!(run(1536), Run { extent: Extent::Zero, len: 512 });
    assert_eq!(run(2048), Run { extent: Extent::Absent, len: 56 * 512 });
}

#[test]
fn an_empty_disk_of_many_terabytes_is_few_runs() {
    let mut bytes = Build::default().bytes();
    bytes[20..24].copy_from_slice(&21_u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(64_u64 << 40).to_be_bytes());
    bytes[36..40].copy_from_slice(&128_u32.to_be_bytes());
    bytes[40..48].copy_from_slice(&(2_u64 << 20).to_be_bytes());
    bytes[48..56].copy_from_slice(&(4_u64 << 20).to_be_bytes());
    bytes.resize(6 << 20, 0);
    let image = open_bytes(bytes, OpenOptions::default()).unwrap();
    assert_eq!(image.extent(0, 64 << 40).unwrap(), Run { extent: Extent::Absent, len: 64 << 40 });
}

/// One field of a good image broken at a time: where, the bytes put there, and the cause that must follow.
#[test]
fn each_broken_field_has_its_own_message() {
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (0, vec![0; 4], "QCOW magic at offset 0 (0x0): expected 0x514649fb, found 0x00000000"),
        (4, vec![0, 0, 0, 4], "QCOW version at offset 4 (0x4): expected 1 to 3, found 4"),
        (20, vec![0, 0, 0, 8], "QCOW2 cluster_bits at offset 20 (0x14): expected 9 to 21, found 8"),
        (20, vec![0, 0, 0, 22], "QCOW2 cluster_bits at offset 20 (0x14): expected 9 to 21, found 22"),
        (24, vec![0; 8], "QCOW2 disk size at offset 24 (0x18): expected 512 to 2^63 bytes, found 0"),
        (
            24,
            vec![255; 8],
            "QCOW2 disk size at offset 24 (0x18): expected 512 to 2^63 bytes, found 18446744073709551104",
        ),
        (
            32,
            vec![0, 0, 0, 1],
            "QCOW2 crypt_method at offset 32 (0x20): expected an image without encryption, found AES",
        ),
        (
            32,
            vec![0, 0, 0, 2],
            "QCOW2 crypt_method at offset 32 (0x20): expected an image without encryption, found LUKS",
        ),
        (32, vec![0, 0, 0, 3], "QCOW2 crypt_method at offset 32 (0x20): expected 0 to 2, found 3"),
        (36, vec![0; 4], "QCOW2 l1_size at offset 36 (0x24): expected at least 1 for 30720 bytes, found 0"),
        (36, vec![255; 4], "QCOW2 l1_size at offset 36 (0x24): expected at most 4194304, found 4294967295"),
        (
            47,
            vec![1],
            "QCOW2 l1_table_offset at offset 40 (0x28): expected a multiple of 512 from 512 to 2^56, found 1537",
        ),
        (
            55,
            vec![1],
            "QCOW2 refcount_table_offset at offset 48 (0x30): expected a multiple of 512 from 512 to 2^56, found 513",
        ),
        (56, vec![0; 4], "QCOW2 refcount_table_clusters at offset 56 (0x38): expected 1 to 16384, found 0"),
        (60, vec![1, 0, 0, 0], "QCOW2 nb_snapshots at offset 60 (0x3c): expected at most 65536, found 16777216"),
        (
            60,
            vec![0, 0, 0, 1],
            "QCOW2 snapshots_offset at offset 64 (0x40): expected a multiple of 512 from 512 to 2^56, found 0",
        ),
        (
            79,
            vec![2],
            "QCOW2 incompatible_features at offset 72 (0x48): expected no corrupt flag, found bit 1 (corrupt)",
        ),
        (
            79,
            vec![4],
            "QCOW2 external data file at offset 72 (0x48): expected a header extension with its name, found none",
        ),
        (
            79,
            vec![8],
            "QCOW2 compression_type at offset 104 (0x68): expected another than zlib, as feature bit 3 says, found 0",
        ),
        (
            79,
            vec![16],
            "QCOW2 cluster_bits at offset 20 (0x14): expected at least 14 with extended level 2 entries, found 9",
        ),
        (
            79,
            vec![0x60],
            "QCOW2 incompatible_features at offset 72 (0x48): expected none but bits 0 to 4, found bit 5, bit 6",
        ),
        (99, vec![7], "QCOW2 refcount_order at offset 96 (0x60): expected 0 to 6, found 7"),
        (
            100,
            vec![0, 0, 0, 96],
            "QCOW2 header_length at offset 100 (0x64): expected a multiple of 8 from 104 to 512, found 96",
        ),
        (
            100,
            vec![0, 0, 2, 8],
            "QCOW2 header_length at offset 100 (0x64): expected a multiple of 8 from 104 to 512, found 520",
        ),
        (104, vec![1], "QCOW2 compression_type at offset 104 (0x68): expected 0, as feature bit 3 says, found 1"),
        (104, vec![2], "QCOW2 compression_type at offset 104 (0x68): expected 0 (zlib) or 1 (zstd), found 2"),
        (
            112,
            vec![1, 2, 3, 4, 0, 0, 2, 0],
            "length of the QCOW2 header extension 0x01020304 at offset 116 (0x74): expected at most 392, found 512",
        ),
        (8, vec![0, 0, 0, 0, 0, 0, 1, 0], "QCOW2 backing_file_size at offset 16 (0x10): expected 1 to 1023, found 0"),
        (
            8,
            vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0],
            "QCOW2 backing_file_offset at offset 8 (0x8): expected a name between 112 and 512, in the first cluster, found 256",
        ),
        (
            L1 + 7,
            vec![1],
            "QCOW2 level 1 entry at offset 1536 (0x600): expected a multiple of 512 with flag 63 or without, found 0x8000000000000801",
        ),
        (
            L1,
            vec![0x81],
            "QCOW2 level 1 entry at offset 1536 (0x600): expected a multiple of 512 with flag 63 or without, found 0x8100000000000800",
        ),
        (
            L1 + 5,
            vec![1],
            "QCOW2 level 2 entry at offset 67584 (0x10800): expected 480 bytes, found the end of the file at 3584",
        ),
        (
            L2 + 7,
            vec![2],
            "QCOW2 level 2 entry at offset 2048 (0x800): expected its reserved bits to be 0, found 0x8000000000000a02",
        ),
        (
            L2 + 5,
            vec![1],
            "QCOW2 level 2 entry at offset 2048 (0x800): expected data up to offset 68608, found the end of /t/a.qcow2 at 3584",
        ),
        (
            L2,
            vec![0xC0],
            "QCOW2 level 2 entry at offset 2048 (0x800): expected no flag 63 on a compressed cluster, found 0xc000000000000a00",
        ),
    ];
    for (at, new, cause) in cases {
        let mut bytes = good().bytes();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let text = message(bytes, false);
        assert!(text.starts_with("/t/a.qcow2 "), "{text}");
        assert!(text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
}

/// What is found only by looking at the whole image, before it is written.
#[test]
fn an_image_whose_references_are_wrong_is_not_written() {
    let twice = "QCOW2 reference at offset 2056 (0x808): expected a cluster of its own, found one at 2560, which \
                 something else uses too";
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (
            REFCOUNT_TABLE + 7,
            vec![1],
            "QCOW2 refcount table entry at offset 512 (0x200): expected a multiple of 512, found 0x401",
        ),
        (
            REFCOUNT_TABLE + 5,
            vec![1],
            "QCOW2 refcount at offset 66560 (0x10400): expected 2 bytes, found the end of the file at 3584",
        ),
        (
            REFCOUNT_BLOCK + 1,
            vec![0],
            "QCOW2 reference at offset 0 (0x0): expected a cluster with the refcount 1, found one at 0 with the refcount 0; run qemu-img check -r all",
        ),
        (
            REFCOUNT_BLOCK + 11,
            vec![2],
            "QCOW2 reference at offset 2048 (0x800): expected a cluster with the refcount 1, found one at 2560 with the refcount 2; run qemu-img check -r all",
        ),
        (
            L2 + 5,
            vec![1],
            "QCOW2 reference at offset 2048 (0x800): expected a cluster in the file, found one at 68096, past the end at 3584",
        ),
        (L2 + 8, stored(0).to_be_bytes().into(), twice),
        (L2 + 8, (stored(0) & !COPIED).to_be_bytes().into(), twice),
        (
            L2 + 8,
            (L2 as u64 | COPIED).to_be_bytes().into(),
            "QCOW2 reference at offset 2056 (0x808): expected a cluster of its own, found one at 2048, which something else uses too",
        ),
        (L2 + 8, (COMPRESSED | DATA as u64).to_be_bytes().into(), twice),
    ];
    for (at, new, cause) in cases {
        let mut bytes = good().bytes();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let text = message(bytes, true);
        assert!(text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
}

#[test]
fn unknown_features_are_refused_by_their_name() {
    let mut table = vec![0, 5];
    table.extend(b"teleportation");
    table.resize(48, 0);
    let build = Build { features: [1 << 5 | 1 << 40, 0, 0], extensions: vec![(0x6803_F857, table)], ..good() };
    let text = message(build.bytes(), false);
    assert!(text.contains("found bit 5 (teleportation), bit 40;"), "{text}");
}

#[test]
fn an_extension_that_may_be_there_once_is_not_there_twice() {
    let extension = (0xE279_2ACA, b"raw".to_vec());
    let text = message(Build { extensions: vec![extension.clone(), extension], ..good() }.bytes(), false);
    assert!(
        text.contains("QCOW2 header extension 0xe2792aca at offset 128 (0x80): expected once, found a second one"),
        "{text}"
    );
}

#[test]
fn version_2_has_no_zero_flag() {
    let text = message(Build { version: 2, entries: vec![1], ..Build::default() }.bytes(), false);
    assert!(text.contains("expected its reserved bits to be 0, found 0x0000000000000001"), "{text}");
}

#[test]
fn a_corrupt_image_is_read_with_force() {
    let mut bytes = good().bytes();
    bytes[79] = 2;
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(bytes.clone(), forced.clone()).unwrap();
    assert!(image.info().notes[0].contains("bit 1 (corrupt)") && image.info().notes[0].contains("what is left"));
    assert_eq!(image.extent(0, 512).unwrap().len, 512);
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..forced }).is_err());
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let bytes = good().bytes();
    for len in 0..bytes.len() {
        for writable in [false, true] {
            message(bytes[..len].to_vec(), writable);
        }
    }
}
