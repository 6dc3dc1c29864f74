//! Writing, and crashes at any moment of it.

use super::*;
use crate::disk::testing::{Lab, all, crash, steps, write_from_threads};
use crate::disk::{ChainDisk, Disk};
use crate::storage::testing::Op;
use proptest::prelude::*;

fn open_file(file: Arc<MemFile>, writable: bool) -> Box<dyn Image> {
    open(file, &if writable { WRITE } else { READ }).unwrap()
}

fn alone(file: Arc<MemFile>, writable: bool) -> ChainDisk {
    ChainDisk::new(vec![open_file(file, writable)], Vec::new())
}

/// A base that shows data everywhere.
fn base() -> Box<dyn Image> {
    let map = (0..6).map(Data).collect();
    open_build(&Build { map, data: vec![91, 92, 93, 94, 95, 96], ..Build::default() })
}

fn over_base(file: Arc<MemFile>, writable: bool) -> ChainDisk {
    ChainDisk::new(vec![open_file(file, writable), base()], Vec::new())
}

/// What [`Build::default`] shows; over [`base`] or alone.
fn shown(over: bool) -> Vec<u8> {
    let fills = if over { [11, 22, 93, 94, 33, 96] } else { [11, 22, 0, 0, 33, 0] };
    fills.into_iter().flat_map(|fill| vec![fill; 4096]).collect()
}

/// An image with a grain table that is not there yet.
fn without_table(build: &Build) -> Vec<u8> {
    let mut bytes = build.bytes();
    for directory in [build.directory(), build.redundant_directory()] {
        bytes[directory + 4..][..4].fill(0);
    }
    bytes
}

#[test]
fn first_write_sets_the_dirty_flag_and_close_clears_it() {
    let file = MemFile::new("/t/a.vmdk", Build::default().bytes());
    let disk = alone(file.clone(), true);
    let start = file.bytes();
    disk.flush().unwrap();
    disk.close().unwrap();
    assert!(file.ops().is_empty(), "opening for writing changes nothing");
    disk.write_at(8192, &[1; 100]).unwrap();
    let ops = file.ops();
    let data = ops.iter().position(|op| matches!(op, Op::SetLen(_))).unwrap();
    let sync = ops.iter().position(|op| matches!(op, Op::Sync)).unwrap();
    assert!(sync < data, "the flags are on the disk before the data");
    let marked = file.bytes();
    assert_eq!((marked[8], marked[72]), (1, 1), "in use, without redundant tables");
    let info = alone(file.clone(), false).links()[0].info().clone();
    assert!(info.notes[0].contains("not closed cleanly"));
    disk.close().unwrap();
    let closed = file.bytes();
    assert_eq!(closed[..512], start[..512], "closed as it was");
    assert_ne!(info.content_id, Some(0x1234_5678));
    assert_ne!(info.modification, Some(Uuid::from_u128(2)));
    let text = String::from_utf8_lossy(&closed[512..2048]).into_owned();
    let long = format!("{:08x}\"", info.content_id.unwrap());
    assert!(text.lines().any(|line| line.starts_with("ddb.longContentID = ") && line.ends_with(&long)), "{text}");
    assert_eq!(text.trim_end_matches('\0').len(), Build::default().descriptor.len());
}

#[test]
fn redundant_tables_are_as_the_first_ones_when_closed() {
    for bytes in [Build::default().bytes(), without_table(&Build::default())] {
        let file = MemFile::new("/t/a.vmdk", bytes);
        let disk = alone(file.clone(), true);
        disk.write_at(9000, &[1; 13_000]).unwrap();
        disk.discard(0, 4096).unwrap();
        disk.close().unwrap();
        let image = open(file.clone(), &WRITE).unwrap();
        assert!(image.info().notes.is_empty(), "{:?}", image.info().notes);
        let number = |at: usize| u32::from_le_bytes(file.bytes()[at..at + 4].try_into().unwrap()) as usize * 512;
        let build = Build::default();
        for table in 0..2 {
            let first = number(build.directory() + 4 * table);
            let second = number(build.redundant_directory() + 4 * table);
            assert!(first != 0 && second != 0 && first != second);
            assert_eq!(file.bytes()[first..first + 512], file.bytes()[second..second + 512]);
        }
    }
}

