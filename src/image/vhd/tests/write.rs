//! Writing, and crashes at any moment of it.

use super::*;
use crate::disk::testing::{Lab, all, crash, steps, write_from_threads};
use crate::disk::{ChainDisk, Disk};
use crate::storage::testing::Op;
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

fn open_file(file: Arc<MemFile>, writable: bool) -> Box<dyn Image> {
    open(file, OpenOptions { writable, ..OpenOptions::default() }).unwrap()
}

fn alone(file: Arc<MemFile>, writable: bool) -> ChainDisk {
    ChainDisk::new(vec![open_file(file, writable)], Vec::new())
}

fn base() -> Build {
    Build {
        size: 5 * 8192 + 1024,
        block_size: 8192,
        map: vec![None, Some(0), None, None, Some(1), None],
        data: vec![Block { bits: FULL, fill: 11 }, Block { bits: 0xF0, fill: 22 }],
        ..Build::default()
    }
}

/// What [`base`] shows.
fn base_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 5 * 8192 + 1024];
    bytes[8192..2 * 8192].fill(11);
    // The bits of sectors 0 to 3 and 8 to 11 are set.
    bytes[4 * 8192..][..2048].fill(22);
    bytes[4 * 8192 + 4096..][..2048].fill(22);
    bytes
}

/// A difference with blocks of another size than its parent's.
fn leaf() -> Build {
    Build {
        kind: 4,
        size: base().size,
        uuid: Uuid::from_u128(2),
        parent: Uuid::from_u128(1),
        map: vec![None, None, Some(0), None, None, None, None, None, Some(1), None, None],
        data: vec![Block { bits: 0x0F, fill: 33 }, Block { bits: 0x81, fill: 44 }],
        ..Build::default()
    }
}

/// What [`leaf`] shows over [`base`].
fn chain_bytes() -> Vec<u8> {
    let mut bytes = base_bytes();
    bytes[2 * 4096 + 2048..3 * 4096].fill(33);
    bytes[8 * 4096..][..512].fill(44);
    bytes[9 * 4096 - 512..9 * 4096].fill(44);
    bytes
}

fn chain(leaf: Arc<MemFile>, writable: bool) -> ChainDisk {
    let base = open_file(MemFile::new("/t/base.vhd", base().bytes()), false);
    ChainDisk::new(vec![open_file(leaf, writable), base], Vec::new())
}

#[test]
fn a_difference_shows_its_sectors_over_its_parents() {
    assert_eq!(all(&alone(MemFile::new("/t/base.vhd", base().bytes()), false)), base_bytes());
    assert_eq!(all(&chain(MemFile::new("/t/leaf.vhd", leaf().bytes()), false)), chain_bytes());
}

#[test]
fn opening_for_writing_changes_nothing() {
    let file = MemFile::new("/t/leaf.vhd", leaf().bytes());
    let disk = chain(file.clone(), true);
    disk.flush().unwrap();
    disk.close().unwrap();
    assert!(file.ops().is_empty());
}

#[test]
fn new_block_is_appended_and_unused_space_is_truncated() {
    let file = MemFile::new("/t/leaf.vhd", leaf().bytes());
    let disk = chain(file.clone(), true);
    disk.write_at(100, &[99; 10]).unwrap();
    let mut expected = chain_bytes();
    expected[100..110].fill(99);
    assert_eq!(all(&disk), expected);
    disk.write_at(4096, &[98; 1]).unwrap();
    disk.write_at(5 * 4096, &[97; 1]).unwrap();
    for (at, fill) in [(4096, 98), (5 * 4096, 97)] {
        expected[at] = fill;
    }
    disk.close().unwrap();
    let bytes = file.bytes();
    assert_eq!(bytes.len(), leaf().block_at(5) + 512, "three blocks more");
    assert_eq!(bytes[bytes.len() - 512..], leaf().footer());
    assert_eq!(all(&chain(file, false)), expected);
}

/// A killed process must leave a file that ends with its footer, whatever it was doing.
#[test]
fn the_file_ends_with_a_footer_after_every_operation() {
    let start = leaf().bytes();
    let file = MemFile::new("/t/leaf.vhd", start.clone());
    let disk = chain(file.clone(), true);
    for block in 0..10 {
        disk.write_at(block * 4096, &[99; 700]).unwrap();
    }
    disk.close().unwrap();
    let mut bytes = start;
    for op in file.ops() {
        op.apply(&mut bytes);
        assert_eq!(bytes[bytes.len() - 512..], leaf().footer(), "after {op:?}");
    }
}

