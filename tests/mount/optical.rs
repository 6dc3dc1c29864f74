//! Optical disks that are more than an ISO image: with UDF too, or bootable as a hard disk.

use crate::disc::{comparable, plain};
use crate::support::sh;
use crate::tree::{assert_same, kernel};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Mounts an image with its file systems through the program, calls `look`, and unmounts it.
fn while_mounted<T>(image: &Path, point: &Path, look: impl FnOnce() -> T) -> T {
    let program = || Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    let mounted = program().arg("-i").arg(image).arg("-g").arg(point).output().unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    let seen = look();
    let unmounted = program().arg("--unmount").arg(point).output().unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    seen
}

#[test]
fn reads_hybrid_disc_with_partition_after_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(
        directory.path(),
        "mkdir $1/src $1/mnt; cd $1/src; for i in $(seq 30); do echo $i > file-$i; done; ln -s file-1 link; seq 90000 > data
         cd ..; truncate -s 2M efi; mkfs.vfat efi >/dev/null; make='xorriso -as mkisofs -quiet -R -append_partition 2 0xef efi'
         $make -appended_part_as_gpt -o gpt.iso src 2>/dev/null; $make -partition_offset 16 -o offset.iso src 2>/dev/null
         $make -part_like_isohybrid -o mbr.iso src 2>/dev/null",
    );
    let theirs = comparable(kernel(&path("src")));
    for name in ["gpt.iso", "offset.iso", "mbr.iso"] {
        let look = || (kernel(&path("mnt/fs0")), fs::read(path("mnt/vol1")));
        let (seen, partition) = while_mounted(&path(name), &path("mnt"), look);
        assert_same(name, &theirs, &comparable(seen));
        assert!(partition.unwrap() == fs::read(path("efi")).unwrap(), "{name}: the second partition");
    }
}

#[test]
fn shows_bridge_disc_as_udf() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(
        directory.path(),
        r#"mkdir -p $1/src/many $1/src/deep/a/b/c/d $1/mnt; cd $1/src
           for i in $(seq 1 3000); do echo $i > many/file-number-$i; done; seq 1 300000 > data; : > empty; head -c 2048 data > block
           mkdir 'naïve ☃'; echo x > 'naïve ☃/ein ß.txt'; echo d > deep/a/b/c/d/file; echo y > "$(printf 'n%.0s' $(seq 200))"
           cd ..; genisoimage -quiet -udf -R -input-charset utf-8 -V LAB -o bridge.iso src 2>/dev/null"#,
    );
    let theirs = plain(kernel(&path("src")));
    let seen = while_mounted(&path("bridge.iso"), &path("mnt"), || kernel(&path("mnt/fs0")));
    assert_same("mounted", &theirs, &plain(seen));
}
