//! The verbs: what they print of the registry that the real VirtualBox wrote, and what they copy, held against the
//! kernel's mount of the same file system.

#[path = "../common/mod.rs"]
mod common;
mod completing;
mod copying;
mod goldens;
mod kernel;
#[allow(dead_code, reason = "the reader's own tree is for the tests of guests")]
#[path = "../tree/mounted.rs"]
mod mounted;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the reader's own tree is for the tests of guests")]
#[path = "../tree/mod.rs"]
mod tree;

use std::path::Path;
use std::process::{Command, Output};

/// The disk of "alpine tree" as it is now: a FAT and an ext file system.
const LEAF: &str = "6ae26a8c-9c16-432b-a7e4-20863223d4e6";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program on an image where there is no FUSE.
fn without_fuse(image: &Path, verb: &str, words: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind /dev/null /dev/fuse && exec \"$@\"", "sh"]);
    command.args([env!("CARGO_BIN_EXE_vboximg-mount"), verb, "-i"]).arg(image).args(words);
    command.output().expect("unshare is installed")
}

/// The output of a program that has to succeed.
fn output_of(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}
