//! Chains against a plain array in memory, and crashes at every moment of a write.

use super::testing::{Lab, all, crash, steps, write_from_threads};
use super::*;
use crate::image::vdi::testing::Build;
use crate::image::{self, Format, OpenOptions};
use crate::storage::testing::{MemFile, Op};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

const BLOCK: usize = 4096;
const FREE: u32 = 0xFFFF_FFFF;
const ZERO: u32 = 0xFFFF_FFFE;

fn open(file: Arc<MemFile>, writable: bool) -> Box<dyn image::Image> {
    image::open::open_file(file, OpenOptions { writable, ..OpenOptions::default() }).unwrap()
}

fn base() -> Build {
    Build {
        disk_size: 5 * 4096 + 1024,
        map: vec![1, FREE, 0, ZERO, FREE, 2],
        data: vec![11, 22, 33],
        ..Build::default()
    }
}

/// A difference larger than its parent, whose last block is cut by the disk's end.
fn leaf() -> Build {
    Build {
        kind: 4,
        disk_size: 7 * 4096 + 512,
        map: vec![FREE, 0, ZERO, FREE, FREE, FREE, FREE, FREE],
        data: vec![44],
        uuid: Uuid::from_u128(5),
        parent: Uuid::from_u128(1),
        ..Build::default()
    }
}

/// What the chain of [`base`] and [`leaf`] shows.
fn flat() -> Vec<u8> {
    let mut bytes = vec![0; 7 * BLOCK + 512];
    bytes[..BLOCK].fill(22);
    bytes[BLOCK..2 * BLOCK].fill(44);
    bytes[5 * BLOCK..5 * BLOCK + 1024].fill(33);
    bytes
}

fn chain(leaf: Arc<MemFile>, writable: bool) -> ChainDisk {
    let base = MemFile::new("/t/base.vdi", base().bytes());
    ChainDisk::new(vec![open(leaf, writable), open(base, false)], Vec::new())
}

#[test]
fn a_chain_reads_as_its_links_say() {
    let disk = chain(MemFile::new("/t/leaf.vdi", leaf().bytes()), false);
    let expected = flat();
    assert_eq!(all(&disk), expected);
    for start in (0..expected.len()).step_by(509) {
        for len in [1, 511, 512, 4097, 9000] {
            let end = expected.len().min(start + len);
            let mut part = vec![0xAA; end - start];
            disk.read_at(start as u64, &mut part).unwrap();
            assert_eq!(part, expected[start..end], "{start}..{end}");
        }
    }
}

#[test]
fn reads_and_writes_past_the_end_are_errors() {
    let disk = chain(MemFile::new("/t/leaf.vdi", leaf().bytes()), true);
    let size = disk.size();
    assert!(matches!(disk.read_at(size - 1, &mut [0; 2]), Err(Error::PastEnd { .. })));
    assert!(matches!(disk.read_at(u64::MAX, &mut [0; 2]), Err(Error::PastEnd { .. })));
    assert!(matches!(disk.write_at(size, &[0]), Err(Error::PastEnd { .. })));
    assert!(matches!(disk.allocation(size), Err(Error::PastEnd { .. })));
    disk.read_at(size, &mut []).unwrap();
}

#[test]
fn a_disk_without_writer_refuses_writes() {
    let disk = chain(MemFile::new("/t/leaf.vdi", leaf().bytes()), false);
    assert!(matches!(disk.write_at(0, &[1]), Err(Error::ReadOnly)));
    assert!(matches!(disk.discard(0, 1), Err(Error::ReadOnly)));
}

#[test]
fn spans_distinguish_data_from_zeros() {
    let disk = chain(MemFile::new("/t/leaf.vdi", leaf().bytes()), false);
    let span = |block: u64| disk.allocation(block * 4096).unwrap();
    assert_eq!(span(0), Allocation::Data(4096));
    assert_eq!(span(1), Allocation::Data(4096));
    assert_eq!(span(2), Allocation::Zero(4096));
    assert_eq!(span(5), Allocation::Data(1024));
    assert_eq!(disk.allocation(5 * 4096 + 1024).unwrap(), Allocation::Zero(2 * 4096 - 512));
}

#[test]
fn zeros_over_a_parent_become_zero_blocks_and_others_take_no_space() {
    let file = MemFile::new("/t/leaf.vdi", leaf().bytes());
    let before = file.bytes().len();
    let disk = chain(file.clone(), true);
    disk.write_at(0, &[0; 2 * BLOCK]).unwrap();
    disk.write_at(4 * BLOCK as u64, &[0; BLOCK]).unwrap();
    disk.close().unwrap();
    let entry = |i: usize| u32::from_le_bytes(file.bytes()[512 + 4 * i..][..4].try_into().unwrap());
    assert_eq!(entry(0), ZERO, "zeros hide the parent's block");
    assert_eq!(entry(1), 0, "a block that the leaf stores is overwritten in place");
    assert_eq!(entry(4), FREE, "zeros over zeros change nothing");
    assert_eq!(file.bytes().len(), before);
}

#[test]
fn a_write_in_a_block_keeps_the_rest_of_the_parents_block() {
    let file = MemFile::new("/t/leaf.vdi", leaf().bytes());
    let disk = chain(file.clone(), true);
    disk.write_at(100, &[99; 10]).unwrap();
    let mut expected = flat();
    expected[100..110].fill(99);
    assert_eq!(all(&disk), expected);
    disk.close().unwrap();
    assert_eq!(all(&chain(file, false)), expected);
}

