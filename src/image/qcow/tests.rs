//! Headers, maps, damage and crashes, on images built byte by byte.

use super::testing::{Build, CLUSTER, COMPRESSED, COPIED, DATA, L1, L2, REFCOUNT_BLOCK, REFCOUNT_TABLE, stored};
use super::*;
use crate::disk::testing::{Crash, Lab, all, crash, steps};
use crate::disk::{ChainDisk, Disk};
use crate::image::Extent;
use crate::image::testing::{MemFile, after_power_loss};
use proptest::prelude::*;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.qcow2", bytes), options)
}

fn message(bytes: Vec<u8>, writable: bool) -> String {
    let options = OpenOptions { writable, ..OpenOptions::default() };
    match open_bytes(bytes, options) {
        Ok(image) => {
            let mut at = 0;
            loop {
                assert!(at < image.info().size, "a damaged image was opened and mapped");
                match image.extent(at, image.info().size - at) {
                    Ok(run) => at += run.len,
                    Err(error) => return crate::error::message(&error),
                }
            }
        }
        Err(error) => crate::error::message(&error),
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

/// One field of a good image broken at a time: where, the bytes put there, and the fault that must follow.
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
            "QCOW2 incompatible_features at offset 72 (0x48): expected no mark of damage, found bit 1 (corrupt)",
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
    for (at, new, fault) in cases {
        let mut bytes = good().bytes();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let text = message(bytes, false);
        assert!(text.starts_with("/t/a.qcow2 "), "{text}");
        assert!(text.contains(&format!(": {fault};")), "{text}\nis not\n{fault}");
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
    for (at, new, fault) in cases {
        let mut bytes = good().bytes();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let text = message(bytes, true);
        assert!(text.contains(&format!(": {fault};")), "{text}\nis not\n{fault}");
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
fn a_damaged_image_is_read_with_force() {
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

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut packed, bytes, 1).unwrap();
    packed
}

/// What decoding a cluster of an image says whose compressed data is `packed`.
fn decoded(compression: u8, mut packed: Vec<u8>) -> Result<Vec<u8>, String> {
    packed.resize(CLUSTER, 0);
    let features = [if compression == 0 { 0 } else { 8 }, 0, 0];
    let entries = vec![COMPRESSED | DATA as u64];
    let build = Build { features, compression, entries, data: vec![packed], ..Build::default() };
    let image = open_bytes(build.bytes(), OpenOptions::default()).unwrap();
    let Extent::Encoded { cluster, skip, size } = image.extent(100, 200).unwrap().extent else { panic!() };
    assert_eq!((skip, size), (100, CLUSTER as u64));
    let mut out = vec![0; CLUSTER];
    image.decode(cluster, &mut out).map_err(|error| crate::error::message(&error))?;
    Ok(out)
}

#[test]
fn compressed_clusters_hold_exactly_a_cluster() {
    let cluster: Vec<u8> = (0..CLUSTER).map(|i| u8::try_from(i % 10).unwrap()).collect();
    for (compression, pack, name) in [(0, deflate as fn(&[u8]) -> Vec<u8>, "zlib"), (1, zstd, "zstd")] {
        assert_eq!(decoded(compression, pack(&cluster)).unwrap(), cluster);
        let fault = |packed: Vec<u8>, found: &str| {
            let text = decoded(compression, packed).unwrap_err();
            let expected = format!(
                "compressed QCOW cluster at offset 2560 (0xa00): expected {name} data of 512 bytes, found {found}"
            );
            assert!(text.contains(&expected), "{text}\nis not\n{expected}");
        };
        fault(pack(&vec![0; CLUSTER + 1]), "more");
        // A bomb: 100 MB in a few hundred bytes at most, of which no more than a cluster is kept.
        fault(pack(&vec![0; CLUSTER * 512]), "more");
        fault(pack(&cluster[1..]), "511 bytes");
        fault(vec![0xFF; 40], "");
    }
}

#[test]
fn a_zstd_window_larger_than_any_cluster_is_refused_before_memory_is_taken() {
    // Magic, a descriptor without a content size, and a window of 2^41 bytes.
    let text = decoded(1, vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8]).unwrap_err();
    assert!(text.ends_with("found frame requires too much memory for decoding"), "{text}");
}

const BASE: u8 = 99;

fn chain(leaf: Arc<MemFile>, writable: bool) -> ChainDisk {
    let options = OpenOptions { writable, ..OpenOptions::default() };
    let mut links = vec![open(leaf, options).unwrap()];
    if links[0].info().parent.is_some() {
        let base = MemFile::new("/t/base.raw", vec![BASE; 40 * CLUSTER]);
        links.push(crate::image::open::open_file(base, OpenOptions::default()).unwrap());
    }
    ChainDisk::new(links, Vec::new())
}

/// An image of one kind of history: with a parent or not, version 2 or 3, a snapshot that shares all clusters, and a
/// compressed cluster.
fn leaf(version: u32, backing: bool, snapshot: bool) -> Build {
    let packed = deflate(&[55; CLUSTER]);
    let mut compressed = vec![0; CLUSTER];
    compressed[..packed.len()].copy_from_slice(&packed);
    let mut entries =
        vec![stored(0), 0, COMPRESSED | stored(1) & !COPIED, if version == 3 { 1 } else { 0 }, 0, stored(2)];
    if snapshot {
        entries[0] &= !COPIED;
        entries[5] &= !COPIED;
    }
    Build {
        version,
        size: 12 * CLUSTER as u64,
        backing: backing.then_some("base.raw"),
        entries,
        data: vec![vec![7; CLUSTER], compressed, vec![8; CLUSTER], vec![0xEE; CLUSTER]],
        ..Build::default()
    }
}

/// The file of an image, with a snapshot in clusters of its own where asked for.
fn leaf_bytes(version: u32, backing: bool, snapshot: bool) -> Vec<u8> {
    let mut bytes = leaf(version, backing, snapshot).bytes();
    // The last cluster was given up: its bytes are still there, and no longer of the disk.
    bytes[REFCOUNT_BLOCK + 2 * 8..][..2].fill(0);
    if snapshot {
        let table = bytes.len();
        let mut put = |at: usize, new: &[u8]| {
            let end = bytes.len().max(at + new.len()).next_multiple_of(CLUSTER);
            bytes.resize(end, 0);
            bytes[at..at + new.len()].copy_from_slice(new);
        };
        // The snapshot table with one entry, and its level 1 table, which shares the level 2 table.
        put(table, &((table + CLUSTER) as u64).to_be_bytes());
        put(table + 8, &1_u32.to_be_bytes());
        put(table + 12, &[0, 1, 0, 4]);
        put(table + 36, &16_u32.to_be_bytes());
        put(table + 48, &(12 * CLUSTER as u64).to_be_bytes());
        put(table + 56, b"1snap");
        put(table + CLUSTER, &(L2 as u64).to_be_bytes());
        put(60, &1_u32.to_be_bytes());
        put(64, &(table as u64).to_be_bytes());
        put(L1, &(L2 as u64).to_be_bytes());
        for shared in 4..8 {
            put(REFCOUNT_BLOCK + 2 * shared, &2_u16.to_be_bytes());
        }
        for own in [table / CLUSTER, table / CLUSTER + 1] {
            put(REFCOUNT_BLOCK + 2 * own, &1_u16.to_be_bytes());
        }
    }
    bytes
}

const KINDS: [(u32, bool, bool); 6] =
    [(3, false, false), (3, true, false), (3, true, true), (2, false, false), (2, true, false), (2, false, true)];

/// Runs `qemu-img check`, which says 0 for a clean image and 3 for one with leaks only.
fn qemu_check(bytes: &[u8]) -> i32 {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("base.raw"), vec![BASE; 40 * CLUSTER]).unwrap();
    let path = folder.path().join("a.qcow2");
    std::fs::write(&path, bytes).unwrap();
    let out = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&path).output();
    let out = out.unwrap_or_else(|e| panic!("qemu-img is needed for this test (Debian: qemu-utils): {e}"));
    let code = out.status.code().unwrap();
    assert!(matches!(code, 0 | 3), "{}", String::from_utf8_lossy(&[out.stdout, out.stderr].concat()));
    code
}

