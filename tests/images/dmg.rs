//! Apple's disk images by other programs.

use crate::against::disks::{assert_reads, chain, open_image as open};
use crate::against::lab::run;
use crate::against::qemu::{flat, sample, shared};
use crate::image::Format;
use std::ffi::OsStr;
use std::path::Path;

/// The disk's bytes as 7-Zip reads them: one partition after the other.
fn seven_zip(path: &Path) -> Vec<u8> {
    let args = ["e", "-tdmg", "-so"].map(OsStr::new);
    run("7zz", &[&args[..], &[path.as_os_str()]].concat())
}

fn check(path: &Path, chunks: &str) {
    let info = open(path).info().clone();
    assert_eq!(info.format, Format::Dmg);
    assert_eq!(info.details, format!("UDIF version 4, chunks: {chunks}"), "{}", path.display());
    assert_reads(&chain(&[path], false), &seven_zip(path), &path.display().to_string());
}

#[test]
fn an_image_with_zlib_reads_as_qemu_and_7_zip_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = sample(directory.path(), "qemu-simple-dmg.dmg.bz2") else { return };
    check(&path, "6 zero, 8 zlib");
    assert_reads(&chain(&[&path], false), &flat(&path, "dmg", &[]), "QEMU");
}

#[test]
fn images_by_macos_read_as_7_zip_reads_them() {
    for (name, chunks) in
        [("keramics-hfsplus-zlib.dmg", "6 zero, 8 zlib"), ("keramics-hfsplus-bzip2.dmg", "6 zero, 8 bzip2")]
    {
        let Some(path) = shared(&format!("samples/{name}")) else { continue };
        check(&path, chunks);
    }
}
