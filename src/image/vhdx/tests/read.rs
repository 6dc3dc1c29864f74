//! Headers, regions, metadata and maps.

use super::*;
use crate::disk::ChainDisk;
use crate::disk::testing::all;
use crate::image::Extent;
use crate::image::vhdx::testing::{header, sum};

const MB: u64 = MIB as u64;

fn stored(offset: u64, len: u64) -> Run {
    Run { extent: Extent::Stored { file: 0, offset }, len }
}

#[test]
fn blocks_are_found_through_the_table() {
    let build = two_blocks();
    let image = open_good(build.bytes());
    let info = image.info();
    assert_eq!((info.variant, info.uuid, info.modification), (Variant::Dynamic, None, Some(Uuid::from_u128(1))));
    assert_eq!(info.details, "blocks of 1 MiB, sectors of 512 bytes");
    assert_eq!(image.extent(0, 4 * MB).unwrap(), stored(build.block_at(1), MB));
    assert_eq!(image.extent(MB + 5, 3 * MB - 5).unwrap(), Run { extent: Extent::Absent, len: MB - 5 });
    assert_eq!(image.extent(2 * MB + 100, 50).unwrap(), stored(build.block_at(0) + 100, 50));
    assert_eq!(image.extent(3 * MB, MB).unwrap(), Run { extent: Extent::Zero, len: MB });
}

#[test]
fn blocks_that_nobody_relies_on_are_zeros_also_over_a_parent() {
    let locator = leaf().locator;
    let image =
        open_good(Build { map: vec![(1, 0), (2, 0), (3, 0), (0, 0)], flags: 2, locator, ..Build::default() }.bytes());
    assert_eq!(image.extent(0, 4 * MB).unwrap(), Run { extent: Extent::Zero, len: 3 * MB });
    assert_eq!(image.extent(3 * MB, MB).unwrap(), Run { extent: Extent::Absent, len: MB });
}

#[test]
fn runs_go_on_over_the_entries_of_bitmaps() {
    // Sectors of 512 bytes and blocks of 256 MiB: an entry for a bitmap after each 16.
    let build = Build { block_size: 256 << 20, size: 40 << 28, map: vec![(0, 0); 40], ..Build::default() };
    let mut bytes = build.bytes();
    bytes[TABLE + 8 * 16] = 6;
    let image = open_good(bytes.clone());
    assert_eq!(image.extent(100, (40 << 28) - 100).unwrap(), Run { extent: Extent::Absent, len: (40 << 28) - 100 });
    // Block 35 has entry 37.
    bytes[TABLE + 8 * 37] = 2;
    let image = open_good(bytes);
    assert_eq!(image.extent(0, 40 << 28).unwrap(), Run { extent: Extent::Absent, len: 35 << 28 });
    assert_eq!(image.extent(35 << 28, 5 << 28).unwrap(), Run { extent: Extent::Zero, len: 1 << 28 });
}

#[test]
fn bitmap_states_which_sectors_are_stored() {
    let build = leaf();
    let image = open_good(build.bytes());
    let at = build.block_at(1);
    assert_eq!(image.extent(2 * MB, MB).unwrap(), stored(at, 2048));
    assert_eq!(image.extent(2 * MB + 700, MB - 700).unwrap(), stored(at + 700, 1348));
    assert_eq!(image.extent(2 * MB + 2048, MB - 2048).unwrap(), Run { extent: Extent::Absent, len: 2048 });
    assert_eq!(image.extent(2 * MB + 4096, 100).unwrap(), stored(at + 4096, 100));
    assert_eq!(image.extent(2 * MB + 4608, MB - 4608).unwrap(), Run { extent: Extent::Absent, len: MB - 4608 - 512 });
    assert_eq!(image.extent(3 * MB - 512, 4608).unwrap(), stored(at + MB - 512, 512));
}

#[test]
fn a_difference_shows_its_sectors_over_its_parents() {
    let disk = ChainDisk::new(vec![open_good(leaf().bytes()), open_good(base().bytes())], Vec::new());
    assert!(all(&disk) == chain_bytes());
}

#[test]
fn sectors_of_4096_bytes_are_reported_and_have_a_bit_each() {
    let mut bitmap = vec![0; 32];
    bitmap[0] = 0b10;
    let locator = leaf().locator;
    let build = Build {
        sector: 4096,
        flags: 2,
        map: vec![(7, 0)],
        size: MB,
        data: vec![5],
        bitmap: Some(bitmap),
        locator,
        ..Build::default()
    };
    let image = open_good(build.bytes());
    assert_eq!(image.info().sector_size, 4096);
    assert_eq!(image.extent(0, MB).unwrap(), Run { extent: Extent::Absent, len: 4096 });
    assert_eq!(image.extent(4096 + 512, MB - 4608).unwrap(), stored(build.block_at(0) + 4608, 3584));
    assert_eq!(image.extent(8192, MB - 8192).unwrap(), Run { extent: Extent::Absent, len: MB - 8192 });
}

