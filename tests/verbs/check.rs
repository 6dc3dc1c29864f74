//! `check`: chains, partition tables, file systems, and whether reading gives what it says.

use crate::common::Fixture;
use crate::corrupted::{Put, QCOW2, VDI, disk, l2, le, make};
use crate::{LEAF, output_of, text, without_fuse};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Checks an image where there is no FUSE: the exit code and the parts.
pub(crate) fn check(image: &Path) -> (i32, Value) {
    let output = without_fuse(image, "check", &["--json"]);
    let parts = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), parts.unwrap_or_else(|e| panic!("{e}: {output:?}")))
}

/// The findings of all parts.
pub(crate) fn findings(parts: &Value) -> Vec<&Value> {
    parts.as_array().unwrap().iter().flat_map(|part| part["findings"].as_array().unwrap()).collect()
}

pub(crate) fn qemu_check(image: &Path, extension: &str) -> i32 {
    let format = match extension {
        "vhd" => "vpc",
        "hdd" => "parallels",
        other => other,
    };
    Command::new("qemu-img").args(["check", "-f", format]).arg(image).output().unwrap().status.code().unwrap_or(-1)
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

#[test]
fn copies_of_superblocks_are_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    // What makes it, its size in MiB, and a byte of the copy's id or serial number.
    for (program, mebibytes, at) in [
        ("mkfs.ext4 -q -F", 16, (8193 << 10) + 104),
        ("mkfs.ext2 -q -F -b 4096", 256, (32768 << 12) + 104),
        ("mkfs.xfs -q", 320, (80 << 20) + 32),
        ("mkntfs -q -F -f", 16, (16 << 20) - 512 + 0x48),
        ("mkfs.vfat -F 32", 64, 6 * 512 + 67),
        ("mkfs.exfat -c 4096", 16, 12 * 512 + 100),
        ("mkfs.btrfs -q", 128, (64 << 20) + 32),
    ] {
        let _ = fs::remove_file(&image);
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let mut words = program.split(' ');
        let mut mkfs = Command::new(words.next().unwrap());
        let output = mkfs.args(words).arg(&image).output().unwrap_or_else(|e| panic!("{program}: {e}"));
        assert!(output.status.success(), "{program}: {output:?}");
        let (code, parts) = check(&image);
        assert_eq!(code, 0, "{program}: {parts:#}");
        let file = fs::OpenOptions::new().write(true).read(true).open(&image).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
        drop(file);
        let (code, parts) = check(&image);
        let found = findings(&parts);
        assert!(code == 4 && found.len() == 1 && found[0]["reading"] == "fine", "{program}: {parts:#}");
        assert!(found[0]["what"].as_str().unwrap().contains("as in the first one"), "{program}: {parts:#}");
    }
}

#[test]
fn nothing_is_found_in_what_virtualbox_wrote() {
    let registry = Fixture::registry();
    for vm in ["alpine tree", "win-legacy", "esx import", "shared kinds", "second user", "odd formats"] {
        let output = registry.program().args(["check", "--vm", vm]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{vm}: {}", text(&output.stdout));
    }
}

/// The findings of an image, whose check has to end with findings.
fn found(image: &Path) -> Vec<Value> {
    let (code, parts) = check(image);
    assert_eq!(code, 4, "{parts:#}");
    findings(&parts).into_iter().cloned().collect()
}

#[test]
fn extents_that_are_short_or_missing_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let flat = make(directory.path(), ("-O vmdk -o subformat=monolithicFlat", "vmdk"), "flat");
    assert_eq!(check(&flat).0, 0);
    let extent = directory.path().join("flat-flat.vmdk");
    fs::OpenOptions::new().write(true).open(&extent).unwrap().set_len(3 << 20).unwrap();
    let short = found(&flat);
    assert!(short.iter().any(|found| found["what"].as_str().unwrap().contains("flat-flat.vmdk")), "{short:?}");
    let range = |found: &Value| found["offset"].as_u64().zip(found["length"].as_u64());
    let is_rest = |found: &Value| range(found) == Some((3 << 20, 1 << 20)) && found["reading"] == "error";
    assert!(short.iter().any(is_rest), "{short:?}");
    let split = make(directory.path(), ("-O vmdk -o subformat=twoGbMaxExtentSparse", "vmdk"), "split");
    assert_eq!(check(&split).0, 0);
    fs::remove_file(directory.path().join("split-s001.vmdk")).unwrap();
    let missing = found(&split);
    assert!(missing.len() == 1 && missing[0]["reading"] == "refused", "{missing:?}");
    assert!(missing[0]["what"].as_str().unwrap().contains("split-s001.vmdk"), "{missing:?}");
}

