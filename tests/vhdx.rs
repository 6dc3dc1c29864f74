//! VHDXs by Hyper-V and QEMU, and what QEMU and VirtualBox read of what is written here.

mod lab;

use lab::recorder::Recorder;
use lab::{Reference, all, assert_same, assert_same_file, disk, open, run, sample, scribble};
use std::fs;
use std::path::Path;
use vboximg_mount::disk::{ChainDisk, Disk};
use vboximg_mount::image::open::open_file;
use vboximg_mount::image::{Format, OpenOptions, Variant};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Makes `raw` what QEMU reads from a VHDX.
fn qemu_convert(path: &Path, raw: &Path) {
    run("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", &text(path), &text(raw)]);
}

fn qemu_bytes(path: &Path, raw: &Path) -> Vec<u8> {
    qemu_convert(path, raw);
    fs::read(raw).unwrap()
}

fn qemu_create(path: &Path, options: &str, size: &str) {
    run("qemu-img", &["create", "-q", "-f", "vhdx", "-o", options, &text(path), size]);
}

fn qemu_write(path: &Path, commands: &[&str]) {
    let path = text(path);
    let mut args = vec!["-f", "vhdx"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(&path);
    run("qemu-io", &args);
}

/// QEMU finds nothing wrong, and no log to be replayed.
fn assert_clean(path: &Path) {
    run("qemu-img", &["check", "-q", "-f", "vhdx", &text(path)]);
}

#[test]
fn samples_have_the_bytes_that_qemu_reads() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["dissect-dynamic.vhdx.gz", "qemu-iotest-dynamic-1G.vhdx.bz2"] {
        let Some(path) = sample(folder.path(), name) else { continue };
        let image = open(&path);
        assert_eq!((image.info().format, image.info().variant), (Format::Vhdx, Variant::Dynamic), "{name}");
        let raw = folder.path().join("out.raw");
        qemu_convert(&path, &raw);
        assert_same_file(&disk(&[&path], false), &raw, name);
    }
}

/// The log is replayed in memory when read and in the file when opened for writing; both as QEMU replays it.
#[test]
fn a_dirty_log_is_replayed_as_qemu_replays_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = sample(folder.path(), "qemu-iotest-dirtylog-10G-4M.vhdx.bz2") else { return };
    let (theirs, ours) = (folder.path().join("theirs.vhdx"), folder.path().join("ours.vhdx"));
    fs::copy(&path, &theirs).unwrap();
    fs::copy(&path, &ours).unwrap();
    run("qemu-img", &["check", "-q", "-r", "all", "-f", "vhdx", &text(&theirs)]);
    let raw = folder.path().join("out.raw");
    qemu_convert(&theirs, &raw);
    let reading = disk(&[&path], false);
    assert_eq!(reading.links()[0].info().notes, ["It was not cleanly closed; its log is replayed in memory"]);
    assert_same_file(&reading, &raw, "replayed in memory");
    let writing = disk(&[&ours], true);
    assert_eq!(writing.links()[0].info().notes, ["It was not cleanly closed; its log was replayed"]);
    writing.close().unwrap();
    assert_clean(&ours);
    let again = disk(&[&ours], false);
    assert_eq!(again.links()[0].info().notes, Vec::<String>::new());
    assert_same_file(&again, &raw, "replayed in the file");
}

#[test]
fn images_by_qemu_are_read_as_qemu_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("out.raw");
    for options in [
        "subformat=dynamic",
        "subformat=fixed",
        "block_size=1M",
        "block_size=256M",
        "block_size=2M,log_size=4M",
        "block_state_zero=off",
    ] {
        let path = folder.path().join("a.vhdx");
        qemu_create(&path, options, "20000K");
        qemu_write(&path, &["write -P 1 0 4096", "write -P 2 5000192 3000320", "write -P 3 20479488 512"]);
        let expected = qemu_bytes(&path, &raw);
        assert_same(&disk(&[&path], false), &expected, options);
    }
}

