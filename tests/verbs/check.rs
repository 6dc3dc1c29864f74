//! `check`: what it finds in images that are deliberately corrupted, beside what `qemu-img check` says of them.

use crate::{output_of, text, without_fuse};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of the test's disk: bytes at 0 to 1 MiB and 2 MiB to 3 MiB.
const SIZE: usize = 4 << 20;

/// What a corruption does to the bytes of a file.
type Corruption = fn(&mut Vec<u8>);

/// A corruption and what is to be found.
struct Case {
    /// The image, as the options of `qemu-img convert` and its extension.
    image: (&'static str, &'static str),
    corrupt: Corruption,
    /// A part of the finding.
    found: &'static str,
    /// What reading gives.
    reading: &'static str,
    /// The range of the disk, where it is about one.
    range: Option<(u64, u64)>,
    /// The exit code of `qemu-img check`; none where it has no check or does not look.
    qemu: Option<i32>,
}

const VDI: (&str, &str) = ("-O vdi", "vdi");
const VHD: (&str, &str) = ("-O vpc -o force_size=on", "vhd");
const VHDX: (&str, &str) = ("-O vhdx -o block_size=1M", "vhdx");
const VMDK: (&str, &str) = ("-O vmdk", "vmdk");
const STREAM: (&str, &str) = ("-O vmdk -o subformat=streamOptimized", "vmdk");
const QCOW: (&str, &str) = ("-O qcow", "qcow");
const QCOW2: (&str, &str) = ("-O qcow2", "qcow2");
const PACKED: (&str, &str) = ("-c -O qcow2", "qcow2");
const QED: (&str, &str) = ("-O qed", "qed");
const PARALLELS: (&str, &str) = ("-O parallels -o cluster_size=64K", "hdd");

const BLOCK: u64 = 1 << 20;
const CLUSTER: u64 = 64 << 10;

