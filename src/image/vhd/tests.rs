//! Footers, headers, maps, damage and writing, on images built byte by byte.

use super::testing::{Block, Build, TABLE, sum};
use super::*;
use crate::disk::testing::{Lab, all, crash, steps};
use crate::disk::{ChainDisk, Disk};
use crate::image::Extent;
use crate::image::testing::{MemFile, Op};
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

const FULL: u8 = 0xFF;

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.vhd", bytes), options)
}

fn open_good(bytes: Vec<u8>) -> Box<dyn Image> {
    open_bytes(bytes, OpenOptions::default()).unwrap()
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, OpenOptions::default()) {
        Ok(_) => panic!("a damaged image was opened"),
        Err(error) => crate::error::message(&error),
    }
}

fn stored(offset: u64, len: u64) -> Run {
    Run { extent: Extent::Stored { file: 0, offset }, len }
}

/// Two stored blocks in reverse order between unused ones.
fn two_blocks() -> Build {
    Build {
        map: vec![None, Some(1), Some(0), None],
        data: vec![Block { bits: FULL, fill: 7 }, Block { bits: FULL, fill: 8 }],
        ..Build::default()
    }
}

#[test]
fn blocks_are_found_through_the_table() {
    let build = two_blocks();
    let image = open_good(build.bytes());
    assert_eq!(image.info().variant, Variant::Dynamic);
    assert_eq!(image.info().uuid, Some(Uuid::from_u128(1)));
    assert_eq!(image.extent(0, 16384).unwrap(), Run { extent: Extent::Absent, len: 4096 });
    assert_eq!(image.extent(4096, 12288).unwrap(), stored(build.data_at(1), 4096));
    assert_eq!(image.extent(8192 + 100, 50).unwrap(), stored(build.data_at(0) + 100, 50));
    assert_eq!(image.extent(12288, 4096).unwrap(), Run { extent: Extent::Absent, len: 4096 });
}

#[test]
fn unused_blocks_are_one_run() {
    let image = open_good(Build { map: vec![None; 3000], size: 3000 * 4096, ..Build::default() }.bytes());
    assert_eq!(image.extent(5, 3000 * 4096 - 5).unwrap(), Run { extent: Extent::Absent, len: 1024 * 4096 - 5 });
}

#[test]
fn bits_tell_which_sectors_are_stored() {
    let build = Build {
        data: vec![Block { bits: 0b0110_0001, fill: 7 }],
        map: vec![Some(0); 1],
        size: 4096,
        ..Build::default()
    };
    let image = open_good(build.bytes());
    let at = build.data_at(0);
    assert_eq!(image.extent(0, 4096).unwrap(), Run { extent: Extent::Absent, len: 512 });
    assert_eq!(image.extent(512, 3584).unwrap(), stored(at + 512, 1024));
    assert_eq!(image.extent(700, 3396).unwrap(), stored(at + 700, 836));
    assert_eq!(image.extent(1536, 2560).unwrap(), Run { extent: Extent::Absent, len: 2048 });
    assert_eq!(image.extent(3584, 512).unwrap(), stored(at + 3584, 512));
}

#[test]
fn a_large_block_has_a_large_bitmap() {
    let block_size = 8 << 20;
    let build = Build {
        block_size,
        size: u64::from(block_size),
        map: vec![Some(0)],
        data: vec![Block { bits: FULL, fill: 1 }],
        ..Build::default()
    };
    let image = open_good(build.bytes());
    assert_eq!(build.data_at(0), 2048 + 2048, "16384 sectors have 2048 bytes of bits");
    // A run ends where the piece of the bitmap that is looked at ends.
    assert_eq!(image.extent(0, u64::from(block_size)).unwrap(), stored(4096, 512 * 8 * 512));
    assert_eq!(image.extent((4 << 20) + 512, 512).unwrap(), stored(4096 + (4 << 20) + 512, 512));
}

#[test]
fn a_fixed_disk_is_its_bytes_before_the_footer() {
    let image = open_good(Build::default().fixed(9));
    assert_eq!(image.info().variant, Variant::Fixed);
    assert_eq!(image.extent(100, 16284).unwrap(), stored(100, 16284));
}

#[test]
fn a_footer_of_511_bytes_is_read() {
    let mut bytes = two_blocks().bytes();
    bytes.pop();
    assert_eq!(open_good(bytes).info().notes, Vec::<String>::new());
    let mut bytes = Build::default().fixed(9);
    bytes.pop();
    assert_eq!(open_good(bytes).info().size, 16384);
}

