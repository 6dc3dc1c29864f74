//! Valid images.

use super::*;

#[test]
fn runs_join_grains_that_follow_each_other() {
    let build = Build::default();
    let image = open_build(&build);
    let data = build.data_at(0) as u64;
    let run = |offset, len| image.extent(offset, len).unwrap();
    let stored = |offset, len| Run { extent: Extent::Stored { file: 0, offset }, len };
    assert_eq!(run(0, 24576), stored(data, 8192));
    assert_eq!(run(4000, 200), stored(data + 4000, 200));
    assert_eq!(run(8192, 16384), Run { extent: Extent::Absent, len: 8192 });
    assert_eq!(run(16384, 8192), stored(data + 8192, 4096));
    assert_eq!(run(20481, 100), Run { extent: Extent::Absent, len: 100 });
}

#[test]
fn grains_in_reverse_order_are_runs_of_their_own() {
    let build = Build { map: vec![Data(2), Data(1), Data(0), Absent, Absent, Absent], ..Build::default() };
    let image = open_build(&build);
    for grain in 0..3 {
        let offset = build.data_at(2 - grain) as u64;
        let run = image.extent(u64::from(grain) * 4096, 24576 - u64::from(grain) * 4096).unwrap();
        assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset }, len: 4096 });
    }
}

#[test]
fn a_disk_that_ends_within_its_last_grain_may_have_that_grain_cut() {
    let build = Build {
        capacity: 41,
        descriptor: descriptor("RW 41 SPARSE \"a.vmdk\""),
        map: vec![Absent, Absent, Absent, Absent, Absent, Data(0)],
        data: vec![9],
        ..Build::default()
    };
    let mut bytes = build.bytes();
    bytes.truncate(build.data_at(0) + 512);
    assert_eq!(open_bytes(bytes.clone(), &READ).unwrap().extent(20480, 512).unwrap().len, 512);
    bytes.pop();
    assert!(failure(open_bytes(bytes, &READ)).contains("grain table entry of grain 5"));
}

#[test]
fn a_disk_may_be_smaller_than_its_extent() {
    let build = Build { descriptor: descriptor("RW 40 SPARSE \"a.vmdk\""), ..Build::default() };
    assert_eq!(open_build(&build).info().size, 40 * 512);
    let build = Build { descriptor: descriptor("RW 49 SPARSE \"a.vmdk\""), ..Build::default() };
    let error = failure(open_bytes(build.bytes(), &READ));
    assert!(error.contains("capacity of the VMDK extent at offset 12 (0xc): expected at least 49, the sectors that the descriptor says, found 48"), "{error}");
}

#[test]
fn entries_of_1_are_zeros_only_where_the_header_allows_it() {
    let build = Build { flags: 7, map: vec![Absent, One, One, Data(0), Absent, One], ..Build::default() };
    let image = open_build(&build);
    assert_eq!(image.extent(4096, 24576 - 4096).unwrap(), Run { extent: Extent::Zero, len: 8192 });
    assert_eq!(image.extent(20480, 4096).unwrap(), Run { extent: Extent::Zero, len: 4096 });
    let error = failure(open_bytes(Build { flags: 3, ..build }.bytes(), &READ));
    assert!(
        error.contains("grain table entry of grain 1 at")
            && error.contains("outside of the descriptor, found sector 1"),
        "{error}"
    );
}

#[test]
fn a_directory_entry_of_1_is_a_table_of_zeros() {
    let build = Build { flags: 5, ..Build::default() };
    let mut bytes = build.bytes();
    bytes[build.directory()..][..4].copy_from_slice(&1_u32.to_le_bytes());
    let image = open_bytes(bytes.clone(), &READ).unwrap();
    assert_eq!(image.extent(0, 24576).unwrap(), Run { extent: Extent::Zero, len: 16384 });
    let file = MemFile::new("/t/a.vmdk", bytes);
    let disk = crate::disk::ChainDisk::new(vec![open(file.clone(), &WRITE).unwrap()], Vec::new());
    crate::disk::Disk::write_at(&disk, 5000, &[1]).unwrap();
    crate::disk::Disk::close(&disk).unwrap();
    let image = open(file, &READ).unwrap();
    assert_eq!(image.extent(0, 24576).unwrap(), Run { extent: Extent::Zero, len: 4096 });
    assert_eq!(image.extent(8192, 16384).unwrap(), Run { extent: Extent::Zero, len: 8192 });
}

