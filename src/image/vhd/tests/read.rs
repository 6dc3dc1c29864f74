//! Footers, headers and maps.

use super::*;
use crate::image::Extent;
use crate::image::vhd::testing::sum;
use uuid::Uuid;

fn open_good(bytes: Vec<u8>) -> Box<dyn Image> {
    open_bytes(bytes, OpenOptions::default()).unwrap()
}

fn stored(offset: u64, len: u64) -> Run {
    Run { extent: Extent::Stored { file: 0, offset }, len }
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
fn bitmap_states_which_sectors_are_stored() {
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
    // A run ends at the end of the range of the bitmap that is examined.
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
fn the_copy_of_the_footer_is_used_when_the_end_is_cut_or_corrupt() {
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
            "The footer at the end of the file is corrupt (VHD footer checksum at offset {}",
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