#[test]
fn the_copy_of_the_footer_is_used_when_the_end_is_cut_or_damaged() {
    let build = two_blocks();
    let good = build.bytes();
    let end = good.len() - 512;
    let cut = open_good(good[..end].to_vec());
    assert_eq!(
        cut.info().notes,
        ["The footer at the end of the file is missing; its copy at the start is used".to_owned()]
    );
    assert_eq!(cut.extent(4096, 4096).unwrap(), stored(build.data_at(1), 4096));
    let mut bytes = good;
    bytes[end + 50] ^= 1;
    let image = open_good(bytes);
    assert!(
        image.info().notes[0].starts_with(&format!(
            "The footer at the end of the file is damaged (VHD footer checksum at offset {}",
            end + 64
        )),
        "{:?}",
        image.info().notes
    );
}

#[test]
fn a_saved_state_is_noted() {
    let mut bytes = Build::default().fixed(9);
    let end = bytes.len() - 512;
    bytes[end + 84] = 1;
    sum(&mut bytes[end..], 64);
    assert!(open_good(bytes).info().notes[0].contains("saved while running"));
}

#[test]
fn the_geometry_is_the_size_for_virtual_pc_only() {
    // 4 cylinders of 34 sectors, and 8 sectors more.
    let build = |creator: &[u8; 4], geometry| Build {
        size: 144 * 512,
        creator: *creator,
        geometry,
        map: vec![None; 18],
        ..Build::default()
    };
    let size = |bytes: Vec<u8>| open_good(bytes).info().size;
    for (creator, expected) in
        [(b"vpc ", 136), (b"vs  ", 136), (b"qemu", 136), (b"vbox", 144), (b"win ", 144), (b"qem2", 144)]
    {
        assert_eq!(size(build(creator, (4, 2, 17)).bytes()), expected * 512, "{}", creator.escape_ascii());
        assert_eq!(size(build(creator, (4, 2, 17)).fixed(0)), expected * 512, "{}", creator.escape_ascii());
    }
    assert_eq!(size(build(b"vpc ", (65535, 16, 255)).bytes()), 144 * 512, "the largest geometry stands for any size");
    assert_eq!(size(build(b"vpc ", (3, 2, 17)).bytes()), 144 * 512, "not the geometry of this disk");
    assert_eq!(size(build(b"vpc ", (5, 2, 17)).bytes()), 144 * 512, "more than there is");
    assert_eq!(size(build(b"vpc ", (0, 0, 0)).bytes()), 144 * 512, "no geometry");
}

#[test]
fn bytes_past_the_geometry_are_not_hidden() {
    let mut build = Build { size: 144 * 512, creator: *b"vpc ", geometry: (4, 2, 17), ..Build::default() };
    build.map = vec![None; 18];
    build.map[17] = Some(0);
    build.data = vec![Block { bits: 1, fill: 5 }];
    assert_eq!(open_good(build.bytes()).info().size, 144 * 512);
    let mut bytes = build.fixed(0);
    bytes[144 * 512 - 1] = 1;
    assert_eq!(open_good(bytes).info().size, 144 * 512);
}

fn put_locator(bytes: &mut [u8], number: usize, code: &[u8; 4], length: u32, offset: u64) {
    let at = 512 + 576 + 24 * number;
    bytes[at..at + 4].copy_from_slice(code);
    bytes[at + 8..at + 12].copy_from_slice(&length.to_be_bytes());
    bytes[at + 16..at + 24].copy_from_slice(&offset.to_be_bytes());
}

#[test]
fn a_differencing_disk_names_its_parent() {
    let parent = Uuid::from_u128(77);
    let mut bytes = Build { kind: 4, parent, map: vec![None; 400], ..Build::default() }.bytes();
    // Room within the unused tail of the table.
    let mut put = |at: usize, text: &[u8]| bytes[at..at + text.len()].copy_from_slice(text);
    put(2100, b"C\0:\0\\\0p\0.\0v\0h\0d\0");
    put(2200, b".\0\\\0p\0.\0v\0h\0d\0\0\0");
    put(2300, b"file://localhost/Users/p.vhd");
    put(512 + 64, b"\0p\0.\0v\0h\0d");
    put_locator(&mut bytes, 0, b"W2ku", 16, 2100);
    put_locator(&mut bytes, 1, b"W2ru", 16, 2200);
    put_locator(&mut bytes, 2, b"MacX", 28, 2300);
    put_locator(&mut bytes, 3, b"Wi2k", 10, 1 << 40);
    put_locator(&mut bytes, 4, b"Wi2r", u32::MAX, 2300);
    sum(&mut bytes[512..1536], 36);
    let image = open_good(bytes);
    let link = image.info().parent.clone().unwrap();
    assert_eq!(link.uuid, Some(parent));
    assert_eq!(link.hints, [".\\p.vhd", "C:\\p.vhd", "file://localhost/Users/p.vhd", "p.vhd"]);
    let notes = &image.info().notes;
    assert!(notes[0].contains("kind Wi2r (4294967295 bytes at offset 2300)"), "{notes:?}");
    assert!(notes[1].contains("kind Wi2k (10 bytes at offset 1099511627776)"), "{notes:?}");
}