fn snapshot_of(bytes: &[u8]) -> Vec<u8> {
    let options = OpenOptions { snapshot: Some("snap".to_owned()), ..OpenOptions::default() };
    let image = open_bytes(bytes.to_vec(), options).unwrap();
    let base =
        crate::image::open::open_file(MemFile::new("/t/base.raw", vec![BASE; 40 * CLUSTER]), OpenOptions::default());
    let links = if image.info().parent.is_some() { vec![image, base.unwrap()] } else { vec![image] };
    all(&ChainDisk::new(links, Vec::new()))
}

#[test]
fn the_images_of_the_crash_tests_are_clean() {
    for (version, backing, snapshot) in KINDS {
        assert_eq!(qemu_check(&leaf_bytes(version, backing, snapshot)), 0);
    }
}

/// Every moment of one history: QEMU finds no reference without a refcount.
#[test]
fn qemu_finds_no_error_after_a_crash_at_any_moment() {
    for (version, backing, snapshot) in KINDS {
        let start = leaf_bytes(version, backing, snapshot);
        let file = MemFile::new("/t/a.qcow2", start.clone());
        let disk = chain(file.clone(), true);
        disk.write_at(100, &[1; 2000]).unwrap();
        disk.write_at(4 * 512, &[2; 512]).unwrap();
        disk.flush().unwrap();
        disk.discard(0, 5 * 512).unwrap();
        disk.flush().unwrap();
        disk.write_at(8 * 512, &[3; 1500]).unwrap();
        disk.close().unwrap();
        assert_eq!(qemu_check(&file.bytes()), 0, "version {version}, backing {backing}, snapshot {snapshot}");
        let ops = file.ops();
        for cut in 0..=ops.len() {
            qemu_check(&after_power_loss(&start, &ops[..cut], |i| i % 2 == cut % 2));
        }
    }
}

