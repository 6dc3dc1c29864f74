//! Corruption: the exact error, and never a panic.

use super::*;
use proptest::prelude::*;

#[test]
fn each_broken_field_has_its_own_message() {
    let build = Build { flags: 1, ..Build::default() };
    let good = build.bytes();
    let end = good.len();
    let gd = build.directory();
    let entry = build.entry(0);
    let u64_of = |number: u64| number.to_le_bytes().to_vec();
    let u32_of = |number: u32| number.to_le_bytes().to_vec();
    let second = u32::try_from(build.data_at(1) / 512).unwrap();
    let table = u32::try_from(build.table(0) / 512).unwrap();
    let cases: Vec<(usize, Vec<u8>, String)> = vec![
        (4, u32_of(4), "VMDK sparse header version at offset 4 (0x4): expected 1 to 3, found 4".into()),
        (4, u32_of(0), "VMDK sparse header version at offset 4 (0x4): expected 1 to 3, found 0".into()),
        (8, u32_of(0x101), "VMDK sparse header flags at offset 8 (0x8): expected no others than 0x30007, found 0x101".into()),
        (12, u64_of(47), "capacity of the VMDK extent at offset 12 (0xc): expected at least 48, the sectors that the descriptor says, found 47".into()),
        (12, u64_of(u64::MAX), "VMDK capacity at offset 12 (0xc): expected at most 36028797018963967, found 18446744073709551615".into()),
        (12, u64_of(1 << 54), "VMDK capacity at offset 12 (0xc): expected less than 2^63 bytes, found 18014398509481984".into()),
        (12, u64_of(1 << 40), "VMDK grain tables at offset 512 (0x200): expected at most 1048576 in all extents, found 34359738368".into()),
        (20, u64_of(0), "VMDK grain size at offset 20 (0x14): expected a power of two up to 131072, found 0".into()),
        (20, u64_of(12), "VMDK grain size at offset 20 (0x14): expected a power of two up to 131072, found 12".into()),
        (20, u64_of(1 << 18), "VMDK grain size at offset 20 (0x14): expected a power of two up to 131072, found 262144".into()),
        (28, u64_of(u64::MAX), "VMDK descriptor offset at offset 28 (0x1c): expected at most 36028797018963967, found 18446744073709551615".into()),
        (36, u64_of(u64::MAX / 512), "VMDK descriptor size at offset 36 (0x24): expected an end within 64 bits, found 36028797018963967".into()),
        (44, u32_of(0), "VMDK entries per grain table at offset 44 (0x2c): expected 1 to 65536, found 0".into()),
        (44, u32_of(65537), "VMDK entries per grain table at offset 44 (0x2c): expected 1 to 65536, found 65537".into()),
        (56, u64_of(0), "VMDK grain directory offset at offset 56 (0x38): expected 1 to 36028797018963967, found 0".into()),
        (56, u64_of(1 << 56), "VMDK grain directory offset at offset 56 (0x38): expected 1 to 36028797018963967, found 72057594037927936".into()),
        (56, u64_of(1 << 30), format!("VMDK grain directory at offset 549755813888 (0x8000000000): expected 2 entries up to offset 549755813896, found the end of the file at {end}")),
        (75, vec![b'\n'], "VMDK newline check at offset 73 (0x49): expected [a, 20, d, a], found [a, 20, a, a]: the file was copied as text, so get it again with a binary transfer".into()),
        (77, vec![1, 0], "VMDK compression method at offset 77 (0x4d): expected 0, as nothing is compressed, found 1".into()),
        (8, u32_of(0x10001), "VMDK compression method at offset 77 (0x4d): expected 1 (deflate), found 0".into()),
        (gd, u32_of(1 << 20), format!("VMDK grain directory entry 0 at offset {gd} ({gd:#x}): expected a grain table that ends before offset {end}, the end of the file, found sector 1048576 (offset 536870912)")),
        (gd, u32_of(2), format!("VMDK grain directory entry 0 at offset {gd} ({gd:#x}): expected a grain table outside of the descriptor, found sector 2 (offset 1024)")),
        (gd, u32_of(table + 1), format!("VMDK grain table or directory at offset {0} ({0:#x}): expected none before offset {1}, where another one or the header ends, found one of 512 bytes", build.table(1), build.table(1) + 512)),
        (entry, u32_of(u32::MAX), format!("VMDK grain table entry of grain 0 at offset {entry} ({entry:#x}): expected a grain that ends before offset {end}, the end of the file, found sector 4294967295 (offset 2199023255040)")),
        (entry, u32_of(second), format!("VMDK grain table entry of grain 1 at offset {0} ({0:#x}): expected a grain that no earlier entry has a part of, found sector {second} (offset {1})", entry + 4, build.data_at(1))),
        (entry, u32_of(second + 1), format!("VMDK grain table entry of grain 1 at offset {0} ({0:#x}): expected a grain that no earlier entry has a part of, found sector {second} (offset {1})", entry + 4, build.data_at(1))),
        (entry, u32_of(table), format!("VMDK grain table entry of grain 0 at offset {entry} ({entry:#x}): expected a grain outside of the grain tables, found sector {table} (offset {})", build.table(0))),
        (entry, u32_of(1), format!("VMDK grain table entry of grain 0 at offset {entry} ({entry:#x}): expected a grain outside of the descriptor, found sector 1 (offset 512)")),
    ];
    for (at, new, cause) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(&new);
        for options in [&READ, &WRITE] {
            let text = failure(open_bytes(bytes.clone(), options));
            assert!(text.starts_with("/t/a.vmdk "), "{text}");
            assert!(text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
        }
    }
}

