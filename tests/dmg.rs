//! Apple's disk images by other programs.

mod lab;

use lab::{assert_same, disk, open, run, sample, shared, skipped};
use std::ffi::OsStr;
use std::path::Path;
use vboximg_mount::image::Format;

/// The disk's bytes as 7-Zip reads them: one partition after the other.
fn seven_zip(path: &Path) -> Vec<u8> {
    let args = ["e", "-tdmg", "-so"].map(OsStr::new);
    run("7zz", &[&args[..], &[path.as_os_str()]].concat())
}

fn check(path: &Path, chunks: &str) {
    let info = open(path).info().clone();
    assert_eq!(info.format, Format::Dmg);
    assert_eq!(info.details, format!("UDIF version 4, chunks: {chunks}"), "{}", path.display());
    assert_same(&disk(&[path], false), &seven_zip(path), &path.display().to_string());
}

#[test]
fn an_image_with_zlib_reads_as_qemu_and_7_zip_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = sample(folder.path(), "qemu-simple-dmg.dmg.bz2") else { return };
    check(&path, "6 zero, 8 zlib");
    let raw = folder.path().join("raw");
    let args = ["convert", "-f", "dmg", "-O", "raw"].map(OsStr::new);
    run("qemu-img", &[&args[..], &[path.as_os_str(), raw.as_os_str()]].concat());
    assert_same(&disk(&[&path], false), &std::fs::read(raw).unwrap(), "QEMU");
}

#[test]
fn images_by_macos_read_as_7_zip_reads_them() {
    for (name, chunks) in
        [("keramics-hfsplus-zlib.dmg", "6 zero, 8 zlib"), ("keramics-hfsplus-bzip2.dmg", "6 zero, 8 bzip2")]
    {
        let path = shared().join("samples").join(name);
        if !path.exists() {
            return skipped(&format!("no sample {}", path.display()));
        }
        check(&path, chunks);
    }
}