/// The refcount table is for 8 MiB here. Power is lost at moments around its move.
#[test]
fn a_crash_while_the_refcount_table_grows_leaves_a_whole_image() {
    let size = 10_u64 << 20;
    let mut build = Build { size, ..Build::default() }.bytes();
    // One level 2 table is for 32 KiB, so the level 1 table has 320 entries: 5 clusters, at the end.
    let l1 = build.len();
    build.resize(l1 + 5 * CLUSTER, 0);
    build[36..40].copy_from_slice(&320_u32.to_be_bytes());
    build[40..48].copy_from_slice(&(l1 as u64).to_be_bytes());
    build[REFCOUNT_BLOCK + 6..REFCOUNT_BLOCK + 10].fill(0);
    for cluster in 0..5 {
        build[REFCOUNT_BLOCK + 2 * (l1 / CLUSTER + cluster) + 1] = 1;
    }
    assert_eq!(qemu_check(&build), 0);
    let file = MemFile::new("/t/a.qcow2", build.clone());
    let disk = chain(file.clone(), true);
    disk.write_at(0, &vec![1; 8_000_000]).unwrap();
    disk.flush().unwrap();
    let before = file.ops().len();
    disk.write_at(8_000_000, &vec![2; 1 << 20]).unwrap();
    disk.close().unwrap();
    assert_eq!(qemu_check(&file.bytes()), 0);
    assert_ne!(file.bytes()[48..56], build[48..56], "the table moved");
    let ops = file.ops();
    for cut in (before..ops.len()).step_by(1 + (ops.len() - before) / 40) {
        let bytes = after_power_loss(&build, &ops[..cut], |i| i % 3 != cut % 3);
        qemu_check(&bytes);
        let after = all(&chain(MemFile::new("/t/a.qcow2", bytes), true));
        assert!(after[..8_000_000].iter().all(|byte| *byte == 1), "after operation {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_is_an_array_also_after_a_crash(
        kind in 0..KINDS.len(),
        steps in steps(12 * CLUSTER, 4 * CLUSTER),
        crash in crash(),
    ) {
        let (version, backing, snapshot) = KINDS[kind];
        play(&leaf_bytes(version, backing, snapshot), snapshot, &steps, &crash)?;
    }
}

fn play(
    start: &[u8],
    snapshot: bool,
    steps: &[crate::disk::testing::Step],
    crash: &Crash,
) -> Result<(), TestCaseError> {
    let old = snapshot.then(|| snapshot_of(start));
    let lab = Lab {
        path: "/t/a.qcow2",
        leaf: start,
        model: all(&chain(MemFile::new("/t/a.qcow2", start.to_vec()), false)),
        open: &chain,
        after_crash: &|bytes| {
            prop_assert!(old.as_ref().is_none_or(|old| *old == snapshot_of(bytes)), "the snapshot is another");
            Ok(())
        },
    };
    let file = lab.play(steps, crash)?;
    prop_assert!(old.as_ref().is_none_or(|old| *old == snapshot_of(&file.bytes())), "the snapshot is another");
    Ok(())
}