#[test]
fn the_headers_say_what_the_image_is() {
    let image = open_build(&Build { unclean: true, version: 3, ..Build::default() });
    let info = image.info();
    assert_eq!((info.size, info.block_size, info.variant), (24576, 4096, Variant::Dynamic));
    assert_eq!((info.uuid, info.modification), (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2))));
    assert_eq!((info.content_id, &info.parent), (Some(0x1234_5678), &None));
    assert_eq!(info.details, "custom, 1 SPARSE extent");
    assert!(info.notes[0].starts_with("It was not closed cleanly"), "{:?}", info.notes);
    let build = Build::default().difference();
    let link = open_build(&build).info().parent.clone().unwrap();
    assert_eq!((link.uuid, link.modification), (Some(Uuid::from_u128(7)), Some(Uuid::from_u128(8))));
    assert_eq!(link.content_id, None);
    assert_eq!(open_build(&build).info().variant, Variant::Differencing);
}

#[test]
fn a_corrupt_table_is_read_from_its_redundant_copy() {
    let build = Build::default();
    let good = build.bytes();
    let runs = |image: &dyn Image| -> Vec<Run> { (0..6).map(|i| image.extent(i * 4096, 4096).unwrap()).collect() };
    let expected = runs(&*open_bytes(good.clone(), &READ).unwrap());
    for (at, new, note) in [
        // An entry that was lost, two that lead out of the file and into the header, and one of the directory.
        (build.entry(0), 0_u32, "1 grain table is corrupt; its redundant copy is used"),
        (build.entry(4), 0xFFFF_FFFF, "1 grain table is corrupt; its redundant copy is used"),
        (build.entry(1), 4, "1 grain table is corrupt; its redundant copy is used"),
        (build.directory(), 0, "1 grain table is corrupt; its redundant copy is used"),
        (build.directory() + 4, 0xFFFF_FFFF, "1 grain table is corrupt; its redundant copy is used"),
        // The other way round.
        (build.redundant_table(0), 0, "its redundant grain tables are corrupt; the first ones are used"),
        (build.redundant_table(1), 0xFFFF_FFFF, "its redundant grain tables are corrupt; the first ones are used"),
        (build.redundant_directory(), 0, "its redundant grain tables are corrupt; the first ones are used"),
        (
            build.redundant_directory() + 4,
            0xFFFF_FFFF,
            "its redundant grain tables are corrupt; the first ones are used",
        ),
        (56, 0x00FF_FFFF, "2 grain tables are corrupt; their redundant copies are used"),
        (48, 0x00FF_FFFF, "its redundant grain tables are corrupt; the first ones are used"),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
        let image = open_bytes(bytes.clone(), &READ).unwrap();
        assert_eq!(runs(&*image), expected, "{note}");
        let notes = &image.info().notes;
        assert!(notes[0].starts_with(&format!("In the extent \"a.vmdk\", {note} (first: ")), "{notes:?} is not {note}");
        let error = failure(open_bytes(bytes, &WRITE));
        assert!(error.contains("its two sets of grain tables differ, so it can only be read"), "{error}");
    }
}

#[test]
fn tables_that_contradict_each_other_are_an_error() {
    let build = Build::default();
    let mut bytes = build.bytes();
    let at = build.redundant_table(0);
    let other = u32::try_from(build.data_at(2) / 512).unwrap();
    bytes[at..at + 4].copy_from_slice(&other.to_le_bytes());
    let error = failure(open_bytes(bytes.clone(), &READ));
    let first = build.data_at(0) / 512;
    assert!(error.contains(&format!("VMDK redundant grain table entry of grain 0 at offset {at} ({at:#x}): expected {first}, as in the first table, found {other}")), "{error}");
    // Two entries lost, one on each side.
    let mut bytes = build.bytes();
    bytes[build.redundant_table(0)..][..4].fill(0);
    bytes[build.entry(1)..][..4].fill(0);
    assert!(failure(open_bytes(bytes, &READ)).contains("redundant grain table entry of grain 1"));
}