/// A place, what is put there, whose checksum has to be made right again, and the fault that must follow.
struct Case {
    at: usize,
    new: Vec<u8>,
    summed: Option<(usize, usize, usize)>,
    fault: String,
}

fn case(at: usize, new: impl Into<Vec<u8>>, summed: Option<(usize, usize, usize)>, fault: impl Into<String>) -> Case {
    Case { at, new: new.into(), summed, fault: fault.into() }
}

#[test]
fn each_broken_field_has_its_own_message() {
    let build = two_blocks();
    let good = build.bytes();
    let f = good.len() - 512;
    let footer = Some((f, f + 512, 64));
    let header = Some((512, 1536, 36));
    let be = |number: u32| number.to_be_bytes();
    let cases = [
        case(f + 20, [1], None, format!("VHD footer checksum at offset {}", f + 64)),
        case(f + 12, be(0x0002_0000), footer, format!("VHD file format version at offset {} ({:#x}): expected 0x00010000, found 0x00020000", f + 12, f + 12)),
        case(f + 60, be(6), footer, format!("VHD disk type at offset {} ({:#x}): expected 2 (fixed), 3 (dynamic) or 4 (differencing), found 6", f + 60, f + 60)),
        case(f + 48, [0; 8], footer, format!("VHD current size at offset {} ({:#x}): expected 512 to 2^63 bytes, found 0", f + 48, f + 48)),
        case(f + 48, [255; 8], footer, format!("VHD current size at offset {} ({:#x}): expected 512 to 2^63 bytes, found 18446744073709551104", f + 48, f + 48)),
        case(f + 60, be(2), footer, format!("VHD current size of a fixed disk at offset {} ({:#x}): expected at most {f}, the bytes before the footer, found 16384", f + 48, f + 48)),
        case(f + 16, (1_u64 << 40).to_be_bytes(), footer, "VHD dynamic disk header at offset 1099511627776 (0x10000000000): expected 1024 bytes, found the end of the file".to_owned()),
        case(f + 16, 513_u64.to_be_bytes(), footer, "VHD dynamic disk header cookie at offset 513 (0x201): expected \"cxsparse\", found \"xsparse".to_owned()),
        case(512, *b"cxsparsE", None, "VHD dynamic disk header cookie at offset 512 (0x200): expected \"cxsparse\", found \"cxsparsE\""),
        case(600, [1], None, "VHD dynamic disk header checksum at offset 548 (0x224): expected 0x"),
        case(536, be(0x0001_0001), header, "VHD dynamic disk header version at offset 536 (0x218): expected 0x00010000, found 0x00010001"),
        case(544, be(0), header, "VHD block size at offset 544 (0x220): expected a power of two from 4096 bytes on, found 0"),
        case(544, be(2048), header, "VHD block size at offset 544 (0x220): expected a power of two from 4096 bytes on, found 2048"),
        case(544, be(4097), header, "VHD block size at offset 544 (0x220): expected a power of two from 4096 bytes on, found 4097"),
        case(540, be(3), header, "VHD max table entries at offset 540 (0x21c): expected at least 4 for a disk of 16384 bytes, found 3"),
        case(528, u64::MAX.to_be_bytes(), header, format!("VHD table offset at offset 528 (0x210): expected 4 entries before offset {f}, the end of the data, found 18446744073709551615")),
        case(528, (f as u64 - 12).to_be_bytes(), header, format!("VHD table offset at offset 528 (0x210): expected 4 entries before offset {f}, the end of the data, found {}", f - 12)),
        case(TABLE, be(14), None, format!("VHD table entry 0 at offset 1536 (0x600): expected a block that ends before offset {f}, the end of the data, found sector 14, a block that ends at offset {}", 14 * 512 + 4608)),
        case(TABLE, be(0xFFFF_FFFE), None, "VHD table entry 0 at offset 1536 (0x600): expected a block that ends before"),
        case(TABLE, be(0), None, "VHD table entry 0 at offset 1536 (0x600): expected a block outside of the footer's copy at offset 0, found sector 0, a block from offset 0 to 4608"),
        case(TABLE, be(1), None, "VHD table entry 0 at offset 1536 (0x600): expected a block outside of the dynamic disk header at offset 512, found sector 1"),
        case(TABLE, be(3), None, "VHD table entry 0 at offset 1536 (0x600): expected a block outside of the table at offset 1536, found sector 3"),
        case(TABLE + 8, be(13), None, "VHD table entry 2 at offset 1544 (0x608): expected a block of its own, found sector 13, within 4608 bytes of the block that begins at sector 13"),
        case(TABLE + 8, be(5), None, "VHD table entry 2 at offset 1544 (0x608): expected a block of its own, found sector 5, within 4608 bytes of the block that begins at sector 13"),
    ];
    for Case { at, new, summed, fault } in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(&new);
        if let Some((from, to, field)) = summed {
            sum(&mut bytes[from..to], field);
        }
        // The footer's copy would stand in for a damaged one.
        bytes[20] ^= u8::from(at >= f);
        let text = message(bytes);
        assert!(text.starts_with("/t/a.vhd "), "{text}");
        assert!(text.contains(&format!(": {fault}")), "{text}\nis not\n{fault}");
    }
}

