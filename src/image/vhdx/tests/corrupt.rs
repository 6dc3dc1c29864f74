//! Corruption: the exact error, and never a panic.

use super::*;
use crate::image::vhdx::testing::{ITEMS, METADATA, header, sum};
use proptest::prelude::*;

/// A structure with a checksum: where it begins, how long it is.
type Summed = Option<(usize, usize)>;
const HEADER: Summed = Some((128 << 10, 4096));
const REGIONS: Summed = Some((192 << 10, 64 << 10));

/// Breaks one field of an image and compares the report with the expected one.
fn check(good: &[u8], at: usize, new: &[u8], summed: Summed, cause: &str) {
    let mut bytes = good.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    if let Some((from, len)) = summed {
        sum(&mut bytes[from..from + len]);
    }
    // No other header or table may stand in.
    bytes[64 << 10] ^= 1;
    bytes[256 << 10] ^= u8::from(at >> 16 == 3);
    let text = message(bytes);
    assert!(text.starts_with("/t/a.vhdx "), "{text}");
    assert!(text.contains(&format!(": {cause}")), "{text}\nis not\n{cause}");
}

#[test]
fn each_broken_field_of_the_headers_has_its_own_message() {
    let good = two_blocks().bytes();
    let h = 128 << 10;
    let four = |number: u32| number.to_le_bytes();
    let eight = |number: u64| number.to_le_bytes();
    check(
        &good,
        h + 100,
        &[1],
        None,
        "VHDX header signature at offset 65536 (0x10000): expected \"head\", found \"iead\"",
    );
    check(&good, h + 66, &[2], HEADER, "VHDX header signature at offset 65536");
    let only_second = |at: usize, new: &[u8], cause: &str| {
        let mut bytes = good.clone();
        bytes[64 << 10..][..4096].copy_from_slice(&header(1, Uuid::nil(), Uuid::nil()));
        bytes[at - (64 << 10)..][..new.len()].copy_from_slice(new);
        sum(&mut bytes[64 << 10..][..4096]);
        bytes[h] ^= 1;
        let text = message(bytes);
        assert!(text.contains(&format!(": {cause}")), "{text}\nis not\n{cause}");
    };
    only_second(h + 66, &[2], "VHDX version at offset 65602 (0x10042): expected 1, found 2");
    only_second(h + 68, &four(5), "VHDX log length at offset 65604 (0x10044): expected a multiple of 1 MiB, found 5");
    only_second(
        h + 72,
        &eight(5),
        "VHDX log offset at offset 65608 (0x10048): expected a multiple of 1 MiB, at least 1 MiB, found 5",
    );
    only_second(
        h + 72,
        &eight(0),
        "VHDX log offset at offset 65608 (0x10048): expected a multiple of 1 MiB, at least 1 MiB, found 0",
    );
    only_second(
        h + 72,
        &eight(1 << 40),
        "VHDX log or region at offset 1099511627776 (0x10000000000): expected 1048576 bytes of its own in a file of 6291456 bytes, found another one's bytes, or the end of the file",
    );
    let mut twins = good.clone();
    twins[64 << 10..][..4096].copy_from_slice(&header(2, Uuid::nil(), Uuid::nil()));
    assert!(message(twins).contains("VHDX header sequence number at offset 131080 (0x20008): expected another than in the first header, which differs, found 2"));
    let mut versioned = good.clone();
    versioned[h + 48] = 1;
    versioned[h + 64] = 1;
    sum(&mut versioned[h..h + 4096]);
    versioned[64 << 10..][..4096].copy_from_slice(&good[h..h + 4096]);
    versioned[(64 << 10) + 48] = 1;
    versioned[(64 << 10) + 64] = 1;
    sum(&mut versioned[64 << 10..][..4096]);
    assert!(message(versioned).contains("VHDX log version at offset 65600 (0x10040): expected 0, found 1"));
}

