//! QED images against QEMU: what it makes we read, and what we write it finds whole.

use crate::against::disks::{assert_same, assert_sum, open, write_at_random};
use crate::against::qemu::{by_virtualbox, create, directory, flat, qemu_io};
use crate::disk::Disk;
use crate::image::OpenOptions;
use std::fs::File as OpenFile;
use std::os::unix::fs::FileExt;

/// Sizes are small, odd and end within a cluster.
const SIZE: u64 = (6 << 20) + 3 * 512;

const VARIANTS: [&str; 4] =
    ["", "cluster_size=4096,table_size=2", "cluster_size=4096,table_size=16", "cluster_size=1M"];

fn commands() -> Vec<String> {
    ["write -P 1 0 200k", "write -P 2 300k 3000", "write -z 64k 64k", "write -z 1M 1M", "write -P 5 3M 70k"]
        .map(str::to_owned)
        .into()
}

#[test]
fn every_variant_is_read_and_written() {
    let directory = directory();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let path = directory.path().join(format!("{number}.qed"));
        create(&path, "qed", variant, SIZE);
        qemu_io(&path, "qed", &commands());
        assert_same(&path, "qed");
        println!("{variant}");
        write_at_random(&path, "qed", 60, number as u64);
    }
}

#[test]
fn chains_are_read_and_written_over_their_parents() {
    let directory = directory();
    let base = directory.path().join("base.qed");
    create(&base, "qed", "", SIZE);
    qemu_io(&base, "qed", &commands());
    std::fs::write(directory.path().join("base.raw"), flat(&base, "qed", &[])).unwrap();
    for (parent, format) in [("base.qed", "qed"), ("base.raw", "raw")] {
        let path = directory.path().join(format!("on-{format}.qed"));
        create(&path, "qed", &format!("backing_file={parent},backing_fmt={format}"), SIZE + (1 << 20));
        qemu_io(&path, "qed", &commands());
        assert_same(&path, "qed");
        write_at_random(&path, "qed", 60, 9);
    }
}

#[test]
fn an_image_by_virtualbox_is_read_and_written() {
    let directory = directory();
    let (path, sum) = by_virtualbox(directory.path(), "q.qed");
    assert_sum(&path, &sum);
    assert_same(&path, "qed");
    write_at_random(&path, "qed", 30, 4);
}

/// VirtualBox opens no image that needs a check. One that QEMU left like that was checked when it is opened for
/// writing.
#[test]
fn need_check_flag_is_cleared_and_never_set() {
    let directory = directory();
    let path = directory.path().join("a.qed");
    create(&path, "qed", "", SIZE);
    let features = || std::fs::read(&path).unwrap()[16];
    let disk = open(&path, OpenOptions { writable: true, ..OpenOptions::default() });
    disk.write_at(0, &[1]).unwrap();
    disk.flush().unwrap();
    assert_eq!(features(), 0);
    drop(disk);
    OpenFile::options().write(true).open(&path).unwrap().write_all_at(&[2], 16).unwrap();
    assert_eq!(open(&path, OpenOptions::default()).links()[0].info().notes.len(), 1);
    assert_eq!(features(), 2);
    drop(open(&path, OpenOptions { writable: true, ..OpenOptions::default() }));
    assert_eq!(features(), 0);
}