#[test]
fn a_cut_file_is_an_error_or_has_all_its_blocks() {
    let build = two_blocks();
    let good = build.bytes();
    let blocks_end = good.len() - 512;
    for len in 0..good.len() - 1 {
        let result = open_bytes(good[..len].to_vec(), OpenOptions::default());
        assert_eq!(result.is_ok(), len >= blocks_end, "cut to {len} bytes");
    }
    for len in 0..16384 {
        let cut = Build::default().fixed(9)[..len].to_vec();
        assert!(open_bytes(cut, OpenOptions::default()).is_err());
    }
}

#[test]
fn blocks_too_small_for_the_check_are_refused_before_memory_is_taken() {
    /// A file of 1 TiB whose middle is a hole.
    #[derive(Debug)]
    struct Huge(Arc<MemFile>);
    impl crate::image::Storage for Huge {
        fn path(&self) -> &std::path::Path {
            self.0.path()
        }
        fn length(&self) -> std::io::Result<u64> {
            Ok(1 << 40)
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let tail = (1 << 40) - 512;
            self.0.read_at(buf, if offset >= tail { offset - tail } else { offset })
        }
        fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
            unreachable!()
        }
        fn set_len(&self, _: u64) -> std::io::Result<()> {
            unreachable!()
        }
        fn sync(&self) -> std::io::Result<()> {
            unreachable!()
        }
        fn zero(&self, _: u64, _: u64) -> std::io::Result<()> {
            unreachable!()
        }
        fn stretch(&self, _: u64) -> std::io::Result<crate::image::storage::Stretch> {
            unreachable!()
        }
    }
    let file = Arc::new(Huge(MemFile::new("/t/a.vhd", two_blocks().bytes())));
    let error = open(file, OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("VHD block size at offset 544 (0x220): expected blocks so large that at most 16777216 fit into the file, found 4096 bytes, of which 238609295 fit"), "{error}");
}

#[test]
fn force_reads_what_is_left_and_fails_on_the_rest() {
    let mut bytes = two_blocks().bytes();
    bytes.truncate(bytes.len() - 1000);
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(bytes.clone(), forced).unwrap();
    assert!(image.info().notes[1].contains("reading what is left"), "{:?}", image.info().notes);
    assert_eq!(image.extent(8192, 8192).unwrap().len, 4096);
    assert!(matches!(image.extent(4096, 1), Err(Error::Corrupt { .. })));
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..forced }).is_err());
}

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
fn a_new_block_is_added_behind_the_others_and_unused_room_is_cut_off() {
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
        let writer = Some(Writer::new(&parts.footer, &end));
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

    /// Random damage anywhere: an error or bytes, never a panic.
    #[test]
    fn damage_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), summed: bool) {
        let mut bytes = leaf().bytes();
        for (at, new) in changes {
            let at = at.index(bytes.len().min(2600));
            bytes[at] = new;
        }
        if summed {
            let end = bytes.len() - 512;
            sum(&mut bytes[..512], 64);
            sum(&mut bytes[512..1536], 36);
            sum(&mut bytes[end..], 64);
        }
        let options = OpenOptions { force: true, ..OpenOptions::default() };
        if let Ok(image) = open_bytes(bytes, options) {
            let mut at = 0;
            while at < image.info().size.min(1 << 20) {
                at += image.extent(at, image.info().size - at).map_or(4096, |run| run.len);
            }
        }
    }
}

#[test]
fn threads_write_into_one_block() {
    let disk = chain(MemFile::new("/t/leaf.vhd", leaf().bytes()), true);
    std::thread::scope(|scope| {
        for sector in 0..80_u8 {
            let disk = &disk;
            scope.spawn(move || {
                let at = u64::from(sector) * 512;
                for round in 1..20_u8 {
                    disk.write_at(at, &[sector ^ round; 512]).unwrap();
                    let mut back = [0; 512];
                    disk.read_at(at, &mut back).unwrap();
                    assert_eq!(back, [sector ^ round; 512]);
                    if round == sector % 16 {
                        disk.flush().unwrap();
                    }
                }
            });
        }
    });
}