#[test]
fn a_fixed_disk_is_reported() {
    let build = Build { flags: 1, map: (0..4).map(|i| (6, i)).collect(), data: vec![1, 2, 3, 4], ..Build::default() };
    assert_eq!(open_good(build.bytes()).info().variant, Variant::Fixed);
}

#[test]
fn the_header_with_the_higher_number_counts_and_one_alone_is_enough() {
    let (first, second) = (Uuid::from_u128(5), Uuid::from_u128(1));
    let modification = |bytes: Vec<u8>| open_good(bytes).info().modification;
    let mut bytes = two_blocks().bytes();
    bytes[64 << 10..][..4096].copy_from_slice(&header(3, first, Uuid::nil()));
    assert_eq!(modification(bytes.clone()), Some(first));
    let mut one = bytes.clone();
    one[(64 << 10) + 9] ^= 1;
    assert_eq!(modification(one), Some(second));
    bytes[(128 << 10) + 9] ^= 1;
    assert_eq!(modification(bytes), Some(first));
}

#[test]
fn the_copy_of_the_region_table_is_used_when_the_first_is_corrupt() {
    let mut bytes = two_blocks().bytes();
    bytes[(192 << 10) + 100] ^= 1;
    let image = open_good(bytes);
    let notes = &image.info().notes;
    assert!(
        notes[0].starts_with("The region table is corrupt (VHDX region table checksum at offset 196612"),
        "{notes:?}"
    );
}

#[test]
fn a_parent_is_named_by_its_data_and_paths() {
    let guid = |id: u128| Uuid::from_u128(id).braced().to_string();
    let locator = vec![
        ("absolute_win32_path", "\\\\?\\C:\\p.vhdx".to_owned()),
        ("parent_linkage", guid(8)),
        ("volume_path", "\\\\?\\Volume{1}\\p.vhdx".to_owned()),
        ("parent_linkage2", guid(9)),
        ("relative_path", ".\\p.vhdx".to_owned()),
    ];
    let image = open_good(Build { locator, ..leaf() }.bytes());
    assert_eq!(image.info().variant, Variant::Differencing);
    let link = image.info().parent.clone().unwrap();
    assert_eq!(
        (link.uuid, link.modification, link.modification2),
        (None, Some(Uuid::from_u128(8)), Some(Uuid::from_u128(9)))
    );
    assert_eq!(link.hints, [".\\p.vhdx", "\\\\?\\Volume{1}\\p.vhdx", "\\\\?\\C:\\p.vhdx"]);
}

#[test]
fn what_is_unknown_but_not_required_is_left_alone() {
    let mut bytes = two_blocks().bytes();
    // The disk's id becomes an unknown item, a third region is added.
    bytes[2 * MIB + 32 + 64..][..16].fill(9);
    bytes[2 * MIB + 32 + 64 + 24] = 0;
    for table in [192 << 10, 256 << 10] {
        let table = &mut bytes[table..][..64 << 10];
        table[8] = 3;
        table[16 + 64..][..16].fill(9);
        table[16 + 64 + 16..][..8].copy_from_slice(&(1_u64 << 20).to_le_bytes());
        table[16 + 64 + 24..][..4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        sum(table);
    }
    // It lies where the log is.
    assert!(
        message(bytes.clone())
            .contains("VHDX log or region at offset 1048576 (0x100000): expected 1048576 bytes of its own")
    );
    let end = bytes.len() as u64;
    bytes.resize(bytes.len() + MIB, 0);
    for table in [192 << 10, 256 << 10] {
        let table = &mut bytes[table..][..64 << 10];
        table[16 + 64 + 16..][..8].copy_from_slice(&end.to_le_bytes());
        sum(table);
    }
    assert_eq!(open_good(bytes).info().notes, Vec::<String>::new());
}

#[test]
fn qemus_leftovers_in_entries_of_bitmaps_are_ignored() {
    let build = Build { block_size: 256 << 20, size: 17 << 28, map: vec![(0, 0); 17], ..Build::default() };
    let mut bytes = build.bytes();
    bytes[TABLE + 8 * 16..][..8].fill(0xFF);
    assert!(open_bytes(bytes, OpenOptions::default()).is_ok());
}
