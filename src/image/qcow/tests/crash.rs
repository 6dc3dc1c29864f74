//! Writing, and losing power meanwhile.

use super::compressed::deflate;
use super::{open, open_bytes};
use crate::disk::testing::{Crash, Lab, all, crash, steps};
use crate::disk::{ChainDisk, Disk};
use crate::image::OpenOptions;
use crate::image::qcow::testing::{Build, CLUSTER, COMPRESSED, COPIED, L1, L2, REFCOUNT_BLOCK, stored};
use crate::storage::testing::{MemFile, after_power_loss};
use proptest::prelude::*;
use std::process::Command;
use std::sync::Arc;

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
    let encoded = deflate(&[55; CLUSTER]);
    let mut compressed = vec![0; CLUSTER];
    compressed[..encoded.len()].copy_from_slice(&encoded);
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
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base.raw"), vec![BASE; 40 * CLUSTER]).unwrap();
    let path = directory.path().join("a.qcow2");
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