const CASES: &[Case] = &[
    Case {
        image: VDI,
        corrupt: |file| file.put_le(le(file, 0x154, 4) + 8, 99, 4),
        found: "VDI block map entry 2 at offset",
        reading: "error",
        range: Some((2 * BLOCK, BLOCK)),
        qemu: Some(2),
    },
    Case {
        image: VDI,
        corrupt: |file| file.put_le(le(file, 0x154, 4) + 8, 0, 4),
        found: "a block of its own, found index 0, which another entry has too",
        reading: "error",
        range: Some((0, BLOCK)),
        qemu: Some(2),
    },
    Case {
        image: VDI,
        corrupt: |file| file.truncate(file.len() - 4096),
        found: "found the end of the file at",
        reading: "error",
        range: Some((2 * BLOCK, BLOCK)),
        qemu: None,
    },
    Case {
        image: VDI,
        corrupt: |file| file.put_le(0x184, 1, 4),
        found: "VDI number of allocated blocks at offset 388",
        reading: "fine",
        range: None,
        qemu: Some(2),
    },
    Case {
        image: VHD,
        corrupt: |file| file.put_be(be(file, 512 + 16, 8), 0x10_0000, 4),
        found: "VHD table entry 0 at offset",
        reading: "error",
        range: Some((0, 2 * BLOCK)),
        qemu: None,
    },
    Case {
        image: VHD,
        corrupt: |file| file.put_be(be(file, 512 + 16, 8), be(file, be(file, 512 + 16, 8) + 4, 4), 4),
        found: "a block of its own, found sector",
        reading: "error",
        range: Some((0, 4 * BLOCK)),
        qemu: None,
    },
    Case {
        image: VHD,
        corrupt: |file| file[100] ^= 1,
        found: "VHD footer checksum at offset 64",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VHD,
        corrupt: |file| {
            let end = file.len();
            file[end - 400] ^= 1;
        },
        found: "The footer at the end of the file is corrupt",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VHDX,
        corrupt: |file| file[(64 << 10) + 20] ^= 1,
        found: "VHDX header checksum at offset",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VHDX,
        corrupt: |file| file[(256 << 10) + 20] ^= 1,
        found: "VHDX region table checksum at offset",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VHDX,
        corrupt: |file| file[(192 << 10) + 20] ^= 1,
        found: "The region table is corrupt",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VHDX,
        corrupt: |file| file.put_le(bat(file) + 16, le(file, bat(file), 8), 8),
        found: "expected bytes of its own",
        reading: "stale",
        range: Some((2 * BLOCK, BLOCK)),
        qemu: None,
    },
    Case {
        image: VHDX,
        corrupt: |file| file.put_le(bat(file) + 16, (1 << 40) + 6, 8),
        found: "offset of a VHDX block in table entry 2",
        reading: "error",
        range: Some((2 * BLOCK, BLOCK)),
        qemu: None,
    },
    Case {
        image: VMDK,
        corrupt: |file| file.put_le(grains(file), 0x10_0000, 4),
        found: "1 grain table is corrupt",
        reading: "fine",
        range: None,
        qemu: None,
    },
    Case {
        image: VMDK,
        corrupt: |file| {
            let (first, redundant) = (grains(file), le(file, le(file, 48, 8) * 512, 4) * 512);
            for table in [first, redundant] {
                file.put_le(table + 4, le(file, table, 4), 4);
            }
        },
        found: "expected bytes of its own",
        reading: "stale",
        range: Some((CLUSTER, CLUSTER)),
        qemu: None,
    },
    Case {
        image: STREAM,
        corrupt: |file| {
            let grain = le(file, grains(file), 4) * 512;
            file.put_le(grain + 20, 0xFFFF_FFFF, 4);
        },
        found: "VMDK compressed grain 0 at offset",
        reading: "error",
        range: Some((0, CLUSTER)),
        qemu: None,
    },
    Case {
        image: QCOW,
        corrupt: |file| file.put_be(be(file, be(file, 40, 8), 8), 1 << 40, 8),
        found: "QCOW map entry at offset",
        reading: "error",
        range: Some((0, 4096)),
        qemu: None,
    },
    Case {
        image: QCOW,
        corrupt: |file| file.put_be(be(file, be(file, 40, 8), 8) + 8, be(file, 40, 8) / 4096 * 4096 + 4096, 8),
        found: "not one that something else uses too",
        reading: "stale",
        range: None,
        qemu: None,
    },
    Case {
        image: QCOW2,
        corrupt: |file| file.put_be(l2(file), 1 << 40 | 1 << 63, 8),
        found: "past the end at",
        reading: "error",
        range: None,
        qemu: Some(2),
    },
    Case {
        image: QCOW2,
        corrupt: |file| file.put_be(l2(file) + 8, be(file, l2(file), 8), 8),
        found: "expected bytes of its own",
        reading: "stale",
        range: Some((CLUSTER, CLUSTER)),
        qemu: Some(2),
    },
    Case {
        image: QCOW2,
        corrupt: |file| file.put_be(l2(file) + 8, be(file, l2(file), 8), 8),
        found: "which something else uses too",
        reading: "stale",
        range: None,
        qemu: Some(2),
    },
    Case {
        image: QCOW2,
        corrupt: |file| file.put_be(be(file, be(file, 48, 8), 8) + 2 * (be(file, l2(file), 8) << 1 >> 17), 0, 2),
        found: "with the refcount 0; run qemu-img check -r all",
        reading: "fine",
        range: None,
        qemu: Some(2),
    },
    Case {
        image: QCOW2,
        corrupt: |file| file.put_be(be(file, 40, 8), 0x123, 8),
        found: "QCOW2 level 1 entry at offset",
        reading: "error",
        range: Some((0, SIZE as u64)),
        qemu: Some(2),
    },
    Case {
        image: PACKED,
        corrupt: |file| {
            let at = be(file, l2(file), 8) & ((1 << 54) - 1);
            file.put_le(at, u64::MAX, 8);
        },
        found: "compressed",
        reading: "error",
        range: Some((0, CLUSTER)),
        qemu: Some(0),
    },
    Case {
        image: QED,
        corrupt: |file| file.put_le(le(file, le(file, 40, 8), 8), 1 << 40, 8),
        found: "expected an offset before the end of the file",
        reading: "error",
        range: None,
        qemu: Some(2),
    },
    Case {
        image: QED,
        corrupt: |file| {
            let table = le(file, le(file, 40, 8), 8);
            file.put_le(table, table, 8);
        },
        found: "not one that something else uses too",
        reading: "stale",
        range: None,
        qemu: None,
    },
    Case {
        image: PARALLELS,
        corrupt: |file| file.put_le(64, 0xFFFF, 4),
        found: "Parallels BAT entry 0 at offset 64",
        reading: "error",
        range: Some((0, CLUSTER)),
        // qemu-img 10.0 crashes.
        qemu: None,
    },
    Case {
        image: PARALLELS,
        corrupt: |file| file.put_le(68, le(file, 64, 4), 4),
        found: "expected bytes of its own",
        reading: "stale",
        range: Some((CLUSTER, CLUSTER)),
        qemu: None,
    },
];