#[test]
fn a_missing_footer_is_put_back_before_the_first_write() {
    let mut start = leaf().bytes();
    start.truncate(start.len() - 500);
    let file = MemFile::new("/t/leaf.vhd", start.clone());
    let disk = chain(file.clone(), true);
    disk.write_at(2 * 4096 + 2048, &[1]).unwrap();
    let ops = file.ops();
    let end = start.len().next_multiple_of(512) as u64;
    assert!(matches!(&ops[0], Op::Write { offset, bytes } if *offset == end && **bytes == leaf().footer()));
    assert!(matches!(ops[1], Op::Sync));
    disk.close().unwrap();
    assert!(chain(file, false).links()[0].info().notes.is_empty());
}

/// The footer that the first new block replaces may be in memory, in the page of the table's end.
#[test]
fn the_old_footer_is_not_taken_for_a_bitmap() {
    let empty = Build { map: vec![None; 11], data: Vec::new(), ..leaf() };
    let file = MemFile::new("/t/leaf.vhd", empty.bytes());
    let disk = chain(file.clone(), true);
    let mut expected = base_bytes();
    assert_eq!(all(&disk), expected);
    disk.write_at(8192 + 1024, &[5; 512]).unwrap();
    expected[8192 + 1024..][..512].fill(5);
    assert_eq!(all(&disk), expected);
    disk.close().unwrap();
    assert_eq!(all(&chain(file, false)), expected);
}

#[test]
fn stale_bytes_of_a_block_do_not_surface() {
    // Sectors without a bit hold 33 and 44: what a crash before the bits were set leaves.
    let file = MemFile::new("/t/leaf.vhd", leaf().bytes());
    let disk = chain(file.clone(), true);
    disk.write_at(2 * 4096 + 10, &[1]).unwrap();
    disk.write_at(8 * 4096 + 1024 + 10, &[1]).unwrap();
    let mut expected = chain_bytes();
    expected[2 * 4096 + 10] = 1;
    expected[8 * 4096 + 1024 + 10] = 1;
    assert_eq!(all(&disk), expected);
}

#[test]
fn the_limit_of_the_format_is_an_error() {
    let space_for = |next: u64| {
        let file = MemFile::new("/t/a.vhd", Build::default().bytes());
        let parts = Parts::read(&(file.clone() as File)).unwrap();
        let end = End { data_end: next, has_footer: true };
        let writer = Some(Writer::new(&parts.footer, &end, parts.map.as_ref().unwrap().header.stride()));
        Vhd { info: parts.info, files: [file], map: parts.map.unwrap(), writer }
    };
    let full = space_for(u64::from(u32::MAX) * 512);
    let error = full.allocate(0, 512).unwrap_err().to_string();
    assert!(error.contains("it has reached 2 TiB, the largest file of its format"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_differencing_disk_is_an_array_also_after_a_crash(steps in steps(5 * 8192 + 1024, 12000), crash in crash()) {
        let lab = Lab {
            path: "/t/leaf.vhd",
            leaf: &leaf().bytes(),
            model: chain_bytes(),
            open: &chain,
            after_crash: &|_| Ok(()),
        };
        lab.play(&steps, &crash)?;
    }

    #[test]
    fn a_dynamic_disk_is_an_array_also_after_a_crash(steps in steps(5 * 8192 + 1024, 12000), crash in crash()) {
        let lab = Lab {
            path: "/t/base.vhd",
            leaf: &base().bytes(),
            model: base_bytes(),
            open: &alone,
            after_crash: &|_| Ok(()),
        };
        lab.play(&steps, &crash)?;
    }

    #[test]
    fn a_fixed_disk_is_an_array_also_after_a_crash(steps in steps(16384, 6000), crash in crash()) {
        let lab = Lab {
            path: "/t/fixed.vhd",
            leaf: &Build::default().fixed(9),
            model: vec![9; 16384],
            open: &alone,
            after_crash: &|bytes| {
                prop_assert_eq!(&bytes[16384..], &Build { kind: 2, ..Build::default() }.footer());
                Ok(())
            },
        };
        lab.play(&steps, &crash)?;
    }
}

#[test]
fn threads_write_into_one_block() {
    let disk = chain(MemFile::new("/t/leaf.vhd", leaf().bytes()), true);
    write_from_threads(&disk, (0..80).map(|sector| sector * 512), 512, false);
}
