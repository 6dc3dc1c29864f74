//! Optical disks: images by xorriso, and CD images of them with whole sectors, taken apart by bchunk.

use crate::against::disks::{assert_reads, chain, open_image as open};
use crate::against::lab::run;
use crate::image::{Format, OpenOptions, identify};
use crate::storage::local::Devices;
use crate::{ErrorKind, image};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// An ISO image with some files.
fn iso(directory: &Path, options: &[&str]) -> PathBuf {
    let (source, path) = (directory.join("source"), directory.join("disk.iso"));
    fs::create_dir_all(&source).unwrap();
    for number in 0..20_u8 {
        fs::write(source.join(format!("file {number}")), vec![number; 5000 * usize::from(number)]).unwrap();
    }
    let mut args = vec![OsStr::new("-quiet"), OsStr::new("-o"), path.as_os_str()];
    args.extend(options.iter().map(OsStr::new));
    args.push(source.as_os_str());
    run("xorrisofs", &args);
    path
}

#[test]
fn an_iso_image_is_a_disk_with_sectors_of_2048_bytes() {
    let directory = tempfile::tempdir().unwrap();
    for options in [&["-R", "-J"][..], &["-iso-level", "3", "-no-pad"]] {
        let path = iso(directory.path(), options);
        let bytes = fs::read(&path).unwrap();
        let image = open(&path);
        assert_eq!((image.info().format, image.info().sector_size), (Format::Iso, 2048));
        assert!(image.writer().is_none());
        assert_reads(&chain(&[&path], false), &bytes, "the image");
        assert_eq!(identify(&path, Devices::Refused).unwrap().size, bytes.len() as u64);
        fs::write(&path, &bytes[..bytes.len() / 4096 * 2048]).unwrap();
        let error = image::open(&path, OpenOptions::default()).err().expect("it is cut");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("the file is cut"), "{error}");
    }
}

/// The sector of a CD around 2048 bytes of data: header and data; checksums are left 0.
fn stored(number: usize, data: &[u8], mode: u8) -> Vec<u8> {
    let frame = number + 150;
    let digits = |n: usize| u8::try_from(n / 10 * 16 + n % 10).unwrap();
    let mut out = vec![0];
    out.extend([255; 10]);
    out.extend([0, digits(frame / 4500), digits(frame / 75 % 60), digits(frame % 75), mode]);
    if mode == 2 {
        out.extend([0, 0, 8, 0, 0, 0, 8, 0]);
    }
    out.extend(data);
    out.resize(2352, 0);
    out
}

#[test]
fn cd_images_show_the_bytes_that_bchunk_takes_out() {
    let directory = tempfile::tempdir().unwrap();
    let expected = fs::read(iso(directory.path(), &["-R"])).unwrap();
    for mode in [1, 2] {
        let bin: Vec<u8> =
            expected.chunks(2048).enumerate().flat_map(|(number, data)| stored(number, data, mode)).collect();
        fs::write(directory.path().join("disk.bin"), &bin).unwrap();
        let sheet = directory.path().join("disk.cue");
        let text = format!("FILE \"disk.bin\" BINARY\r\n  TRACK 01 MODE{mode}/2352\r\n    INDEX 01 00:00:00\r\n");
        fs::write(&sheet, text).unwrap();
        let image = open(&sheet);
        assert_eq!((image.info().format, image.info().sector_size), (Format::Cue, 2048));
        let out = directory.path().join("out");
        run("bchunk", &[directory.path().join("disk.bin").as_os_str(), sheet.as_os_str(), out.as_os_str()]);
        let theirs = fs::read(directory.path().join("out01.iso")).unwrap();
        assert!(theirs == expected, "bchunk, mode {mode}");
        assert_reads(&chain(&[&sheet], false), &theirs, &format!("mode {mode}"));
    }
}
