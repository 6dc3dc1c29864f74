//! The sparse extents of ESX, which no available program writes: built byte by byte, and cross-checked with QEMU.

use super::*;
use crate::disk::ChainDisk;
use crate::disk::testing::all;
use std::process::Command;

/// What QEMU reads from a descriptor with one extent.
fn qemu(create_type: &str, line: &str, extent: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("a.vmdk"), descriptor(line).replace("custom", create_type)).unwrap();
    std::fs::write(path("extent"), extent).unwrap();
    let output = Command::new("qemu-img")
        .args(["convert", "-f", "vmdk", "-O", "raw"])
        .args([path("a.vmdk"), path("a.raw")])
        .output()
        .expect("these tests need qemu-img");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path("a.raw")).unwrap()
}

fn ours(line: &str, extent: &[u8]) -> Result<Vec<u8>> {
    let image = Directory::default().with("extent", extent.to_vec()).open_extents(line, &READ)?;
    let mut at = 0;
    while at < image.info().size {
        at += image.extent(at, image.info().size - at)?.len;
    }
    Ok(all(&ChainDisk::new(vec![image], Vec::new())))
}

fn error(line: &str, extent: &[u8]) -> String {
    message(&ours(line, extent).expect_err("a corrupt extent"))
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize((at + new.len()).next_multiple_of(512), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn put32(bytes: &mut Vec<u8>, at: usize, number: u32) {
    put(bytes, at, &number.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, at: usize, number: u64) {
    put(bytes, at, &number.to_le_bytes());
}

/// Where the copy-on-write disk has its second table and its grains.
const COWD_TABLE: usize = 512 * 8;
const COWD_GRAINS: usize = 512 * 64;
const COWD_LINE: &str = "RW 9000 VMFSSPARSE \"extent\"";

/// 9000 sectors in grains of one, as ESX makes them: two tables of 4096 entries and a third that is not there.
fn cowd() -> Vec<u8> {
    let mut bytes = b"COWD".to_vec();
    for (at, number) in [(4, 1), (8, 3), (12, 9000), (16, 1), (20, 4), (24, 3), (28, 80), (2044, 0)] {
        put32(&mut bytes, at, number);
    }
    put32(&mut bytes, 2048, 0);
    put32(&mut bytes, 2052, u32::try_from(COWD_TABLE / 512).unwrap());
    // Grains 4096 + 1 to 3 in order, then 4096 + 7 before them in the file.
    for (entry, sector) in [(1, 65), (2, 66), (3, 67), (7, 64)] {
        put32(&mut bytes, COWD_TABLE + 4 * entry, sector);
    }
    for i in 0..4_u8 {
        put(&mut bytes, COWD_GRAINS + 512 * usize::from(i), &[10 + i; 512]);
    }
    bytes
}

#[test]
fn a_copy_on_write_disk_is_read_as_by_qemu() {
    let bytes = ours(COWD_LINE, &cowd()).unwrap();
    let mut expected = vec![0; 9000 * 512];
    for (sector, fill) in [(4097, 11), (4098, 12), (4099, 13), (4103, 10)] {
        expected[sector * 512..][..512].fill(fill);
    }
    assert!(bytes == expected);
    assert!(qemu("vmfsSparse", COWD_LINE, &cowd()) == expected);
    let image = Directory::default().with("extent", cowd()).open_extents(COWD_LINE, &WRITE).unwrap();
    assert!(image.writer().is_none(), "only read");
    assert_eq!(image.extent(0, 9000 * 512).unwrap(), Run { extent: Extent::Absent, len: 4096 * 512 });
    let run = image.extent(4097 * 512, 9000 * 512 - 4097 * 512).unwrap();
    assert_eq!(run, Run { extent: Extent::Stored { file: 1, offset: COWD_GRAINS as u64 + 512 }, len: 1536 });
}

#[test]
fn each_broken_field_of_a_copy_on_write_disk_has_its_own_message() {
    let end = cowd().len();
    let entry = COWD_TABLE + 4;
    for (at, new, cause) in [
        (4, 2, "COWD header version at offset 4 (0x4): expected 1, found 2".to_owned()),
        (8, 7, "COWD header flags at offset 8 (0x8): expected 0 to 3, found 0x7".to_owned()),
        (12, 8999, "capacity of the VMDK extent at offset 12 (0xc): expected at least 9000, the sectors that the descriptor says, found 8999".to_owned()),
        (16, 3, "COWD grain size at offset 16 (0x10): expected a power of two up to 131072, found 3".to_owned()),
        (20, 3, "COWD grain directory offset at offset 20 (0x14): expected at least 4, found 3".to_owned()),
        (24, 2, "COWD grain directory entries at offset 24 (0x18): expected at least 3 for 9000 sectors, found 2".to_owned()),
        (2052, 60, format!("COWD grain directory entry 1 at offset 2052 (0x804): expected a grain table that ends before offset {end}, the end of the file, found sector 60 (offset 30720)")),
        (2056, 9, "COWD grain table or directory at offset 4608 (0x1200): expected none before offset 20480, where another one or the header ends, found one of 16384 bytes".to_owned()),
        (entry, 68, format!("COWD grain table entry of grain 4097 at offset {entry} ({entry:#x}): expected a grain that ends before offset {end}, the end of the file, found sector 68 (offset 34816)")),
        (entry, 66, format!("COWD grain table entry of grain 4098 at offset {0} ({0:#x}): expected a grain that no earlier entry has a part of, found sector 66 (offset 33792)", entry + 4)),
        (entry, 3, format!("COWD grain table entry of grain 4097 at offset {entry} ({entry:#x}): expected a grain outside of the header, found sector 3 (offset 1536)")),
        (entry, 4, format!("COWD grain table entry of grain 4097 at offset {entry} ({entry:#x}): expected a grain outside of a grain directory, found sector 4 (offset 2048)")),
    ] {
        let mut bytes = cowd();
        put32(&mut bytes, at, new);
        let text = error(COWD_LINE, &bytes);
        assert!(text.starts_with("/t/extent ") && text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
    for len in 0..cowd().len() {
        if len % 7 == 0 {
            assert!(ours(COWD_LINE, &cowd()[..len]).is_err(), "cut to {len} bytes");
        }
    }
}

#[test]
fn a_copy_on_write_disk_without_a_descriptor_is_read_when_it_says_what_its_parent_is() {
    let open_named = |path: &str, bytes: Vec<u8>| open(MemFile::new(path, bytes), &READ);
    let unknown = failure(open_named("/t/disk.dsk", cowd()));
    assert!(unknown.contains("only the VMDK's descriptor says how to use it"), "{unknown}");
    let mut base = cowd();
    for (at, number) in [(32, 9), (36, 16), (40, 63)] {
        put32(&mut base, at, number);
    }
    let image = open_named("/t/disk.dsk", base.clone()).unwrap();
    assert_eq!((image.info().size, &image.info().parent, image.info().variant), (9000 * 512, &None, Variant::Dynamic));
    let delta = failure(open_named("/t/disk-000001-delta.vmdk", base));
    assert!(delta.contains("disk-000001.vmdk; put that file next to it"), "{delta}");
    let mut child = cowd();
    put(&mut child, 32, b"/vmfs/disk.vmdk");
    put(&mut child, 1124, b"a description");
    put32(&mut child, 1648, 1);
    let image = open_named("/t/disk.dsk", child).unwrap();
    let info = image.info();
    assert_eq!((info.variant, info.comment.as_str()), (Variant::Differencing, "a description"));
    assert_eq!(info.parent.clone().unwrap().hints, ["/vmfs/disk.vmdk"]);
    assert!(info.notes[0].contains("not closed cleanly"), "{:?}", info.notes);
}

const SE_LINE: &str = "RW 65544 SESPARSE \"extent\"";
const SE_DIRECTORY: usize = 512 * 8;
const SE_TABLES: usize = 512 * 64;
const SE_GRAINS: usize = 512 * 256;

/// 65544 sectors: a table that is not there, a full one and the first grain of a third.
fn sesparse() -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, 0, &[0; 512]);
    let sector = |at: usize| at as u64 / 512;
    for (at, number) in [
        (0, 0xCAFE_BABE),
        (8, 0x0000_0002_0000_0001),
        (16, 65544),
        (24, 8),
        (32, 64),
        (80, 1),
        (88, 1),
        (96, 2),
        (104, 2),
        (112, 4),
        (120, 4),
        (128, sector(SE_DIRECTORY)),
        (136, 1),
        (144, sector(SE_TABLES)),
        (152, 128),
        (192, sector(SE_GRAINS)),
        (200, 64),
        (512, 0xCAFE_CAFE),
        (SE_DIRECTORY + 8, 0x1000_0000_0000_0001),
        (SE_DIRECTORY + 16, 0x1000_0000_0000_0000),
    ] {
        put64(&mut bytes, at, number);
    }
    let second = SE_TABLES + 32768;
    // Absent, zeros of both kinds, grains in order and one before them.
    for (entry, raw) in
        [(1, 1_u64 << 60), (2, 2 << 60), (3, 3 << 60 | 1 << 48), (4, 3 << 60 | 2 << 48), (4095, 3 << 60)]
    {
        put64(&mut bytes, second + 8 * entry, raw);
    }
    put64(&mut bytes, SE_TABLES, 3 << 60 | 3 << 48);
    for i in 0..4_u8 {
        put(&mut bytes, SE_GRAINS + 4096 * usize::from(i), &[20 + i; 4096]);
    }
    bytes
}

#[test]
fn a_space_efficient_extent_is_read_as_by_qemu() {
    let bytes = ours(SE_LINE, &sesparse()).unwrap();
    let mut expected = vec![0; 65544 * 512];
    for (grain, fill) in [(4096 + 3, 21), (4096 + 4, 22), (4096 + 4095, 20), (8192, 23)] {
        expected[grain * 4096..][..4096].fill(fill);
    }
    assert!(bytes == expected);
    assert!(qemu("seSparse", SE_LINE, &sesparse()) == expected);
    let image = Directory::default().with("extent", sesparse()).open_extents(SE_LINE, &WRITE).unwrap();
    assert!(image.writer().is_none(), "only read");
    let run = |grain: u64| image.extent(grain * 4096 + 5, 65544 * 512 - grain * 4096 - 5).unwrap();
    assert_eq!(run(0), Run { extent: Extent::Absent, len: (16 << 20) - 5 });
    assert_eq!(run(4097), Run { extent: Extent::Zero, len: 8187 });
    assert_eq!(run(4099), Run { extent: Extent::Stored { file: 1, offset: SE_GRAINS as u64 + 4101 }, len: 8187 });
    let given = failure(open(MemFile::new("/t/disk-000001-sesparse.vmdk", sesparse()), &READ));
    assert!(given.contains("disk-000001.vmdk; put that file next to it"), "{given}");
}

#[test]
fn grain_index_has_its_low_bits_first() {
    let mut bytes = sesparse();
    // Grain 4096 of the area, which begins 16 MiB after its start.
    put64(&mut bytes, SE_TABLES, 3 << 60 | 1);
    put(&mut bytes, SE_GRAINS + (16 << 20), &[99; 4096]);
    let expected = ours(SE_LINE, &bytes).unwrap();
    assert_eq!(expected[8192 * 4096..], [99; 4096]);
    assert!(qemu("seSparse", SE_LINE, &bytes) == expected);
}

#[test]
fn each_broken_field_of_a_space_efficient_extent_has_its_own_message() {
    let end = sesparse().len();
    let second = SE_TABLES + 32768;
    let directory = SE_DIRECTORY + 8;
    for (at, new, cause) in [
        (0, 1, "SESPARSE header signature at offset 0 (0x0): expected 0xcafebabe, found 0x1".to_owned()),
        (8, 1, "SESPARSE version at offset 8 (0x8): expected 0x200000001, found 0x1".to_owned()),
        (16, 65543, "capacity of the VMDK extent at offset 16 (0x10): expected at least 65544, the sectors that the descriptor says, found 65543".to_owned()),
        (16, 1 << 37, "SESPARSE capacity at offset 16 (0x10): expected less than 137438953472, found 137438953472".to_owned()),
        (24, 16, "SESPARSE grain size at offset 24 (0x18): expected 0x8, found 0x10".to_owned()),
        (40, 1, "SESPARSE flags at offset 40 (0x28): expected 0x0, found 0x1".to_owned()),
        (72, 1, "SESPARSE reserved field at offset 72 (0x48): expected 0x0, found 0x1".to_owned()),
        (80, 1 << 40, format!("SESPARSE volatile header at offset 562949953421312 (0x2000000000000): expected 512 bytes, found the end of the file at {end}")),
        (80, 2, "SESPARSE volatile header signature at offset 1024 (0x400): expected 0xcafecafe, found 0x0".to_owned()),
        (128, 0, "SESPARSE grain directory offset at offset 128 (0x80): expected 1 to 2^54, found 0".to_owned()),
        (128, 1 << 40, format!("SESPARSE grain directory at offset 562949953421312 (0x2000000000000): expected its end at 562949953421824, found the end of the file at {end}")),
        (136, 0, "SESPARSE grain directory size at offset 136 (0x88): expected 1 to 2^54, found 0".to_owned()),
        (192, u64::MAX, "SESPARSE grains offset at offset 192 (0xc0): expected 1 to 2^54, found 18446744073709551615".to_owned()),
        (536, 1, "SESPARSE journal to be replayed at offset 536 (0x218): expected 0: a disk that was cleanly closed; open and close it with VMware first, found 1".to_owned()),
        (directory, 0x1000_0000_0000_0002, format!("SESPARSE grain directory entry 1 at offset {directory} ({directory:#x}): expected a grain table below 2, found 0x1000000000000002")),
        (directory, 0x2000_0000_0000_0000, format!("SESPARSE grain directory entry 1 at offset {directory} ({directory:#x}): expected a grain table below 2, found 0x2000000000000000")),
        (second, 1, format!("SESPARSE grain table entry of grain 4096 at offset {second} ({second:#x}): expected 0, or 1, 2 or 3 in the top four bits, found 0x0000000000000001")),
        (second, 4 << 60, format!("SESPARSE grain table entry of grain 4096 at offset {second} ({second:#x}): expected 0, or 1, 2 or 3 in the top four bits, found 0x4000000000000000")),
        (second, u64::MAX >> 2, format!("SESPARSE grain table entry of grain 4096 at offset {second} ({second:#x}): expected a grain that ends before offset {end}, the end of the file, found 0x3fffffffffffffff")),
    ] {
        let mut bytes = sesparse();
        put64(&mut bytes, at, new);
        let text = error(SE_LINE, &bytes);
        assert!(text.starts_with("/t/extent ") && text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
}
