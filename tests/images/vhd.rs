//! VHDs by VirtualBox, Hyper-V, Virtual PC and QEMU, and what these read of what is written here.

use crate::against::common::Fixture;
use crate::against::disks::{
    Numbers, all, assert_reads, assert_same_file, chain, open_image as open, recorder::Recorder, scribble,
};
use crate::against::lab::Reference;
use crate::against::qemu::{directory, qemu, qemu_io, sample, text};
use crate::disk::{ChainDisk, Disk};
use crate::image::open::open_file;
use crate::image::{Format, OpenOptions, Variant};
use crate::support::sha256;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes `raw` what QEMU reads from a VHD, whose size is by its footer's current size or `by_geometry`.
fn qemu_convert(path: &Path, raw: &Path, by_geometry: bool) {
    let size = if by_geometry { "chs" } else { "current_size" };
    let source = format!("driver=vpc,force_size_calc={size},file.filename={}", path.display());
    qemu("qemu-img", &["convert", "-O", "raw", "--image-opts", &source, text(raw)]);
}

fn qemu_bytes(path: &Path, raw: &Path, by_geometry: bool) -> Vec<u8> {
    qemu_convert(path, raw, by_geometry);
    fs::read(raw).unwrap()
}

fn qemu_create(path: &Path, options: &str, size: &str) {
    qemu("qemu-img", &["create", "-q", "-f", "vpc", "-o", options, text(path), size]);
}

fn qemu_write(path: &Path, commands: &[&str]) {
    let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
    qemu_io(path, "vpc", &commands);
}

#[test]
fn the_oracles_disks_have_the_bytes_that_virtualbox_showed() {
    let fixture = Fixture::registry();
    let base = fixture.machine_file("win-legacy/win.vhd");
    let first = fixture.machine_file("win-legacy/Snapshots/{4ad7b86d-0d4a-4cc1-a22f-12ef03f9625a}.vhd");
    let second = fixture.machine_file("win-legacy/Snapshots/{6c9a682b-8401-4d67-a8dc-17c84da6587f}.vhd");
    let fixed = fixture.machine_file("odd formats/fixed.vhd");
    let chains: [&[&PathBuf]; 4] = [&[&base], &[&first, &base], &[&second, &first, &base], &[&fixed]];
    let media = fixture.expected_media();
    for links in chains {
        let disk = chain(links, false);
        let info = disk.links()[0].info();
        let uuid = info.uuid.unwrap().to_string();
        let expected = media.iter().find(|medium| medium.uuid == uuid).expect("the registry has this UUID");
        let expected = expected.disk.clone().unwrap();
        assert_eq!(disk.size(), expected.size, "{uuid}");
        assert_eq!(sha256(&all(&disk)), expected.sha256, "{uuid}");
        assert_eq!(info.notes, Vec::<String>::new());
        let parent = links.get(1).map(|path| open(path).info().uuid);
        assert_eq!(info.parent.as_ref().map(|link| link.uuid), parent);
    }
    let link = open(&second).info().parent.clone().unwrap();
    let name = first.file_name().unwrap().to_string_lossy();
    assert_eq!(link.hints[0], name, "the relative name goes first");
    assert!(link.hints[1].ends_with(&format!("win-legacy/Snapshots/{name}")), "{:?}", link.hints);
    assert_eq!(open(&first).info().parent.clone().unwrap().hints[0], "../win.vhd");
}

#[test]
fn samples_have_the_bytes_that_qemu_reads() {
    let directory = directory();
    for (name, variant, by_geometry) in [
        ("dissect-dynamic.vhd.gz", Variant::Dynamic, false),
        ("dissect-fixed.vhd.gz", Variant::Fixed, false),
        ("qemu-hyperv2012r2-dynamic.vhd.bz2", Variant::Dynamic, false),
        ("qemu-virtualpc-dynamic.vhd.bz2", Variant::Dynamic, true),
    ] {
        let Some(path) = sample(directory.path(), name) else { continue };
        let image = open(&path);
        assert_eq!((image.info().format, image.info().variant), (Format::Vhd, variant), "{name}");
        let raw = directory.path().join("out.raw");
        qemu_convert(&path, &raw, by_geometry);
        assert_same_file(&chain(&[&path], false), &raw, name);
        fs::remove_file(raw).unwrap();
    }
}

#[test]
fn images_by_qemu_are_read_as_qemu_reads_them() {
    let directory = directory();
    let raw = directory.path().join("out.raw");
    for (options, by_geometry) in [
        ("subformat=dynamic", true),
        ("subformat=dynamic,force_size=on", false),
        ("subformat=fixed", true),
        ("subformat=fixed,force_size=on", false),
    ] {
        let path = directory.path().join("a.vhd");
        qemu_create(&path, options, "20000K");
        qemu_write(&path, &["write -P 1 0 4096", "write -P 2 5000192 3000320"]);
        let expected = qemu_bytes(&path, &raw, by_geometry);
        assert_reads(&chain(&[&path], false), &expected, options);
    }
}

