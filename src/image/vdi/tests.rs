//! Header versions, maps and corruption, on images built byte by byte.

use super::testing::Build;
use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::{Error, Extent};
use crate::storage::local::Devices;
use crate::storage::testing::{MemFile, Op};

const FREE: u32 = 0xFFFF_FFFF;
const ZERO: u32 = 0xFFFF_FFFE;

fn open(file: std::sync::Arc<MemFile>, options: OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(Format::Vdi, file, &options)
}

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.vdi", bytes), options)
}

fn open_build(build: &Build) -> Box<dyn Image> {
    open_bytes(build.bytes(), OpenOptions::default()).unwrap()
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, OpenOptions::default()) {
        Ok(_) => panic!("a corrupt image was opened"),
        Err(error) => crate::error_kind::message(&error),
    }
}

#[test]
fn title_does_not_change_what_identify_reports() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.vdi");
    let identified = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        crate::image::identify(&path, Devices::Refused).map_err(|error| crate::error_kind::message(&error))
    };
    let difference = Build { kind: 4, parent: Uuid::from_u128(7), ..Build::default() };
    for build in [Build::default(), difference, Build { version: 2, ..Build::default() }] {
        let titled = build.bytes();
        for len in [80, 400, 512, titled.len()] {
            let titled = &titled[..titled.len().min(len)];
            let bare = [&[0; 13][..], &titled[13..]].concat();
            assert_eq!(identified(titled), identified(&bare), "{len}");
        }
        assert_eq!(identified(&titled), Ok(crate::image::open(&path, OpenOptions::default()).unwrap().info().clone()));
        let as_vmdk = [&b"version=1\n..."[..], &titled[13..]].concat();
        assert!(identified(&as_vmdk).is_err(), "the text of a VMDK counts for more than a VDI's signature");
    }
}

#[test]
fn runs_join_blocks_that_follow_each_other() {
    let build = Build { map: vec![0, 1, FREE, ZERO], data: vec![7, 8], ..Build::default() };
    let image = open_build(&build);
    let data = build.data_offset() as u64;
    let run = |offset, len| image.extent(offset, len).unwrap();
    assert_eq!(run(0, 16384), Run { extent: Extent::Stored { file: 0, offset: data }, len: 8192 });
    assert_eq!(run(100, 50), Run { extent: Extent::Stored { file: 0, offset: data + 100 }, len: 50 });
    assert_eq!(run(8200, 8184), Run { extent: Extent::Absent, len: 4088 });
    assert_eq!(run(12288, 4096), Run { extent: Extent::Zero, len: 4096 });
}

#[test]
fn blocks_in_reverse_order_are_runs_of_their_own() {
    let build = Build { map: vec![3, 2, 1, 0], data: vec![1, 2, 3, 4], ..Build::default() };
    let image = open_build(&build);
    let data = build.data_offset() as u64;
    for block in 0..4 {
        let run = image.extent(block * 4096, 16384 - block * 4096).unwrap();
        assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset: data + (3 - block) * 4096 }, len: 4096 });
    }
}

#[test]
fn extra_bytes_go_before_each_block() {
    let build = Build { block_extra: 512, map: vec![0, 1, FREE, FREE], data: vec![7, 8], ..Build::default() };
    let image = open_build(&build);
    let data = build.data_offset() as u64;
    let run = image.extent(0, 8192).unwrap();
    assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset: data + 512 }, len: 4096 });
    let run = image.extent(4096, 4096).unwrap();
    assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset: data + 512 + 4096 + 512 }, len: 4096 });
}

#[test]
fn every_header_version_is_read() {
    for (version, header_size) in [(2, 0), (0x0001_0000, 384), (0x0001_0001, 384), (0x0001_0001, 400)] {
        let map = vec![FREE, 0, FREE, FREE];
        let build = Build { version, header_size, map, data: vec![9], ..Build::default() };
        let image = open_build(&build);
        assert_eq!(image.info().uuid, Some(Uuid::from_u128(1)));
        assert_eq!(image.info().modification, Some(Uuid::from_u128(2)));
        assert_eq!(image.info().comment, "a comment");
        let run = image.extent(4096, 4096).unwrap();
        let offset = build.data_offset() as u64;
        assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset }, len: 4096 }, "version {version:#x}");
    }
}

#[test]
fn a_disk_that_ends_within_its_last_block_may_have_that_block_cut() {
    let build = Build { disk_size: 3 * 4096 + 512, map: vec![FREE, FREE, FREE, 0], data: vec![9], ..Build::default() };
    let mut bytes = build.bytes();
    bytes.truncate(build.data_offset() + 512);
    let image = open_bytes(bytes.clone(), OpenOptions::default()).unwrap();
    assert_eq!(image.extent(12288, 512).unwrap().len, 512);
    bytes.pop();
    assert!(message(bytes).contains("VDI block 3"));
}

