//! What the tests of QEMU's formats share: running QEMU's tools, and holding our bytes against theirs.

#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::support::{provided, sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use vboximg_mount::disk::{ChainDisk, Disk};
use vboximg_mount::image::{self, Format, OpenOptions};

/// Runs a tool of QEMU and returns what it printed.
///
/// # Panics
/// When the tool is missing or fails.
pub(crate) fn qemu(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{tool} is needed for this test (Debian: qemu-utils): {e}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{tool} {args:?}: {text}");
    text
}

/// A directory for a test: in memory where that is possible, as QEMU's tools and ours wait for the disk often.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Makes an image with `qemu-img create`.
pub(crate) fn create(path: &Path, format: &str, options: &str, size: u64) {
    let size = size.to_string();
    let mut args = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([text(path), &size]);
    qemu("qemu-img", &args);
}

/// Runs commands of `qemu-io`, each of which must succeed.
pub(crate) fn qemu_io(path: &Path, format: &str, commands: &[String]) {
    let mut args = vec!["-t", "unsafe", "-f", format];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(text(path));
    let out = qemu("qemu-io", &args);
    assert!(!out.contains("failed") && !out.contains("rror"), "{commands:?}: {out}");
}

/// The bytes of the whole disk as QEMU sees it.
pub(crate) fn flat(path: &Path, format: &str, extra: &[&str]) -> Vec<u8> {
    let out = path.with_extension("flat");
    let mut args = vec!["convert", "-f", format, "-O", "raw"];
    args.extend(extra);
    args.extend([text(path), text(&out)]);
    qemu("qemu-img", &args);
    let bytes = std::fs::read(&out).unwrap();
    std::fs::remove_file(out).unwrap();
    bytes
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

/// Asserts that `qemu-img check` finds neither errors nor leaks.
pub(crate) fn check(path: &Path, format: &str) {
    let out = qemu("qemu-img", &["check", "-f", format, text(path)]);
    assert!(out.contains("No errors were found"), "{}: {out}", path.display());
}

/// The file `name` of the samples and the encrypted registry, which are not in this repository; none where it is missing.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VBOXIMG_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(name);
    provided(path.exists(), &format!("{} (VBOXIMG_SHARED names the directory)", path.display())).then_some(path)
}

/// The image `name` that VirtualBox made, decompressed into `directory`, and the SHA-256 that its disk has.
pub(crate) fn by_virtualbox(directory: &Path, name: &str) -> (PathBuf, String) {
    let compressed = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/registry.tar.zst");
    let inside = format!("home/Machines/odd formats/{name}");
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "-xf", compressed, "-C"]).arg(directory).args([&inside, "expected/media.tsv"]);
    assert!(tar.status().unwrap_or_else(|e| panic!("tar: {e}")).success(), "tar with zstd decompresses {inside}");
    // Made of the same disk as this one, of which VirtualBox reported the sum.
    let media = std::fs::read_to_string(directory.join("expected/media.tsv")).unwrap();
    let line = media.lines().find(|line| line.ends_with("esx import/flat.vmdk")).unwrap();
    let sum = line.split_whitespace().nth(2).unwrap();
    (directory.join(inside), sum.to_owned())
}

/// Asserts that the disk of an image has a SHA-256.
pub(crate) fn assert_sum(path: &Path, sum: &str) {
    assert_eq!(sha256(&all(&open(path, OpenOptions::default()))), sum, "{}", path.display());
}

/// The file with the bytes of a packed sample, in `directory`.
pub(crate) fn sample(directory: &Path, name: &str) -> Option<PathBuf> {
    let compressed = shared(&format!("samples/{name}"))?;
    let decompress = if name.ends_with(".bz2") { "bzcat" } else { "zcat" };
    let out = Command::new(decompress).arg(&compressed).output().unwrap_or_else(|e| panic!("{decompress}: {e}"));
    assert!(out.status.success(), "{decompress} {name}");
    let path = directory.join(name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    std::fs::write(&path, out.stdout).unwrap();
    Some(path)
}
