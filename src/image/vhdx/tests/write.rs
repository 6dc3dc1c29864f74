//! Writing, and crashes at any moment of it.

use super::*;
use crate::disk::testing::{Lab, all, crash, steps, write_from_threads};
use crate::disk::{ChainDisk, Disk};
use crate::image::Extent;
use crate::storage::Storage;
use crate::storage::testing::{Op, after_power_loss};
use proptest::prelude::*;
use std::sync::Arc;

const MB: u64 = MIB as u64;

fn open_file(file: Arc<MemFile>, writable: bool) -> Box<dyn Image> {
    open(file, OpenOptions { writable, ..OpenOptions::default() }).unwrap()
}

fn alone(file: Arc<MemFile>, writable: bool) -> ChainDisk {
    ChainDisk::new(vec![open_file(file, writable)], Vec::new())
}

fn chain(leaf: Arc<MemFile>, writable: bool) -> ChainDisk {
    let base = open_file(MemFile::new("/t/base.vhdx", base().bytes()), false);
    ChainDisk::new(vec![open_file(leaf, writable), base], Vec::new())
}

/// What [`two_blocks`] shows.
fn two_blocks_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 4 * MIB];
    bytes[..MIB].fill(8);
    bytes[2 * MIB..3 * MIB].fill(7);
    bytes
}

fn file(build: &Build) -> Arc<MemFile> {
    MemFile::new("/t/a.vhdx", build.bytes())
}

#[test]
fn opening_for_writing_changes_nothing() {
    let file = file(&leaf());
    let disk = chain(file.clone(), true);
    disk.flush().unwrap();
    disk.close().unwrap();
    assert!(file.ops().is_empty());
}

#[test]
fn the_guids_change_on_the_disk_before_the_data_does_and_once_only() {
    let file = file(&two_blocks());
    let disk = alone(file.clone(), true);
    disk.write_at(10, &[1]).unwrap();
    let ops = file.ops();
    assert!(matches!(&ops[0], Op::Write { offset, .. } if *offset == 64 << 10), "the header that is not current");
    assert!(matches!(ops[1], Op::Sync));
    let first = header::read(&*file).unwrap().0;
    assert_ne!(first.data_write, Uuid::from_u128(1));
    assert_ne!(first.file_write, Uuid::from_u128(99));
    assert_eq!(first.sequence, 3);
    disk.flush().unwrap();
    disk.write_at(10, &[2]).unwrap();
    disk.close().unwrap();
    assert_eq!(header::read(&*file).unwrap().0, first, "data in place needs no log and no other header");
    assert_eq!(alone(file, false).links()[0].info().modification, Some(first.data_write));
}

#[test]
fn a_new_block_goes_to_the_end_and_into_the_table_once_its_data_is_on_the_disk() {
    let file = file(&two_blocks());
    let disk = alone(file.clone(), true);
    disk.write_at(MB + 100, &[99; 10]).unwrap();
    let mut expected = two_blocks_bytes();
    expected[MIB + 100..MIB + 110].fill(99);
    assert!(all(&disk) == expected);
    assert_eq!(file.bytes().len(), 7 * MIB);
    assert_eq!(file.bytes()[TABLE + 8..TABLE + 16], [0; 8], "the table changes with the flush");
    disk.flush().unwrap();
    let writes: Vec<Option<u64>> = file
        .ops()
        .iter()
        .skip(2)
        .map(|op| match op {
            Op::Write { offset, .. } => Some(*offset),
            Op::Sync => None,
            Op::SetLen(len) | Op::Zero { len, .. } => Some(*len),
        })
        .collect();
    let table = TABLE as u64 + 8;
    assert_eq!(
        writes,
        [Some(7 * MB), Some(6 * MB + 100), None, Some(table), None],
        "data; the table; the disk is waited for between them"
    );
    assert!(all(&alone(file, false)) == expected);
}

/// VirtualBox opens no image with a log.
#[test]
fn the_log_is_never_used() {
    for (leaf, over) in [(two_blocks(), false), (leaf(), true)] {
        let start = leaf.bytes();
        let file = MemFile::new("/t/a.vhdx", start.clone());
        let disk = if over { chain(file.clone(), true) } else { alone(file.clone(), true) };
        for at in [MB + 100, 3 * MB] {
            disk.write_at(at, &[9; 600]).unwrap();
            disk.flush().unwrap();
        }
        disk.close().unwrap();
        let ops = file.ops();
        for moment in 0..=ops.len() {
            let mut bytes = start.clone();
            ops[..moment].iter().for_each(|op| op.apply(&mut bytes));
            assert!(header::read(&*MemFile::new("/t/a.vhdx", bytes)).unwrap().0.log_guid.is_nil(), "{moment}");
        }
    }
}

