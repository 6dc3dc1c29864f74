//! Loads bytes as a machine's settings file and as VirtualBox.xml.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;
use vboximg_mount::{Passwords, Registry};

/// In memory where there is such a directory: settings are read from files.
static DIRECTORY: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory"));

fn load(path: &Path) {
    if let Ok(registry) = Registry::load_from(path, Passwords::default()) {
        let _ = registry.problems();
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let directory = DIRECTORY.path();
    for name in ["machine.vbox", "VirtualBox.xml"] {
        fs::write(directory.join(name), bytes).expect("the settings are written");
    }
    load(&directory.join("machine.vbox"));
    load(directory);
});