#[test]
fn each_broken_field_of_the_region_table_has_its_own_message() {
    let good = two_blocks().bytes();
    let r = 192 << 10;
    let four = |number: u32| number.to_le_bytes();
    let eight = |number: u64| number.to_le_bytes();
    check(
        &good,
        r,
        b"regI",
        None,
        "VHDX region table signature at offset 196608 (0x30000): expected \"regi\", found \"regI\"",
    );
    check(&good, r + 1000, &[1], None, "VHDX region table checksum at offset 196612 (0x30004): expected 0x");
    check(
        &good,
        r + 8,
        &four(2048),
        REGIONS,
        "number of VHDX regions at offset 196616 (0x30008): expected at most 2047, found 2048",
    );
    check(
        &good,
        r + 8,
        &four(1),
        REGIONS,
        "VHDX region of the metadata at offset 196624 (0x30010): expected 8b7ca206-4790-4b9a-b8fe-575f050f886e, found no such region",
    );
    check(
        &good,
        r + 8,
        &four(0),
        REGIONS,
        "VHDX region of the block allocation table at offset 196624 (0x30010): expected 2dc27766-f623-4200-9d64-115e9bfd4a08, found no such region",
    );
    check(
        &good,
        r + 16,
        &[9],
        REGIONS,
        "required VHDX region at offset 196624 (0x30010): expected the block allocation table or the metadata, found 2dc27709-f623-4200-9d64-115e9bfd4a08",
    );
    let first: Vec<u8> = good[r + 16..r + 32].to_vec();
    check(
        &good,
        r + 48,
        &first,
        REGIONS,
        "VHDX region at offset 196656 (0x30030): expected one of each kind, found 2dc27766-f623-4200-9d64-115e9bfd4a08 again",
    );
    check(
        &good,
        r + 32,
        &eight(0),
        REGIONS,
        "VHDX region offset at offset 196640 (0x30020): expected a multiple of 1 MiB, at least 1 MiB, found 0",
    );
    check(
        &good,
        r + 32,
        &eight(u64::MAX << 20),
        REGIONS,
        "VHDX region offset at offset 196640 (0x30020): expected a multiple of 1 MiB, at least 1 MiB, found 18446744073708503040",
    );
    check(
        &good,
        r + 40,
        &four(4096),
        REGIONS,
        "VHDX region length at offset 196648 (0x30028): expected a multiple of 1 MiB, at least 1 MiB, found 4096",
    );
    check(
        &good,
        r + 32,
        &eight(2 << 20),
        REGIONS,
        "VHDX log or region at offset 2097152 (0x200000): expected 1048576 bytes of its own",
    );
    check(
        &good,
        r + 64,
        &eight(1 << 40),
        REGIONS,
        "VHDX metadata table at offset 1099511627776 (0x10000000000): expected 65536 bytes, found the end of the file at 6291456",
    );
}