#[test]
fn errors_in_the_descriptor_name_their_offset() {
    let extent = "line of the VMDK descriptor";
    let kinds = "SPARSE, FLAT, VMFS, ZERO, VMFSSPARSE, SESPARSE";
    // A text, what replaces it, what follows from where in the new text.
    for (from, to, what, position, rest) in [
        ("version=1", "version=4", "VMDK descriptor version", "4\nCID", "expected 1 to 3, found 4"),
        (
            "CID=12345678",
            "CID=1234567g",
            "value of cid in the VMDK descriptor",
            "1234567g",
            "expected a hexadecimal number, found \"1234567g\"",
        ),
        ("RW 48", "RW -1", extent, "RW", "expected an extent with a number of sectors, found \"RW -1 SPARSE"),
        ("RW 48", "WR 48", extent, "WR", "expected a value, an extent or a comment, found \"WR 48 SPARSE"),
        (
            " \"a.vmdk\"",
            "",
            extent,
            "RW",
            "expected an extent with a file name in quotation marks, found \"RW 48 SPARSE\"",
        ),
        ("a.vmdk\"", "a.vmdk\" 7", extent, "RW", "expected a sparse extent without an offset, found"),
        ("a.vmdk\"", "a.vmdk\" 0 7", extent, "RW", "expected nothing after an extent's offset, found"),
        ("SPARSE \"", "ZERO \"", extent, "RW", "expected a ZERO extent without a file, found"),
        ("\"custom\"", "\"custom", extent, "createType", "expected a value that ends with a quotation mark, found"),
        ("SPARSE", "VMFSRDM", "VMDK extent type", "RW", &format!("expected {kinds}, found VMFSRDM")),
        ("SPARSE", "VMFSRAW", "VMDK extent type", "RW", &format!("expected {kinds}, found VMFSRAW")),
        ("RW 48 SPARSE \"a.vmdk\"", "#", "extents of the VMDK descriptor", "# Disk", "expected at least 1, found none"),
        (
            "RW 48",
            "RW 18014398509481984",
            "extents of the VMDK descriptor",
            "# Disk",
            "expected less than 2^63 bytes together, found more",
        ),
        (
            "image=\"0",
            "image=\"x",
            "value of ddb.uuid.image in the VMDK descriptor",
            "x0",
            "expected a UUID, found \"x0",
        ),
        (
            "#DDB",
            "encryptionKeys=\"x\"",
            "VMDK encryption",
            "x\"",
            "expected a disk that is not encrypted, found encryptionkeys",
        ),
    ] {
        let descriptor = Build::default().descriptor.replacen(from, to, 1);
        let at = 512 + descriptor.find(position).expect(position);
        let text = failure(open_bytes(Build { descriptor, ..Build::default() }.bytes(), &READ));
        let cause = format!("{what} at offset {at} ({at:#x}): {rest}");
        assert!(text.contains(&format!(": {cause}")), "{text}\nis not\n{cause}");
    }
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let good = Build::default().bytes();
    for len in 0..good.len() {
        assert!(open_bytes(good[..len].to_vec(), &READ).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn grains_that_are_not_aligned_are_checked_too() {
    // The third grain begins 3 sectors after the first, within the second.
    let build = Build { flags: 1, ..Build::default() };
    for (shift, good) in [(8, false), (11, false), (16, true), (17, true)] {
        let mut bytes = build.bytes();
        bytes.resize(bytes.len() + 4096, 0);
        let sector = u32::try_from(build.data_at(0) / 512).unwrap() + shift;
        bytes[build.entry(4)..][..4].copy_from_slice(&sector.to_le_bytes());
        let result = open_bytes(bytes, &WRITE);
        assert_eq!(result.is_ok(), good, "{shift}: {:?}", result.err().map(|e| e.to_string()));
    }
}

#[test]
fn force_reads_what_is_left_and_fails_on_the_rest() {
    let build = Build { flags: 1, ..Build::default() };
    let mut bytes = build.bytes();
    bytes.truncate(build.data_at(2) + 5);
    let forced = OpenOptions { force: true, ..READ };
    let image = open_bytes(bytes.clone(), &forced).unwrap();
    assert!(image.info().notes[0].contains("reading what is left"), "{:?}", image.info().notes);
    assert_eq!(image.extent(0, 8192).unwrap().len, 8192);
    assert!(matches!(image.extent(16384, 1), Err(Error::Corrupt { .. })));
    assert!(open_bytes(bytes, &OpenOptions { writable: true, ..forced.clone() }).is_err());
    let mut bytes = build.bytes();
    bytes[build.directory()..][..4].copy_from_slice(&0x00FF_0000_u32.to_le_bytes());
    let image = open_bytes(bytes, &forced).unwrap();
    assert!(matches!(image.extent(0, 1), Err(Error::Corrupt { .. })));
    assert_eq!(image.extent(16384, 4096).unwrap().len, 4096);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random corruption anywhere in the metadata: an error or an answer, never a panic.
    #[test]
    fn corrupt_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), force: bool, flags in prop_oneof![Just(1), Just(3), Just(7)]) {
        let build = Build { flags, ..Build::default() };
        let mut bytes = build.bytes();
        for (at, new) in changes {
            let at = at.index(build.data_at(0));
            bytes[at] = new;
        }
        for options in [OpenOptions { force, ..READ }, WRITE] {
            let Ok(image) = open_bytes(bytes.clone(), &options) else { continue };
            let mut at = 0;
            while at < image.info().size.min(1 << 20) {
                at += image.extent(at, image.info().size - at).map_or(512, |run| run.len);
            }
        }
    }
}
