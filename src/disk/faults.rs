//! Every format on storage that fails temporarily.

use super::testing::all;
use super::{ChainDisk, Disk, Error};
use crate::error_kind::IoError;
use crate::image::open::open_file;
use crate::image::{self, OpenOptions, parallels, qcow, two_level, vdi, vhd, vhdx, vmdk};
use crate::storage::testing::MemFile;
use nix::errno::Errno;
use std::sync::Arc;

/// An image whose first bytes are written in place or may be, and where in it a block begins that is not stored.
struct Case {
    path: &'static str,
    bytes: Vec<u8>,
    block: usize,
    block_len: usize,
}

fn cases() -> Vec<Case> {
    let case = |path, bytes, block, block_len| Case { path, bytes, block, block_len };
    let two_blocks =
        vdi::testing::Build { map: vec![0, u32::MAX, 1, u32::MAX], data: vec![7, 8], ..Default::default() };
    let data = vec![vhd::testing::Block { bits: 0xFF, fill: 7 }];
    let vhd = vhd::testing::Build { map: vec![Some(0), None, None, None], data, ..Default::default() };
    let vhdx = vhdx::testing::Build { map: vec![(6, 0), (0, 0), (0, 0), (0, 0)], data: vec![7], ..Default::default() };
    let entries = vec![qcow::testing::stored(0)];
    let qcow2 = qcow::testing::Build { entries, data: vec![vec![7; 512]], ..Default::default() };
    vec![
        case("/t/a.vdi", two_blocks.bytes(), 4096, 4096),
        case("/t/a.vmdk", vmdk::testing::Build::default().bytes(), 8192, 4096),
        case("/t/a.vhd", vhd.bytes(), 4096, 4096),
        case("/t/a.vhdx", vhdx.bytes(), 1 << 20, 1 << 20),
        case("/t/a.hdd", parallels::testing::Build::default().bytes(), 1536, 1536),
        case("/t/a.qcow2", qcow2.bytes(), 512, 512),
        case("/t/a.qcow", two_level::tests::qcow(false), 512, 512),
        case("/t/a.qed", two_level::tests::qed(false), 4096, 4096),
    ]
}

fn open(file: &Arc<MemFile>) -> ChainDisk {
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    ChainDisk::new(vec![open_file(file.clone(), options).unwrap()], Vec::new())
}

fn assert_no_space(error: &Error, path: &str) {
    let full = matches!(error, Error::Image(image::Error::Io(IoError { source, .. }))
        if source.raw_os_error() == Some(Errno::ENOSPC as i32));
    assert!(full, "{path}: {error:?}");
}

#[test]
fn flush_fails_after_a_failed_flush() {
    let raw = Case { path: "/t/a.img", bytes: vec![7; 4096], block: 512, block_len: 512 };
    for Case { path, bytes, block, .. } in cases().into_iter().chain([raw]) {
        // Data, and data with metadata.
        for at in [0, block as u64] {
            let file = MemFile::new(path, bytes.clone());
            let disk = open(&file);
            disk.write_at(0, &[1]).unwrap();
            disk.flush().unwrap();
            disk.write_at(at, &[2; 10]).unwrap();
            let shown = all(&disk);
            file.fail_syncs(true);
            let first = disk.flush().unwrap_err();
            assert!(matches!(first, Error::Image(image::Error::Unsynced { .. })), "{path}: {first:?}");
            file.fail_syncs(false);
            let before = file.op_count();
            for later in [disk.flush(), disk.write_at(at, &[3]), disk.discard(at, 1), disk.close(), disk.flush()] {
                let later = later.unwrap_err();
                assert!(matches!(&later, Error::Lost { path: lost, .. } if lost.to_str() == Some(path)), "{later:?}");
                assert_eq!(later.kind().errno(), Errno::EIO);
            }
            assert_eq!(file.op_count(), before, "{path}: nothing is written any more");
            assert!(all(&disk) == shown, "{path}");
        }
    }
}

#[test]
fn dirty_flag_that_could_not_be_flushed_counts_as_lost() {
    for Case { path, bytes, .. } in cases() {
        let file = MemFile::new(path, bytes);
        let disk = open(&file);
        file.fail_syncs(true);
        if disk.write_at(0, &[1]).is_err() {
            file.fail_syncs(false);
            assert!(matches!(disk.flush(), Err(Error::Lost { .. })), "{path}");
        }
    }
}

#[test]
fn metadata_that_found_no_space_is_written_by_the_next_flush() {
    for Case { path, bytes, block, .. } in cases() {
        let mut failed = 0;
        for writes in 0..12 {
            let file = MemFile::new(path, bytes.clone());
            let disk = open(&file);
            disk.write_at(block as u64 + 5, &[2; 10]).unwrap();
            let shown = all(&disk);
            file.fill_after(Some(writes));
            if let Err(error) = disk.flush() {
                assert_no_space(&error, path);
                failed += 1;
            }
            file.fill_after(None);
            disk.flush().unwrap();
            disk.close().unwrap();
            assert!(all(&open(&file)) == shown, "{path}: the write after {writes} others failed");
        }
        assert!(failed > 0, "{path}");
    }
}

/// Neither space is lost nor do bytes of a failed write come up.
#[test]
fn full_disk_loses_nothing_and_is_writable_once_it_has_space() {
    for Case { path, bytes, block, block_len } in cases() {
        let written = |full_after: Option<usize>| {
            let file = MemFile::new(path, bytes.clone());
            let disk = open(&file);
            disk.write_at(0, &[1; 10]).unwrap();
            let mut expected = all(&disk);
            let mut failed = false;
            for _ in 0..full_after.map_or(0, |_| 20) {
                file.fill_after(full_after);
                match disk.write_at(block as u64, &vec![0xEE; block_len]) {
                    Ok(()) => return None,
                    Err(error) => assert_no_space(&error, path),
                }
                failed = true;
                assert!(all(&disk) == expected, "{path}: full after {full_after:?} writes");
            }
            assert_eq!(failed, full_after.is_some());
            file.fill_after(None);
            disk.write_at(block as u64 + 8, &[5; 10]).unwrap();
            expected[block + 8..block + 18].fill(5);
            assert!(all(&disk) == expected, "{path}: full after {full_after:?} writes");
            let rest = expected.len().min(block + 2 * block_len);
            disk.write_at(block as u64, &vec![6; rest - block]).unwrap();
            expected[block..rest].fill(6);
            disk.flush().unwrap();
            disk.close().unwrap();
            assert!(all(&open(&file)) == expected, "{path}: full after {full_after:?} writes");
            Some(file.bytes().len())
        };
        let len = written(None);
        let lens: Vec<usize> = (0..5).map_while(|writes| written(Some(writes))).collect();
        assert!(!lens.is_empty(), "{path}");
        assert!(lens.iter().all(|other| Some(*other) == len), "{path}: {lens:?} are not {len:?}");
    }
}