#[test]
fn each_broken_field_of_the_metadata_has_its_own_message() {
    let good = two_blocks().bytes();
    let m = METADATA;
    let four = |number: u32| number.to_le_bytes();
    let eight = |number: u64| number.to_le_bytes();
    check(
        &good,
        m,
        b"Metadata",
        None,
        "VHDX metadata table signature at offset 2097152 (0x200000): expected \"metadata\", found \"Metadata\"",
    );
    check(
        &good,
        m + 10,
        &2048_u16.to_le_bytes(),
        None,
        "number of VHDX metadata items at offset 2097162 (0x20000a): expected at most 2047, found 2048",
    );
    check(
        &good,
        m + 10,
        &[0, 0],
        None,
        "VHDX metadata table at offset 2097152 (0x200000): expected the VHDX file parameters, found none",
    );
    check(
        &good,
        m + 10,
        &[1, 0],
        None,
        "VHDX metadata table at offset 2097152 (0x200000): expected the VHDX logical sector size, found none",
    );
    check(
        &good,
        m + 32 + 64,
        &[9],
        None,
        "required VHDX metadata item at offset 2097248 (0x200060): expected a known one, found beca1209-b2e6-4523-93ef-c309e000c746",
    );
    check(
        &good,
        m + 32 + 24,
        &[5],
        None,
        "required VHDX metadata item at offset 2097184 (0x200020): expected a known one, found caa16737-fa36-4d43-b3b6-33f0aa44e76b",
    );
    let first: Vec<u8> = good[m + 32..m + 64].to_vec();
    check(
        &good,
        m + 64,
        &first,
        None,
        "VHDX metadata item at offset 2097216 (0x200040): expected one of each kind, found caa16737-fa36-4d43-b3b6-33f0aa44e76b again",
    );
    let position = "offset of a VHDX metadata item at offset 2097200 (0x200030): expected at most 1048576 bytes, from 65536 to 1048576 of the region, found";
    check(&good, m + 48, &four(100), None, &format!("{position} 8 bytes at 100"));
    check(&good, m + 48, &four(u32::MAX), None, &format!("{position} 8 bytes at 4294967295"));
    check(&good, m + 52, &four(u32::MAX), None, &format!("{position} 4294967295 bytes at 65536"));
    check(
        &good,
        m + 52,
        &four(4),
        None,
        "VHDX file parameters at offset 2162688 (0x210000): expected at least 8 bytes, found 4 bytes",
    );
    let block = "VHDX block size at offset 2162688 (0x210000): expected a power of two from 1 MiB to 256 MiB, found";
    for size in [0, 1 << 19, 3 << 20, 1 << 29] {
        check(&good, ITEMS, &four(size), None, &format!("{block} {size}"));
    }
    check(
        &good,
        ITEMS + 4,
        &four(4),
        None,
        "flags of the VHDX file parameters at offset 2162692 (0x210004): expected 0 to 3, found 0x4",
    );
    check(
        &good,
        ITEMS + 4,
        &four(2),
        None,
        "VHDX metadata table at offset 2097152 (0x200000): expected the VHDX parent locator, found none",
    );
    let size =
        "VHDX virtual disk size at offset 2162720 (0x210020): expected whole sectors of 512 bytes, up to 64 TiB, found";
    for wrong in [0, 1000, (64 << 40) + 512, u64::MAX] {
        check(&good, ITEMS + 32, &eight(wrong), None, &format!("{size} {wrong}"));
    }
    check(
        &good,
        ITEMS + 32,
        &eight(64 << 40),
        None,
        "VHDX block allocation table at offset 3145728 (0x300000): expected at least 537001976 bytes for a disk of 70368744177664 bytes, found 1048576",
    );
    check(
        &good,
        ITEMS + 96,
        &four(1024),
        None,
        "VHDX logical sector size at offset 2162784 (0x210060): expected 512 or 4096, found 1024",
    );
}

#[test]
fn each_broken_field_of_the_parent_locator_has_its_own_message() {
    let good = leaf().bytes();
    let at = ITEMS + 160;
    check(
        &good,
        at,
        &[9],
        None,
        "VHDX parent locator type at offset 2162848 (0x2100a0): expected b04aefb7-d19e-4a81-b789-25b8e9445913 (VHDX), found b04aef09-d19e-4a81-b789-25b8e9445913",
    );
    check(
        &good,
        at + 18,
        &[0, 0],
        None,
        "VHDX parent locator at offset 2162848 (0x2100a0): expected the key parent_linkage, found none",
    );
    check(&good, at + 18, &[255, 255], None, "VHDX parent locator at offset 2162848 (0x2100a0): expected at least");
    check(
        &good,
        at + 20,
        &[255; 4],
        None,
        "VHDX parent locator at offset 2162848 (0x2100a0): expected at least 4294967323 bytes, found 136 bytes",
    );
    check(
        &good,
        at + 30,
        &[4, 0],
        None,
        "parent_linkage of the VHDX parent locator at offset 2162848 (0x2100a0): expected a GUID, found \"{0\"",
    );
}

