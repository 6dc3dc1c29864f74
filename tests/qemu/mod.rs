//! QEMU's tools, and images of all kinds, for tests.

#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::support::provided;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Asserts that `qemu-img check` finds neither errors nor leaks.
pub(crate) fn check(path: &Path, format: &str) {
    let out = qemu("qemu-img", &["check", "-f", format, text(path)]);
    assert!(out.contains("No errors were found"), "{}: {out}", path.display());
}

/// The file `name` of the samples and the encrypted registry, which are not in this repository; none where it is
/// missing.
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