#[test]
fn sectors_of_a_cd_and_the_length_of_a_dvd_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (sheet, content) = (directory.path().join("cd.cue"), directory.path().join("cd.bin"));
    fs::write(&sheet, "FILE \"cd.bin\" BINARY\n  TRACK 01 MODE1/2352\n    INDEX 01 00:00:00\n").unwrap();
    let mut sector = vec![0xFF; 2352];
    (sector[0], sector[11], sector[15]) = (0, 0, 1);
    // No error detection code.
    sector[2064..2068].fill(0);
    let mut sectors = sector.repeat(64);
    fs::write(&content, &sectors).unwrap();
    assert_eq!(check(&sheet).0, 0);
    sectors[40 * 2352 + 5] = 7;
    fs::write(&content, &sectors).unwrap();
    let broken = found(&sheet);
    assert!(broken.iter().all(|found| found["reading"] == "error"), "{broken:?}");
    assert!(broken[0]["what"].as_str().unwrap().contains("at offset 94080"), "{broken:?}");

    let image = directory.path().join("dvd.iso");
    let mut bytes = vec![5; 40 * 2048];
    bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    bytes.put_le(0x8000 + 80, 40, 4);
    bytes.put_le(0x8000 + 128, 2048, 2);
    bytes.truncate(39 * 2048);
    fs::write(&image, bytes).unwrap();
    let cut = found(&image);
    assert!(cut[0]["what"].as_str().unwrap().contains("40 blocks of 2048 bytes: the file is cut"), "{cut:?}");
}

#[test]
fn identities_are_compared_with_the_registry_the_parent_and_the_children() {
    let registry = Fixture::registry();
    let check = |image: &str| {
        let output = registry.program().args(["check", "--json", "-i", image]).output().unwrap();
        let parts: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found: Vec<Value> = findings(&parts).into_iter().cloned().collect();
        (output.status.code().unwrap(), found)
    };
    let base = registry.machine_file("alpine tree/alpine tree.vdi");
    let file = fs::OpenOptions::new().read(true).write(true).open(&base).unwrap();
    let change = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    // uuidModify
    change(0x198);
    let (code, found) = check("fbfdf717-2fe9-42ef-9935-d6a3d75bf091");
    let what = |at: usize, text: &str| found[at]["what"].as_str().unwrap().contains(text);
    assert!(code == 4 && found.len() == 1 && what(0, "was changed after"), "{found:?}");
    assert_eq!(found[0]["reading"], "stale");
    let (code, found) = check("7cbdf0db-13ca-49e9-b300-774c4f7b7bdb");
    let of_children =
        |found: &Value| found["what"].as_str().unwrap().starts_with("Its child ") && found["reading"] == "fine";
    assert!(code == 4 && found.len() == 2 && found.iter().all(of_children), "{found:?}");
    change(0x198);
    assert_eq!(check("7cbdf0db-13ca-49e9-b300-774c4f7b7bdb"), (0, Vec::new()));
    // uuidCreate
    change(0x188);
    let (code, found) = check(LEAF);
    assert!(code == 4 && found.iter().all(|found| found["reading"] == "refused"), "{found:?}");
    assert!(found.iter().any(|found| found["what"].as_str().unwrap().contains("the registered UUID")), "{found:?}");
}