#[test]
fn the_count_of_blocks_is_ahead_of_the_map_only_while_the_header_is_written() {
    let file = MemFile::new("/t/a.vdi", Build::default().bytes());
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    let disk = ChainDisk::new(vec![open(file.clone(), options).unwrap()], Vec::new());
    disk.write_at(4096, &[7; 4096]).unwrap();
    disk.flush().unwrap();
    let done = |op: &Op| match op {
        Op::Write { offset, .. } => Some(*offset),
        Op::SetLen(len) | Op::Zero { len, .. } => Some(*len),
        Op::Sync => None,
    };
    let (count, uuid, entry, data) = (Some(388), Some(408), Some(516), Some(1024));
    assert_eq!(
        file.ops().iter().map(done).collect::<Vec<_>>(),
        [uuid, None, Some(1024 + 4096), data, None, count, uuid, None, entry, None],
        "the UUID; space and data; the count; the map; the disk is waited for between them"
    );
    // In place there is nothing to count.
    disk.write_at(4096, &[8; 10]).unwrap();
    disk.flush().unwrap();
    assert_eq!(file.ops()[10..].iter().map(done).collect::<Vec<_>>(), [data, uuid, None]);
}

#[test]
fn a_differencing_image_names_its_parent() {
    let parent = Uuid::from_u128(77);
    let image = open_build(&Build { kind: 4, parent, parent_modify: Uuid::from_u128(78), ..Build::default() });
    let link = image.info().parent.clone().unwrap();
    assert_eq!((link.uuid, link.modification), (Some(parent), Some(Uuid::from_u128(78))));
}

#[test]
fn a_parent_in_a_base_is_noted_and_left_alone() {
    let image = open_build(&Build { parent: Uuid::from_u128(77), ..Build::default() });
    assert_eq!(image.info().parent, None);
    assert!(image.info().notes[0].contains("VirtualBox 3"));
}

