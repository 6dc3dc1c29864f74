//! What the volumes of a disk hold, as the listing and the messages report it.

use crate::support::sh;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn program(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    command.env("VBOX_USER_HOME", "/nonexistent").current_dir(directory).args(arguments).output().unwrap()
}

fn listing(directory: &Path, arguments: &[&str]) -> String {
    let output = program(directory, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A disk with four partitions: ext4, LUKS, a corrupt ext4, and an empty one.
fn partitioned() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        "put() { dd if=part of=image bs=1M seek=$1 conv=notrunc status=none; rm part; truncate -s 20M part; }
         truncate -s 100M image; printf '1M,20M,L\n21M,20M,L\n41M,20M,L\n61M,20M,L\n' | sed 's/M,/MiB,/g' | sfdisk -q image
         truncate -s 20M part
         mkfs.ext4 -q -L 'the root' -U 5bd1e995-77a6-4c08-9f3e-0000000000aa part; put 1
         echo p | cryptsetup luksFormat -q --type luks2 --uuid 5bd1e995-77a6-4c08-9f3e-0000000000bb --pbkdf pbkdf2 --pbkdf-force-iterations 1000 part -; put 21
         mkfs.ext4 -q -L broken -U 5bd1e995-77a6-4c08-9f3e-0000000000cc part; printf XXXX | dd of=part bs=1 seek=2044 conv=notrunc status=none; put 41",
    );
    directory
}

#[test]
fn listing_shows_content_of_each_partition() {
    let directory = partitioned();
    let text = listing(directory.path(), &["-l", "-i", "image"]);
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| line.contains("image(")).map(|line| line.split("  ").collect()).collect();
    let ends: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).skip(6).collect())
        .collect();
    let uuid = |end: &str| format!("5bd1e995-77a6-4c08-9f3e-0000000000{end}");
    let (aa, bb, cc) = (uuid("aa"), uuid("bb"), uuid("cc"));
    assert_eq!(
        ends,
        [vec!["ext4", "the root", &aa], vec!["LUKS2", &bb], vec!["ext4", "broken", &cc], vec![]],
        "{text}"
    );
    assert!(text.contains("Note: Volume 1: It is encrypted (LUKS): mount the disk and open its volume with"), "{text}");
    assert!(text.contains("Note: Volume 2: ext4: The file system is corrupt: superblock checksum"), "{text}");

    let json = listing(directory.path(), &["-l", "-i", "image", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["filesystem"], serde_json::Value::Null);
    let contents: Vec<serde_json::Value> =
        json["partitions"].as_array().unwrap().iter().map(|p| p["filesystem"].clone()).collect();
    assert_eq!(contents[0], serde_json::json!({"type": "ext4", "label": "the root", "uuid": aa}));
    assert_eq!(contents[1], serde_json::json!({"type": "LUKS2", "label": "", "uuid": bb}));
    assert_eq!(contents[3], serde_json::Value::Null);
}

#[test]
fn listing_shows_content_of_whole_disk() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), "truncate -s 20M image; mkfs.ext4 -q -L data -U 5bd1e995-77a6-4c08-9f3e-0000000000aa image");
    let text = listing(directory.path(), &["-l", "-i", "image"]);
    let line = "No partitions: the whole disk holds ext4, label data, UUID 5bd1e995-77a6-4c08-9f3e-0000000000aa\n";
    assert!(text.contains(line), "{text}");
    let json = listing(directory.path(), &["-l", "-i", "image", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["filesystem"]["label"], "data");
}

#[test]
fn mount_reports_content_of_each_volume() {
    let directory = partitioned();
    std::fs::create_dir(directory.path().join("mnt")).unwrap();
    let output = program(directory.path(), &["-v", "-g", "-i", "image", "mnt"]);
    let shown = std::fs::read_dir(directory.path().join("mnt")).unwrap().count();
    let unmounted = program(directory.path(), &["-u", "mnt"]);
    assert!(output.status.success() && unmounted.status.success(), "{output:?}\n{unmounted:?}");
    assert_eq!(shown, 7);
    let reported = String::from_utf8(output.stderr).unwrap();
    for line in [
        "Volume 0: ext4 \"the root\" 5bd1e995-77a6-4c08-9f3e-0000000000aa, shown as fs0",
        "Volume 1: LUKS2 5bd1e995-77a6-4c08-9f3e-0000000000bb, which is not read here",
        "Volume 1: It is encrypted (LUKS): ",
        "Volume 2: ext4: The file system is corrupt: superblock checksum",
        "Volume 3: nothing known",
    ] {
        assert!(reported.contains(line), "{line}\n{reported}");
    }
}
