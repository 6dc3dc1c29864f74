//! Images that a killed writer leaves, at each moment of its life: how VirtualBox and QEMU judge them.

use crate::against::disks::{all, chain, recorder::Recorder};
use crate::against::lab::Reference;
use crate::against::qemu::{create, directory, qemu_io, sample};
use crate::disk::{ChainDisk, Disk};
use crate::image::OpenOptions;
use crate::image::open::open_file;
use std::path::Path;
use std::process::Command;

const SIZE: u64 = 6 << 20;

/// The status of `qemu-img check`: 0, or 3 for space that nothing points to.
fn checked(path: &Path, format: &str) -> i32 {
    let output = Command::new("qemu-img").args(["check", "-f", format]).arg(path).output().unwrap();
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// Writes, with a flush, a discard and a close, and sees the image after each operation: VirtualBox opens it and shows
/// all of what was flushed; QEMU finds nothing wrong but lost space; and the next mount with `--rw` mends that.
fn kill_at_each_moment(reference: Option<&Reference>, path: &Path, format: &str, theirs: &str) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let file = Recorder::new(path);
    let options = OpenOptions { writable: true, ..OpenOptions::default() };
    let disk = ChainDisk::new(vec![open_file(file.clone(), options).unwrap()], Vec::new());
    let end = disk.size() - (1 << 20);
    let mut states = vec![(0, all(&disk))];
    disk.write_at(end, &[7; 9000]).unwrap();
    disk.flush().unwrap();
    states.push((file.moments(), all(&disk)));
    disk.discard(0, 1 << 20).unwrap();
    disk.close().unwrap();
    states.push((file.moments(), all(&disk)));
    for moment in 0..=file.moments() {
        file.save(moment, path);
        let what = format!("{format} after {moment} operations");
        let flushed = states.iter().rposition(|(then, _)| *then <= moment).unwrap();
        let possible = &states[flushed..states.len().min(flushed + 2)];
        // What was discarded may be zeros already in a file whose blocks stay allocated.
        let good = |bytes: &[u8]| possible.iter().any(|(_, state)| bytes[1 << 20..] == state[1 << 20..]);
        if let Some(reference) = reference {
            assert!(good(&reference.bytes(name, theirs)), "VirtualBox: {what}");
        }
        assert!(good(&all(&chain(&[path], false))), "{what}");
        if ["vpc", "qcow"].contains(&format) {
            continue;
        }
        let code = checked(path, format);
        // To QEMU, a Parallels image that is flagged as in use and a VDI that counts unused blocks have errors.
        assert!(matches!(code, 0 | 3) || ["parallels", "vdi"].contains(&format) && code == 2, "{code}: {what}");
        chain(&[path], true).close().unwrap();
        // Lost space of a QCOW2 stays counted.
        assert!(checked(path, format) == 0 || format == "qcow2", "not mended: {what}");
        assert!(good(&all(&chain(&[path], false))), "mended: {what}");
    }
}

#[test]
fn a_killed_writer_leaves_images_that_virtualbox_opens() {
    let reference = Reference::new("killed");
    let directory = directory();
    let outside = reference.as_ref().map_or(directory.path().to_owned(), Reference::outside);
    for (format, theirs, options) in [
        ("vdi", "VDI", ""),
        ("vmdk", "VMDK", ""),
        ("vpc", "VHD", "force_size=on"),
        ("parallels", "Parallels", ""),
        ("qed", "QED", "cluster_size=64k"),
        ("qcow2", "QCOW", ""),
        ("qcow", "QCOW", ""),
    ] {
        let extension = match format {
            "vpc" => "vhd",
            "parallels" => "hdd",
            other => other,
        };
        let path = outside.join(format!("a.{extension}"));
        match &reference {
            // It reads other bytes from those by QEMU.
            Some(reference) if format == "parallels" => {
                let inside = reference.inside("a.hdd");
                reference.run(&format!("vbox-img createbase --filename {inside} --size {SIZE} --format Parallels"));
                // QEMU finds fault with empty ones.
                let disk = chain(&[&path], true);
                disk.write_at(1 << 20, &[1; 1 << 20]).unwrap();
                disk.close().unwrap();
            }
            _ => {
                create(&path, format, options, SIZE);
                qemu_io(&path, format, &["write -P 1 0 1M".to_owned(), "write -P 2 3M 100k".to_owned()]);
            }
        }
        kill_at_each_moment(reference.as_ref(), &path, format, theirs);
    }
    // VirtualBox refuses VHDXs by QEMU, whose regions are not marked as required.
    if let Some(path) = sample(&outside, "dissect-dynamic.vhdx.gz") {
        kill_at_each_moment(reference.as_ref(), &path, "vhdx", "VHDX");
    }
}
