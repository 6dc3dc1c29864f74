//! VHDXs by Hyper-V and QEMU, and what QEMU and VirtualBox read of what is written here.

use crate::against::disks::{
    Numbers, all, assert_reads, assert_same, assert_same_file, chain, open_image as open, recorder::Recorder, scribble,
    write_at_random,
};
use crate::against::lab::Reference;
use crate::against::qemu::{self, check, directory, flat, qemu, qemu_io, sample, text};
use crate::disk::{ChainDisk, Disk};
use crate::image::open::open_file;
use crate::image::{Format, OpenOptions, Variant};
use std::fs;
use std::path::Path;

/// Makes `raw` what QEMU reads from a VHDX.
fn qemu_convert(path: &Path, raw: &Path) {
    qemu("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", text(path), text(raw)]);
}

/// Makes a VHDX of so many MiB, with data.
fn create(path: &Path, options: &str, size: u64) {
    qemu::create(path, "vhdx", options, size << 20);
    let data = ["write -P 1 0 3000320", "write -P 2 5000192 3000320", "write -P 3 7999488 512"];
    qemu_io(path, "vhdx", &data.map(str::to_owned));
}

#[test]
fn samples_have_the_bytes_that_qemu_reads() {
    let directory = directory();
    for name in ["dissect-dynamic.vhdx.gz", "qemu-iotest-dynamic-1G.vhdx.bz2"] {
        let Some(path) = sample(directory.path(), name) else { continue };
        let image = open(&path);
        assert_eq!((image.info().format, image.info().variant), (Format::Vhdx, Variant::Dynamic), "{name}");
        let raw = directory.path().join("out.raw");
        qemu_convert(&path, &raw);
        assert_same_file(&chain(&[&path], false), &raw, name);
    }
}

/// The log is replayed in memory when read and in the file when opened for writing; both as QEMU replays it.
#[test]
fn a_dirty_log_is_replayed_as_qemu_replays_it() {
    let directory = directory();
    let Some(path) = sample(directory.path(), "qemu-iotest-dirtylog-10G-4M.vhdx.bz2") else { return };
    let (theirs, ours) = (directory.path().join("theirs.vhdx"), directory.path().join("ours.vhdx"));
    fs::copy(&path, &theirs).unwrap();
    fs::copy(&path, &ours).unwrap();
    qemu("qemu-img", &["check", "-q", "-r", "all", "-f", "vhdx", text(&theirs)]);
    let raw = directory.path().join("out.raw");
    qemu_convert(&theirs, &raw);
    let reading = chain(&[&path], false);
    assert_eq!(reading.links()[0].info().notes, ["It was not cleanly closed; its log is replayed in memory"]);
    assert_same_file(&reading, &raw, "replayed in memory");
    let writing = chain(&[&ours], true);
    assert_eq!(writing.links()[0].info().notes, ["It was not cleanly closed; its log was replayed"]);
    writing.close().unwrap();
    check(&ours, "vhdx");
    let again = chain(&[&ours], false);
    assert_eq!(again.links()[0].info().notes, Vec::<String>::new());
    assert_same_file(&again, &raw, "replayed in the file");
}

#[test]
fn images_by_qemu_are_read_as_qemu_reads_them() {
    let directory = directory();
    let path = directory.path().join("a.vhdx");
    for options in [
        "subformat=dynamic",
        "subformat=fixed",
        "block_size=1M",
        "block_size=256M",
        "block_size=2M,log_size=4M",
        "block_state_zero=off",
    ] {
        create(&path, options, 20);
        assert_same(&path, "vhdx");
    }
}

#[test]
fn what_is_written_is_what_qemu_reads() {
    let directory = directory();
    let path = directory.path().join("a.vhdx");
    for options in ["subformat=dynamic,block_size=1M", "block_size=8M", "subformat=fixed"] {
        create(&path, options, 30);
        write_at_random(&path, "vhdx", 100, 4);
        // QEMU goes on where we stopped.
        qemu_io(&path, "vhdx", &["write -P 5 25000448 100352".to_owned()]);
        assert_same(&path, "vhdx");
    }
}

/// On an image by Hyper-V: VirtualBox refuses those by QEMU, whose regions are not marked as required.
#[test]
fn what_is_written_is_what_virtualbox_reads() {
    let Some(reference) = Reference::new("vhdx") else { return };
    let Some(path) = sample(&reference.outside(), "dissect-dynamic.vhdx.gz") else { return };
    let name = "dissect-dynamic.vhdx";
    let mut model = reference.bytes(name, "VHDX");
    let mut numbers = Numbers(5);
    assert_reads(&chain(&[&path], false), &model, "before");
    for round in 0..3 {
        let disk = chain(&[&path], true);
        scribble(&disk, &mut model, &mut numbers, 60);
        disk.flush().unwrap();
        // Not closed: as after kill -9.
        drop(disk);
        assert!(reference.bytes(name, "VHDX") == model, "VirtualBox reads other bytes in round {round}");
    }
    let disk = chain(&[&path], true);
    disk.discard(0, disk.size()).unwrap();
    disk.write_at(5 << 20, &[1; 5000]).unwrap();
    disk.close().unwrap();
    model.fill(0);
    model[5 << 20..][..5000].fill(1);
    assert!(reference.bytes(name, "VHDX") == model, "VirtualBox reads other bytes after a discard");
}

/// The process is killed at each moment of a flush: QEMU and we see what was written either wholly or not at all.
#[test]
fn a_killed_writer_leaves_an_image_that_qemu_finds_whole() {
    let directory = directory();
    let path = directory.path().join("a.vhdx");
    create(&path, "block_size=1M", 20);
    let before = flat(&path, "vhdx", &[]);
    let file = Recorder::new(&path);
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    let disk = ChainDisk::new(vec![open_file(file.clone(), options).unwrap()], Vec::new());
    disk.write_at(13 << 20, &[7; 4096]).unwrap();
    disk.write_at(15 << 20, &[8; 4096]).unwrap();
    let unflushed = file.moments();
    disk.flush().unwrap();
    let after = all(&disk);
    for moment in unflushed..=file.moments() {
        file.save(moment, &path);
        check(&path, "vhdx");
        let bytes = flat(&path, "vhdx", &[]);
        assert!(bytes == all(&chain(&[&path], false)), "QEMU and we differ after {moment} operations");
        assert!(bytes == before || bytes == after, "neither old nor new after {moment} operations");
    }
    assert_eq!(all(&chain(&[&path], false)), after);
}
