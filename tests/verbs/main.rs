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

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The disk of "alpine tree" as it is now: a FAT and an ext file system.
const LEAF: &str = "6ae26a8c-9c16-432b-a7e4-20863223d4e6";

/// See [`alone`].
static ALONE: Mutex<()> = Mutex::new(());

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The process whose mount namespace has no FUSE. It ends with this one, which closes its standard input.
static NAMESPACE: OnceLock<Child> = OnceLock::new();

/// The file of that namespace. It is made before any test here mounts something: what is mounted when a namespace is made
/// stays mounted in it, and a file system that another test mounts again would not be clean.
fn namespace_without_fuse() -> String {
    let process = NAMESPACE.get_or_init(|| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind /dev/null /dev/fuse && echo ready && exec cat"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is installed");
        let mut ready = [0; 6];
        process.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        process
    });
    format!("--mount=/proc/{}/ns/mnt", process.id())
}

/// The program where there is no FUSE.
fn program_without_fuse() -> Command {
    let mut command = Command::new("nsenter");
    command.arg(namespace_without_fuse()).arg(env!("CARGO_BIN_EXE_vboximg-mount"));
    command
}

/// One test at a time that has the kernel mount file systems.
fn alone() -> MutexGuard<'static, ()> {
    namespace_without_fuse();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program on an image where there is no FUSE.
fn without_fuse(image: &Path, verb: &str, words: &[&str]) -> Output {
    program_without_fuse().args([verb, "-i"]).arg(image).args(words).output().expect("nsenter is installed")
}

/// The output of a program that has to succeed.
fn output_of(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}