#[test]
fn each_broken_entry_of_the_table_has_its_own_message() {
    let good = two_blocks().bytes();
    let mb = MIB as u64;
    let eight = |number: u64| number.to_le_bytes();
    for state in [4, 5, 7] {
        check(
            &good,
            TABLE,
            &eight(state),
            None,
            &format!("state of VHDX block 0 at offset 3145728 (0x300000): expected 0 to 3 or 6, found {state}"),
        );
    }
    for offset in [0, 6 * mb, 1 << 50, u64::MAX << 20] {
        check(
            &good,
            TABLE,
            &eight(offset + 6),
            None,
            &format!(
                "offset of a VHDX block in table entry 0 at offset 3145728 (0x300000): expected 1048576 bytes from 1 MiB to the end of the file at 6291456, found offset {offset}"
            ),
        );
    }
    for offset in [mb, 2 * mb, 3 * mb] {
        check(
            &good,
            TABLE,
            &eight(offset + 6),
            None,
            &format!(
                "offset of table entry 0 at offset 3145728 (0x300000): expected bytes of its own, found offset {offset}, where another block, the log or a region is too"
            ),
        );
    }
    check(
        &good,
        TABLE + 16,
        &eight(5 * mb + 6),
        None,
        "offset of table entry 2 at offset 3145744 (0x300010): expected bytes of its own, found offset 5242880",
    );
    let good = leaf().bytes();
    let entry = TABLE + 8 * 4096;
    check(
        &good,
        TABLE,
        &eight(4),
        None,
        "state of VHDX block 0 at offset 3145728 (0x300000): expected 0 to 3, 6 or 7, found 4",
    );
    check(
        &good,
        entry,
        &eight(0),
        None,
        "sector bitmap of VHDX block 2, which is partially present, at offset 3178496 (0x308000): expected a block of the file, found none",
    );
    check(
        &good,
        entry,
        &eight(7 + 6 * mb),
        None,
        "state of a VHDX sector bitmap block at offset 3178496 (0x308000): expected 0 or 6, found 7",
    );
    check(
        &good,
        entry,
        &eight(6 + 7 * mb),
        None,
        "offset of a VHDX sector bitmap block in table entry 4096 at offset 3178496 (0x308000): expected 1048576 bytes from 1 MiB to the end of the file at 7340032, found offset 7340032",
    );
    check(
        &good,
        entry,
        &eight(6 + 4 * mb),
        None,
        "offset of table entry 4096 at offset 3178496 (0x308000): expected bytes of its own, found offset 4194304",
    );
}

#[test]
fn a_cut_file_is_an_error() {
    let good = two_blocks().bytes();
    for len in (0..good.len()).step_by(65_521).chain([good.len() - 1]) {
        assert!(open_bytes(good[..len].to_vec(), OpenOptions::default()).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn force_reads_what_is_left_and_fails_on_the_rest() {
    let mut bytes = two_blocks().bytes();
    bytes.truncate(5 * MIB + 1000);
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(bytes.clone(), forced.clone()).unwrap();
    assert!(image.info().notes[0].contains("reading what is left"), "{:?}", image.info().notes);
    assert_eq!(image.extent(2 << 20, 1 << 20).unwrap().len, 1 << 20);
    assert!(matches!(image.extent(0, 1), Err(Error::Corrupt { .. })));
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..forced }).is_err());
}

#[test]
fn a_file_without_log_is_read_and_written() {
    let mut bytes = two_blocks().bytes();
    let header = &mut bytes[128 << 10..][..4096];
    header[68..72].fill(0);
    sum(header);
    assert!(open_bytes(bytes.clone(), OpenOptions::default()).is_ok());
    assert!(open_bytes(bytes, OpenOptions { writable: true, ..OpenOptions::default() }).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random corruption of headers, tables and metadata: an error or bytes, never a panic.
    #[test]
    fn corrupt_is_survived(
        changes in prop::collection::vec((0..6_usize, 0..400_usize, any::<u8>()), 1..6),
        differencing: bool,
    ) {
        let mut bytes = if differencing { leaf().bytes() } else { two_blocks().bytes() };
        for (part, at, new) in changes {
            bytes[[128 << 10, 192 << 10, METADATA, ITEMS, TABLE, TABLE + 8 * 4096 - 200][part] + at] = new;
        }
        sum(&mut bytes[128 << 10..][..4096]);
        sum(&mut bytes[192 << 10..][..64 << 10]);
        let options = OpenOptions { force: true, ..OpenOptions::default() };
        if let Ok(image) = open_bytes(bytes, options) {
            let mut at = 0;
            for _ in 0..5000 {
                if at >= image.info().size {
                    break;
                }
                at += image.extent(at, image.info().size - at).map_or(4096, |run| run.len);
            }
        }
    }
}