#[test]
fn what_is_written_is_what_qemu_reads() {
    let directory = directory();
    let raw = directory.path().join("out.raw");
    let mut numbers = Numbers(1);
    for options in ["subformat=dynamic,force_size=on", "subformat=fixed,force_size=on", "subformat=dynamic"] {
        let path = directory.path().join("a.vhd");
        qemu_create(&path, options, "30M");
        qemu_write(&path, &["write -P 1 0 3000320", "write -P 2 15000064 512"]);
        let by_geometry = !options.contains("force_size");
        let mut model = qemu_bytes(&path, &raw, by_geometry);
        for round in 0..3 {
            let disk = chain(&[&path], true);
            scribble(&disk, &mut model, &mut numbers, 60);
            disk.close().unwrap();
            drop(disk);
            assert!(qemu_bytes(&path, &raw, by_geometry) == model, "{options}, round {round}: qemu reads other bytes");
            assert_reads(&chain(&[&path], false), &model, options);
        }
        // QEMU goes on where we stopped.
        qemu_write(&path, &["write -P 5 25000448 100352"]);
        model[25_000_448..][..100_352].fill(5);
        assert_reads(&chain(&[&path], false), &model, "after QEMU wrote again");
    }
}

/// The process is killed at each moment of writing: the file ends with a footer, and we and QEMU see what was flushed.
#[test]
fn a_killed_writer_leaves_what_it_flushed() {
    let directory = directory();
    let (path, raw) = (directory.path().join("a.vhd"), directory.path().join("out.raw"));
    qemu_create(&path, "subformat=dynamic,force_size=on", "12M");
    qemu_write(&path, &["write -P 1 0 1048576"]);
    let file = Recorder::new(&path);
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    let disk = ChainDisk::new(vec![open_file(file.clone(), options).unwrap()], Vec::new());
    let mut flushed = Vec::new();
    for at in [3, 9, 5, 0] {
        disk.write_at(at << 20, &[7; 5000]).unwrap();
        disk.flush().unwrap();
        flushed.push((file.moments(), usize::try_from(at << 20).unwrap()));
    }
    disk.close().unwrap();
    for moment in 0..=file.moments() {
        file.save(moment, &path);
        let image = chain(&[&path], false);
        assert_eq!(image.links()[0].info().notes, Vec::<String>::new(), "after {moment} operations");
        for bytes in [qemu_bytes(&path, &raw, false), all(&image)] {
            for (_, at) in flushed.iter().filter(|(then, _)| *then <= moment) {
                assert!(bytes[*at..at + 5000] == [7; 5000], "bytes at {at} after {moment} operations");
            }
            assert!(bytes[5000..1 << 20].iter().all(|byte| *byte == 1), "old bytes after {moment} operations");
        }
    }
    assert!(qemu_bytes(&path, &raw, false) == all(&chain(&[&path], false)), "QEMU and we differ in the end");
}

#[test]
fn what_is_written_is_what_virtualbox_reads() {
    let Some(reference) = Reference::new("vhd") else { return };
    let mut numbers = Numbers(2);
    let size = 24 << 20;
    for variant in ["Standard", "Fixed"] {
        let _ = fs::remove_file(reference.outside().join("a.vhd"));
        let inside = reference.inside("a.vhd");
        reference
            .run(&format!("vbox-img createbase --filename {inside} --size {size} --format VHD --variant {variant}"));
        let path = reference.outside().join("a.vhd");
        let mut model = vec![0; size];
        for _ in 0..3 {
            let disk = chain(&[&path], true);
            scribble(&disk, &mut model, &mut numbers, 60);
            disk.close().unwrap();
            assert!(reference.bytes("a.vhd", "VHD") == model, "{variant}: VirtualBox reads other bytes");
        }
        // Not closed: as after kill -9.
        let disk = chain(&[&path], true);
        scribble(&disk, &mut model, &mut numbers, 60);
        disk.flush().unwrap();
        drop(disk);
        assert!(reference.bytes("a.vhd", "VHD") == model, "{variant}: VirtualBox reads other bytes after a crash");
    }
}

#[test]
fn virtualbox_reads_a_difference_that_was_written_here() {
    let Some(reference) = Reference::new("vhd-diff") else { return };
    let mut numbers = Numbers(3);
    let outside = |name: &str| reference.outside().join(name);
    let base = reference.inside("base.vhd");
    reference.run(&format!("VBoxManage -q createmedium disk --filename {base} --size 24 --format VHD"));
    let mut model = vec![0; 24 << 20];
    let disk = chain(&[outside("base.vhd")], true);
    scribble(&disk, &mut model, &mut numbers, 60);
    disk.close().unwrap();
    let child = reference.inside("child.vhd");
    reference.run(&format!("VBoxManage -q createmedium disk --filename {child} --diffparent {base} --format VHD"));
    let links = [outside("child.vhd"), outside("base.vhd")];
    let info = open(&links[0]).info().clone();
    assert_eq!(info.parent.unwrap().uuid, open(&links[1]).info().uuid);
    for round in 0..3 {
        let disk = chain(&links, true);
        scribble(&disk, &mut model, &mut numbers, 60);
        disk.close().unwrap();
        let _ = fs::remove_file(outside("flat.raw"));
        let flat = reference.inside("flat.raw");
        reference.run(&format!("VBoxManage -q clonemedium disk {child} {flat} --format RAW"));
        reference.run(&format!("VBoxManage -q closemedium disk {flat}"));
        assert!(fs::read(outside("flat.raw")).unwrap() == model, "VirtualBox reads other bytes in round {round}");
        assert_reads(&chain(&links, false), &model, "the chain");
    }
}
