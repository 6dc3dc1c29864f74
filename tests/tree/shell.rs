//! Shell scripts and images for file systems that the kernel does not mount.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use vboximg_mount::disk::{ChainDisk, Disk};

/// Runs a shell script with `$1` as its directory, in UTC and UTF-8, and returns its output. Panics when it fails.
pub(crate) fn sh(directory: &Path, script: &str) -> String {
    let mut bash = Command::new("bash");
    let bash = bash.args(["-euc", script, "sh"]).arg(directory).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    let done = bash.output().expect("bash runs");
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Opens an image as a disk.
pub(crate) fn disk(image: &Path) -> Arc<dyn Disk> {
    let image = vboximg_mount::image::open(image, Default::default()).unwrap();
    Arc::new(ChainDisk::new(vec![image], Vec::new()))
}