/// A number of the file.
fn le(file: &[u8], at: u64, bytes: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    file[at..at + bytes].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn be(file: &[u8], at: u64, bytes: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    file[at..at + bytes].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Writing numbers, which may be made of others of the file.
trait Put {
    fn put_le(&mut self, at: u64, value: u64, bytes: usize);
    fn put_be(&mut self, at: u64, value: u64, bytes: usize);
}

impl Put for Vec<u8> {
    fn put_le(&mut self, at: u64, value: u64, bytes: usize) {
        let at = usize::try_from(at).unwrap();
        self[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    fn put_be(&mut self, at: u64, value: u64, bytes: usize) {
        let at = usize::try_from(at).unwrap();
        self[at..at + bytes].copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
    }
}

/// Where a VHDX has its table.
fn bat(file: &[u8]) -> u64 {
    const GUID: [u8; 4] = [0x66, 0x77, 0xC2, 0x2D];
    let entry = (0..2).map(|entry| (192 << 10) + 16 + 32 * entry).find(|at| file[*at..].starts_with(&GUID)).unwrap();
    le(file, entry as u64 + 16, 8)
}

/// Where a VMDK has its first grain table.
fn grains(file: &[u8]) -> u64 {
    le(file, le(file, 56, 8) * 512, 4) * 512
}

/// Where a QCOW2 has its first level 2 table.
fn l2(file: &[u8]) -> u64 {
    be(file, be(file, 40, 8), 8) << 1 >> 1
}

/// The disk: bytes that do not compress to nothing.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    let mut state = 1_u32;
    for at in (0..1 << 20).chain(2 << 20..3 << 20) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        disk[at] = u8::try_from(state >> 28).unwrap() + 1;
    }
    disk
}

/// Makes an image of the disk.
fn make(directory: &Path, (options, extension): (&str, &str), name: &str) -> PathBuf {
    let (raw, image) = (directory.join("disk.raw"), directory.join(format!("{name}.{extension}")));
    if !raw.exists() {
        fs::write(&raw, disk()).unwrap();
    }
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw"]).args(options.split(' ')).args([&raw, &image]);
    let output = command.output().expect("qemu-img is installed (Debian: qemu-utils)");
    assert!(output.status.success(), "{output:?}");
    image
}

/// Checks an image where there is no FUSE: the exit code and the parts.
fn check(image: &Path) -> (i32, Value) {
    let output = without_fuse(image, "check", &["--json"]);
    let parts = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), parts.unwrap_or_else(|e| panic!("{e}: {output:?}")))
}

/// The findings of all parts.
fn findings(parts: &Value) -> Vec<&Value> {
    parts.as_array().unwrap().iter().flat_map(|part| part["findings"].as_array().unwrap()).collect()
}

fn qemu_check(image: &Path, extension: &str) -> i32 {
    let format = match extension {
        "vhd" => "vpc",
        "hdd" => "parallels",
        other => other,
    };
    Command::new("qemu-img").args(["check", "-f", format]).arg(image).output().unwrap().status.code().unwrap_or(-1)
}