#[test]
fn holes_of_discards_are_filled_at_close() {
    let file = MemFile::new("/t/leaf.vdi", leaf().bytes());
    let disk = chain(file.clone(), true);
    for block in [0, 3, 4, 6] {
        disk.write_at(block * 4096, &[u8::try_from(100 + block).unwrap(); BLOCK]).unwrap();
    }
    disk.flush().unwrap();
    disk.discard(4096, 4096).unwrap();
    disk.discard(3 * 4096, 4096).unwrap();
    disk.close().unwrap();
    let mut expected = flat();
    for (block, fill) in [(0, 100), (1, 0), (3, 0), (4, 104), (6, 106)] {
        expected[block * BLOCK..(block + 1) * BLOCK].fill(fill);
    }
    assert_eq!(all(&chain(file.clone(), false)), expected);
    let allocated = u32::from_le_bytes(file.bytes()[388..392].try_into().unwrap());
    assert_eq!(allocated, 3, "VirtualBox gives out this index next");
    assert_eq!(file.bytes().len(), leaf().data_offset() + 3 * BLOCK);
}

#[test]
fn the_modification_uuid_changes_with_the_first_write_only() {
    let file = MemFile::new("/t/leaf.vdi", leaf().bytes());
    let disk = chain(file.clone(), true);
    let uuid = || file.bytes()[408..424].to_vec();
    let before = uuid();
    disk.flush().unwrap();
    assert_eq!(uuid(), before, "opening for writing changes nothing");
    assert!(file.ops().is_empty());
    disk.write_at(0, &[1]).unwrap();
    assert_ne!(uuid(), before);
    let first_data = file.ops().iter().position(|op| matches!(op, Op::Write { offset, .. } if *offset > 1000));
    let first_sync = file.ops().iter().position(|op| matches!(op, Op::Sync));
    assert!(first_sync < first_data, "the new UUID is on the disk before the data");
}

/// A write that found no space halfway once lost the space that it had taken already.
#[test]
fn full_image_frees_space_by_flushing() {
    let full = Build { map: (0..8).collect(), data: vec![1; 8], ..leaf() };
    let file = MemFile::new("/t/leaf.vdi", full.bytes());
    let disk = chain(file.clone(), true);
    disk.discard(0, 2 * BLOCK as u64).unwrap();
    disk.flush().unwrap();
    disk.discard(2 * BLOCK as u64, BLOCK as u64).unwrap();
    disk.write_at(0, &[9; 3 * BLOCK]).unwrap();
    assert_eq!(all(&disk)[..3 * BLOCK], [9; 3 * BLOCK]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_is_an_array_also_after_a_crash(steps in steps(7 * BLOCK + 512, 3 * BLOCK), crash in crash()) {
        let lab = Lab {
            path: "/t/leaf.vdi",
            leaf: &leaf().bytes(),
            model: flat(),
            open: &chain,
            after_crash: &|bytes| {
                let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                let end = (0..8).map(|i| number(512 + 4 * i)).filter(|i| *i < ZERO).max().map_or(0, |i| i + 1);
                prop_assert!(number(388) >= end, "VirtualBox would use index {} again", number(388));
                Ok(())
            },
        };
        lab.play(&steps, &crash)?;
    }
}

#[test]
fn a_raw_image_that_a_child_states_is_not_probed() {
    let bytes = base().bytes();
    let options = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    let image = image::open::open_file(MemFile::new("/t/x.vdi", bytes.clone()), options).unwrap();
    let disk = ChainDisk::new(vec![image], Vec::new());
    assert_eq!(all(&disk), bytes);
}

#[test]
fn readers_and_writers_of_different_blocks_do_not_disturb_each_other() {
    let disk = chain(MemFile::new("/t/leaf.vdi", leaf().bytes()), true);
    write_from_threads(&disk, (0..7).map(|block| block * 4096), BLOCK, true);
}

/// An image of two packed clusters that counts how often one is decompressed.
struct Compressed {
    info: image::ImageInfo,
    decompressed: Arc<AtomicUsize>,
}

impl image::Image for Compressed {
    fn info(&self) -> &image::ImageInfo {
        &self.info
    }

    fn files(&self) -> &[crate::storage::File] {
        &[]
    }

    fn extent(&self, offset: u64, len: u64) -> image::Result<image::Run> {
        let size = self.info.block_size;
        let (cluster, skip) = (offset / size, offset % size);
        let extent = image::Extent::Encoded { cluster, skip, size };
        Ok(image::Run { extent, len: len.min(size - skip) })
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> image::Result<()> {
        self.decompressed.fetch_add(1, Ordering::SeqCst);
        // Long enough for others to come.
        std::thread::sleep(Duration::from_millis(20));
        out.fill(u8::try_from(cluster + 1).unwrap());
        Ok(())
    }
}

#[test]
fn each_cluster_is_decompressed_once_whoever_reads() {
    for block_size in [64 << 10, 2 << 20] {
        let info = open(MemFile::new("/t/base.vdi", base().bytes()), false).info().clone();
        let decompressed = Arc::new(AtomicUsize::new(0));
        let image = Compressed { info: image::ImageInfo { size: 2 * block_size, block_size, ..info }, decompressed };
        let decompressed = image.decompressed.clone();
        let disk = ChainDisk::new(vec![Box::new(image)], Vec::new());
        for cluster in 0..2 {
            let read = |part: u64| {
                let mut bytes = [0; 4096];
                disk.read_at(cluster * block_size + part * (block_size / 16), &mut bytes).unwrap();
                assert_eq!(bytes, [u8::try_from(cluster + 1).unwrap(); 4096]);
            };
            std::thread::scope(|scope| {
                let readers: Vec<_> = (0..4).map(|part| scope.spawn(move || read(part))).collect();
                readers.into_iter().for_each(|reader| reader.join().unwrap());
            });
            (0..16).for_each(read);
        }
        assert_eq!(decompressed.load(Ordering::SeqCst), 2, "clusters of {block_size} bytes");
    }
}