/// A failed write leaves bytes in its part of a block of zeros; another write makes all of the block stored.
#[test]
fn bytes_of_a_failed_write_do_not_surface_in_a_block_of_zeros() {
    let build = Build { block_size: 2 << 20, map: vec![(2, 0); 2], data: Vec::new(), bitmap: None, ..leaf() };
    let file = file(&build);
    let disk = chain(file.clone(), true);
    disk.write_at(2 * MB, &[1; 512]).unwrap();
    let mut expected = all(&disk);
    file.fill_after(Some(0));
    disk.write_at(4096, &[0xEE; 4096]).unwrap_err();
    file.fill_after(None);
    disk.write_at(MB, &[5; 10]).unwrap();
    expected[MIB..MIB + 10].fill(5);
    assert!(all(&disk) == expected);
}

#[test]
fn discarded_block_reads_as_zeros_and_its_space_is_reused() {
    let file = file(&two_blocks());
    let disk = alone(file.clone(), true);
    disk.discard(0, MB).unwrap();
    disk.write_at(MB, &[5; 100]).unwrap();
    assert_eq!(file.bytes().len(), 7 * MIB, "not used again before the table is on the disk");
    disk.flush().unwrap();
    disk.write_at(3 * MB, &[6; 100]).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 7 * MIB);
    let mut expected = two_blocks_bytes();
    expected[..MIB].fill(0);
    expected[MIB..MIB + 100].fill(5);
    expected[3 * MIB..3 * MIB + 100].fill(6);
    let disk = alone(file, false);
    assert!(all(&disk) == expected);
    assert_eq!(disk.links()[0].extent(0, MB).unwrap().extent, Extent::Zero);
    let position = Extent::Stored { file: 0, offset: two_blocks().block_at(1) };
    assert_eq!(disk.links()[0].extent(3 * MB, MB).unwrap().extent, position);
}

/// Else the file would grow with every session that overwrites what an earlier one wrote.
#[test]
fn space_freed_by_an_earlier_session_is_reused_as_zeros() {
    let file = file(&two_blocks());
    let len = file.bytes().len();
    let disk = alone(file.clone(), true);
    disk.discard(0, MB).unwrap();
    disk.close().unwrap();
    // A file system that cannot punch holes, or a crash, leaves the old bytes there.
    let position = two_blocks().block_at(1);
    file.write_at(&[0xEE; MIB], position).unwrap();
    let disk = alone(file.clone(), true);
    disk.write_at(3 * MB + 50, &[6; 100]).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), len);
    let mut expected = two_blocks_bytes();
    expected[..MIB].fill(0);
    expected[3 * MIB + 50..3 * MIB + 150].fill(6);
    let disk = alone(file, false);
    assert!(all(&disk) == expected);
    assert_eq!(disk.links()[0].extent(3 * MB, MB).unwrap().extent, Extent::Stored { file: 0, offset: position });
}

#[test]
fn space_named_by_a_block_without_content_is_not_reused() {
    let bytes = two_blocks().bytes();
    let position = two_blocks().block_at(1);
    for state in [1, 2, 3] {
        let file = MemFile::new("/t/a.vhdx", bytes.clone());
        file.write_at(&(position | state).to_le_bytes(), TABLE as u64).unwrap();
        let disk = alone(file.clone(), true);
        disk.write_at(3 * MB, &[6; 100]).unwrap();
        disk.close().unwrap();
        assert_eq!(file.bytes().len(), bytes.len() + MIB, "{state}");
    }
}

#[test]
fn blocks_of_a_fixed_disk_stay_allocated() {
    let build = Build { flags: 1, map: (0..4).map(|i| (6, i)).collect(), data: vec![1, 2, 3, 4], ..Build::default() };
    let file = file(&build);
    let disk = alone(file.clone(), true);
    disk.discard(MB, MB).unwrap();
    disk.close().unwrap();
    let disk = alone(file, false);
    let position = Extent::Stored { file: 0, offset: build.block_at(1) };
    assert_eq!(disk.links()[0].extent(MB, MB).unwrap().extent, position);
    assert!(all(&disk)[MIB..2 * MIB].iter().all(|byte| *byte == 0));
}

#[test]
fn a_write_to_part_of_a_block_of_zeros_hides_the_parent_in_all_of_it() {
    let build = Build { block_size: 2 << 20, map: vec![(2, 0); 2], data: Vec::new(), bitmap: None, ..leaf() };
    let file = file(&build);
    let disk = chain(file.clone(), true);
    let mut expected = vec![0; 3 * MIB + 4096];
    // All parts were read as zeros before; each write must be seen.
    assert!(all(&disk) == expected);
    for at in [512, 2048, MIB + 2048, MIB + 2050] {
        disk.write_at(at as u64, &[5; 100]).unwrap();
        expected[at..at + 100].fill(5);
        assert!(all(&disk) == expected, "after the write at {at}");
    }
    disk.close().unwrap();
    assert!(all(&chain(file, false)) == expected);
}

