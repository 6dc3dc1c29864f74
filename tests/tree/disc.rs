//! Helpers to compare optical disks: trees without what these cannot store, and mounts by the program.

use crate::tree::Walk;
use std::path::Path;
use std::process::Command;

/// Reduces a tree to kind, size and digest.
pub(crate) fn plain(walk: Walk) -> Walk {
    let retain = |text: String| -> String {
        let words: Vec<&str> = text.split(' ').collect();
        format!("{} {} {}", &words[0][..words[0].len() - 4], words[4], words.get(7).unwrap_or(&""))
    };
    walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
}

/// Mounts an image with its file systems through the program, calls `look`, and unmounts it.
pub(crate) fn while_mounted<T>(image: &Path, point: &Path, look: impl FnOnce() -> T) -> T {
    let program = || Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    let mounted = program().arg("-i").arg(image).arg("-g").arg(point).output().unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    let seen = look();
    let unmounted = program().arg("--unmount").arg(point).output().unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    seen
}
