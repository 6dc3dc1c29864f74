//! Disks of images, read and written and held against what other programs read.

pub(crate) mod recorder;

use super::qemu::{check, flat};
use crate::disk::{Allocation, ChainDisk, Disk};
use crate::image::{self, Format, Image, OpenOptions};
use crate::support::sha256;
use nix::unistd::{Whence, lseek};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// An image as a disk, without parents.
pub(crate) fn disk(image: &Path) -> Arc<dyn Disk> {
    let image = image::open(image, OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    Arc::new(ChainDisk::new(vec![image], Vec::new()))
}

/// Opens the images of a chain, leaf first; the leaf for writing or not.
pub(crate) fn chain<P: AsRef<Path>>(paths: &[P], writable: bool) -> ChainDisk {
    let links = paths.iter().enumerate().map(|(i, path)| {
        let options = OpenOptions { writable: writable && i == 0, ..OpenOptions::default() };
        image::open(path.as_ref(), options).unwrap_or_else(|e| panic!("{e}"))
    });
    ChainDisk::new(links.collect(), Vec::new())
}

/// Opens one image for reading.
pub(crate) fn open_image(path: &Path) -> Box<dyn Image> {
    image::open(path, OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Asserts that a disk too large for memory has the bytes of a sparse file of the same size.
pub(crate) fn assert_same_file(disk: &dyn Disk, raw: &Path, what: &str) {
    let file = fs::File::open(raw).unwrap();
    assert_eq!(disk.size(), file.metadata().unwrap().len(), "{what}: size");
    let mut at = 0;
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < disk.size() {
        // What is a hole in the file and known zeros on the disk needs no reading.
        let data = lseek(&file, i64::try_from(at).unwrap(), Whence::SeekData);
        let data = data.map_or(disk.size(), |data| u64::try_from(data).unwrap());
        at = match disk.allocation(at).unwrap() {
            Allocation::Zero(len) if data > at => data.min(at + len),
            span => {
                let len = usize::try_from(span.len().min(1 << 20)).unwrap();
                disk.read_at(at, &mut ours[..len]).unwrap();
                file.read_exact_at(&mut theirs[..len], at).unwrap();
                assert!(ours[..len] == theirs[..len], "{what}: bytes from {at} on differ");
                at + len as u64
            }
        };
    }
}

/// Opens an image and the parents that its header names.
pub(crate) fn open(path: &Path, options: OpenOptions) -> ChainDisk {
    let mut images = Vec::new();
    let mut next = Some((path.to_path_buf(), options));
    while let Some((path, options)) = next.take() {
        let image = image::open(&path, options).unwrap_or_else(|e| panic!("{e}"));
        next = image.info().parent.as_ref().map(|parent| {
            let raw = parent.format.as_deref() == Some("raw");
            let format = raw.then_some(Format::Raw);
            (path.with_file_name(&parent.hints[0]), OpenOptions { format, ..OpenOptions::default() })
        });
        images.push(image);
    }
    ChainDisk::new(images, Vec::new())
}

/// All bytes of a disk.
pub(crate) fn all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xA5; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Asserts that we read what QEMU reads: at once and in 300 unaligned chunks.
pub(crate) fn assert_same(path: &Path, format: &str) {
    let expected = flat(path, format, &[]);
    let disk = open(path, OpenOptions::default());
    assert_reads(&disk, &expected, &path.display().to_string());
}

/// Asserts that a disk holds these bytes: read at once and in 300 unaligned chunks.
pub(crate) fn assert_reads(disk: &dyn Disk, expected: &[u8], what: &str) {
    assert_eq!(disk.size(), expected.len() as u64, "{what}");
    assert!(all(disk) == expected, "{what}: the whole disk differs");
    let mut numbers = Numbers(7);
    for _ in 0..300 {
        let start = numbers.below(expected.len());
        let end = expected.len().min(start + 1 + numbers.below(200_000));
        let mut chunk = vec![0xA5; end - start];
        disk.read_at(start as u64, &mut chunk).unwrap();
        assert!(chunk == expected[start..end], "{what}: bytes {start} to {end} differ");
    }
}

/// Writes, discards and flushes at random, to a disk and to an array that is its model.
pub(crate) fn scribble(disk: &dyn Disk, model: &mut [u8], numbers: &mut Numbers, rounds: usize) {
    for round in 0..rounds {
        let start = numbers.below(model.len());
        let longest = if numbers.below(4) == 0 { 600_000 } else { 5_000 };
        let end = model.len().min(start + 1 + numbers.below(longest));
        match numbers.below(8) {
            0 => {
                disk.discard(start as u64, (end - start) as u64).unwrap();
                model[start..end].fill(0);
            }
            1 => disk.flush().unwrap(),
            kind => {
                let fill = if kind == 2 { 0 } else { u8::try_from(1 + round % 255).unwrap() };
                disk.write_at(start as u64, &vec![fill; end - start]).unwrap();
                model[start..end].fill(fill);
            }
        }
    }
    assert!(all(disk) == *model, "the disk and its model differ");
}

/// Writes to a disk at random for `rounds`, with a `Vec` as the model, then holds QEMU's view against the model.
pub(crate) fn write_at_random(path: &Path, format: &str, rounds: usize, seed: u64) {
    let mut model = flat(path, format, &[]);
    let mut numbers = Numbers(seed);
    for _ in 0..2 {
        let disk = open(path, OpenOptions { writable: true, ..OpenOptions::default() });
        scribble(&disk, &mut model, &mut numbers, rounds);
        disk.close().unwrap();
        drop(disk);
        assert!(flat(path, format, &[]) == model, "{}: QEMU reads other bytes", path.display());
        check(path, format);
        assert_reads(&open(path, OpenOptions::default()), &model, &path.display().to_string());
    }
}

/// Asserts that the disk of an image has a SHA-256.
pub(crate) fn assert_sum(path: &Path, sum: &str) {
    assert_eq!(sha256(&all(&open(path, OpenOptions::default()))), sum, "{}", path.display());
}