#[test]
fn finds_each_corruption_and_nothing_in_the_image_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let image = make(directory.path(), case.image, &number.to_string());
        let (code, parts) = check(&image);
        let clean = findings(&parts).iter().all(|found| found["note"] == true);
        if code != 0 || !clean {
            wrong.push(format!("{number} {:?}: before the corruption: {code}, {parts:#}", case.image));
        }
        let mut bytes = fs::read(&image).unwrap();
        (case.corrupt)(&mut bytes);
        fs::write(&image, bytes).unwrap();
        let (code, parts) = check(&image);
        let is_it = |found: &&&Value| {
            let range = found["offset"].as_u64().zip(found["length"].as_u64());
            found["what"].as_str().unwrap().contains(case.found)
                && found["reading"] == case.reading
                && case.range.is_none_or(|expected| range == Some(expected))
                && found["note"] == false
        };
        if code != 4 || findings(&parts).iter().filter(is_it).count() != 1 {
            wrong.push(format!("{number} {:?}: {:?} is not found: {code}, {parts:#}", case.image, case.found));
        }
        let qemu = case.qemu.map(|_| qemu_check(&image, case.image.1));
        if qemu != case.qemu {
            wrong.push(format!("{number} {:?}: qemu-img check exits with {qemu:?}", case.image));
        }
        fs::remove_file(&image).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_reading_is_said_to_give_is_what_it_gives() {
    let directory = tempfile::tempdir().unwrap();
    let image = make(directory.path(), VDI, "disk");
    let mut bytes = fs::read(&image).unwrap();
    let map = le(&bytes, 0x154, 4);
    bytes.put_le(map + 8, 99, 4);
    fs::write(&image, bytes).unwrap();
    let (_, parts) = check(&image);
    let found = findings(&parts)[0];
    assert!(found["advice"].as_str().unwrap().contains("use --force to read the rest"), "{found}");
    let cat = |range: [&str; 4]| without_fuse(&image, "cat", &[&["vhdd", "--force"][..], &range].concat());
    let bad = cat(["--offset", "2M", "--length", "1M"]);
    assert_eq!((bad.status.code(), bad.stdout.len()), (Some(4), 0), "{}", text(&bad.stderr));
    let good = cat(["--offset", "0", "--length", "2M"]);
    assert!(good.status.success() && good.stdout == disk()[..2 << 20], "{}", text(&good.stderr));
}

#[test]
fn a_chain_that_cannot_be_opened_is_checked_as_far_as_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let base = make(directory.path(), QCOW2, "base");
    let mut parent = base.clone();
    for name in ["middle.qcow2", "leaf.qcow2"] {
        let child = directory.path().join(name);
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(&parent).arg(&child);
        assert!(command.output().unwrap().status.success());
        parent = child;
    }
    let (code, parts) = check(&parent);
    assert_eq!((code, parts.as_array().unwrap().len()), (0, 4), "{parts:#}");
    fs::remove_file(&base).unwrap();
    let (code, parts) = check(&parent);
    let names: Vec<_> = parts.as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert!(code == 4 && names.len() == 2 && names[1].ends_with("middle.qcow2"), "{parts:#}");
    let found = findings(&parts);
    assert!(found.len() == 1 && found[0]["reading"] == "refused", "{parts:#}");
    assert!(found[0]["what"].as_str().unwrap().contains("base.qcow2"), "{parts:#}");
}

#[test]
fn leaked_clusters_are_a_note() {
    let directory = tempfile::tempdir().unwrap();
    let image = make(directory.path(), QCOW2, "disk");
    let mut bytes = fs::read(&image).unwrap();
    let table = l2(&bytes);
    bytes.put_be(table, 0, 8);
    fs::write(&image, bytes).unwrap();
    assert_eq!(qemu_check(&image, "qcow2"), 3);
    let (code, parts) = check(&image);
    let found = findings(&parts);
    assert!(code == 0 && found.len() == 1 && found[0]["note"] == true, "{parts:#}");
    assert!(found[0]["what"].as_str().unwrap().starts_with("1 clusters of 65536 bytes"), "{parts:#}");
}

#[test]
fn the_backup_of_a_partition_table_is_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let mut sgdisk = Command::new("sgdisk");
    let output = sgdisk.args(["-n", "1:2048:4095"]).arg(&image).output().expect("sgdisk is installed (gdisk)");
    assert!(output.status.success(), "{output:?}");
    output_of(&without_fuse(&image, "check", &[]));
    let good = fs::read(&image).unwrap();
    let last = good.len() - 512;
    for (at, what) in [
        (last + 60, "The backup GPT at sector 16383 is corrupt"),
        (last, "there is none at sector 16383"),
        (last - 512 * 32 + 40, "PartitionEntryArrayCRC32"),
        (512 + 60, "The primary GPT is corrupt"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&image, bytes).unwrap();
        let (code, parts) = check(&image);
        let found = findings(&parts);
        assert!(code == 4 && found[0]["what"].as_str().unwrap().contains(what), "{what}: {parts:#}");
    }
}
