//! `check` of images of each format that are deliberately corrupted, beside what `qemu-img check` says of them.

use crate::check::{check, findings, qemu_check};
use crate::lab::Reference;
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

pub(crate) const VDI: (&str, &str) = ("-O vdi", "vdi");
const VHD: (&str, &str) = ("-O vpc -o force_size=on", "vhd");
const VHDX: (&str, &str) = ("-O vhdx -o block_size=1M", "vhdx");
const VMDK: (&str, &str) = ("-O vmdk", "vmdk");
const STREAM: (&str, &str) = ("-O vmdk -o subformat=streamOptimized", "vmdk");
const QCOW: (&str, &str) = ("-O qcow", "qcow");
pub(crate) const QCOW2: (&str, &str) = ("-O qcow2", "qcow2");
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
pub(crate) fn le(file: &[u8], at: u64, bytes: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    file[at..at + bytes].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

fn be(file: &[u8], at: u64, bytes: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    file[at..at + bytes].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Writing numbers, which may be made of others of the file.
pub(crate) trait Put {
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
pub(crate) fn l2(file: &[u8]) -> u64 {
    be(file, be(file, 40, 8), 8) << 1 >> 1
}

/// The disk: bytes that do not compress to nothing.
pub(crate) fn disk() -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    let mut state = 1_u32;
    for at in (0..1 << 20).chain(2 << 20..3 << 20) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        disk[at] = u8::try_from(state >> 28).unwrap() + 1;
    }
    disk
}

/// Makes an image of the disk.
pub(crate) fn make(directory: &Path, (options, extension): (&str, &str), name: &str) -> PathBuf {
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
fn the_real_virtualbox_sees_the_same_in_a_vdi() {
    let Some(reference) = Reference::new("check-vdi") else { return };
    let image = make(&reference.outside(), VDI, "disk");
    let good = fs::read(&image).unwrap();
    let cases: [(Corruption, &str, i32); 3] = [
        (|_| {}, "no repair required", 0),
        (|file| file.put_le(le(file, 0x154, 4) + 8, 0, 4), "Entry 2 points to an already referenced data block", 4),
        (|file| file.put_le(le(file, 0x154, 4) + 8, 99, 4), "Entry 2 points to invalid offset", 4),
    ];
    for (corrupt, theirs, ours) in cases {
        let mut bytes = good.clone();
        corrupt(&mut bytes);
        fs::write(&image, bytes).unwrap();
        let line =
            format!("VBoxManage internalcommands repairhd -dry-run -format VDI {}", reference.inside("disk.vdi"));
        let printed = reference.run(&line);
        assert!(printed.contains(theirs), "{printed}");
        assert_eq!(check(&image).0, ours, "{theirs}");
    }
}