#[test]
fn zeros_over_a_parent_take_space_only_where_the_format_has_no_entry_for_them() {
    for (flags, grown) in [(3, 4096), (7, 0)] {
        let build = Build { flags, ..Build::default() }.difference();
        let file = MemFile::new("/t/a.vmdk", build.bytes());
        let before = file.bytes().len();
        let disk = over_base(file.clone(), true);
        disk.write_at(8192, &[0; 4096]).unwrap();
        disk.discard(0, 4096).unwrap();
        disk.close().unwrap();
        assert_eq!(file.bytes().len(), before + grown, "flags {flags}");
        let mut expected = shown(true);
        expected[..4096].fill(0);
        expected[8192..12288].fill(0);
        assert_eq!(all(&over_base(file, false)), expected);
    }
}

#[test]
fn space_that_was_given_back_is_used_again() {
    let file = MemFile::new("/t/a.vmdk", Build::default().bytes());
    let before = file.bytes().len();
    let disk = alone(file.clone(), true);
    disk.discard(0, 8192).unwrap();
    disk.flush().unwrap();
    disk.write_at(8192, &[7; 4096]).unwrap();
    disk.close().unwrap();
    let disk = alone(file.clone(), true);
    disk.write_at(20480, &[8; 10]).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), before);
    let mut expected = shown(false);
    expected[..8192].fill(0);
    expected[8192..12288].fill(7);
    expected[20480..20490].fill(8);
    assert_eq!(all(&alone(file, false)), expected, "old bytes do not come back");
}

#[test]
fn an_extent_does_not_grow_beyond_2_tib() {
    /// A file that says it is nearly that long.
    #[derive(Debug)]
    struct Long(Arc<MemFile>);
    impl crate::storage::Storage for Long {
        fn path(&self) -> &Path {
            self.0.path()
        }
        fn length(&self) -> std::io::Result<u64> {
            Ok((2 << 40) - 4096)
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.0.read_at(buf, offset)
        }
        fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()> {
            assert!(offset < 2 << 40);
            if offset < 1 << 20 { self.0.write_at(buf, offset) } else { Ok(()) }
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            assert!(len <= 2 << 40);
            Ok(())
        }
        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn zero(&self, _: u64, _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn segment(&self, _: u64) -> std::io::Result<crate::storage::Segment> {
            unreachable!()
        }
    }
    let mut bytes = Build { flags: 1, ..Build::default() }.bytes();
    // Grains begin after the end: no position before it is free.
    bytes[64..72].fill(0xFF);
    let file = Arc::new(Long(MemFile::new("/t/a.vmdk", bytes)));
    let disk = ChainDisk::new(vec![open(file, &WRITE).unwrap()], Vec::new());
    disk.write_at(8192, &[1; 4096]).unwrap();
    let error = disk.write_at(12288, &[1; 4096]).unwrap_err();
    assert!(error.to_string().contains("cannot grow beyond 2199023255552 bytes (2 TiB)"), "{error}");
}

fn lab<'a>(leaf: &'a [u8], over: bool, open: &'a dyn Fn(Arc<MemFile>, bool) -> ChainDisk) -> Lab<'a> {
    Lab { path: "/t/a.vmdk", leaf, model: shown(over), open, after_crash: &|_| Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The writable open after the crash compares the two sets of tables as VirtualBox does, and refuses any
    /// difference.
    #[test]
    fn a_base_is_an_array_also_after_a_crash(steps in steps(24576, 3 * 4096), crash in crash(), flags in prop_oneof![Just(1), Just(3), Just(7)]) {
        let build = Build { flags, ..Build::default() };
        lab(&build.bytes(), false, &alone).play(&steps, &crash)?;
    }

    #[test]
    fn a_difference_is_an_array_also_after_a_crash(steps in steps(24576, 3 * 4096), crash in crash(), flags in prop_oneof![Just(1), Just(3), Just(7)]) {
        let build = Build { flags, ..Build::default() }.difference();
        lab(&build.bytes(), true, &over_base).play(&steps, &crash)?;
    }

    #[test]
    fn new_grain_tables_are_whole_also_after_a_crash(steps in steps(24576, 3 * 4096), crash in crash(), flags in prop_oneof![Just(1), Just(3), Just(7)]) {
        let map = vec![Data(0), Data(1)];
        let build = Build { flags, map, data: vec![11, 22], ..Build::default() }.difference();
        let bytes = without_table(&build);
        let mut model = shown(true);
        model[16384..20480].fill(95);
        Lab { model, ..lab(&bytes, true, &over_base) }.play(&steps, &crash)?;
    }
}

#[test]
fn writers_of_different_grains_do_not_disturb_each_other() {
    let build = Build { map: Vec::new(), data: Vec::new(), ..Build::default() };
    let disk = alone(MemFile::new("/t/a.vmdk", without_table(&build)), true);
    write_from_threads(&disk, (0..6).map(|grain| grain * 4096), 4096, true);
    disk.close().unwrap();
}