/// What a crash leaves in sectors without a bit.
#[test]
fn stale_bytes_of_a_block_do_not_surface() {
    let file = file(&leaf());
    let empty =
        || open_file(MemFile::new("/t/base.vhdx", Build { size: leaf().size, ..Build::default() }.bytes()), false);
    let disk = ChainDisk::new(vec![open_file(file.clone(), true), empty()], Vec::new());
    let mut expected = all(&disk);
    disk.write_at(2 * MB + 8192 + 10, &[5]).unwrap();
    expected[2 * MIB + 8192 + 10] = 5;
    assert!(all(&disk) == expected);
    disk.close().unwrap();
    assert!(all(&ChainDisk::new(vec![open_file(file, false), empty()], Vec::new())) == expected);
}

/// Power is lost after each operation of two flushes, and any of those that were not waited for are lost.
#[test]
fn every_power_loss_leaves_an_image_that_opens() {
    let start = two_blocks().bytes();
    let file = MemFile::new("/t/a.vhdx", start.clone());
    let disk = alone(file.clone(), true);
    for (at, fill) in [(MB, 1), (3 * MB, 2)] {
        disk.write_at(at, &[fill; 512]).unwrap();
        disk.flush().unwrap();
    }
    let ops = file.ops();
    for cut in 0..=ops.len() {
        let waited = ops[..cut].iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |sync| sync + 1);
        assert!(cut - waited < 8, "too many ways to lose {} operations", cut - waited);
        for cached in 0..1_u32 << (cut - waited) {
            let bytes = after_power_loss(&start, &ops[..cut], |op| op < waited || cached >> (op - waited) & 1 == 1);
            let result = open(MemFile::new("/t/a.vhdx", bytes), OpenOptions::default());
            assert!(result.is_ok(), "after {cut} operations, {cached:b} kept: {:?}", result.err());
        }
    }
}

#[test]
fn old_bits_of_a_block_that_is_not_there_mean_nothing() {
    let file = file(&leaf());
    let disk = chain(file.clone(), true);
    disk.write_at(512, &[5; 512]).unwrap();
    let mut expected = chain_bytes();
    expected[512..1024].fill(5);
    assert!(all(&disk) == expected);
    disk.close().unwrap();
    assert!(all(&chain(file, false)) == expected);
}

#[test]
fn a_first_bitmap_block_is_allocated() {
    let build = Build { map: vec![(0, 0); 4], data: Vec::new(), bitmap: None, ..leaf() };
    let file = file(&build);
    let disk = chain(file.clone(), true);
    let mut expected = all(&disk);
    disk.write_at(512, &[5; 512]).unwrap();
    expected[512..1024].fill(5);
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 6 * MIB);
    assert!(all(&chain(file, false)) == expected);
}

#[test]
fn many_pages_of_the_table_change_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.vhdx");
    std::fs::write(&path, Build { size: 70 << 30, map: Vec::new(), ..Build::default() }.bytes()).unwrap();
    let open = |writable| {
        let file = crate::storage::local::open(&path, writable, crate::storage::local::Devices::Refused).unwrap();
        ChainDisk::new(vec![open(file, OpenOptions { writable, ..OpenOptions::default() }).unwrap()], Vec::new())
    };
    let disk = open(true);
    // A page has the entries of 512 blocks of 1 MiB.
    let positions: Vec<u64> = (0..140).map(|page| (page * 512 + page) << 20).collect();
    for (position, fill) in positions.iter().zip(1..) {
        disk.write_at(*position, &[fill]).unwrap();
    }
    assert_eq!(disk.links()[0].writer().unwrap().pending(), 140 * 4096);
    disk.close().unwrap();
    let disk = open(false);
    for (position, fill) in positions.iter().zip(1..) {
        let mut byte = [0];
        disk.read_at(*position, &mut byte).unwrap();
        assert_eq!(byte, [fill], "at {position}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_differencing_disk_is_an_array_also_after_a_crash(steps in steps(3 * MIB + 4096, MIB + 9000), crash in crash()) {
        let lab = Lab {
            path: "/t/leaf.vhdx",
            leaf: &leaf().bytes(),
            model: chain_bytes(),
            open: &chain,
            after_crash: &|_| Ok(()),
        };
        lab.play(&steps, &crash)?;
    }

    #[test]
    fn a_dynamic_disk_is_an_array_also_after_a_crash(steps in steps(4 * MIB, 2 * MIB + 9000), crash in crash()) {
        let lab = Lab {
            path: "/t/a.vhdx",
            leaf: &two_blocks().bytes(),
            model: two_blocks_bytes(),
            open: &alone,
            after_crash: &|_| Ok(()),
        };
        lab.play(&steps, &crash)?;
    }
}

#[test]
fn threads_write_into_one_block() {
    let disk = chain(file(&leaf()), true);
    // Blocks that are not there, there in part, and zeros.
    write_from_threads(&disk, (0..24).map(|i| [0, 2, 3][i % 3] * MB + (i / 3) as u64 * 512), 512, false);
}