#[test]
fn what_is_written_is_what_qemu_reads() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("out.raw");
    for (seed, options) in (1..).zip(["subformat=dynamic,block_size=1M", "block_size=8M", "subformat=fixed"]) {
        let path = folder.path().join("a.vhdx");
        qemu_create(&path, options, "30M");
        qemu_write(&path, &["write -P 1 0 3000320", "write -P 2 15000064 512"]);
        let mut model = qemu_bytes(&path, &raw);
        for round in 0..3 {
            let disk = disk(&[&path], true);
            scribble(&disk, &mut model, 700 + 10 * seed + round, 60);
            disk.close().unwrap();
            drop(disk);
            assert_clean(&path);
            assert!(qemu_bytes(&path, &raw) == model, "{options}, round {round}: QEMU reads other bytes");
            assert_same(&lab::disk(&[&path], false), &model, options);
        }
        // QEMU goes on where we stopped.
        qemu_write(&path, &["write -P 5 25000448 100352"]);
        model[25_000_448..][..100_352].fill(5);
        assert_same(&disk(&[&path], false), &model, "after QEMU wrote again");
    }
}

/// On an image by Hyper-V: VirtualBox refuses those by QEMU, whose regions are not marked as required.
#[test]
fn what_is_written_is_what_virtualbox_reads() {
    let Some(reference) = Reference::new("vhdx") else { return };
    let Some(path) = sample(&reference.outside(), "dissect-dynamic.vhdx.gz") else { return };
    let name = "dissect-dynamic.vhdx";
    let mut model = reference.bytes(name, "VHDX");
    assert_same(&disk(&[&path], false), &model, "before");
    for round in 0..3 {
        let disk = disk(&[&path], true);
        scribble(&disk, &mut model, 800 + round, 60);
        disk.flush().unwrap();
        // Not closed: as after kill -9.
        drop(disk);
        assert!(reference.bytes(name, "VHDX") == model, "VirtualBox reads other bytes in round {round}");
    }
    let disk = disk(&[&path], true);
    disk.discard(0, disk.size()).unwrap();
    disk.write_at(5 << 20, &[1; 5000]).unwrap();
    disk.close().unwrap();
    model.fill(0);
    model[5 << 20..][..5000].fill(1);
    assert!(reference.bytes(name, "VHDX") == model, "VirtualBox reads other bytes after a discard");
}

/// Power is lost at each moment of a flush: QEMU replays the log where there is one, and sees what was written either
/// wholly or not at all.
#[test]
fn qemu_replays_a_log_that_was_written_here() {
    let folder = tempfile::tempdir().unwrap();
    let (path, raw) = (folder.path().join("a.vhdx"), folder.path().join("out.raw"));
    qemu_create(&path, "block_size=1M", "8M");
    qemu_write(&path, &["write -P 1 0 1048576"]);
    let before = qemu_bytes(&path, &raw);
    let file = Recorder::new(&path);
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    let disk = ChainDisk::new(vec![open_file(file.clone(), options).unwrap()], Vec::new());
    disk.write_at(3 << 20, &[7; 4096]).unwrap();
    disk.write_at(5 << 20, &[8; 4096]).unwrap();
    let unflushed = file.moments();
    disk.flush().unwrap();
    let after = all(&disk);
    let mut logs = 0;
    for moment in unflushed..=file.moments() {
        file.save(moment, &path);
        let checked =
            std::process::Command::new("qemu-img").args(["check", "-f", "vhdx", &text(&path)]).output().unwrap();
        logs += usize::from(!checked.status.success());
        let ours = all(&lab::disk(&[&path], false));
        run("qemu-img", &["check", "-q", "-r", "all", "-f", "vhdx", &text(&path)]);
        let bytes = qemu_bytes(&path, &raw);
        assert!(bytes == ours, "QEMU and we differ after {moment} operations");
        assert!(bytes == before || bytes == after, "neither old nor new after {moment} operations");
    }
    assert!(logs > 0, "no moment left a log to be replayed");
    assert_eq!(all(&lab::disk(&[&path], false)), after);
}