/// One field of a good image broken at a time: where, the bytes put there, and the cause that must follow.
#[test]
fn each_broken_field_has_its_own_message() {
    let build = Build { map: vec![0, 1, FREE, ZERO], data: vec![7, 8], ..Build::default() };
    let good = build.bytes();
    let end = good.len();
    let cases: Vec<(usize, Vec<u8>, String)> = vec![
        (64, vec![0; 4], "VDI signature at offset 64 (0x40): expected 0xbeda107f, found 0x00000000".into()),
        (68, 0x0002_0000u32.to_le_bytes().into(), "VDI version at offset 68 (0x44): expected 0.2 or 1.x, found 2.0".into()),
        (72, 100u32.to_le_bytes().into(), "VDI header size at offset 72 (0x48): expected at least 384, found 100".into()),
        (76, 9u32.to_le_bytes().into(), "VDI image type at offset 76 (0x4c): expected 1 to 4, found 9".into()),
        (80, 6u32.to_le_bytes().into(), "VDI flags at offset 80 (0x50): expected 0 or 1, found 0x6".into()),
        (340, 400u32.to_le_bytes().into(), "offset of the VDI block map at offset 340 (0x154): expected at least 456, found 400".into()),
        (344, 520u32.to_le_bytes().into(), "offset of the VDI data at offset 344 (0x158): expected at least 528, the end of the block map, found 520".into()),
        (368, vec![0; 8], "VDI disk size at offset 368 (0x170): expected 512 to 2^63 bytes, found 0".into()),
        (368, vec![255; 8], "VDI disk size at offset 368 (0x170): expected 512 to 2^63 bytes, found 18446744073709551104".into()),
        (376, 4095u32.to_le_bytes().into(), "VDI block size at offset 376 (0x178): expected a power of two from 512 bytes on, found 4095".into()),
        (376, vec![0; 4], "VDI block size at offset 376 (0x178): expected a power of two from 512 bytes on, found 0".into()),
        (380, 3u32.to_le_bytes().into(), "VDI extra bytes per block at offset 380 (0x17c): expected 0 or a power of two, found 3".into()),
        (384, 3u32.to_le_bytes().into(), "number of VDI blocks at offset 384 (0x180): expected at least 4 for 16384 bytes, found 3".into()),
        (388, 5u32.to_le_bytes().into(), "number of allocated VDI blocks at offset 388 (0x184): expected at most 4, the number of blocks, found 5".into()),
        (512, 4u32.to_le_bytes().into(), "VDI block map entry 0 at offset 512 (0x200): expected an index below 4, found 4".into()),
        (512, 3u32.to_le_bytes().into(), format!("VDI block 0, index 3 of the data area, at offset 512 (0x200): expected its data up to offset 17408, found the end of the file at {end}")),
        (516, vec![0; 4], "VDI block map entry 1 at offset 516 (0x204): expected a block of its own, found index 0, which an earlier entry has too".into()),
    ];
    for (at, new, cause) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let text = message(bytes);
        assert!(text.starts_with("/t/a.vdi "), "{text}");
        assert!(text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
}

#[test]
fn a_long_map_is_checked_as_one() {
    let last = 300_000;
    let with = |entries: &[(usize, u32)]| {
        let mut build = Build { block_size: 512, disk_size: 512 * (last as u64 + 1), ..Build::default() };
        build.map = vec![FREE; last + 1];
        build.data = vec![7, 8, 9];
        entries.iter().for_each(|(block, index)| build.map[*block] = *index);
        build
    };
    let twice = |block: usize, index: u32| {
        let at = 512 + 4 * block;
        format!("entry {block} at offset {at} ({at:#x}): expected a block of its own, found index {index},")
    };
    for (entries, expected) in [
        (&[(9, 0), (last, 0)][..], twice(last, 0)),
        (&[(9, 1), (50_000, 1), (last, 0)], twice(50_000, 1)),
        (&[(9, 2), (200_000, 0), (250_000, 0), (250_001, 1)], twice(250_000, 0)),
        (&[(9, 2), (200_000, 2), (last, 400_000)], twice(200_000, 2)),
        (&[(9, 2), (200_000, 400_000), (last, 2)], "entry 200000 at offset 800512".to_owned()),
    ] {
        let text = message(with(entries).bytes());
        assert!(text.contains(&expected), "{text}\nhas no {expected}");
    }
    // A new block gets an index that is in neither half.
    let good = with(&[(9, 1), (last, 0), (last - 1, 2)]);
    let file = MemFile::new("/t/a.vdi", good.bytes());
    let disk =
        ChainDisk::new(vec![open(file, OpenOptions { writable: true, ..OpenOptions::default() }).unwrap()], vec![]);
    disk.write_at(0, &[5; 512]).unwrap();
    let mut buf = [0; 512];
    for (block, fill) in [(0, 5), (9, 8), (last, 7), (last - 1, 9), (10, 0)] {
        disk.read_at(512 * block as u64, &mut buf).unwrap();
        assert_eq!(buf, [fill; 512], "{block}");
    }
}

#[test]
fn a_differencing_image_without_parent_uuid_is_corrupt() {
    let text = message(Build { kind: 4, ..Build::default() }.bytes());
    assert!(text.contains("parent UUID of a differencing VDI at offset 424 (0x1a8)"), "{text}");
}

#[test]
fn more_blocks_than_can_be_checked_are_refused_before_memory_is_taken() {
    let mut bytes = Build::default().bytes();
    bytes[344..348].copy_from_slice(&0xFFFF_F000u32.to_le_bytes());
    bytes[384..388].copy_from_slice(&0x1000_0001u32.to_le_bytes());
    let text = message(bytes);
    assert!(text.contains("number of VDI blocks at offset 384 (0x180): expected at most 268435456"), "{text}");
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let build = Build { map: vec![0, 1, FREE, ZERO], data: vec![7, 8], ..Build::default() };
    let good = build.bytes();
    for len in 0..good.len() {
        assert!(open_bytes(good[..len].to_vec(), OpenOptions::default()).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn force_reads_what_is_left_and_fails_on_the_rest() {
    let build = Build { map: vec![0, 1, FREE, ZERO], data: vec![7, 8], ..Build::default() };
    let mut bytes = build.bytes();
    bytes.truncate(build.data_offset() + 5000);
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(bytes.clone(), forced.clone()).unwrap();
    assert!(image.info().notes[0].contains("reading what is left"), "{:?}", image.info().notes);
    assert_eq!(image.extent(0, 8192).unwrap().len, 4096);
    assert!(matches!(image.extent(4096, 1), Err(Error::Corrupt { .. })));
    let writable = OpenOptions { writable: true, ..forced };
    assert!(open_bytes(bytes, writable).is_err());
}

#[test]
fn force_fails_on_blocks_that_two_entries_share() {
    let build = Build { map: vec![1, 0, FREE, 1], data: vec![7, 8], ..Build::default() };
    let image = open_bytes(build.bytes(), OpenOptions { force: true, ..OpenOptions::default() }).unwrap();
    for (block, readable) in [(0, false), (1, true), (2, true), (3, false)] {
        let run = image.extent(block * 4096, 4096);
        assert_eq!(run.is_ok(), readable, "{block}: {run:?}");
    }
    let text = image.extent(0, 1).unwrap_err().to_string();
    assert!(text.contains("found index 1, which another entry has too"), "{text}");
    // Blocks between them are read.
    let disk = ChainDisk::new(vec![image], vec![]);
    let mut buf = [0; 8192];
    disk.read_at(4096, &mut buf).unwrap();
    assert_eq!((buf[0], buf[4096]), (7, 0));
    assert!(disk.read_at(8192, &mut buf).is_err());
}
