//! The verbs: what they print of the registry that the real VirtualBox wrote, and what they copy, held against the
//! kernel's mount of the same file system.

mod appliances;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod completing;
mod copying;
mod corrupted;
mod diffing;
mod goldens;
mod kernel;
#[path = "../lab/mod.rs"]
mod lab;
mod map;
#[path = "../tree/mounted.rs"]
mod mounted;
mod specs;
mod states;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tree/mod.rs"]
mod tree;
mod trees;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;

/// The disk of "alpine tree" as it is now: a FAT and an ext file system.
const LEAF: &str = "6ae26a8c-9c16-432b-a7e4-20863223d4e6";

/// One test at a time: what another one runs without FUSE has the mounts of this one in its mount namespace, where they
/// stay mounted after `umount` here.
static ALONE: Mutex<()> = Mutex::new(());

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
