//! Corruption: the exact error, and never a panic.

use super::*;
use crate::disk::ChainDisk;
use crate::image::vhd::testing::{TABLE, UNUSED, sum};
use proptest::prelude::*;
use std::sync::Arc;

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, OpenOptions::default()) {
        Ok(_) => panic!("a corrupt image was opened"),
        Err(error) => crate::error_kind::message(&error),
    }
}

/// An offset, what is put there, whose checksum has to be made right again, and the cause that must follow.
struct Case {
    at: usize,
    new: Vec<u8>,
    summed: Option<(usize, usize, usize)>,
    cause: String,
}

fn case(at: usize, new: impl Into<Vec<u8>>, summed: Option<(usize, usize, usize)>, cause: impl Into<String>) -> Case {
    Case { at, new: new.into(), summed, cause: cause.into() }
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
    for Case { at, new, summed, cause } in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(&new);
        if let Some((from, to, field)) = summed {
            sum(&mut bytes[from..to], field);
        }
        // The footer's copy would stand in for a corrupt one.
        bytes[20] ^= u8::from(at >= f);
        let text = message(bytes);
        assert!(text.starts_with("/t/a.vhd "), "{text}");
        assert!(text.contains(&format!(": {cause}")), "{text}\nis not\n{cause}");
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
    impl crate::storage::Storage for Huge {
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
        fn segment(&self, _: u64) -> std::io::Result<crate::storage::Segment> {
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
    let image = open_bytes(bytes.clone(), forced.clone()).unwrap();
    assert!(image.info().notes[1].contains("reading what is left"), "{:?}", image.info().notes);
    assert_eq!(image.extent(8192, 8192).unwrap().len, 4096);
    assert!(matches!(image.extent(4096, 1), Err(Error::Corrupt { .. })));
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..forced }).is_err());
}

/// A fixed disk of 16 KiB, with bytes after it before the footer.
fn fixed(size: u64, after: usize) -> Vec<u8> {
    let build = Build { kind: 2, size, ..Build::default() };
    [vec![7; 4 * 4096 + after], build.footer().to_vec()].concat()
}

#[test]
fn a_wrong_checksum_alone_is_read_with_a_note_where_all_else_fits() {
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let break_sum = |bytes: &mut Vec<u8>, footer: usize| bytes[footer + 64] ^= 1;
    let mut bytes = fixed(4 * 4096, 0);
    break_sum(&mut bytes, 4 * 4096);
    let image = open_bytes(bytes.clone(), OpenOptions::default()).unwrap();
    assert!(image.info().notes[0].contains("VHD footer checksum"), "{:?}", image.info().notes);
    assert_eq!(image.info().size, 4 * 4096);
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..OpenOptions::default() }).is_err());
    // The size may be the wrong field.
    let mut bytes = fixed(4 * 4096 - 512, 0);
    break_sum(&mut bytes, 4 * 4096);
    assert!(open_bytes(bytes.clone(), OpenOptions::default()).is_err());
    assert!(open_bytes(bytes, forced.clone()).is_ok());

    let mut bytes = two_blocks().bytes();
    let end = bytes.len() - 512;
    let right =
        crate::disk::testing::all(&ChainDisk::new(vec![open_bytes(bytes.clone(), forced.clone()).unwrap()], vec![]));
    break_sum(&mut bytes, 0);
    break_sum(&mut bytes, end);
    let image = open_bytes(bytes.clone(), OpenOptions::default()).unwrap();
    assert!(image.info().notes[0].contains("VHD footer checksum"), "{:?}", image.info().notes);
    assert_eq!(crate::disk::testing::all(&ChainDisk::new(vec![image], vec![])), right);
    // Two copies that differ.
    bytes[end + 40] ^= 1;
    assert!(open_bytes(bytes.clone(), OpenOptions::default()).is_err());
    assert!(open_bytes(bytes, forced).is_ok());
}

#[test]
fn a_footer_of_another_disk_is_not_believed() {
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    // A larger one: only what lies before the footer is sure.
    let bytes = fixed(64 << 20, 0);
    assert!(open_bytes(bytes.clone(), OpenOptions::default()).is_err());
    assert_eq!(open_bytes(bytes, forced.clone()).unwrap().info().size, 4 * 4096);
    // A smaller one: what is not shown is noted.
    let image = open_bytes(fixed(4 * 4096, 4096), OpenOptions::default()).unwrap();
    assert!(image.info().notes[0].contains("4096 bytes between the end of the disk"), "{:?}", image.info().notes);
    // A dynamic disk with the footer of a fixed one at its end.
    let mut bytes = two_blocks().bytes();
    let end = bytes.len() - 512;
    let right =
        crate::disk::testing::all(&ChainDisk::new(vec![open_bytes(bytes.clone(), forced.clone()).unwrap()], vec![]));
    bytes[end..]
        .copy_from_slice(&Build { kind: 2, size: 4096, uuid: uuid::Uuid::from_u128(9), ..Build::default() }.footer());
    let error = open_bytes(bytes.clone(), OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("the same as its copy at the start"), "{error}");
    let image = open_bytes(bytes, forced).unwrap();
    assert_eq!(crate::disk::testing::all(&ChainDisk::new(vec![image], vec![])), right);
}

#[test]
fn force_fails_on_blocks_that_overlap() {
    let good = two_blocks().bytes();
    let entries: Vec<u32> =
        good[TABLE..TABLE + 16].as_chunks::<4>().0.iter().map(|raw| u32::from_be_bytes(*raw)).collect();
    let used: Vec<usize> = (0..4).filter(|block| entries[*block] != UNUSED).collect();
    let free = (0..4).find(|block| entries[*block] == UNUSED).unwrap();
    // An unused block is put where the first one in the file is.
    let first = *used.iter().min_by_key(|block| entries[**block]).unwrap();
    let other = *used.iter().max_by_key(|block| entries[**block]).unwrap();
    let mut bytes = good;
    bytes[TABLE + 4 * free..][..4].copy_from_slice(&entries[first].to_be_bytes());
    let image = open_bytes(bytes, OpenOptions { force: true, ..OpenOptions::default() }).unwrap();
    for (block, readable) in [(first, false), (free, false), (other, true)] {
        let run = image.extent(block as u64 * 4096, 4096);
        assert_eq!(run.is_ok(), readable, "{block}: {run:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random corruption anywhere: an error or bytes, never a panic.
    #[test]
    fn corrupt_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), summed: bool) {
        let mut bytes = two_blocks().bytes();
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
