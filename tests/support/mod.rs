//! What all test programs share: scripts, digests, waiting, and what a test needs.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test program uses a part of it")]

mod needs;

pub(crate) use needs::{available, is_root, needs, provided};

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long anything may take, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `mount -o loop` for scripts, by a device that no other process can take meanwhile.
pub(crate) const LOOP: &str = include_str!("loop.sh");

/// Runs a script of bash in a directory, which is `$1` too, in UTC and UTF-8. Returns what it printed.
///
/// # Panics
/// When a command of it fails.
pub(crate) fn sh(directory: &Path, script: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-euc", &format!("{LOOP}{script}"), "sh"]).arg(directory).current_dir(directory);
    let done = bash.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output().expect("bash runs");
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The SHA-256 of bytes, in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The SHA-256 of a file, which may be larger than the memory.
pub(crate) fn sha256_of(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
            0 => return hexadecimal(hash),
            len => hash.update(&chunk[..len]),
        }
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until something is so.
///
/// # Panics
/// When that takes too long.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The status of a process, once it has ended.
///
/// # Panics
/// When it does not end. It is killed then.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("process {} did not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
