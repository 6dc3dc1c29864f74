//! `-g`: the guest's file systems, whose content is known.

use crate::common::Fixture;
use crate::scene::Mount;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

/// A GPT disk with a FAT and an ext4 volume.
const SNAPSHOT: &str = "84f9a618-d725-458c-abef-1e3187cd1d2a";
/// An MBR disk with FAT, NTFS and an empty ext4.
const OLD: &str = "6fd366f3-38e9-4573-b3b6-e930556c829c";

#[test]
fn the_files_of_an_ext4_volume_are_there_without_its_driver() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["-g", "-i", SNAPSHOT])).unwrap_or_else(|e| panic!("{e:?}"));
    let root = mount.file("fs1");
    assert_eq!(std::fs::read_to_string(root.join("home/user/hello.txt")).unwrap(), "hello from the guest\n");
    assert_eq!(std::fs::read_to_string(root.join("var/link")).unwrap(), "lab\n");
    assert_eq!(std::fs::read_link(root.join("var/link")).unwrap().to_str(), Some("../etc/hostname"));
    assert_eq!(std::fs::read_dir(root.join("var/many")).unwrap().count(), 600);
    assert_eq!(std::fs::read_to_string(root.join("home/user/naïve name ☃.txt")).unwrap(), "x\n");
    let sparse = std::fs::metadata(root.join("home/user/sparse")).unwrap();
    assert_eq!(sparse.len(), (300 << 20) + 4);
    assert!(sparse.blocks() < 100 && !sparse.file_type().is_fifo());
    let copy = fixture.root().join("copy");
    let done = Command::new("cp").arg("-a").arg(&root).arg(&copy).status().unwrap();
    assert!(done.success());
    let same = Command::new("diff").arg("-r").arg(&root).arg(&copy).status().unwrap();
    assert!(same.success());
    assert!(std::fs::write(root.join("etc/hostname"), "x").is_err());
    mount.unmount();
}

#[test]
fn the_files_of_an_ntfs_volume_are_there_without_its_driver() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["-g", "-i", OLD])).unwrap_or_else(|e| panic!("{e:?}"));
    let root = mount.file("fs1");
    assert_eq!(std::fs::read_to_string(root.join("home/user/hello.txt")).unwrap(), "hello from the guest\n");
    assert_eq!(std::fs::read_to_string(root.join("etc/hostname")).unwrap(), "lab\n");
    assert!(mount.file("fs2").join("lost+found").is_dir());
    mount.unmount();
}

#[test]
fn the_files_of_a_fat_volume_are_there_without_its_driver() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["-g", "-i", SNAPSHOT])).unwrap_or_else(|e| panic!("{e:?}"));
    let loader = mount.file("fs0/EFI/BOOT/BOOTX64.EFI");
    let mtools =
        Command::new("mtype").arg("-i").arg(mount.file("vol0")).arg("::/EFI/BOOT/BOOTX64.EFI").output().unwrap();
    assert!(mtools.status.success() && !mtools.stdout.is_empty(), "{mtools:?}");
    assert_eq!(std::fs::read(&loader).unwrap(), mtools.stdout);
    assert_eq!(std::fs::read(mount.file("fs0/efi/boot/bootx64.efi")).unwrap(), mtools.stdout);
    assert_eq!(std::fs::metadata(&loader).unwrap().mode() & 0o7777, 0o755);
    mount.unmount();
}
