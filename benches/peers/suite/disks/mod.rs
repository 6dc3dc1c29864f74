//! The disks and registries that are measured, made once and kept.

pub(crate) mod machines;
pub(crate) mod media;
pub(crate) mod source;
pub(crate) mod vdi;

use super::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory of the cache, filled by `make` unless an earlier run has done it.
pub(crate) fn cached(directory: PathBuf, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if directory.exists() {
        return Ok(directory);
    }
    // Half a directory must not be taken for a whole one.
    let mut half = directory.clone().into_os_string();
    half.push(".half");
    let half = PathBuf::from(half);
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    fs::create_dir_all(&half)?;
    println!("Making {}", directory.display());
    make(&half)?;
    fs::rename(&half, &directory)?;
    Ok(directory)
}
